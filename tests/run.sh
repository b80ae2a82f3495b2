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

# The release binary has a target folder of its own and long stretches on one core: it is built
# beside everything else and asked for where it is needed. What it says is shown then.
release=
build_release() {
    mkdir -p target
    cargo build --release > target/release-build.log 2>&1 &
    release=$!
    trap 'kill "$release" 2>/dev/null || true' EXIT
}
await_release() {
    trap - EXIT
    wait "$release" || { cat target/release-build.log; return 1; }
    tail -n 1 target/release-build.log
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
}

step "machine" deploy/setup.sh
step "format" cargo fmt --all --check
step "web client" deploy/build-web.sh --check
# From here on the web client that goes into the binary is there.
build_release
step "notices" node deploy/third-party.mjs --check
# Always the whole workspace: the features of a dependency then agree between the steps, and nothing
# is built twice. Targets that plain `cargo test` leaves alone are named.
step "lints" cargo clippy --workspace --all-targets --test e2e --bench join -- -D warnings
step "lints of the test modes" cargo clippy --workspace --all-targets --features consilium/test-modes -- -D warnings
step "tests" tests/unit.sh
step "test-modes binary" tests/build-test-modes.sh
step "documentation" documentation
step "release binary" await_release
step "instruction counts" sfu/benches/count.sh
# What is played again with each person on another worker is in `make soak`: here one test of it must do.
step "end to end" tests/run-e2e.sh --skip with_each_on_another_worker
printf '\nall of it: %s s\n' "$(($(date +%s) - began))"
