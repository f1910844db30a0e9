#!/usr/bin/env bash
# Trains small random models with the original libraries and compares our answers with theirs, bit
# for bit. Usage: scripts/differential.sh [SEEDS [CARGO OPTIONS]]; SEEDS are 0:36 (the default), or
# e.g. 0:600, or 17 alone.
set -euo pipefail
cd "$(dirname "$0")/.."
seeds=${1:-0:36}
venv=.venv/differential
if ! cmp -s tests/differential/requirements.txt "$venv/requirements.txt"; then
    echo "differential: fetching XGBoost, LightGBM and CatBoost into $venv"
    python3 -m venv --clear "$venv"
    # Every dependency that training needs is listed; others (plots) are not fetched.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        -r tests/differential/requirements.txt
    cp tests/differential/requirements.txt "$venv/requirements.txt"
fi
# What the libraries say of draws that they refuse goes to a file: it is noise unless making fails.
mkdir -p target/differential
if ! "$venv/bin/python" -W ignore tests/differential/make.py \
    --out "target/differential/$seeds" --seeds "$seeds" 2>target/differential/messages; then
    cat target/differential/messages >&2
    exit 1
fi
cargo test --quiet --test differential "${@:2}" -- "target/differential/$seeds"
