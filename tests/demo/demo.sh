#!/usr/bin/env bash
# The main job from end to end: a git push arrives as a signed webhook, becomes an
# event on JetStream, starts a workflow, and its steps check the commit out, apply
# an OpenTofu module and run an Ansible playbook, with live log lines.
#
# Everything is made in a fresh folder, on free ports, and removed at the end.
#
#   INFRAFLOW_BIN   the program; target/release/infraflow when not set
#   DEMO_KEEP=1     keep the folder
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
infraflow=${INFRAFLOW_BIN:-$root/target/release/infraflow}

folder=$(mktemp -d "${TMPDIR:-/tmp}/infraflow-demo.XXXXXX")
chmod 711 "$folder"
up=
finish() {
  status=$?
  if [ -n "$up" ] && kill -0 "$up" 2>/dev/null; then
    kill -TERM "$up"
    wait "$up" 2>/dev/null || true
  fi
  if [ "$status" -ne 0 ]; then
    echo "demo: failed; the host printed:" >&2
    tail -n 30 "$folder/up.log" >&2 2>/dev/null || true
    echo "demo: the folder stays: $folder" >&2
  elif [ -z "${DEMO_KEEP:-}" ]; then
    rm -rf "$folder"
  fi
}
trap finish EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# ---- a repository, as a git server has it ---------------------------------------

say "1. a bare git repository with a playbook and an OpenTofu module"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init --quiet --bare --initial-branch=main "$folder/shop.git"
git init --quiet --initial-branch=main "$folder/work"
git -C "$folder/work" config user.name Ann
git -C "$folder/work" config user.email ann@example.com
git -C "$folder/work" commit --quiet --allow-empty -m "An empty shop"
before=$(git -C "$folder/work" rev-parse HEAD)
cp -R tests/demo/repo/. "$folder/work"
git -C "$folder/work" add .
git -C "$folder/work" commit --quiet -m "Deploy the shop"
commit=$(git -C "$folder/work" rev-parse HEAD)
git -C "$folder/work" push --quiet "$folder/shop.git" main
git -C "$folder/work" log --oneline

# ---- a host ---------------------------------------------------------------------

say "2. infraflow up, on free ports, with a fresh data directory"
mkdir -p "$folder/workflows" "$folder/secrets"
cp tests/demo/workflows/deploy.yaml "$folder/workflows/"
without_tofu=
if ! command -v tofu >/dev/null 2>&1 && ! command -v terraform >/dev/null 2>&1; then
  without_tofu=1
  echo "demo: neither tofu nor terraform is on PATH: the OpenTofu steps are left out"
  python3 - "$folder/workflows/deploy.yaml" <<'PY'
import re, sys
path = sys.argv[1]
text = open(path).read()
start, end = text.index("      - id: plan"), text.index("  - name: configure")
open(path, "w").write(text[:start] + text[end:])
PY
fi
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$folder/secrets/shop"
chmod 600 "$folder/secrets/shop"
cat > "$folder/infraflow.yaml" <<YAML
data_dir: data
http: { listen: "127.0.0.1:0" }
nats: { port: 0 }
sources:
  shop: { type: forgejo, url: "file://$folder/shop.git", secret: shop }
secrets:
  shop: { file: secrets/shop }
YAML
cd "$folder"
"$infraflow" up > up.out 2> up.log &
up=$!
for _ in $(seq 600); do
  grep -q "is ready" up.out 2>/dev/null && break
  kill -0 "$up" 2>/dev/null || exit 1
  sleep 0.05
done
cat up.out

# ---- the push -------------------------------------------------------------------

say "3. the push arrives as a signed webhook"
address=$(grep -o 'http://[^ ]*/webhooks/shop' up.out | head -n 1)
python3 "$root/tests/demo/post_push.py" "$address" secrets/shop shop/infra main "$before" "$commit" \
  "$(cat /proc/sys/kernel/random/uuid)" site.yml infra/main.tf

say "4. the run that it starts, live"
run=
for _ in $(seq 400); do
  run=$("$infraflow" runs list --output json | python3 -c 'import json,sys; runs=json.load(sys.stdin)["runs"]; print(runs[0]["id"] if runs else "")')
  [ -n "$run" ] && break
  sleep 0.05
done
"$infraflow" logs "$run" --follow

say "5. what it did"
"$infraflow" runs show "$run" --output json > run.json
python3 - run.json "$commit" "${without_tofu:-}" <<'PY'
import json, os, sys
detail = json.load(open(sys.argv[1]))
commit, without_tofu = sys.argv[2], sys.argv[3]
steps = {step["id"]: step for step in detail["steps"]}
wanted = f"hello from {commit}"
assert detail["run"]["state"] == "succeeded", detail["run"]
assert steps["source"]["outputs"]["commit"] == commit, steps["source"]
if not without_tofu:
    applied = steps["apply"]["outputs"]["outputs"]["greeting"]
    assert applied == wanted, applied
    print(f"applied value       {applied}")
file = os.path.join(detail["workspace"], "deployed.txt")
written = open(file).read().strip()
assert written == wanted, written
print(f"the playbook's file {written}")
PY
"$infraflow" runs show "$run" | sed -n '/^STEP/,/^run /p'

say "6. stopping"
kill -TERM "$up"
wait "$up"
up=
if pgrep -f "$folder" >/dev/null 2>&1; then
  echo "demo: processes are left:" >&2
  pgrep -af "$folder" >&2
  exit 1
fi
echo "nothing is left running"
