#!/usr/bin/env bash
# Builds a tool from its Go module into .venv/go/bin, once per version, and prints its path.
# Usage: scripts/go-tool.sh MODULE@VERSION, e.g. github.com/bojand/ghz/cmd/ghz@v0.121.0
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=$1
bin=$PWD/.venv/go/bin
package=${wanted%@*} version=${wanted#*@}
# The binary is named after the last part of its path that is not a major version.
name=$(basename "$package")
case $name in v[0-9]*) name=$(basename "$(dirname "$package")") ;; esac
stamp="$bin/.$name"

if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ] || [ ! -x "$bin/$name" ]; then
    echo "go-tool: building $name $version (once)" >&2
    mkdir -p "$bin"
    GOBIN=$bin scripts/go.sh install "$wanted" >&2
    echo "$wanted" >"$stamp"
fi
echo "$bin/$name"
