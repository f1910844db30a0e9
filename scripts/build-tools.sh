#!/bin/sh
# Makes sure that what the cargo feature `lightgbm` needs to build is here, on Debian or Ubuntu:
# g++ and libclang (apt-get), and cmake 3.28 or newer (else PyPI's, in .venv/build).
#
# Standard output gets one line, the folder to put first on PATH; all else goes to standard error:
#   PATH="$(scripts/build-tools.sh):$PATH" cargo build --release --features lightgbm
set -eu

CMAKE_MINIMUM=3.28
CMAKE_PINNED=3.31.10
root=$(cd "$(dirname "$0")/.." && pwd)
venv="$root/.venv/build"

say() { echo "build-tools: $*" >&2; }

install() { # package, why
    say "installing $1: $2"
    "$root/scripts/apt.sh" "$1"
}

has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # Not libclang-cpp, which other packages bring and bindgen cannot use.
    for found in /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-[0-9]* \
        /usr/lib/*/libclang.so* /usr/lib/*/libclang-[0-9]*; do
        [ -e "$found" ] && return 0
    done
    return 1
}

# Whether the cmake $1 is there and new enough.
cmake_fits() {
    version=$("$1" --version 2>/dev/null | sed -n 's/^cmake version \([0-9.]*\).*/\1/p')
    [ -n "$version" ] || return 1
    [ "$(printf '%s\n%s\n' "$CMAKE_MINIMUM" "$version" | sort -V | head -n 1)" = "$CMAKE_MINIMUM" ]
}

command -v g++ >/dev/null || install g++ "LightGBM is C++"
command -v make >/dev/null || install make "cmake's default generator runs it"
has_libclang || install libclang-dev "bindgen reads LightGBM's C header with it"

if cmake_fits cmake; then
    say "cmake $version is new enough"
    dirname "$(command -v cmake)"
    exit 0
fi
if ! cmake_fits "$venv/bin/cmake"; then
    say "installing cmake $CMAKE_PINNED from PyPI into .venv/build: LightGBM needs $CMAKE_MINIMUM, this system has ${version:-none}"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install python3-venv "cmake comes from PyPI"
    fi
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check "cmake==$CMAKE_PINNED" >&2
fi
echo "$venv/bin"
