#!/bin/sh
# Unit tests, simulations and what else needs no built server. Arguments go to `cargo test`.
set -eu
cd "$(dirname "$0")/.."

# Exported files are looked at with the eyes of others.
for tool in ffmpeg ffprobe; do
    command -v "$tool" >/dev/null || { echo "tests/unit.sh needs $tool: run deploy/setup.sh" >&2; exit 1; }
done

# What runs against a store that others wrote has this in its name. Where that is not installed it
# is skipped by name and counted; on a build machine it must be.
if [ -x "${CONSILIUM_MOTO:-target/moto/bin/moto_server}" ]; then
    exec cargo test --workspace "$@"
fi
skipped=$(cargo test --quiet -p recorder --test archive -- --list | sed -n 's/: test$//p' | grep against_moto)
tell() {
    printf '\nskipped, because moto is not installed (deploy/setup.sh installs it): %s tests\n%s\n' \
        "$(printf '%s\n' "$skipped" | wc -l)" "$skipped"
}
if [ -n "${CI-}" ]; then
    tell >&2
    exit 1
fi
cargo test --workspace "$@" -- --skip against_moto
tell
