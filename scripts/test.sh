#!/usr/bin/env bash
# Everything that `make test` runs, step by step with its time. Usage: scripts/test.sh [lint|deny|rust|differential|clients|chart|observe|load|fuzz|image]
set -euo pipefail
cd "$(dirname "$0")/.."
only=${1:-all}

step() {
    local name=$1 start=$SECONDS
    shift
    echo "==> $name"
    "$@"
    echo "==> $name: ok, $((SECONDS - start)) s"
}

wants() { [ "$only" = all ] || [ "$only" = "$1" ]; }

scripts/tools.sh
scripts/native.sh
# LightGBM's own library is the oracle of the exactness tests; it is compiled from source once.
build_path=$(scripts/build-tools.sh)
export PATH="$build_path${build_path:+:}$PATH"

if wants lint; then
    step "format" cargo fmt --check
    step "lints" cargo clippy --quiet --all-targets --features lightgbm -- -D warnings
fi
if wants deny; then
    command -v cargo-deny >/dev/null || step "installing cargo-deny" cargo install --quiet --locked cargo-deny
    step "licences, bans, sources" cargo deny --log-level error check licenses bans sources
fi
if wants rust; then
    scripts/postgres.sh
    step "unit and integration tests" cargo test --features lightgbm
    step "alarms to a real Prefect" scripts/prefect.sh cargo test --quiet --features lightgbm --test it hooks::
fi
if wants differential; then
    step "random models of the original libraries" scripts/differential.sh 0:36 --features lightgbm
fi
if wants clients || wants chart || wants observe || wants load || wants image; then
    step "build" cargo build --features lightgbm --bin hedgerow
fi
if wants clients; then
    step "clients' environment" scripts/clients-venv.sh
    step "real clients" .venv/clients/bin/python -m pytest -q tests/clients
    step "conformance of HTTP/2" env BINARY=target/debug/hedgerow scripts/h2spec.sh
fi
if wants chart; then
    step "chart and its examples" scripts/chart.sh
fi
if wants observe; then
    step "rules, dashboard and autoscaling with Prometheus" scripts/observe.sh
fi
if wants load; then
    step "load tests, a smoke pass" loadtests/run.sh scenarios --smoke
fi
if wants fuzz; then
    step "fuzzing, 5 s a target" env SECONDS_EACH=5 PROFILE=dev scripts/fuzz.sh
fi
if wants image; then
    step "image" scripts/image.sh
fi
echo "==> all passed"
