# make demo      the main job from end to end, on the embedded default
# make test      everything that must hold; what CI runs
# make test-all  the same and the slow suites
# make bench     figures, beside the bare ones of the same run
# make promises  breaks each promise on purpose and shows that its test fails
# make lint      rustfmt, clippy, cargo-deny
# make setup     what the others need (they call it themselves)

.PHONY: all build demo test test-all bench promises soak lint setup guests clean
.DEFAULT_GOAL := build

CARGO ?= cargo
TEST_THREADS ?= 4

setup:
	@deploy/setup.sh

guests: setup
	@plugins/build.sh

build: guests
	$(CARGO) build --release -p infraflow

demo: build
	tests/demo/demo.sh

# The program with faults is the same program with switches for the tests: it is
# built first and put aside, so that both share all dependencies.
target/debug/infraflow-faults: guests
	$(CARGO) build -p infraflow --features faults,sabotage
	cp target/debug/infraflow $@.new && mv $@.new $@

.PHONY: target/debug/infraflow-faults

test: target/debug/infraflow-faults
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build -p infraflow
	cd plugins && ./test.sh
	$(CARGO) test --workspace --exclude infraflow-tests
	$(CARGO) test -p infraflow-tests -- --test-threads=$(TEST_THREADS)
	INFRAFLOW_BIN=$(CURDIR)/target/debug/infraflow tests/demo/demo.sh

test-all: test promises bench

bench: build
	INFRAFLOW_BIN=$(CURDIR)/target/release/infraflow $(CARGO) run --release -p infraflow-tests --bin bench

promises: target/debug/infraflow-faults
	tests/promises.sh

soak:
	@echo "soak: not supported yet"; exit 1

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) deny check bans licenses sources

clean:
	$(CARGO) clean
	rm -rf plugins/target plugins/dist .tools
