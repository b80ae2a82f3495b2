#!/bin/sh
# Sees to it that this machine can build and test: Debian packages and the Rust toolchain. As root it
# installs what is missing; otherwise it prints the one line to run.
set -eu
cd "$(dirname "$0")/.."

missing=
for package in $(sed 's/#.*//' deploy/apt-packages.txt); do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' && continue
    # Node and npm may come from elsewhere.
    case $package in
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
    esac
    missing="$missing $package"
done
if [ -n "$missing" ]; then
    install="apt-get install -y --no-install-recommends$missing"
    if [ "$(id -u)" -ne 0 ]; then
        echo "packages are missing; run: sudo $install" >&2
        exit 1
    fi
    apt-get update
    DEBIAN_FRONTEND=noninteractive $install
fi

if ! command -v cargo >/dev/null; then
    echo "Rust is missing; see https://rustup.rs, rust-toolchain.toml names the version" >&2
    exit 1
fi
wanted=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
case $(rustc --version) in
    "rustc $wanted"*) ;;
    *) echo "rustc $wanted is wanted (rust-toolchain.toml), this is $(rustc --version)" >&2; exit 1 ;;
esac

# Not needed to build; without it, and without a registry, the tests against it are skipped by name.
deploy/moto.sh || echo "moto could not be installed; its tests will be skipped" >&2
