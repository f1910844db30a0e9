#!/usr/bin/env bash
# Checks the Dockerfile without a container engine: hadolint reads it; its steps assemble the image's
# root from Debian's own packages; that root is started as the image would be, and asked.
#
# What the build stage compiles is taken from this machine (BINARY=target/debug/hedgerow). FULL=1 runs
# every step in a clean Debian instead: the release build, a quarter of an hour of two cores; crates
# and what was compiled are kept below target/image/. Needs root, debootstrap and 3 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=tests/image/requirements.txt
if ! cmp -s "$requirements" .venv/image/requirements.txt; then
    python3 -m venv --clear .venv/image
    .venv/image/bin/pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" .venv/image/requirements.txt
fi
.venv/image/bin/hadolint Dockerfile
echo "image: hadolint has nothing to say"

skip() {
    echo "image: SKIPPED, the Dockerfile was only linted: $1" >&2
    exit 0
}
[ "$(id -u)" = 0 ] || skip "making and entering a root needs root"
# The program's own libc must not be newer than the image's.
libc=$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)
[ "${FULL:-0}" = 1 ] || [ "$(printf '%s\n2.36\n' "$libc" | sort -V | tail -1)" = 2.36 ] ||
    skip "this machine's glibc $libc is newer than Debian 12's; FULL=1 builds in a clean Debian"
command -v debootstrap >/dev/null || scripts/apt.sh debootstrap ||
    skip "debootstrap cannot be installed"
# Mounts that end with the program that made them.
apart=(unshare --mount --propagation private)
"${apart[@]}" --net true 2>/dev/null || skip "this kernel or container allows no namespaces"

python=(.venv/image/bin/python -B)
if [ "${FULL:-0}" = 1 ]; then
    "${apart[@]}" "${python[@]}" tests/image/build.py --full
    "${apart[@]}" --net "${python[@]}" tests/image/serve.py full
else
    "${apart[@]}" "${python[@]}" tests/image/build.py --binary "${BINARY:-target/debug/hedgerow}"
    "${apart[@]}" --net "${python[@]}" tests/image/serve.py quick
fi
