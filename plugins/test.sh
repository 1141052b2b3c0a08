#!/usr/bin/env bash
# The plugins' own tests: their logic, run natively against the SDK's fake host.
set -euo pipefail
cd "$(dirname "$0")"

export CARGO_TARGET_DIR=$PWD/target/tools
cargo fmt --all --check
cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
cargo test --quiet --locked --workspace
