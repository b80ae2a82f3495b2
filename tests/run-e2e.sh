#!/bin/sh
# The end-to-end tests. Needs the binaries target/release/consilium (with the web client inside) and
# target/test-modes/consilium (tests/build-test-modes.sh); `make test` builds both before. Arguments
# choose tests by name.
set -eu
cd "$(dirname "$0")/.."

for tool in age node npm chromium firefox-esr faketime ffmpeg ffprobe gcore ip nft certutil; do
    command -v "$tool" >/dev/null || { echo "tests/run-e2e.sh needs $tool: run deploy/setup.sh" >&2; exit 1; }
done
tests/clients/install.sh
tests/python/install.sh
tests/clients/encoders/install.sh

# One at a time: two browsers at once on a small machine would measure each other.
run() {
    cargo test --workspace --test e2e -- "$@"
}

# What needs a network of its own, or to look into the memory of another process, has this in its
# name. Where that is forbidden it is skipped by name and counted; on a build machine it must not be.
skipped=
why=
names=
skip() {
    found=$(run --list | sed -n 's/: test$//p' | grep "$1" || true)
    skipped="$skipped$found
"
    why="$why$2. "
    names="$names --skip $1"
}
if ! refused=$(tests/in-a-namespace.sh true 2>&1); then
    skip in_a_namespace "no network namespace can be made ($refused)"
fi
# CAP_SYS_PTRACE: the server lets nobody else of its own user look into it.
capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
if [ $((0x$capabilities >> 19 & 1)) = 0 ]; then
    skip forced_core_dump "no core dump can be forced without CAP_SYS_PTRACE"
fi
tell() {
    printf '\nskipped: %s\n%s' "$why" "$skipped"
}
if [ -n "$why" ] && [ -n "${CI-}" ]; then
    tell >&2
    exit 1
fi
# shellcheck disable=SC2086 # several words are meant
run --test-threads=1 --show-output $names "$@"
if [ -n "$why" ]; then
    tell
fi
