#!/bin/sh
# moto, an object store that somebody else wrote, for the tests of recorder/tests/archive. Into
# target/moto, with the version that they were written against.
set -eu
cd "$(dirname "$0")/.."
wanted=5.2.5
installed() {
    target/moto/bin/python -c 'from importlib.metadata import version; print(version("moto"))' 2>/dev/null
}
[ "$(installed)" = "$wanted" ] && exit
python3 -m venv --clear target/moto
target/moto/bin/pip install --quiet --disable-pip-version-check "moto[server]==$wanted"
