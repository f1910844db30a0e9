#!/bin/sh
# Build stage: `cargo build` as the image wants it, into target/release/hedgerow. The two steps that
# compile both come here, so the second finds what the first compiled.
set -eu
cd "$(dirname "$0")/.."
# Tests and benches are not in the image's build: their sources may change without another build.
sed -i '/^\[\[\(test\|bench\)\]\]/,/^$/d' Cargo.toml
path=$(scripts/build-tools.sh)
PATH="$path:$PATH" cargo build --locked --release --features lightgbm --bin hedgerow
