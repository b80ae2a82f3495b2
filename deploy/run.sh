#!/bin/sh
# Builds the web client and the server and starts it for trying out on this computer.
set -eu
cd "$(dirname "$0")/.."
# What only tests need is not installed for this.
for tool in npm cargo cc cmake; do
    command -v "$tool" >/dev/null || { deploy/setup.sh; break; }
done
deploy/build-web.sh
cargo build --release
exec target/release/consilium serve --dev "$@"
