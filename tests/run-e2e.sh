#!/bin/sh
# The end-to-end tests. Needs the binaries target/release/consilium (with the web client inside) and
# target/test-modes/consilium, which `make test` builds before. Arguments choose tests by name.
set -eu
cd "$(dirname "$0")/.."

for tool in node npm chromium ffmpeg; do
    command -v "$tool" >/dev/null || { echo "tests/run-e2e.sh needs $tool: run deploy/setup.sh" >&2; exit 1; }
done
tests/clients/install.sh

# One at a time: two browsers at once on a small machine would measure each other.
exec cargo test --workspace --test e2e -- --test-threads=1 --show-output "$@"
