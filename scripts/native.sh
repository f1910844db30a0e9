#!/usr/bin/env bash
# Fetches the optional native libraries (ONNX Runtime, XGBoost) out of their Python wheels into
# native/ (ignored by git), pinned by version and SHA-256. The checkout, CI and the image use this
# same script. Nothing is compiled. Usage: scripts/native.sh [DIR]
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-native}

ONNXRUNTIME=1.31.1
XGBOOST=3.2.0
case "$(uname -m)" in
x86_64)
    arch=x86_64
    sums="5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f  onnxruntime-$ONNXRUNTIME-cp311-cp311-manylinux_2_28_x86_64.whl
9c10b1653e1a689bf4094a328144cf3633c9be0e5217a76fbdc2fde6abcb2950  xgboost_cpu-$XGBOOST-py3-none-manylinux_2_28_x86_64.whl"
    ;;
aarch64)
    arch=aarch64
    sums="da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3  onnxruntime-$ONNXRUNTIME-cp311-cp311-manylinux_2_28_aarch64.whl
896b9e2bc52ec0921edf92ddd1cebedf47032e94992b7aca0293524d380ce6e9  xgboost_cpu-$XGBOOST-py3-none-manylinux_2_28_aarch64.whl"
    ;;
*)
    echo "native: no wheels are pinned for $(uname -m); models that need a library engine will be refused" >&2
    exit 1
    ;;
esac

stamp="onnxruntime $ONNXRUNTIME xgboost $XGBOOST $arch"
if [ "$(cat "$dir/VERSIONS" 2>/dev/null || true)" = "$stamp" ]; then
    exit 0
fi

wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
echo "native: fetching ONNX Runtime $ONNXRUNTIME and XGBoost $XGBOOST (about 30 MB) into $dir/"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --platform "manylinux_2_28_$arch" --platform "manylinux2014_$arch" \
    --python-version 3.11 --implementation cp --dest "$wheels" \
    "onnxruntime==$ONNXRUNTIME" "xgboost-cpu==$XGBOOST"
(cd "$wheels" && echo "$sums" | sha256sum --check --quiet)

# XGBoost's library finds its libgomp by a relative path, so the wheel's layout stays.
python3 - "$wheels" "$dir" <<'PY'
import pathlib, shutil, sys, zipfile
wheels, target = map(pathlib.Path, sys.argv[1:])
wanted = ("onnxruntime/capi/libonnxruntime.so.", "xgboost/lib/libxgboost.so", "xgboost_cpu.libs/libgomp")
for wheel in wheels.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(wanted):
                path = target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # Written aside and renamed: a running server keeps the file it has mapped.
                aside = path.with_name(path.name + ".new")
                with archive.open(name) as source, aside.open("wb") as out:
                    shutil.copyfileobj(source, out)
                aside.rename(path)
PY
echo "$stamp" >"$dir/VERSIONS"
echo "native: done"
