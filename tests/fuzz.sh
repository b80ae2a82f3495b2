#!/bin/sh
# The fuzz functions with one seed after the other, for as many minutes as the first argument says
# (10). Stops at the first failure; FUZZ_SEED repeats it.
set -eu
cd "$(dirname "$0")/.."
end=$(($(date +%s) + ${1:-10} * 60))
while [ "$(date +%s)" -lt "$end" ]; do
    seed=$(date +%s%N)
    echo "FUZZ_SEED=$seed"
    FUZZ_SEED=$seed cargo test --quiet --release -p sfu -p recorder -p signaling --test fuzz
done
