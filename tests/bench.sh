#!/bin/sh
# Measures the release build and writes docs/benchmarks.md and target/bench/forward.json. Nothing
# here is an assertion. Half an hour on two cores, most of it for the comparisons;
# leave the machine alone meanwhile.
set -eu
cd "$(dirname "$0")/.."
deploy/build-web.sh
# The whole workspace, so that the features of dependencies agree and nothing is built twice.
cargo build --release --workspace
benches="--bench forward --bench relay --bench srtp --bench join --bench networks"
# shellcheck disable=SC2086 # several words are meant
cargo bench --workspace $benches --bench seal --bench trust --no-run
tests/clients/install.sh
started=$(date +%s)
# shellcheck disable=SC2086 # several words are meant
cargo bench --workspace $benches
# The recorder's benches print rows; what misses its mark stands in the table.
mkdir -p target/bench
{
    printf '| figure | value | bound | kept |\n|---|--:|--:|---|\n'
    node -e '
const lines = JSON.parse(require("node:fs").readFileSync("target/bench/forward.json"))
const tap = lines.find(({ scenario }) => scenario.startsWith("a tap"))
const verdict = tap.us_per_packet <= tap.limit ? "yes" : "no"
console.log(`| give a packet to the tap | ${tap.us_per_packet.toFixed(2)} us | at most ${tap.limit} | ${verdict} |`)
'
    cargo bench --quiet --workspace --bench seal
    cargo bench --quiet --workspace --bench trust || true
} > target/bench/recorder.md
cat target/bench/recorder.md
target/release/loadtest page recorder --page docs/benchmarks.md \
  --title "What recording costs the writer, and reading it again" \
  --command "make bench" < target/bench/recorder.md
# Beside the floor and, where it is installed, beside Janus.
loadtest=target/release/loadtest
rm -f target/bench/ends.json
loadtest/peers/bench.sh target/release/consilium "$loadtest" \
  --json target/bench/ends.json --page docs/benchmarks.md
loadtest/peers/sink.sh "$loadtest" --page docs/benchmarks.md
# A consult of a minute, replayed in a browser.
CONSILIUM_REPLAY_SECONDS=60 CONSILIUM_REPLAY_ROWS=$PWD/target/bench/replay.md tests/run-e2e.sh replay
"$loadtest" page replay --page docs/benchmarks.md --title "A recording in the console" \
  --command "CONSILIUM_REPLAY_ROWS=rows.md tests/run-e2e.sh replay" < target/bench/replay.md
# How soon a voice is back, in networks of its own.
{
    tests/recovery.sh
    printf '\nThe same with `rooms.ping_timeout = 2`:\n\n'
    tests/recovery.sh --only 4 --ping-timeout 2 | head -n 3
} > target/bench/recovery.md
"$loadtest" page recovery --page docs/benchmarks.md --title "A voice that comes back" \
  --command "tests/recovery.sh" < target/bench/recovery.md
# `cargo bench -p sfu` has left the lines of the shard alone there; both are one list.
node -e '
const fs = require("node:fs")
const lines = (name) => JSON.parse(fs.readFileSync(`target/bench/${name}.json`, "utf8"))
const all = [...lines("forward"), ...lines("ends")]
fs.writeFileSync("target/bench/forward.json", JSON.stringify(all, null, 2) + "\n")
'
echo "measured in $((($(date +%s) - started) / 60)) minutes"
