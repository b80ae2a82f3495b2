#!/bin/sh
# Measures Consilium beside the floor and, where it is installed, beside Janus:
#
#     peers/bench.sh CONSILIUM LOADTEST [OPTIONS OF `loadtest bench`]
#
# for example, from the top of the tree after `cargo build --release --workspace`:
#
#     loadtest/peers/bench.sh target/release/consilium target/release/loadtest \
#         --json target/bench/forward.json
set -e
here=$(dirname "$0")
if [ -z "$JANUS_URL" ] && [ -z "$WITHOUT_JANUS" ]; then
    if command -v janus > /dev/null; then exec "$here/janus.sh" "$0" "$@"; fi
    echo "Janus is not installed: measuring without it" >&2
fi
consilium=$1 loadtest=$2
shift 2

folder=$(mktemp -d)
trap 'kill "$server" 2> /dev/null; rm -rf "$folder"' EXIT
# A room of 200 from one address is a lecture in one building, or this.
CONSILIUM_LIMITS__PARTICIPANTS_PER_ROOM_MAX=1000 \
CONSILIUM_LIMITS__CONNECTIONS_PER_ADDRESS_MAX=5000 \
CONSILIUM_LIMITS__JOINS_PER_ADDRESS_BURST_MAX=5000 \
    "$consilium" serve --dev --http-port 17880 --media-port 17882 --data-dir "$folder/data" \
    --ready-file "$folder/ready" > "$folder/log" 2>&1 &
server=$!
tries=0
until [ -s "$folder/ready" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then cat "$folder/log" >&2; exit 1; fi
    sleep 0.1
done
"$loadtest" bench --url ws://127.0.0.1:17880 --server-pid "$server" "$@"
