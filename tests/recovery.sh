#!/bin/sh
# How soon a voice is back after the line was: RUNS (50) faults of each kind, side by side, in
# networks of their own; prints a table. `--client python` speaks through the Python SDK instead of a
# browser. Needs the release binary; RECOVERY_LOGS=FOLDER keeps what the clients say.
set -eu
cd "$(dirname "$0")/.."
tests/python/install.sh
tests/clients/install.sh
# Whoever is started in there ends with it.
exec unshare --user --map-root-user --net --mount --pid --fork --kill-child --mount-proc -- \
    target/python/bin/python tests/python/recovery.py --runs "${RUNS:-50}" "$@"
