//! Real bodies and signatures that third parties collected. They are read from
//! where they are, never copied; without them these tests say so and check
//! nothing.

use std::path::PathBuf;

use axum::http::HeaderMap;
use infraflow_core::event::Provider;
use infraflow_core::ports::Secret;
use serde_json::Value;

use super::{headers, now, only_event, push_of, settings};
use crate::gitea_family::decode;
use crate::receive::{Decoded, Refused, receive};
use crate::signature::{self, Key};
use crate::source::{WebhookSettings, WebhookSource};

/// Where the bodies are, when they are there.
fn corpus() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus");
    let folder = std::env::var_os("INFRAFLOW_CORPUS").map_or_else(|| beside.into(), PathBuf::from);
    // Relative to the repository, not to this crate.
    let repository = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let folder = repository.join(folder);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: no corpus at `{}` (INFRAFLOW_CORPUS)",
        folder.display()
    );
    None
}

fn read_json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every body of Forgejo and Gitea, its event header, and what becomes of it:
/// read from the bodies by hand. `more`: the list of paths is not complete.
const BODIES: [(&str, &str, &str); 63] = [
    (
        "forgejo/forgejo-docs/push.json",
        "push",
        "develop bffeb74224043ba2feb48d137756c8a9331c449a 0 paths, more",
    ),
    (
        "forgejo/woodpecker/HookPullRequest.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestAssigneeCleared.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestAssigneesAdded.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestClosed.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestEdited.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestLabelAdded.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestLabelsCleared.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestLabelsUpdated.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestMerged.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestMilestoneAdded.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestMilestoneChanged.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestMilestoneCleared.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestReopened.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPullRequestUpdated.json",
        "pull_request",
        "ignored",
    ),
    (
        "forgejo/woodpecker/HookPush.json",
        "push",
        "main ef98532add3b2feb7a137426bba1248724367df5 2 paths",
    ),
    (
        "forgejo/woodpecker/HookPushBranch.json",
        "push",
        "fdsafdsa 28c3613ae62640216bea5e7dc71aa65356e4298b 0 paths, more, created",
    ),
    (
        "forgejo/woodpecker/HookPushMulti.json",
        "push",
        "main 29be01c073851cf0db0c6a466e396b725a670453 2 paths",
    ),
    ("forgejo/woodpecker/HookRelease.json", "release", "ignored"),
    ("forgejo/woodpecker/HookTag.json", "create", "ignored"),
    ("gitea/drone-go-scm/branch_create.json", "create", "ignored"),
    ("gitea/drone-go-scm/branch_delete.json", "delete", "ignored"),
    (
        "gitea/drone-go-scm/issue_comment_created.json",
        "issue_comment",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/issue_comment_deleted.json",
        "issue_comment",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/issue_comment_edited.json",
        "issue_comment",
        "ignored",
    ),
    ("gitea/drone-go-scm/issues_closed.json", "issues", "ignored"),
    ("gitea/drone-go-scm/issues_opened.json", "issues", "ignored"),
    (
        "gitea/drone-go-scm/pull_request_closed.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_comment_created.json",
        "issue_comment",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_comment_deleted.json",
        "issue_comment",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_comment_edited.json",
        "issue_comment",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_edited.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_merged.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_opened.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_reopened.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/pull_request_synchronized.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/drone-go-scm/push.json",
        "push",
        "master 4522cbcefc20728a5b72b3a86af35e608622c514 1 paths",
    ),
    ("gitea/drone-go-scm/tag_create.json", "create", "ignored"),
    ("gitea/drone-go-scm/tag_delete.json", "delete", "ignored"),
    (
        "gitea/woodpecker/HookPullRequest.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestAddLabel.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestAddMile.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestAddReviewRequest.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestAssigneesAdded.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestAssigneesRemoved.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestChangeBody.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestChangeLabel.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestChangeMile.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestChangeTitle.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestClosed.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestMerged.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestRemoveLabel.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestRemoveMile.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestReopened.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestReviewAck.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestReviewComment.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestReviewDeny.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPullRequestUpdated.json",
        "pull_request",
        "ignored",
    ),
    (
        "gitea/woodpecker/HookPush.json",
        "push",
        "main ef98532add3b2feb7a137426bba1248724367df5 2 paths",
    ),
    (
        "gitea/woodpecker/HookPushBranch.json",
        "push",
        "fdsafdsa 28c3613ae62640216bea5e7dc71aa65356e4298b 0 paths, more, created",
    ),
    (
        "gitea/woodpecker/HookPushMulti.json",
        "push",
        "main 29be01c073851cf0db0c6a466e396b725a670453 2 paths",
    ),
    ("gitea/woodpecker/HookRelease.json", "release", "ignored"),
    ("gitea/woodpecker/HookTag.json", "create", "ignored"),
];

