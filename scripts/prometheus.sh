#!/usr/bin/env bash
# Installs Prometheus and promtool where they are missing.
set -euo pipefail
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
echo "installing prometheus (with promtool)" >&2
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends prometheus >/dev/null
# Where systemd runs, Debian's package starts a server of its own; only the programs are wanted.
[ ! -d /run/systemd/system ] || $sudo systemctl disable --now prometheus
