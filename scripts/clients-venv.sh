#!/usr/bin/env bash
# The Python environment of the client tests, made once per change of its requirements.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/clients/requirements.txt
if cmp -s tests/clients/requirements.txt "$stamp"; then
    exit 0
fi
python3 -m venv --clear .venv/clients
.venv/clients/bin/pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
cp tests/clients/requirements.txt "$stamp"
