#!/bin/sh
# The end-to-end tests. Needs the binaries target/release/consilium (with the web client inside) and
# target/test-modes/consilium, which `make test` builds before. Arguments choose tests by name.
set -eu
cd "$(dirname "$0")/.."

for tool in age node npm chromium firefox-esr ffmpeg ffprobe ip; do
    command -v "$tool" >/dev/null || { echo "tests/run-e2e.sh needs $tool: run deploy/setup.sh" >&2; exit 1; }
done
tests/clients/install.sh

# One at a time: two browsers at once on a small machine would measure each other.
run() {
    cargo test --workspace --test e2e -- "$@"
}

# What needs a network of its own has this in its name. Where that is forbidden it is skipped by
# name and counted; on a build machine it must not be.
skipped=
if ! refused=$(tests/in-a-namespace.sh true 2>&1); then
    skipped=$(run --list "$@" | sed -n 's/: test$//p' | grep in_a_namespace || true)
fi
if [ -z "$skipped" ]; then
    run --test-threads=1 --show-output "$@"
    exit
fi
tell() {
    printf '\nskipped, because no network namespace can be made (%s): %s tests\n%s\n' \
        "$refused" "$(printf '%s\n' "$skipped" | wc -l)" "$skipped"
}
if [ -n "${CI-}" ]; then
    tell >&2
    exit 1
fi
run --test-threads=1 --show-output --skip in_a_namespace "$@"
tell
