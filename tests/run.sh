#!/bin/sh
# Everything that must hold, in the order in which it is cheapest to fail. Says how long each part
# took, because the whole has to stay under 45 minutes on two cores from a fresh clone.
set -eu
cd "$(dirname "$0")/.."

began=$(date +%s)
step() {
    title=$1
    shift
    at=$(date +%s)
    printf '\n== %s\n' "$title"
    "$@"
    printf '== %s: %s s\n' "$title" "$(($(date +%s) - at))"
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

step "format" cargo fmt --all --check
step "web client" deploy/build-web.sh --check
step "notices" node deploy/third-party.mjs --check
# Always the whole workspace: the features of a dependency then agree between the steps, and nothing
# is built twice. Targets that plain `cargo test` leaves alone are named.
step "lints" cargo clippy --workspace --all-targets --test e2e --bench join -- -D warnings
step "lints of the test modes" cargo clippy --workspace --all-targets --features consilium/test-modes -- -D warnings
step "tests" tests/unit.sh
step "test-modes binary" tests/build-test-modes.sh
step "instruction counts" sfu/benches/count.sh
step "documentation" documentation
step "release binary" cargo build --release
step "end to end" tests/run-e2e.sh
printf '\nall of it: %s s\n' "$(($(date +%s) - began))"
