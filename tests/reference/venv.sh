#!/bin/sh
# Makes .venv-reference with PyTorch 2.11.0, if it is not there yet, and prints the path of its Python.
#
# KILN_REFERENCE_PYTHON=/path/to/python: use that one, which must have torch 2.11.
#
# Where there is an NVIDIA driver the whole of PyTorch is installed (5 GB). Elsewhere its CUDA libraries are left out
# (1.4 GB): the only wheel for Linux is linked against them, so empty libraries stand in for them, and calls are bound
# lazily. Nothing on the CPU calls them.
set -eu

if [ -n "${KILN_REFERENCE_PYTHON:-}" ]; then
    echo "$KILN_REFERENCE_PYTHON"
    exit 0
fi

root=$(cd "$(dirname "$0")/../.." && pwd)
venv=$root/.venv-reference
python=$venv/bin/python
if [ -e "$venv/.complete" ]; then
    echo "$python"
    exit 0
fi

echo "installing PyTorch 2.11.0 for comparison into $venv" >&2
python3 -m venv "$venv"
if [ -e /dev/nvidiactl ]; then
    "$python" -m pip install --quiet "torch==2.11.0" numpy >&2
else
    "$python" -m pip install --quiet --no-deps "torch==2.11.0" \
        "nvidia-cuda-cupti==13.0.85" "nvidia-cuda-runtime==13.0.96" \
        typing_extensions filelock sympy networkx jinja2 fsspec setuptools mpmath markupsafe numpy >&2

    site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    lib=$site/torch/lib
    # $lib is on the search path of all of torch's libraries.
    for missing in $(ldd "$lib"/*.so | sed -n 's/^[[:space:]]*\(lib[^ ]*\) => not found$/\1/p' | sort -u | grep -v "^libcuda\.so"); do
        echo | "${CC:-cc}" -shared -x c - -o "$lib/$missing" -Wl,-soname,"$missing"
    done
    printf 'import os, sys\nsys.setdlopenflags(os.RTLD_LAZY)\n' >"$site/sitecustomize.py"
fi
"$python" -c 'import torch; assert torch.__version__.startswith("2.11."), torch.__version__' >&2
touch "$venv/.complete"
echo "$python"
