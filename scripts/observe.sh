#!/usr/bin/env bash
# Rules, dashboard and autoscaling against a real Prometheus: installs what is missing, and runs
# tests/observe with the server that was built. Usage: scripts/observe.sh [pytest's arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
    echo "observe: installing prometheus (with promtool)" >&2
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends prometheus >/dev/null
    # Where systemd runs, Debian's package starts a server of its own; only the programs are wanted.
    [ ! -d /run/systemd/system ] || $sudo systemctl disable --now prometheus
fi

venv=.venv/observe
if ! cmp -s tests/observe/requirements.txt "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/observe/requirements.txt
    cp tests/observe/requirements.txt "$venv/requirements.txt"
fi
exec "$venv/bin/python" -B -m pytest -q -p no:cacheprovider tests/observe "$@"
