#!/bin/sh
# Installs the pinned encoders into target/encoders, once for each list. GStreamer is Debian's.
set -eu
cd "$(dirname "$0")"
into=../../../target/encoders
cmp -s requirements.txt "$into/.installed" && exit 0
/usr/bin/python3 -m venv --clear "$into"
"$into/bin/pip" install --quiet --disable-pip-version-check --no-deps -r requirements.txt
cp requirements.txt "$into/.installed"
