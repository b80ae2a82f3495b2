#!/bin/sh
# How soon a voice is back after the line was: RUNS (50) faults of each kind, side by side, in
# networks of their own; prints a table. Needs the release binary.
set -eu
cd "$(dirname "$0")/.."
tests/python/install.sh
# Whoever is started in there ends with it.
exec unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc -- \
    target/python/bin/python tests/python/recovery.py --runs "${RUNS:-50}" "$@"
