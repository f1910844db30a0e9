#!/usr/bin/env bash
# What building and running need beside Rust: a C compiler and linker (the allocator, compression)
# and Python with pip (fetching the native libraries). Installs what is missing and says why.
set -euo pipefail

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v python3 >/dev/null || missing+=(python3)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
command -v curl >/dev/null || missing+=(curl)
# Certificates of a webhook that is called in a test.
command -v openssl >/dev/null || missing+=(openssl)
if [ ${#missing[@]} -gt 0 ]; then
    echo "tools: installing ${missing[*]} (compiler and linker, Python for fetching native libraries, curl, openssl for tests)"
    scripts/apt.sh "${missing[@]}"
fi
if ! command -v cargo >/dev/null; then
    echo "tools: Rust is missing; install it from https://rustup.rs and run this again" >&2
    exit 1
fi
