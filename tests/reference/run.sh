#!/bin/sh
# Compares kiln-torch and exported networks with PyTorch 2.11.0 on this machine's CPU. See README.md beside this file.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=$("$root/tests/reference/venv.sh")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$root" # cargo looks for .cargo/config.toml from here upwards
cargo run --quiet --package kiln-torch --example reference -- "$folder"
"$python" tests/reference/compare.py "$folder/reference.safetensors"
cargo run --quiet --package kiln-nn --example torchscript -- "$folder"
"$python" tests/reference/torchscript.py "$folder"
cargo run --quiet --package kiln-nn --example distort -- "$folder"
"$python" tests/reference/distort.py "$folder"
cargo run --quiet --package kiln-nn --example quantised -- "$folder"
"$python" tests/reference/quantised.py "$folder/quantised.safetensors"
cargo run --quiet --package kiln-nn --example gan -- "$folder"
"$python" tests/reference/gan.py "$folder/gan.safetensors"
"$python" -c "import scipy" 2>/dev/null || "$python" -m pip install --quiet scipy >&2
cargo build --quiet --package kiln-metrics --example tau
"$python" tests/reference/kendall.py "${CARGO_TARGET_DIR:-target}/debug/examples/tau"
cargo build --quiet --package kiln-metrics --example frechet
"$python" tests/reference/frechet.py "${CARGO_TARGET_DIR:-target}/debug/examples/frechet"
"$python" -c "import tensorboard, pyarrow" 2>/dev/null || "$python" -m pip install --quiet tensorboard pyarrow >&2
cargo build --quiet --package kiln --package kiln-tests --bins
tests/reference/exports.sh "$python" "${CARGO_TARGET_DIR:-target}/debug" "$folder/exports"
