#!/usr/bin/env bash
# Checks the chart and the examples beside it with real tools: helm, kubeconform, the Kubernetes
# schemas, the types of the custom resources, promtool, and this server. The tools are fetched and
# compiled once, into .venv. Usage: scripts/chart.sh [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "$0")/.."

KSERVE=0.21.0
root=$PWD/.venv
bin=$root/go/bin

scripts/go-tool.sh helm.sh/helm/v4/cmd/helm@v4.2.4
scripts/go-tool.sh github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0
scripts/go.sh build -C tests/chart/canary -o "$bin/canary" .

scripts/prometheus.sh
command -v npm >/dev/null || scripts/apt.sh npm
command -v kubectl >/dev/null || scripts/go-tool.sh sigs.k8s.io/kustomize/kustomize/v5@v5.8.1

wanted="$(cat tests/chart/requirements.txt) kserve $KSERVE"
if [ "$(cat "$root/chart/stamp" 2>/dev/null)" != "$wanted" ]; then
    python3 -m venv --clear "$root/chart"
    pip=("$root/chart/bin/pip" install --quiet --disable-pip-version-check)
    "${pip[@]}" -r tests/chart/requirements.txt
    # Only its description of the resources is read; the server that comes with it needs much more.
    "${pip[@]}" --no-deps "kserve==$KSERVE"
    echo "$wanted" >"$root/chart/stamp"
fi
types=$root/chart-types
if ! cmp -s tests/chart/types/package-lock.json "$types/package-lock.json"; then
    rm -rf "$types"
    mkdir -p "$types"
    cp tests/chart/types/package*.json "$types/"
    npm ci --silent --ignore-scripts --no-audit --no-fund --prefix "$types" || { rm -rf "$types"; exit 1; }
fi

PATH="$bin:$PATH" exec "$root/chart/bin/python" -m pytest -q -p no:cacheprovider tests/chart "$@"
