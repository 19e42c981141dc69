#!/bin/sh
# Exports a run of the fake worker in every format of tables and events, and opens them with TensorBoard and Arrow.
#
# exports.sh PYTHON FOLDER_OF_PROGRAMS FOLDER_TO_WRITE
set -eu

python=$1
programs=$(cd "$2" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$3"
cd "$3"

export KILN_HOME="$PWD/home" KILN_WORKER="$programs/kiln-fake-worker" KILN_FAKE="steps=120,ms=1,candidates=6,pictures=40"
kiln() { "$programs/kiln" "$@"; }
trap 'kiln engine stop >/dev/null 2>&1 || true' EXIT

cat >run.toml <<'TOML'
method = "dc-nas"
[data]
set = "digits"
path = "digits.csv"
train = 576
[space]
name = "digits-mlp"
TOML
: >digits.csv
kiln run run.toml >/dev/null
for format in csv jsonl parquet; do
    kiln export last --format "$format" --out "points.$format" >/dev/null
done
kiln export last --format tensorboard --out events >/dev/null
"$python" "$here/exports.py" .
