#!/usr/bin/env bash
# `make bench-servers`, `make bench-tails` and `make loadtest`: makes one environment per peer, once per
# change of its requirements, and runs run.py (tails.py, scenarios.py) in the driver's. QUICK=1 leaves
# out the slower peers.
# Usage: run.sh servers|tails|scenarios [OPTIONS]; the options go to the program.
set -euo pipefail
cd "$(dirname "$0")/.."
entry=${1:-servers}
[ $# -eq 0 ] || shift

environment() { # name
    local requirements=loadtests/peers/$1/requirements.txt venv=.venv/servers/$1
    cmp -s "$requirements" "$venv/requirements.txt" && return
    echo "servers: installing $1 from PyPI into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" || return
    cp "$requirements" "$venv/requirements.txt"
}

environment driver
case $entry in
servers)
    peers=(fastapi mlserver kserve bentoml litserve mlflow ray)
    [ -z "${QUICK:-}" ] || peers=(fastapi mlserver)
    for peer in "${peers[@]}"; do
        # A peer that cannot be installed is left out, and the table says so; the rest goes on.
        environment "$peer" || {
            echo "servers: $peer cannot be installed here" >&2
            rm -rf ".venv/servers/$peer"
        }
    done
    program=run.py
    ;;
tails) program=tails.py ;;
scenarios)
    scripts/postgres.sh
    program=scenarios.py
    ;;
*)
    echo "run.sh: servers, tails or scenarios, not \"$entry\"" >&2
    exit 2
    ;;
esac
# The driver shares the generator's core: the servers' core is theirs.
exec .venv/servers/driver/bin/python "loadtests/$program" ${QUICK:+--quick} "$@"
