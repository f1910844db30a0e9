#!/usr/bin/env bash
# Rules, dashboard and autoscaling against a real Prometheus: installs what is missing, and runs
# tests/observe with the server that was built. Usage: scripts/observe.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/prometheus.sh

venv=.venv/observe
if ! cmp -s tests/observe/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/observe/requirements.txt
    cp tests/observe/requirements.txt "$venv/requirements.txt"
fi
exec "$venv/bin/python" -B -m pytest -q -p no:cacheprovider tests/observe "$@"
