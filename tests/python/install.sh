#!/bin/sh
# The Python SDKs into target/python, once for each list of them.
set -eu
cd "$(dirname "$0")/../.."
cmp -s tests/python/requirements.txt target/python/.installed && exit 0
mkdir -p target
python3 -m venv --clear target/python
target/python/bin/pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
cp tests/python/requirements.txt target/python/.installed
