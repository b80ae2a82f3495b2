#!/bin/sh
# The server with the scripted failures of the feature `test-modes`, as target/test-modes/consilium, and
# target/debug/loadtest. Built like the unit tests, with the e2e tests beside them so that the features
# of dependencies agree: then all of those are there already, where a profile of its own would build them a third time.
set -eu
cd "$(dirname "$0")/.."
cargo build --workspace --bin consilium --bin loadtest --test e2e --features consilium/test-modes
mkdir -p target/test-modes
cp target/debug/consilium target/test-modes/consilium
