#!/usr/bin/env bash
# `make bench-engines`: makes the peers' environment, once per change of its requirements, and runs
# run.py in it. QUICK=1 leaves out the slowest peers. Arguments go to run.py.
set -euo pipefail
cd "$(dirname "$0")/../.."
requirements=benches/engines/requirements.txt
venv=.venv/engines
stamp=$venv/requirements.txt

if ! cmp -s "$requirements" "$stamp"; then
    echo "engines: installing the peers from PyPI into $venv"
    python3 -m venv --clear "$venv"
    # A peer that cannot be installed is left out, and the table says so; the rest goes on.
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"; then
        grep -E '^[a-z]' "$requirements" | while read -r requirement; do
            "$venv/bin/pip" install --quiet --disable-pip-version-check "$requirement" ||
                echo "engines: $requirement cannot be installed here" >&2
        done
    fi
    cp "$requirements" "$stamp"
fi
command -v g++ >/dev/null || echo "engines: no g++ here: peers that need it are left out" >&2
exec "$venv/bin/python" benches/engines/run.py ${QUICK:+--quick} "$@"
