//! Signed requests as a provider sends them: for `infraflow webhook test`, for
//! the demo, and for tests.
//!
//! Never sends anything.

use infraflow_core::event::Provider;
use infraflow_core::ports::Secret;
use serde_json::json;

use crate::form;
use crate::signature::Key;

/// A push to make a request of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SamplePush {
    /// Owner and name, for example `shop/infra`. What stands before the last
    /// slash is the owner.
    pub repository: String,
    /// The full ref: `refs/heads/main`, `refs/tags/v1`.
    pub git_ref: String,
    /// The commit before; all zeros for a new ref.
    pub before: String,
    /// The commit after; all zeros for a deleted ref.
    pub after: String,
    /// The account that pushes.
    pub pusher: String,
    /// The commit's message.
    pub message: String,
    /// The paths that the commit changes.
    pub paths: Vec<String>,
}

impl SamplePush {
    /// A push of one commit to `main`.
    pub fn to_main(repository: &str, before: &str, after: &str) -> Self {
        Self {
            repository: repository.to_owned(),
            git_ref: "refs/heads/main".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
            pusher: "sample".to_owned(),
            message: "A sample push".to_owned(),
            paths: vec!["README.md".to_owned()],
        }
    }
}

/// How a webhook sends its JSON: its "content type" in the provider's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// A request to send with POST. `Debug` shows no signature.
#[derive(Clone, PartialEq, Eq)]
pub struct SampleRequest {
    /// Names in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for SampleRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("SampleRequest")
            .field("headers", &names)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Makes the request of a push. `delivery` becomes the event's id. Without a
/// secret the signature headers are there and empty, as providers send them.
pub fn push_request(
    provider: Provider,
    push: &SamplePush,
    delivery: &str,
    secret: Option<&Secret>,
    encoding: Encoding,
) -> SampleRequest {
    request(
        provider,
        "push",
        push_body(push).to_string(),
        delivery,
        secret,
        encoding,
    )
}

/// Makes a request of any body and kind of event.
pub fn request(
    provider: Provider,
    kind: &str,
    json: String,
    delivery: &str,
    secret: Option<&Secret>,
    encoding: Encoding,
) -> SampleRequest {
    let digest = secret.map_or_else(String::new, |secret| {
        hex::encode(Key::new(secret).sign(json.as_bytes()))
    });
    let mut headers = vec![
        ("x-gitea-event", kind.to_owned()),
        ("x-gitea-event-type", kind.to_owned()),
        ("x-gitea-delivery", delivery.to_owned()),
        ("x-gitea-signature", digest.clone()),
        ("x-github-event", kind.to_owned()),
        ("x-github-delivery", delivery.to_owned()),
        ("x-hub-signature-256", format!("sha256={digest}")),
    ];
    if provider == Provider::Forgejo {
        headers.push(("x-forgejo-event", kind.to_owned()));
        headers.push(("x-forgejo-event-type", kind.to_owned()));
        headers.push(("x-forgejo-delivery", delivery.to_owned()));
        headers.push(("x-forgejo-signature", digest));
    }
    let (content_type, body) = match encoding {
        Encoding::Json => ("application/json", json.into_bytes()),
        Encoding::Form => (
            "application/x-www-form-urlencoded",
            format!("payload={}", form::encode(json.as_bytes())).into_bytes(),
        ),
    };
    headers.push(("content-type", content_type.to_owned()));
    SampleRequest { headers, body }
}

fn push_body(push: &SamplePush) -> serde_json::Value {
    let (owner, name) = push
        .repository
        .rsplit_once('/')
        .unwrap_or(("sample", &push.repository));
    let page = format!("https://git.example/{}", push.repository);
    let account = |login: &str| {
        json!({
            "id": 1,
            "login": login,
            "full_name": "",
            "email": format!("{login}@git.example"),
            "username": login,
        })
    };
    let is_deleted = push.after.bytes().all(|b| b == b'0');
    let commit = json!({
        "id": push.after,
        "message": push.message,
        "url": format!("{page}/commit/{}", push.after),
        "author": { "name": push.pusher, "email": "", "username": push.pusher },
        "committer": { "name": push.pusher, "email": "", "username": push.pusher },
        "timestamp": "2026-11-21T12:00:00Z",
        "added": [],
        "removed": [],
        "modified": push.paths,
    });
    let is_branch = push.git_ref.starts_with("refs/heads/");
    let commits = match is_branch && !is_deleted {
        true => vec![commit.clone()],
        false => vec![],
    };
    json!({
        "ref": push.git_ref,
        "before": push.before,
        "after": push.after,
        "compare_url": format!("{page}/compare/{}...{}", push.before, push.after),
        "total_commits": commits.len(),
        "commits": commits,
        "head_commit": if is_deleted { serde_json::Value::Null } else { commit },
        "repository": {
            "id": 1,
            "owner": account(owner),
            "name": name,
            "full_name": format!("{owner}/{name}"),
            "html_url": page,
            "clone_url": format!("{page}.git"),
            "default_branch": "main",
        },
        "pusher": account(&push.pusher),
        "sender": account(&push.pusher),
    })
}
