#!/bin/sh
# Half load for $MINUTES (30): fails when memory or delay creep up, and writes docs/benchmarks.md.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --workspace
loadtest/peers/server.sh target/release/consilium \
  target/release/loadtest soak --minutes "${MINUTES:-30}" --page docs/benchmarks.md "$@"
