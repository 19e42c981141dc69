#!/bin/sh
# Compares kiln-torch with PyTorch 2.11.0 on this machine's CPU. See README.md beside this file.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=$("$root/tests/reference/venv.sh")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cd "$root" # cargo looks for .cargo/config.toml from here upwards
cargo run --quiet --package kiln-torch --example reference -- "$folder"
"$python" tests/reference/compare.py "$folder/reference.safetensors"
