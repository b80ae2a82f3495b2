#!/bin/sh
# Runs a command beside a fresh Consilium of its own, and ends it afterwards:
#
#     peers/server.sh CONSILIUM COMMAND...     with $LIVEKIT_URL and $SERVER_PID set for it
#
# $ON_CORE keeps the server on one core, $HTTP_PORT (17880) and $MEDIA_PORT (17882) move it; other
# settings reach it as $CONSILIUM_... (docs/operations.md).
set -e
consilium=$1
shift
port=${HTTP_PORT:-17880}
folder=$(mktemp -d)
trap 'kill "$SERVER_PID" 2> /dev/null; wait "$SERVER_PID" 2> /dev/null; chmod -R u+w "$folder"; rm -rf "$folder"' EXIT
# What is measured is the media plane; what recording adds is measured beside it, where asked for.
export CONSILIUM_RECORDING__POLICY="${CONSILIUM_RECORDING__POLICY:-never}"
# A room of 600 from one address is a lecture in one building, or this.
export CONSILIUM_LIMITS__PARTICIPANTS_PER_ROOM_MAX=1000
export CONSILIUM_LIMITS__CONNECTIONS_PER_ADDRESS_MAX=5000
export CONSILIUM_LIMITS__JOINS_PER_ADDRESS_BURST_MAX=5000
${ON_CORE:+taskset -c "$ON_CORE"} "$consilium" serve --dev --http-port "$port" \
    --media-port "${MEDIA_PORT:-17882}" --data-dir "$folder/data" --ready-file "$folder/ready" \
    > "$folder/log" 2>&1 &
SERVER_PID=$!
LIVEKIT_URL=ws://127.0.0.1:$port
export SERVER_PID LIVEKIT_URL
tries=0
until [ -s "$folder/ready" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then cat "$folder/log" >&2; exit 1; fi
    sleep 0.1
done
"$@"
