#!/usr/bin/env bash
# Fuzzes every parser of models, and a served process by requests (or the targets named), for
# SECONDS_EACH seconds each, from the committed corpus and the golden models. What crashed lies in
# fuzz/artifacts.
# Usage: SECONDS_EACH=60 [PROFILE=dev] scripts/fuzz.sh [TARGET ...]
# PROFILE=dev compiles sooner and runs slower.
set -euo pipefail
seconds=${SECONDS_EACH:-60}
cd "$(dirname "$0")/.."
command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
declare -A model=(
    [xgboost_json]=model.json [xgboost_ubjson]=model.ubj [lightgbm_text]=model.txt
    [onnx]=model.onnx [catboost_json]=catboost.json [profile]=profile.json
    [http]=- [grpc]=- # Requests: the committed corpus alone.
)
targets=("$@")
[ $# -gt 0 ] || targets=(xgboost_json xgboost_ubjson lightgbm_text onnx catboost_json profile http grpc)
# Coverage feedback is an unstable compiler flag; the pinned stable compiler has it all the same.
export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
    if [ -z "${model[$target]:-}" ]; then
        echo "no target \"$target\"; there are ${!model[*]}" >&2
        exit 1
    fi
    # New finds go to an ignored folder; the committed corpus and the golden models are read.
    found=fuzz/artifacts/corpus/$target
    seeds=fuzz/artifacts/seeds/$target
    mkdir -p "$found" "$seeds" "fuzz/corpus/$target"
    # A folder without such a file is no failure.
    for path in tests/golden/*/"${model[$target]}" examples/fraud-stream/models/fraud/*/"${model[$target]}"; do
        [ ! -e "$path" ] || cp "$path" "$seeds/$(basename "$(dirname "$path")")"
    done
    # The address sanitizer would find little here and halves the speed; memory has a limit anyway.
    cargo fuzz run "--${PROFILE:-release}" --sanitizer none "$target" "$found" "fuzz/corpus/$target" "$seeds" -- \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -print_final_stats=1
done
