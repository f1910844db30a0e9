#!/bin/sh
# Build stage: what compiling needs beside Rust. A layer of its own, which changes about never.
set -eu
cd "$(dirname "$0")/.."
scripts/tools.sh
scripts/build-tools.sh >/dev/null
