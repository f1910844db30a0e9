#!/usr/bin/env bash
# Runs h2spec, the conformance tests of HTTP/2, against both ports of the built server, and fails when
# a case fails that is not listed below.
# Usage: [H2SPEC=/path/to/h2spec] [BINARY=target/debug/hedgerow] scripts/h2spec.sh
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${BINARY:-target/release/hedgerow}
place=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$place"' EXIT
# No later release than 2.6.0 is tagged, and the module's name does not fit the tag.
h2spec=${H2SPEC:-$(command -v h2spec || true)}
if [ -z "$h2spec" ]; then
    h2spec=$(scripts/go-tool.sh github.com/summerwind/h2spec/cmd/h2spec@latest)
fi
mkdir "$place/models"
"$binary" serve "$place/models" --http 127.0.0.1:0 --grpc 127.0.0.1:0 --admin 127.0.0.1:0 \
    >"$place/out" 2>"$place/log" &
server=$!
for _ in $(seq 100); do
    grep -q admin "$place/out" && break
    sleep 0.1
done
# Cases that may fail, and why.
expected='Sends invalid connection preface
closed: Sends a DATA frame after sending RST_STREAM frame
closed: Sends a HEADERS frame after sending RST_STREAM frame
Sends HEADERS frames that causes their advertised concurrent stream limit to be exceeded
Sends a WINDOW_UPDATE frame on half-closed (remote) stream
Sends a PRIORITY frame on half-closed (remote) stream
Sends a second HEADERS frame without the END_STREAM flag
Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length
Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length
Sends a HEADERS frame that contains a pseudo-header field as trailers
Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream'
# 1: Both ports speak HTTP/1 as well, so that a wrong preface is a wrong request: 400, and closed.
# 2, 3: When the reset and the frame after it do not come together, the h2 library has forgotten the
#    stream. It ignores the DATA, and ends the connection with PROTOCOL_ERROR for the HEADERS of a
#    used number (RFC 9113, 5.1.1) where h2spec waits for STREAM_CLOSED. Nothing is kept of either.
# 4: Answers are quicker than the client, which then has not as many streams open as it thinks.
# 5, 6: The answer is right; of gRPC it is HEADERS alone, and h2spec waits for DATA.
# 7 to 11: A GET is answered by its head, by gRPC refused: the stream may be over before the client
#    makes its mistake.
#
# Whether the server or h2spec is quicker decides of more cases, and no two runs are alike: what fails
# otherwise must do so in each of three runs.
unexpected() { # port, number: runs h2spec; prints the names of cases that must not fail and did
    # HTTP/2 without TLS, in strict mode too.
    "$h2spec" --host 127.0.0.1 --port "$2" --path /v2/health/live --timeout 3 --strict \
        >"$place/$1.txt" || true
    echo "$1: $(tail -n 1 "$place/$1.txt")" >&2
    # All cases ran, each with an end of its own.
    if ! grep -q '^146 tests, ' "$place/$1.txt"; then
        tail -n 20 "$place/$1.txt" "$place/log" >&2
        echo "not all 146 cases ran"
    fi
    sed -nE 's/^ +× [0-9]+: (.*)$/\1/p' "$place/$1.txt" | sort -u | grep -vxF "$expected" || true
}
failed=0
for port in HTTP gRPC; do
    number=$(sed -nE "s/^ *$port +.*:([0-9]+)\$/\1/p" "$place/out")
    left=$(unexpected "$port" "$number")
    for _ in 2 3; do
        [ -n "$left" ] || break
        echo "  once more, since these failed: $left"
        left=$(unexpected "$port" "$number" | grep -xF "$left" || true)
    done
    if [ -n "$left" ]; then
        echo "  FAILS: $left"
        failed=1
    fi
done
exit "$failed"
