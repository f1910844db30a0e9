#!/bin/sh
# Build stage: lays out below DIR what the final image holds, at the places it has there: the
# program, its licence, and in `own` the folders that belong to the server's user.
# The native libraries are there already. Usage: docker/assemble.sh DIR
set -eu
cd "$(dirname "$0")/.."
out=$1
install -D -m 0755 target/release/hedgerow "$out/usr/bin/hedgerow"
install -D -m 0644 LICENSE "$out/usr/share/doc/hedgerow/LICENSE"
mkdir -p "$out/own/models" "$out/own/hedgerow-data"
chmod -R a+rX "$out"
