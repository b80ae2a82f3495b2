#!/bin/sh
# Measures the release build and writes docs/benchmarks.md and target/bench/forward.json. Nothing
# here is an assertion. Twelve to eighteen minutes on two cores, most of it for the comparisons;
# leave the machine alone meanwhile.
set -eu
cd "$(dirname "$0")/.."
deploy/build-web.sh
# The whole workspace, so that the features of dependencies agree and nothing is built twice.
cargo build --release --workspace
benches="--workspace --bench forward --bench relay --bench srtp --bench trust --bench join"
# shellcheck disable=SC2086 # several words are meant
cargo bench $benches --no-run
tests/clients/install.sh
started=$(date +%s)
# shellcheck disable=SC2086 # several words are meant
cargo bench $benches
# Beside the floor and, where it is installed, beside Janus.
loadtest=target/release/loadtest
rm -f target/bench/ends.json
loadtest/peers/bench.sh target/release/consilium "$loadtest" \
  --json target/bench/ends.json --page docs/benchmarks.md
loadtest/peers/sink.sh "$loadtest" --page docs/benchmarks.md
# `cargo bench -p sfu` has left the lines of the shard alone there; both are one list.
node -e '
const fs = require("node:fs")
const lines = (name) => JSON.parse(fs.readFileSync(`target/bench/${name}.json`, "utf8"))
const all = [...lines("forward"), ...lines("ends")]
fs.writeFileSync("target/bench/forward.json", JSON.stringify(all, null, 2) + "\n")
'
echo "measured in $((($(date +%s) - started) / 60)) minutes"
