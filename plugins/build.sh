#!/usr/bin/env bash
# Builds the plugins: plugins/dist/<name>.wasm and plugins/dist/grants.yaml.
#
#   plugins/build.sh
#
# Takes the first route to a compiler that works, and says which:
#   toolchain  the active Rust toolchain has the target's standard library
#   rustup     `rustup target add` (at most 60 s)
#   debian     Debian's rustc-web, cargo-web, rust-web-src and lld build it all
# GUEST_ROUTE=<route> takes that one. About 70 s from nothing on two cores, under
# 1 s when nothing changed.
set -euo pipefail
cd "$(dirname "$0")"

PLUGINS=(checkout ansible opentofu command log)
TARGET=wasm32-unknown-unknown
ROUTE_FILE=target/route

# Nothing of the host's build leaks in: neither flags, nor wrappers, nor targets.
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_TARGET_DIR RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTC_BOOTSTRAP
export RUSTFLAGS="" # empty, not unset: it overrides what a cargo configuration says

say() { printf 'plugins: %s\n' "$*"; }

has_target() {
  local libdir
  libdir=$(rustc --print target-libdir --target $TARGET 2>/dev/null) && [ -d "$libdir" ]
}

add_target() {
  command -v rustup >/dev/null 2>&1 || return 1
  say "trying: rustup target add $TARGET (at most 60 s)"
  timeout 60 rustup target add $TARGET >/dev/null 2>&1 && has_target
}

wasm_linker() {
  local linker
  for linker in wasm-ld-19 wasm-ld-20 wasm-ld-21 wasm-ld; do
    if command -v $linker >/dev/null 2>&1; then echo $linker; return; fi
  done
  return 1
}

has_debian() {
  [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && wasm_linker >/dev/null \
    && [ -d "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library" ]
}

# A machine without a route to rustup's server waits for it once, not every time.
choose_route() {
  if [ -n "${GUEST_ROUTE:-}" ]; then echo "$GUEST_ROUTE"; return; fi
  if has_target; then echo toolchain; return; fi
  if [ "$(cat $ROUTE_FILE 2>/dev/null)" = debian ] && has_debian; then echo debian; return; fi
  if add_target >&2; then echo rustup; return; fi
  if has_debian; then echo debian; return; fi
  echo none
}

packages=()
for name in "${PLUGINS[@]}"; do packages+=(-p "infraflow-plugin-$name"); done

route=$(choose_route)
case $route in
  toolchain | rustup)
    say "building with the active Rust toolchain ($(rustc --version))"
    export CARGO_TARGET_DIR=$PWD/target/guests
    cargo build --quiet --locked --release --target $TARGET "${packages[@]}"
    ;;
  debian)
    has_debian || { say "Debian's compiler is not complete: apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19"; exit 1; }
    say "building with Debian's compiler ($(/usr/bin/rustc --version)), standard library included"
    # A target directory of its own: another compiler than the active one.
    export CARGO_TARGET_DIR=$PWD/target/guests-debian
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(wasm_linker) \
      /usr/bin/cargo build --quiet --locked --release -Zbuild-std=std,panic_abort --target $TARGET "${packages[@]}"
    ;;
  *)
    say "no compiler for $TARGET. One of these gives one:"
    say "  rustup target add $TARGET"
    say "  apt-get install --no-install-recommends rustc-web cargo-web rust-web-src lld-19   (Debian, as root)"
    exit 1
    ;;
esac
echo "$route" > $ROUTE_FILE

guests=()
for name in "${PLUGINS[@]}"; do
  guests+=("$name=$CARGO_TARGET_DIR/$TARGET/release/infraflow_plugin_$name.wasm")
done
CARGO_TARGET_DIR=$PWD/target/tools cargo run --quiet --locked --release -p infraflow-componentize -- grants.yaml dist "${guests[@]}"
say "plugins/dist is up to date"
