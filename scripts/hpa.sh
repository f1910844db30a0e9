#!/usr/bin/env bash
# Kubernetes' own HPA controller with the chart: installs and builds what is missing, once, and runs
# loadtests/hpa.py. Usage: scripts/hpa.sh [its arguments]
set -euo pipefail
cd "$(dirname "$0")/.."

bin=$PWD/.venv/go/bin
scripts/prometheus.sh
if ! command -v etcd >/dev/null; then
    echo "installing etcd" >&2
    scripts/apt.sh etcd-server
    # Where systemd runs, Debian's package starts a server of its own; only the program is wanted.
    [ ! -d /run/systemd/system ] || $([ "$(id -u)" = 0 ] || echo sudo) systemctl disable --now etcd
fi
scripts/go-tool.sh helm.sh/helm/v4/cmd/helm@v4.2.4 >/dev/null

# kube-apiserver and kube-controller-manager; the stamp is what they are built from.
wanted=$(cat loadtests/kube/{go.mod,go.sum,main.go} | cksum)
if [ "$(cat "$bin/.kube" 2>/dev/null || true)" != "$wanted" ] || [ ! -x "$bin/kube" ]; then
    version=$(sed -nE 's/^\tk8s.io\/kubernetes (v.*)/\1/p' loadtests/kube/go.mod)
    echo "hpa: building kube-apiserver and kube-controller-manager $version (once, some twenty minutes)" >&2
    total=$(scripts/go.sh list -C loadtests/kube -deps . 2>/dev/null | wc -l)
    # With -v there is a line for each package; of these every hundredth is told, and whatever else is said.
    flags="-s -w -X k8s.io/component-base/version.gitVersion=$version"
    scripts/go.sh build -C loadtests/kube -v -trimpath -ldflags="$flags" -o "$bin/kube" . 2>&1 | awk -v total="$total" '
        /^go: downloading / { next }
        /^[^ :#]+$/ { if (++done % 100 == 0) print "hpa: " done " of " total " packages"; next }
        { print }' >&2
    echo "$wanted" >"$bin/.kube"
fi
exec python3 loadtests/hpa.py "$@"
