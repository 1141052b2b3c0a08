"""Posts a push as Forgejo sends it: JSON, signed with HMAC-SHA256 over the raw body.

Written from Forgejo's documentation, not with infraflow's own code, so that the
demo shows that the two agree.

usage: post_push.py ADDRESS SECRET_FILE REPOSITORY BRANCH BEFORE AFTER DELIVERY PATH...
"""

import hashlib
import hmac
import json
import sys
import urllib.error
import urllib.request

address, secret_file, repository, branch, before, after, delivery, *paths = sys.argv[1:]
owner, name = repository.split("/")
with open(secret_file, encoding="utf-8") as file:
    secret = file.read().strip().encode()

user = {"id": 1, "login": "ann", "full_name": "Ann", "email": "ann@example.com", "username": "ann"}
commit = {
    "id": after,
    "message": "Deploy the shop\n",
    "url": f"https://git.example/{repository}/commit/{after}",
    "author": {"name": "Ann", "email": "ann@example.com", "username": "ann"},
    "committer": {"name": "Ann", "email": "ann@example.com", "username": "ann"},
    "timestamp": "2026-11-21T12:00:00Z",
    "added": paths,
    "removed": [],
    "modified": [],
}
body = json.dumps(
    {
        "ref": f"refs/heads/{branch}",
        "before": before,
        "after": after,
        "compare_url": f"https://git.example/{repository}/compare/{before}...{after}",
        "commits": [commit],
        "total_commits": 1,
        "head_commit": commit,
        "repository": {
            "id": 1,
            "owner": {**user, "login": owner, "username": owner},
            "name": name,
            "full_name": repository,
            "html_url": f"https://git.example/{repository}",
            "default_branch": "main",
        },
        "pusher": user,
        "sender": user,
    }
).encode()
signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
request = urllib.request.Request(
    address,
    data=body,
    headers={
        "Content-Type": "application/json",
        "X-Forgejo-Event": "push",
        "X-Forgejo-Event-Type": "push",
        "X-Forgejo-Delivery": delivery,
        "X-Forgejo-Signature": signature,
        "X-Gitea-Event": "push",
        "X-Gitea-Delivery": delivery,
        "X-Gitea-Signature": signature,
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    },
)
try:
    with urllib.request.urlopen(request, timeout=15) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code, refused.read().decode())
    sys.exit(1)
