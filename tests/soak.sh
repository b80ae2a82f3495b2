#!/bin/sh
# Half load for $MINUTES (30): fails when memory or delay creep up, and writes docs/benchmarks.md.
# Then 100 who come and go every second, break off and come back, as long: nothing may be left of them.
# Then $KILLS (50) kills of a server that records, and of a recorder alone: a second is lost each time
# at most, and what is left verifies and decodes. Then a consult of $REPLAY_SECONDS (120) is replayed,
# a call is attacked for longer and by more, and what `make test` plays in a short form is played whole.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --workspace
loadtest/peers/server.sh target/release/consilium \
  target/release/loadtest soak --minutes "${MINUTES:-30}" --page docs/benchmarks.md "$@"
CONSILIUM_WEBHOOK__URLS='["http://127.0.0.1:17890/"]' CONSILIUM_WEBHOOK__API_KEY=devkey \
  CONSILIUM_WEBHOOK__TIMEOUT=2 CONSILIUM_ROOMS__SPILL_BUSY_SHARE=0 CONSILIUM_ROOMS__RESUME_TIMEOUT=15 \
  loadtest/peers/server.sh target/release/consilium \
  target/release/loadtest churn --minutes "${MINUTES:-30}" --page docs/benchmarks.md
CONSILIUM_KILLS=${KILLS:-50}
export CONSILIUM_KILLS
cargo test --release -p recorder --test kill -- --show-output a_killed_server
deploy/build-web.sh
cargo build --release
tests/run-e2e.sh a_kill_costs
CONSILIUM_REPLAY_SECONDS=${REPLAY_SECONDS:-120} tests/run-e2e.sh replay
CONSILIUM_FLOOD_SECONDS=60 CONSILIUM_ATTACK_SCALE=8 tests/run-e2e.sh ten_thousand_hostile leave_a_call_unharmed
CONSILIUM_WHOLE=1
export CONSILIUM_WHOLE
tests/run-e2e.sh with_each_on_another_worker the_python_suite every_client_meets
