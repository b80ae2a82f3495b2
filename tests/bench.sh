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
  --json target/bench/ends.json --page docs/benchmarks.md
# `cargo bench -p sfu` has left the lines of the shard alone there; both are one list.
node -e '
const fs = require("node:fs")
const lines = (name) => JSON.parse(fs.readFileSync(`target/bench/${name}.json`, "utf8"))
const all = [...lines("forward"), ...lines("ends")]
fs.writeFileSync("target/bench/forward.json", JSON.stringify(all, null, 2) + "\n")
'
