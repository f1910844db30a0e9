#!/usr/bin/env bash
# PostgreSQL's programs, for tests that start clusters of their own. Installs them where they are
# missing; no cluster is made or started by that.
set -euo pipefail

command -v initdb >/dev/null && exit 0
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null && exit 0
[ -n "${HEDGEROW_SKIP_POSTGRES:-}" ] && exit 0
echo "tests: installing postgresql (the journal is tested on both of its stores)"
sudo=$([ "$(id -u)" = 0 ] || echo sudo)
$sudo apt-get update -qq
$sudo apt-get install -y -qq postgresql-common
conf=/etc/postgresql-common/createcluster.conf
$sudo sed -i "s/^#\\?create_main_cluster.*/create_main_cluster = false/" "$conf"
$sudo apt-get install -y -qq --no-install-recommends postgresql
