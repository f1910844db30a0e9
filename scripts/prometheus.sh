#!/usr/bin/env bash
# Installs Prometheus and promtool where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
echo "installing prometheus (with promtool)" >&2
scripts/apt.sh prometheus
# Where systemd runs, Debian's package starts a server of its own; only the programs are wanted.
[ ! -d /run/systemd/system ] || $([ "$(id -u)" = 0 ] || echo sudo) systemctl disable --now prometheus
