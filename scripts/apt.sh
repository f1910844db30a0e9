#!/usr/bin/env bash
# Installs Debian packages, as root or by sudo, without asking anything. Usage: scripts/apt.sh PACKAGE ...
set -euo pipefail
command -v apt-get >/dev/null || { echo "apt: no apt-get here; install by hand: $*" >&2; exit 1; }
root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "apt: not root and no sudo; as root: apt-get install $*" >&2; exit 1; }
    root=(sudo)
fi
# Standard output belongs to whoever calls this; what dpkg says of each package is for nobody.
"${root[@]}" apt-get update -qq >&2
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
