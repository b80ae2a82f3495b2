#!/bin/sh
# The quick part of `make test`: format, lints, unit tests, simulations.
set -eu
cd "$(dirname "$0")/.."
cargo fmt --all --check
cargo clippy --workspace --all-targets -- -D warnings
tests/unit.sh
