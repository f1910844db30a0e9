#!/usr/bin/env bash
# Runs a command beside a real Prefect: a server with a password, and a process that serves the flows
# of tests/hooks/flow.py. The command finds them by HEDGEROW_TEST_PREFECT and
# HEDGEROW_TEST_PREFECT_AUTH; afterwards everything is stopped and removed.
# Usage: scripts/prefect.sh COMMAND [ARGUMENT ...]
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
say() { echo "prefect: $* ($((SECONDS - start)) s)" >&2; }

venv=.venv/prefect
if ! cmp -s tests/hooks/prefect.txt "$venv/requirements.txt"; then
    say "fetching Prefect into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r tests/hooks/prefect.txt
    cp tests/hooks/prefect.txt "$venv/requirements.txt"
fi

home=$(mktemp -d)
groups=()
# Each program leads a process group of its own: its children end with it.
stop() {
    for group in "${groups[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    for group in "${groups[@]}"; do
        for _ in $(seq 50); do kill -0 -- "-$group" 2>/dev/null || break; sleep 0.1; done
        kill -KILL -- "-$group" 2>/dev/null || true
    done
    rm -rf "$home"
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME=$home PREFECT_API_URL=http://127.0.0.1:$port/api
export PREFECT_SERVER_API_AUTH_STRING=admin:secret PREFECT_API_AUTH_STRING=admin:secret
export PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_UI_ENABLED=false DO_NOT_TRACK=1
export PREFECT_RUNNER_POLL_FREQUENCY=1

wait_for() { # path, group, log
    for _ in $(seq 1200); do
        curl -sf -m 5 -o /dev/null -u admin:secret "$PREFECT_API_URL$1" && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    say "no answer at $1"
    cat "$3" >&2
    exit 1
}

setsid "$venv/bin/prefect" server start --host 127.0.0.1 --port "$port" >"$home/server.log" 2>&1 &
groups+=($!)
wait_for /health $! "$home/server.log"
say "the server is up"
setsid "$venv/bin/python" tests/hooks/flow.py >"$home/flow.log" 2>&1 &
groups+=($!)
wait_for /deployments/name/retrain/prod $! "$home/flow.log"
wait_for /deployments/name/picky/prod $! "$home/flow.log"
say "the flows are served"

status=0
HEDGEROW_TEST_PREFECT=http://127.0.0.1:$port HEDGEROW_TEST_PREFECT_AUTH=admin:secret "$@" || status=$?
[ $status = 0 ] || tail -n 50 "$home/flow.log" >&2
say "the command ended with $status"
exit $status