fn outcome(decoded: Decoded) -> String {
    if let Decoded::Ignored { reason } = decoded {
        assert!(reason.starts_with('`'), "{reason}");
        return "ignored".to_owned();
    }
    let event = only_event(decoded);
    assert_eq!(event.id.as_str(), "delivery-1");
    let push = push_of(&event);
    assert_eq!(
        event.actor.to_string(),
        format!("{}:{}", push.provider, push.pusher.login)
    );
    assert_eq!(
        event.subject,
        Some(format!("{}@{}", push.repository.full_name, push.branch))
    );
    let count = push.paths.len();
    let mut text = format!("{} {} {count} paths", push.branch, push.commit);
    if !push.paths_complete {
        text.push_str(", more");
    }
    if push.created {
        text.push_str(", created");
    }
    text
}

fn provider_of(file: &str) -> Provider {
    Provider::from_name(file.split('/').next().unwrap()).unwrap()
}

fn headers_for(provider: Provider, kind: &str) -> HeaderMap {
    let (event, delivery) = match provider {
        Provider::Forgejo => ("x-forgejo-event", "x-forgejo-delivery"),
        Provider::Gitea => ("x-gitea-event", "x-gitea-delivery"),
    };
    headers([(event, kind), (delivery, "delivery-1")])
}

#[test]
fn bodies() {
    let Some(corpus) = corpus() else { return };
    let index = read_json(corpus.join("webhooks/index.json"));
    let mut files: Vec<&str> = index
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| ["forgejo", "gitea"].contains(&row["provider"].as_str().unwrap()))
        .map(|row| {
            row["file"]
                .as_str()
                .unwrap()
                .trim_start_matches("webhooks/")
        })
        .collect();
    files.sort_unstable();
    let listed: Vec<&str> = BODIES.iter().map(|(file, ..)| *file).collect();
    assert_eq!(listed, files, "each body of the corpus stands in the table");
    for (file, kind, expected) in BODIES {
        let provider = provider_of(file);
        let source = WebhookSource::new(settings("shop", provider)).unwrap();
        let body = std::fs::read(corpus.join("webhooks").join(file)).unwrap();
        let decoded = decode(&source, &headers_for(provider, kind), &body, now());
        assert_eq!(outcome(decoded.unwrap()), expected, "{file}");
    }
}

/// Bodies cut off anywhere are refused, or, where only white space is missing,
/// right.
#[test]
fn truncated_bodies() {
    let Some(corpus) = corpus() else { return };
    for (file, kind, expected) in BODIES {
        let provider = provider_of(file);
        let source = WebhookSource::new(settings("shop", provider)).unwrap();
        let headers = headers_for(provider, kind);
        let body = std::fs::read(corpus.join("webhooks").join(file)).unwrap();
        let whole = file.ends_with("/push.json") || file.ends_with("HookPushMulti.json");
        let step = if whole { 1 } else { 97 };
        for length in (0..body.len()).step_by(step) {
            let (head, rest) = body.split_at(length);
            match decode(&source, &headers, head, now()) {
                Err(_) => {}
                Ok(decoded) => {
                    assert!(rest.trim_ascii().is_empty(), "{file} {length}");
                    assert_eq!(outcome(decoded), expected, "{file} {length}");
                }
            }
        }
    }
}

