# make demo      the main job from end to end, on the embedded default
# make test      everything that must hold; what CI runs
# make test-all  the same and the slow suites
# make bench     figures, beside the bare ones of the same run
# make promises  breaks each promise on purpose and shows that its test fails
# make soak      ten minutes of faults between any two records, on one to three hosts
# make lint      rustfmt, clippy, cargo-deny
# make setup     what the others need (they call it themselves)

.PHONY: all build programs demo test test-all bench promises soak lint setup guests clean
.DEFAULT_GOAL := build

CARGO ?= cargo
TEST_THREADS ?= 4
SOAK_MINUTES ?= 10

setup:
	@deploy/setup.sh

guests: setup
	@plugins/build.sh

build: guests
	$(CARGO) build --release --workspace --bins

demo: build
	tests/demo/demo.sh

# The program with faults is the same program with switches for the tests. It is
# built first and put aside. Always the whole workspace with all its targets, so
# that every dependency is built once.
programs: guests
	$(CARGO) build --workspace --all-targets --features infraflow/faults,infraflow/sabotage
	cp target/debug/infraflow target/debug/infraflow-faults.new
	mv target/debug/infraflow-faults.new target/debug/infraflow-faults
	$(CARGO) build --workspace --all-targets

test: programs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	plugins/test.sh
	$(CARGO) test --workspace -- --test-threads=$(TEST_THREADS)
	INFRAFLOW_BIN=$(CURDIR)/target/debug/infraflow tests/demo/demo.sh

test-all: test promises bench

bench: build
	INFRAFLOW_BIN=$(CURDIR)/target/release/infraflow $(CARGO) run --release -p infraflow-tests --bin bench

promises: programs
	tests/promises.sh

soak: programs
	target/debug/soak --minutes $(SOAK_MINUTES)

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) deny check bans licenses sources

clean:
	$(CARGO) clean
	rm -rf plugins/target plugins/dist .tools
