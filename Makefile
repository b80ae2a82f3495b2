# Few targets, no logic: each calls one small script.

MINUTES ?= 30

.PHONY: run test check web bench soak fuzz notices

run: ## build the web client and the server, start it, print two links
	@deploy/run.sh

test: ## everything that must hold, from a fresh clone
	@tests/run.sh

check: ## the quick part of it: format, lints, unit tests
	@tests/check.sh

web: ## the web client into web-client/dist
	@deploy/build-web.sh

bench: ## measure; numbers go to docs/benchmarks.md
	@tests/bench.sh

soak: ## half load for MINUTES (30): memory and delay must not creep up
	@MINUTES=$(MINUTES) tests/soak.sh

fuzz: ## the fuzz functions over many more inputs than `make test` uses
	@tests/fuzz.sh

notices: ## docs/third-party.md from the lock files
	@node deploy/third-party.mjs
