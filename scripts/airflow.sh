#!/usr/bin/env bash
# Runs a command beside a real Airflow with the DAG of tests/hooks/airflow. The command finds it by
# HEDGEROW_TEST_AIRFLOW and HEDGEROW_TEST_AIRFLOW_AUTH (user:password); afterwards everything is
# stopped and removed. AIRFLOW=2 is Airflow 2, else it is Airflow 3.
# Usage: [AIRFLOW=2] scripts/airflow.sh COMMAND [ARGUMENT ...]
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
say() { echo "airflow: $* ($((SECONDS - start)) s)" >&2; }

version=${AIRFLOW:-3}
wanted=tests/hooks/airflow$version.txt
venv=$PWD/.venv/airflow$version
if ! cmp -s "$wanted" "$venv/requirements.txt"; then
    say "fetching Airflow $version into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
    cp "$wanted" "$venv/requirements.txt"
fi

home=$(mktemp -d)
group=
# Airflow's processes lead groups of their own, so what stands below the first one is listed.
tree() {
    echo "$1"
    for child in $(pgrep -P "$1"); do tree "$child"; done
}
stop() {
    if [ -n "$group" ]; then
        local pids
        pids=$(tree "$group")
        kill -TERM $pids 2>/dev/null || true
        for _ in $(seq 100); do kill -0 $pids 2>/dev/null || break; sleep 0.1; done
        kill -KILL $pids 2>/dev/null || true
    fi
    rm -rf "$home"
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export AIRFLOW_HOME=$home PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
export AIRFLOW__CORE__LOAD_EXAMPLES=False AIRFLOW__CORE__DAGS_FOLDER=$PWD/tests/hooks/airflow
export AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION=False
if [ "$version" = 2 ]; then
    export AIRFLOW__API__AUTH_BACKENDS=airflow.api.auth.backend.basic_auth
    export AIRFLOW__WEBSERVER__WEB_SERVER_HOST=127.0.0.1 AIRFLOW__WEBSERVER__WEB_SERVER_PORT=$port
    export AIRFLOW__WEBSERVER__WORKERS=1
else
    export AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__API__PORT=$port AIRFLOW__API__WORKERS=1
    export AIRFLOW__API__BASE_URL=http://127.0.0.1:$port
    export AIRFLOW__CORE__EXECUTION_API_SERVER_URL=http://127.0.0.1:$port/execution/
fi

setsid "$venv/bin/airflow" standalone >"$home/log" 2>&1 &
group=$!
# Up when the password that Airflow made lets one see the DAG.
up() {
    local url=http://127.0.0.1:$port
    if [ "$version" = 2 ]; then
        password=$(cat "$home/standalone_admin_password.txt" 2>/dev/null) || return 1
        curl -sf -m 5 -o /dev/null -u "admin:$password" "$url/api/v1/dags/retrain"
        return
    fi
    local passwords=$home/simple_auth_manager_passwords.json.generated token
    [ -s "$passwords" ] || return 1
    password=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["admin"])' "$passwords")
    token=$(curl -sf -m 5 -H 'content-type: application/json' \
        -d "{\"username\": \"admin\", \"password\": \"$password\"}" "$url/auth/token" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])' 2>/dev/null) || return 1
    curl -sf -m 5 -o /dev/null -H "authorization: Bearer $token" "$url/api/v2/dags/retrain"
}
until up; do
    if [ $((SECONDS - start)) -gt 600 ] || ! kill -0 "$group" 2>/dev/null; then
        say "not up"
        tail -n 100 "$home/log" >&2
        exit 1
    fi
    sleep 1
done
say "Airflow is up"

status=0
HEDGEROW_TEST_AIRFLOW=http://127.0.0.1:$port HEDGEROW_TEST_AIRFLOW_AUTH=admin:$password "$@" || status=$?
[ $status = 0 ] || tail -n 100 "$home/log" >&2
say "the command ended with $status"
exit $status
