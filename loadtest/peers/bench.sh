#!/bin/sh
# Measures Consilium beside the floor and, where it is installed, beside Janus:
#
#     peers/bench.sh CONSILIUM LOADTEST [OPTIONS OF `loadtest bench`]
#
# for example, from the top of the tree after `cargo build --release --workspace`:
#
#     loadtest/peers/bench.sh target/release/consilium target/release/loadtest \
#         --json target/bench/ends.json
#
# $ONLY names some of the lines ("webinar200 mdt8"). About eleven minutes for all of them.
set -e
here=$(dirname "$0")
consilium=$1 loadtest=$2
shift 2

# wanted NAME...: those among them that $ONLY does not exclude
wanted() {
    for name in "$@"; do
        case " ${ONLY:-$name} " in *" $name "*) printf '%s ' "$name" ;; esac
    done
}
# on NAMES COMMAND...: the command for those lines, if there are any
on() {
    names=$1
    shift
    # shellcheck disable=SC2086 # several words are meant
    [ -z "$names" ] || "$@" $names
}
beside_janus() {
    if [ -z "$WITHOUT_JANUS" ] && command -v janus > /dev/null; then
        "$here/janus.sh" "$@"
    else
        echo "without Janus: it is not installed, or not wanted" >&2
        "$@"
    fi
}

on "$(wanted webinar200 mdt8 consult25 audio200)" \
    beside_janus "$here/server.sh" "$consilium" "$loadtest" bench "$@"
on "$(wanted highest-load-600 join-storm)" \
    "$here/server.sh" "$consilium" "$loadtest" bench "$@"
# The same call recorded and not, in turns: two minutes.
on "$(wanted recording)" \
    env CONSILIUM_RECORDING__POLICY=with-consent "$here/server.sh" "$consilium" "$loadtest" bench "$@"
# One media thread with a core of its own, the participants on the other ones: what is asked for is
# the delay at a given load of the thread, not how two programs share a core.
cores=$(nproc)
if [ "$cores" -gt 1 ]; then
    export ON_CORE=0
    others="taskset -c 1-$((cores - 1))"
fi
# shellcheck disable=SC2086 # several words are meant
on "$(wanted delay-at-70-percent)" \
    env CONSILIUM_MEDIA__WORKERS=1 "$here/server.sh" "$consilium" $others "$loadtest" bench "$@"
unset ON_CORE
# What a participant takes without the packets that are kept for resending, which have a bound of
# their own (media.limits.history_packets and slabs_max).
on "$(wanted memory)" \
    env CONSILIUM_MEDIA__LIMITS__HISTORY_PACKETS=2 "$here/server.sh" "$consilium" "$loadtest" bench "$@"
