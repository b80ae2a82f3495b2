#!/bin/sh
# Builds the web client into web-client/dist. Installs its packages once for each lock file. With
# `--check` its lints, types and tests are run first.
set -eu
cd "$(dirname "$0")/../web-client"

if ! command -v npm >/dev/null; then
    echo "npm is missing: run deploy/setup.sh" >&2
    exit 1
fi
if ! cmp -s package-lock.json node_modules/.installed-lock; then
    npm ci --no-audit --no-fund
    cp package-lock.json node_modules/.installed-lock
fi
if [ "${1-}" = --check ]; then
    npm run --silent check
    npm run --silent test
fi
npm run --silent build
