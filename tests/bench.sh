#!/bin/sh
# Measures the release build and writes docs/benchmarks.md. Nothing here is an assertion.
set -eu
cd "$(dirname "$0")/.."
deploy/build-web.sh
cargo build --release
tests/clients/install.sh
cargo bench -p sfu
cargo bench -p tests --bench join
# Beside the floor and, where it is installed, beside Janus.
cargo build --release -p loadtest
loadtest/peers/bench.sh target/release/consilium target/release/loadtest \
  --json target/bench/forward.json --page docs/benchmarks.md