fn source_with(provider: Provider, secret: &str) -> WebhookSource {
    let secrets = vec![Secret::new(secret)];
    WebhookSource::new(WebhookSettings {
        secrets,
        ..settings("shop", provider)
    })
    .unwrap()
}

/// The bytes that a row signs; `None` when the corpus does not have them.
fn signed(corpus: &std::path::Path, row: &Value) -> Option<Vec<u8>> {
    if let Some(body) = row["body"].as_str() {
        return Some(body.as_bytes().to_vec());
    }
    let file = row["body_file"].as_str()?;
    match std::fs::read(corpus.join(file)) {
        Ok(body) => Some(body),
        Err(_) => {
            eprintln!("SKIPPED: the corpus has no `{file}`");
            None
        }
    }
}

/// Rows of Gitea go through the whole door; those of GitHub with the same
/// algorithm check that alone.
#[test]
fn signature_vectors() {
    let Some(corpus) = corpus() else { return };
    let rows = read_json(corpus.join("signatures/vectors.json"));
    let mut checked = 0;
    for row in rows.as_array().unwrap() {
        let header = row["header"].as_str().unwrap().to_ascii_lowercase();
        let provider = row["provider"].as_str().unwrap();
        let is_ours = provider == "gitea" || header == "x-hub-signature-256";
        let Some(body) = signed(&corpus, row).filter(|_| is_ours) else {
            continue;
        };
        let secret = row["secret"].as_str().unwrap();
        let value = row["value"].as_str().unwrap();
        let expected = row["expect_valid"].as_bool().unwrap();
        let claimed = signature::claimed(&headers([(&*header, value)])).unwrap();
        let key = Key::new(&Secret::new(secret));
        assert_eq!(claimed.is_by_one_of(&[key], &body), expected, "{row:#}");
        checked += 1;
        if provider == "gitea" {
            let source = source_with(Provider::Gitea, secret);
            let headers = headers([
                (&*header, value),
                ("x-gitea-event", "pull_request"),
                ("content-type", "application/json"),
            ]);
            let received = receive(&source, &headers, &body, now());
            assert_eq!(received.is_ok(), expected, "{row:#}");
        }
    }
    assert!(checked >= 5, "{checked}");
}

#[test]
fn derived_signatures() {
    let Some(corpus) = corpus() else { return };
    let rows = read_json(corpus.join("signatures/derived.json"));
    for row in rows.as_array().unwrap() {
        let body = signed(&corpus, row).unwrap();
        let all = row["headers"].as_object().unwrap();
        let pairs = || {
            all.iter()
                .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
                .chain([
                    ("content-type", row["content_type"].as_str().unwrap()),
                    ("x-forgejo-event", "push"),
                    ("x-forgejo-delivery", "delivery-1"),
                ])
        };
        let secret = row["secret"].as_str().unwrap();
        if secret.is_empty() {
            // Empty digests: whatever the secret is, they are not its.
            let source = source_with(Provider::Forgejo, "some secret");
            let refused = receive(&source, &headers(pairs()), &body, now()).unwrap_err();
            assert!(matches!(refused, Refused::WrongSignature), "{refused}");
            continue;
        }
        let source = source_with(Provider::Forgejo, secret);
        let decoded = receive(&source, &headers(pairs()), &body, now()).unwrap();
        let expected = "main ef98532add3b2feb7a137426bba1248724367df5 2 paths";
        assert_eq!(outcome(decoded), expected);
        // The digest of the raw form is not the signature.
        let raw = row["raw_body_hmac_would_be"].as_str().unwrap();
        let mut wrong = headers(pairs());
        wrong.insert("x-forgejo-signature", raw.parse().unwrap());
        let refused = receive(&source, &wrong, &body, now()).unwrap_err();
        assert!(matches!(refused, Refused::WrongSignature), "{refused}");
    }
}
