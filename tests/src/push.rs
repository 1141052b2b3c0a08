//! Pushes as Forgejo sends them, written from its documentation and signed here,
//! not with infraflow's own code.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
    /// Its `Retry-After`.
    pub retry_after: Option<String>,
}

/// A push of one commit to `main` of `shop/infra`.
pub fn body(commit: &str, paths: &[&str]) -> Value {
    let user = json!({ "id": 1, "login": "ann", "username": "ann", "full_name": "Ann", "email": "ann@example.com" });
    json!({
        "ref": "refs/heads/main",
        "before": "1".repeat(40),
        "after": commit,
        "compare_url": "https://git.example/shop/infra/compare",
        "commits": [{
            "id": commit, "message": "A change\n", "url": "https://git.example/c",
            "author": { "name": "Ann", "email": "ann@example.com", "username": "ann" },
            "committer": { "name": "Ann", "email": "ann@example.com", "username": "ann" },
            "timestamp": "2026-11-21T12:00:00Z",
            "added": [], "removed": [], "modified": paths,
        }],
        "total_commits": 1,
        "repository": {
            "id": 1, "owner": user, "name": "infra", "full_name": "shop/infra",
            "html_url": "https://git.example/shop/infra", "default_branch": "main",
        },
        "pusher": user,
        "sender": user,
    })
}

/// The signature of a body.
///
/// # Panics
/// Never: HMAC takes keys of any length.
pub fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Posts a body with a signature as Forgejo does.
pub fn post(address: &str, secret: &str, delivery: &str, event: &str, body: &[u8]) -> Answer {
    let signature = signature(secret, body);
    post_raw(
        address,
        &[
            ("Content-Type", "application/json"),
            ("X-Forgejo-Event", event),
            ("X-Forgejo-Delivery", delivery),
            ("X-Forgejo-Signature", &signature),
            ("X-Gitea-Event", event),
            ("X-Gitea-Delivery", delivery),
        ],
        body,
    )
}

/// Posts anything.
///
/// # Panics
/// When nothing answers.
pub fn post_raw(address: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_post_raw(address, headers, body).expect("the host answers")
}

/// Posts anything; `None` when nothing answers.
pub fn try_post_raw(address: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).ok()?;
    let retry_after = answer.headers().get("retry-after");
    Some(Answer {
        status: answer.status().as_u16(),
        retry_after: retry_after
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body: answer.body_mut().read_to_string().ok()?,
    })
}

/// Gets a page.
///
/// # Panics
/// When nothing answers.
pub fn get(address: &str) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer = agent.get(address).call().expect("the host answers");
    Answer {
        status: answer.status().as_u16(),
        retry_after: None,
        body: answer.body_mut().read_to_string().expect("a text"),
    }
}
