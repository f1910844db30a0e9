#!/usr/bin/env bash
# PostgreSQL's programs, for tests that start clusters of their own. Installs them where they are
# missing; no cluster is made or started by that.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v initdb >/dev/null && exit 0
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null && exit 0
[ -n "${HEDGEROW_SKIP_POSTGRES:-}" ] && exit 0
echo "tests: installing postgresql (the journal is tested on both of its stores)"
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
scripts/apt.sh postgresql-common
conf=/etc/postgresql-common/createcluster.conf
$sudo sed -i "s/^#\\?create_main_cluster.*/create_main_cluster = false/" "$conf"
scripts/apt.sh postgresql
