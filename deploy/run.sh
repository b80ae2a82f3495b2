#!/bin/sh
# Builds the web client and the server and starts it for trying out on this computer.
set -eu
cd "$(dirname "$0")/.."
deploy/build-web.sh
cargo build --release
exec target/release/consilium serve --dev "$@"
