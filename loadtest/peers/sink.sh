#!/bin/sh
# The floor of sending alone, into a device that drops everything, in a private network namespace:
#
#     peers/sink.sh LOADTEST [OPTIONS OF `loadtest floor`]
#
# Needs `unshare`, `ip` and a kernel with ifb, and no privileges; where one of them is missing it
# says so and does nothing.
set -e
if [ -z "$IN_NAMESPACE" ]; then
    if ! unshare --net --map-root-user true 2> /dev/null; then
        echo "no floor into a sink: a private network namespace cannot be made here" >&2
        exit 0
    fi
    IN_NAMESPACE=1 exec unshare --net --map-root-user "$0" "$@"
fi
if ! { command -v ip > /dev/null && ip link add sink0 type ifb 2> /dev/null; }; then
    echo "no floor into a sink: an ifb device cannot be made here" >&2
    exit 0
fi
loadtest=$1
shift
ip link set lo up
ip link set sink0 up
ip addr add 10.9.0.1/24 dev sink0
ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:02 dev sink0
exec "$loadtest" floor --sink 10.9.0.2 "$@"
