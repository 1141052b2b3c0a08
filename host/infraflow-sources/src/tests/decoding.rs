//! Bodies of our own: every field, every refusal, and hostile ones.

mod door;
mod hostile;
mod refusals;

use expect_test::expect;
use infraflow_core::event::{EventData, Provider};
use infraflow_core::limits;
use infraflow_core::ports::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::gitea_family::decode;
use crate::receive::{Malformed, Refused, receive};
use crate::sample::{Encoding, SamplePush, push_request, request};
use crate::source::SourceError;

const BEFORE: &str = "1111111111111111111111111111111111111111";
const AFTER: &str = "2222222222222222222222222222222222222222";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn sample() -> SamplePush {
    SamplePush::to_main("shop/infra", BEFORE, AFTER)
}

fn body() -> Value {
    let request = push_request(Provider::Forgejo, &sample(), "d", None, Encoding::Json);
    serde_json::from_slice(&request.body).unwrap()
}

/// Decodes a push body without looking at signatures.
fn decoded(body: &[u8]) -> Result<Decoded, Malformed> {
    let request = push_request(
        Provider::Forgejo,
        &sample(),
        "delivery-1",
        None,
        Encoding::Json,
    );
    decode(
        &source(Provider::Forgejo),
        &headers_of(&request),
        body,
        now(),
    )
}

fn event_of(body: &Value) -> Event {
    only_event(decoded(body.to_string().as_bytes()).unwrap())
}

/// The body with something else at a place; `None` removes it.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut body = body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Some(value)) => drop(map.insert(name.to_owned(), value)),
        (Value::Object(map), None) => drop(map.remove(name)),
        (parent, value) => parent[name.parse::<usize>().unwrap()] = value.unwrap(),
    }
    body
}

fn refused(body: &Value) -> String {
    refused_text(body.to_string().as_bytes())
}

fn refused_text(body: &[u8]) -> String {
    match decoded(body) {
        Ok(decoded) => panic!("it was taken: {decoded:?}"),
        Err(Malformed::Json { source, .. }) => source.to_string(),
        Err(malformed) => malformed.to_string(),
    }
}

// ---- every field --------------------------------------------------------------

