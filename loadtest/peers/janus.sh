#!/bin/sh
# Runs a command beside a Janus of its own, both in a private network namespace:
#
#     peers/janus.sh COMMAND...     with $JANUS_URL and $JANUS_PID set for it
#
# Needs the package `janus`, `unshare` and `ip`, and no privileges. Janus must not use 127.0.0.1:
# libnice binds outgoing packets to an interface, and one that has the address 127.0.0.2 besides
# `lo` is enough for it. The load generator binds to 127.0.0.2 as well (`--bind 127.0.0.2`).
set -e
if [ -z "$IN_NAMESPACE" ]; then
    IN_NAMESPACE=1 exec unshare --net --map-root-user "$0" "$@"
fi
ip link set lo up
ip link add media0 type ifb
ip addr add 127.0.0.2/32 dev media0
ip link set media0 up

folder=$(mktemp -d)
trap 'kill "$JANUS_PID" 2>/dev/null; rm -rf "$folder"' EXIT
cat > "$folder/janus.jcfg" <<CONFIG
general: { debug_level = 4 }
nat: { ice_enforce_list = "media0" }
media: { rtp_port_range = "20000-60000" }
plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }
transports: { disable = "libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,libjanus_websockets.so" }
events: { broadcast = false }
CONFIG
cat > "$folder/janus.transport.http.jcfg" <<CONFIG
general: { json = "compact", base_path = "/janus", http = true, port = 8088, ip = "127.0.0.2", https = false }
admin: { admin_http = false, admin_https = false }
CONFIG
echo 'general: { }' > "$folder/janus.plugin.videoroom.jcfg"
janus --configs-folder="$folder" > "$folder/log" 2>&1 &
JANUS_PID=$!
JANUS_URL=http://127.0.0.2:8088
export JANUS_PID JANUS_URL
tries=0
until grep -q "HTTP webserver started" "$folder/log"; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then cat "$folder/log" >&2; exit 1; fi
    sleep 0.1
done
"$@"
