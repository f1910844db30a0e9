#!/usr/bin/env bash
# ModelInfer by ghz, closed or open loop. With `hedgerow serve models` running:
#   loadtests/ghz/ghz.sh closed|open [MODEL [FEATURES [ROWS [typed|raw]]]] [-- OPTIONS OF GHZ]
# e.g. loadtests/ghz/ghz.sh closed fraud-xgb 28 64 raw -- --concurrency 32 --duration 5s
set -euo pipefail
cd "$(dirname "$0")/../.."
given=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    given+=("$1")
    shift
done
[ $# -eq 0 ] || shift
loop=${given[0]:-closed} model=${given[1]:-fraud-xgb} features=${given[2]:-28}
rows=${given[3]:-1} form=${given[4]:-typed}
count=$((rows * features))
tensor="\"name\": \"input\", \"datatype\": \"FP32\", \"shape\": [$rows, $features]"
if [ "$form" = raw ]; then
    # The f32 number 1.0, little-endian, in base64.
    raw=$(for _ in $(seq "$count"); do printf '\0\0\200\77'; done | base64 -w 0)
    data="{\"model_name\": \"$model\", \"inputs\": [{$tensor}], \"raw_input_contents\": [\"$raw\"]}"
else
    numbers=$(seq 1 "$count" | awk '{ printf "%s%.2f", (NR > 1 ? "," : ""), ($1 * 37 % 1000) / 100 }')
    data="{\"model_name\": \"$model\", \"inputs\": [{$tensor, \"contents\": {\"fp32_contents\": [$numbers]}}]}"
fi
exec ghz --config "loadtests/ghz/$loop.json" --data "$data" "$@"