#[test]
fn a_push_fills_every_field() {
    let body = json!({
        "ref": "refs/heads/feature/x",
        "before": BEFORE,
        "after": AFTER,
        "compare_url": "https://git.example/shop/infra/compare/1...2",
        "commits": [
            { "id": AFTER, "message": "second\n\nbody", "url": "https://git.example/c/2",
              "author": { "name": "Bob", "email": "bob@example.org", "username": "bob" },
              "timestamp": "2026-11-21T11:59:00+01:00",
              "added": ["b.tf"], "removed": ["old.tf"], "modified": ["a.tf"] },
            { "id": BEFORE.replace('1', "3"), "message": "first", "url": "https://git.example/c/3",
              "author": { "name": "Bob", "email": "", "username": "" },
              "timestamp": "", "added": [], "removed": [], "modified": ["a.tf", "z/é"] },
        ],
        "total_commits": 2,
        "head_commit": { "id": AFTER, "message": "second\n\nbody" },
        "repository": {
            "owner": { "login": "shop", "username": "shop" },
            "name": "infra", "full_name": "shop/infra",
            "html_url": "https://git.example/shop/infra", "default_branch": "main",
        },
        "pusher": { "login": "ann", "full_name": "Ann", "email": "ann@example.org", "username": "ann" },
        "sender": { "login": "somebody-else" },
        "secret": "hunter2hunter2",
    });
    let event = event_of(&body);
    assert_eq!(event.json.as_ref(), &push_of(&event).to_document());
    expect![[r#"
        {
          "actor": "forgejo:ann",
          "data": {
            "after": "2222222222222222222222222222222222222222",
            "before": "1111111111111111111111111111111111111111",
            "branch": "feature/x",
            "commit": "2222222222222222222222222222222222222222",
            "commits": [
              {
                "author": {
                  "email": "",
                  "login": "",
                  "name": "Bob"
                },
                "id": "3333333333333333333333333333333333333333",
                "message": "first",
                "timestamp": "",
                "url": "https://git.example/c/3"
              },
              {
                "author": {
                  "email": "bob@example.org",
                  "login": "bob",
                  "name": "Bob"
                },
                "id": "2222222222222222222222222222222222222222",
                "message": "second\n\nbody",
                "timestamp": "2026-11-21T11:59:00+01:00",
                "url": "https://git.example/c/2"
              }
            ],
            "commits_total": 2,
            "compare_url": "https://git.example/shop/infra/compare/1...2",
            "created": false,
            "deleted": false,
            "forced": null,
            "message": "second\n\nbody",
            "paths": [
              "a.tf",
              "b.tf",
              "old.tf",
              "z/é"
            ],
            "paths_complete": true,
            "provider": "forgejo",
            "pusher": {
              "email": "ann@example.org",
              "login": "ann",
              "name": "Ann"
            },
            "ref": "refs/heads/feature/x",
            "repository": {
              "default_branch": "main",
              "full_name": "shop/infra",
              "name": "infra",
              "owner": "shop",
              "url": "https://git.example/shop/infra"
            },
            "source": "shop"
          },
          "id": "delivery-1",
          "source": "source:shop",
          "subject": "shop/infra@feature/x",
          "time": "2026-11-21T12:00:00Z",
          "type": "git.push"
        }
    "#]]
    .assert_eq(&format!("{:#}\n", event.to_document()));
    assert!(!format!("{event:?}").contains("hunter2"));
    assert_eq!(event.source_name(), Some("shop"));
    assert_eq!(event.commit(), Some(AFTER));
}

#[test]
fn a_tag_fills_every_field() {
    let push = SamplePush {
        git_ref: "refs/tags/v1.0".into(),
        before: ZERO.into(),
        ..sample()
    };
    let request = push_request(Provider::Gitea, &push, "delivery-1", None, Encoding::Json);
    let source = source(Provider::Gitea);
    let decoded = decode(&source, &headers_of(&request), &request.body, now()).unwrap();
    let event = only_event(decoded);
    assert_eq!(event.json.as_ref(), &tag_of(&event).to_document());
    expect![[r#"
        {
          "actor": "gitea:sample",
          "data": {
            "after": "2222222222222222222222222222222222222222",
            "before": "0000000000000000000000000000000000000000",
            "commit": "2222222222222222222222222222222222222222",
            "created": true,
            "deleted": false,
            "message": "A sample push",
            "provider": "gitea",
            "pusher": {
              "email": "sample@git.example",
              "login": "sample",
              "name": ""
            },
            "ref": "refs/tags/v1.0",
            "repository": {
              "default_branch": "main",
              "full_name": "shop/infra",
              "name": "infra",
              "owner": "shop",
              "url": "https://git.example/shop/infra"
            },
            "source": "shop",
            "tag": "v1.0"
          },
          "id": "delivery-1",
          "source": "source:shop",
          "subject": "shop/infra@v1.0",
          "time": "2026-11-21T12:00:00Z",
          "type": "git.tag"
        }
    "#]]
    .assert_eq(&format!("{:#}\n", event.to_document()));
}

#[test]
fn new_and_deleted_refs() {
    for (git_ref, before, after, expected) in [
        (
            "refs/heads/main",
            BEFORE,
            AFTER,
            "git.push commit=2 created=false deleted=false complete=true",
        ),
        (
            "refs/heads/main",
            ZERO,
            AFTER,
            "git.push commit=2 created=true deleted=false complete=false",
        ),
        (
            "refs/heads/main",
            BEFORE,
            ZERO,
            "git.push commit= created=false deleted=true complete=false",
        ),
        (
            "refs/tags/v1",
            ZERO,
            AFTER,
            "git.tag commit=2 created=true deleted=false",
        ),
        (
            "refs/tags/v1",
            BEFORE,
            AFTER,
            "git.tag commit=2 created=false deleted=false",
        ),
        (
            "refs/tags/v1",
            BEFORE,
            ZERO,
            "git.tag commit= created=false deleted=true",
        ),
    ] {
        let push = SamplePush {
            git_ref: git_ref.into(),
            before: before.into(),
            after: after.into(),
            ..sample()
        };
        let request = push_request(Provider::Forgejo, &push, "d", None, Encoding::Json);
        let event = only_event(decoded(&request.body).unwrap());
        let first = |commit: &str| commit.chars().next().map(String::from).unwrap_or_default();
        let text = match &event.data {
            EventData::GitPush(push) => format!(
                "commit={} created={} deleted={} complete={}",
                first(&push.commit),
                push.created,
                push.deleted,
                push.paths_complete
            ),
            EventData::GitTag(tag) => format!(
                "commit={} created={} deleted={}",
                first(&tag.commit),
                tag.created,
                tag.deleted
            ),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            format!("{} {text}", event.kind),
            expected,
            "{git_ref} {before}"
        );
        assert!(event.subject.unwrap().starts_with("shop/infra@"));
    }
}

#[test]
fn other_refs_and_kinds_are_ignored_by_name() {
    for (git_ref, expected) in [
        (
            "refs/notes/commits",
            "`refs/notes/commits` is neither a branch nor a tag",
        ),
        (
            "refs/pull/1/head",
            "`refs/pull/1/head` is neither a branch nor a tag",
        ),
        ("main", "`main` is neither a branch nor a tag"),
    ] {
        let reason = match decoded(with("/ref", Some(json!(git_ref))).to_string().as_bytes()) {
            Ok(Decoded::Ignored { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason, expected);
    }
    for (kind, expected) in [
        (
            "create",
            "`create` is taken from the push that comes with it",
        ),
        (
            "delete",
            "`delete` makes no event: nothing starts from a deleted ref",
        ),
        ("pull_request", "`pull_request` makes no event"),
        ("something new", "`something new` makes no event"),
    ] {
        let request = request(Provider::Gitea, kind, "{}".into(), "", None, Encoding::Json);
        let mut headers = headers_of(&request);
        headers.remove("x-gitea-delivery");
        let ignored = decode(&source(Provider::Gitea), &headers, b"{}", now()).unwrap();
        assert_eq!(
            ignored,
            Decoded::Ignored {
                reason: expected.into()
            }
        );
        let broken = decode(&source(Provider::Gitea), &headers, b"{", now());
        assert!(matches!(broken, Err(Malformed::Json { .. })), "{broken:?}");
    }
}

#[test]
fn who_pushed_is_the_account_not_the_author() {
    let mut body = body();
    body["commits"][0]["author"] =
        json!({ "name": "root", "email": "root@example.org", "username": "admin" });
    body["pusher"]["login"] = json!("ann");
    assert_eq!(event_of(&body).actor.to_string(), "forgejo:ann");
    // Old versions have only `username`; a push by a key may have no pusher.
    body["pusher"] = json!({ "username": "kim" });
    assert_eq!(event_of(&body).actor.to_string(), "forgejo:kim");
    body["pusher"] = Value::Null;
    assert_eq!(event_of(&body).actor.to_string(), "forgejo:sample");
    body["sender"] = Value::Null;
    assert_eq!(refused(&body), "`pusher.login` is missing");
}

// ---- paths --------------------------------------------------------------------

#[test]
fn paths_are_complete_only_when_the_body_says_so() {
    let is_complete = |body: &Value| push_of(&event_of(body)).paths_complete;
    assert!(is_complete(&body()));
    for (pointer, value, expected) in [
        ("/total_commits", Some(json!(2)), false),
        ("/total_commits", Some(json!(1)), true),
        ("/total_commits", Some(json!(0)), true),
        ("/total_commits", Some(Value::Null), true),
        ("/total_commits", None, true),
        ("/commits", Some(Value::Null), false),
        ("/commits", Some(json!([])), false),
        ("/commits", None, false),
        ("/commits/0/id", Some(json!(BEFORE)), false),
        ("/commits/0/added", None, true),
        ("/commits/0/added", Some(Value::Null), true),
        ("/before", Some(json!(ZERO)), false),
    ] {
        let body = with(pointer, value.clone());
        assert_eq!(is_complete(&body), expected, "{pointer} {value:?}");
    }
    let mut without_lists = body();
    for list in ["added", "removed", "modified"] {
        without_lists["commits"][0]
            .as_object_mut()
            .unwrap()
            .remove(list);
    }
    assert!(!is_complete(&without_lists));
    // Five commits and no total: an older version may have left some out.
    let mut five = with("/total_commits", None);
    five["commits"] = vec![five["commits"][0].clone(); 5].into();
    assert!(!is_complete(&five));
}

#[test]
fn paths_are_a_sorted_union() {
    let mut body = body();
    body["commits"] = json!([
        { "id": AFTER, "added": ["b"], "removed": ["a"], "modified": [] },
        { "id": BEFORE, "added": ["a", "c/d"], "removed": [], "modified": ["b"] },
    ]);
    body["total_commits"] = json!(2);
    let event = event_of(&body);
    assert_eq!(push_of(&event).paths, ["a", "b", "c/d"]);
    assert!(push_of(&event).paths_complete);
}

#[test]
fn lists_and_texts_are_bounded() {
    let paths = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>();
    let pushed = |paths: Vec<String>| {
        let body = with("/commits/0/modified", Some(paths.into()));
        let event = event_of(&body);
        (push_of(&event).paths.len(), push_of(&event).paths_complete)
    };
    assert_eq!(
        pushed(paths(limits::EVENT_PATHS)),
        (limits::EVENT_PATHS, true)
    );
    assert_eq!(
        pushed(paths(limits::EVENT_PATHS + 1)),
        (limits::EVENT_PATHS, false)
    );
    assert_eq!(pushed(vec!["x".repeat(4_096)]), (1, true));
    assert_eq!(pushed(vec!["x".repeat(4_097)]), (0, false));
    let long: Vec<String> = (0..100)
        .map(|n| format!("{n:04}{}", "x".repeat(4_000)))
        .collect();
    assert_eq!(pushed(long), (24, false));

    let mut body = body();
    let commits: Vec<Value> = (0..limits::EVENT_COMMITS + 10)
        .map(|n| json!({ "id": if n == 0 { AFTER.to_owned() } else { format!("{n:040}") }, "message": format!("m{n}"), "added": [], "removed": [], "modified": [] }))
        .collect();
    body["total_commits"] = json!(1_000);
    body["commits"] = commits.into();
    let event = event_of(&body);
    let push = push_of(&event);
    assert_eq!(
        (push.commits.len(), push.commits_total),
        (limits::EVENT_COMMITS, 1_000)
    );
    // Oldest first: the newest, which is sent first, is the last.
    assert_eq!(push.commits.last().unwrap().id, AFTER);
    assert_eq!(push.commits.first().unwrap().message, "m49");
    assert_eq!(push.message, "A sample push");
}

/// However large a body is, its event fits.
#[test]
fn the_largest_event_fits() {
    let quotes = |length: usize| "\"".repeat(length);
    let commit = json!({
        "id": AFTER, "message": quotes(10_000), "url": quotes(10_000),
        "author": { "name": quotes(10_000), "email": quotes(10_000), "username": quotes(10_000) },
        "timestamp": quotes(10_000), "added": (0..100).map(|n| format!("{n}{}", quotes(4_000))).collect::<Vec<_>>(),
        "removed": [], "modified": [],
    });
    let mut body = body();
    body["commits"] = vec![commit; 60].into();
    for place in [
        "/repository/name",
        "/repository/full_name",
        "/repository/html_url",
        "/repository/default_branch",
        "/repository/owner/login",
        "/pusher/login",
        "/pusher/full_name",
        "/pusher/email",
        "/compare_url",
        "/head_commit/message",
    ] {
        *body.pointer_mut(place).unwrap() = quotes(100_000).into();
    }
    body["ref"] = format!("refs/heads/{}", quotes(1_000)).into();
    let event = event_of(&body);
    let bytes = u64::try_from(event.json.to_string().len()).unwrap();
    assert!(bytes <= limits::EVENT_DATA.0, "{bytes}");
    assert!(!push_of(&event).paths_complete);
}

#[test]
fn a_body_of_many_tiny_things_takes_no_memory() {
    let commits = format!("[{}{{}}]", "{},".repeat(1_000_000));
    let paths = format!("[{}\"\"]", "\"\",".repeat(1_000_000));
    let head = body().to_string();
    let head = head
        .strip_suffix('}')
        .unwrap()
        .replace("\"commits\":", "\"x\":");
    let event = only_event(decoded(format!("{head},\"commits\":{commits}}}").as_bytes()).unwrap());
    assert_eq!(push_of(&event).commits.len(), limits::EVENT_COMMITS);
    let text = format!("{head},\"commits\":[{{\"added\":{paths}}}]}}");
    let event = only_event(decoded(text.as_bytes()).unwrap());
    assert_eq!(push_of(&event).paths, [""]);
}
