#!/bin/sh
# Installs the pinned clients, once for each lock file.
set -eu
cd "$(dirname "$0")"
cmp -s package-lock.json node_modules/.installed-lock && exit 0
npm ci --no-audit --no-fund
cp package-lock.json node_modules/.installed-lock
