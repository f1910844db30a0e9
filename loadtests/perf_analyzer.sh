#!/usr/bin/env bash
# Triton's own perf_analyzer, from the wheel that still has it, in .venv/perf_analyzer (20 MB).
# Nothing is installed into the system. With `hedgerow serve models` running:
#   loadtests/perf_analyzer.sh http|grpc [ADDRESS [MODEL [FEATURES [ROWS]]]] [-- ITS OPTIONS]
# e.g. loadtests/perf_analyzer.sh grpc 127.0.0.1:8081 fraud-xgb 28 64 -- --concurrency-range 1:8
# Exit code 77: there is none for this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
TRITONCLIENT=2.41.1
CUDA_RUNTIME=12.9.79
# Of what is taken out of the wheels.
SUMS="c109ad2cd2cd66c86aa6c0e416f3ec7a9e86e0a86bf3bd882526e90eaaede736  perf_analyzer
256e6409e4f06f618e1fb53d4844a6b81cdded1013afa8ade40c22f99eb133b7  libcudart.so.12"
home=.venv/perf_analyzer

if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v dpkg-deb >/dev/null; then
    echo "perf_analyzer: only for x86-64 and Debian's kind of Linux" >&2
    exit 77
fi

fetch() {
    local work
    work=$(mktemp -d)
    trap 'rm -rf "$work"' RETURN
    pip_download() {
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
            --only-binary :all: --python-version 311 --platform "$1" "$2"
    }
    echo "perf_analyzer: fetching tritonclient $TRITONCLIENT from PyPI" >&2
    pip_download manylinux1_x86_64 "tritonclient==$TRITONCLIENT"
    # It links against CUDA's runtime, and needs no GPU.
    pip_download manylinux2014_x86_64 "nvidia-cuda-runtime-cu12==$CUDA_RUNTIME"
    # Base64, which is in no wheel.
    chmod 755 "$work"
    (cd "$work" && apt-get download -qq libb64-0d 2>/dev/null)
    rm -rf "$home"
    mkdir -p "$home"
    python3 - "$work" "$home" <<'PYTHON'
import pathlib, sys, zipfile

work, home = map(pathlib.Path, sys.argv[1:])
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(("/bin/perf_analyzer", "/libcudart.so.12")):
                (home / pathlib.Path(name).name).write_bytes(archive.read(name))
PYTHON
    dpkg-deb --fsys-tarfile "$work"/libb64-0d_*.deb |
        tar -x -C "$home" --strip-components=4 --wildcards './usr/lib/*/libb64.so.0d'
    chmod +x "$home/perf_analyzer"
    (cd "$home" && sha256sum --quiet --check <<<"$SUMS")
    echo "$TRITONCLIENT" >"$home/VERSION"
}

[ "$(cat "$home/VERSION" 2>/dev/null || true)" = "$TRITONCLIENT" ] || fetch
[ $# -gt 0 ] || exit 0

given=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    given+=("$1")
    shift
done
[ $# -eq 0 ] || shift
protocol=${given[0]} port=8080
[ "$protocol" = http ] || port=8081
address=${given[1]:-127.0.0.1:$port} model=${given[2]:-fraud-xgb}
features=${given[3]:-28} rows=${given[4]:-1}
exec env LD_LIBRARY_PATH="$PWD/$home" "$home/perf_analyzer" -m "$model" -u "$address" -i "$protocol" \
    --shape "input:$rows,$features" --measurement-mode count_windows --measurement-request-count 500 "$@"
