//! `docs/events.md` is the one table of fields: it names exactly those that
//! events have.

use std::collections::BTreeSet;

use infraflow_core::event::Provider;
use serde_json::Value;

use super::{headers_of, now, only_event, source};
use crate::gitea_family::decode;
use crate::sample::{Encoding, SamplePush, push_request};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/events.md");
    std::fs::read_to_string(path).unwrap()
}

/// The first column of the first table under a heading.
fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .expect(heading);
    rest.lines()
        .skip_while(|line| !line.starts_with("| field"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.split('`')
                .nth(1)
                .expect("a field in backticks")
                .to_owned()
        })
        .collect()
}

/// The names of all fields of a document, with dots, and `[]` after a list.
fn fields(path: &str, value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                names.insert(path.clone());
                fields(&path, value, names);
            }
        }
        Value::Array(items) => {
            for item in items {
                fields(&format!("{path}[]"), item, names);
            }
        }
        _ => {}
    }
}

#[test]
fn the_tables_name_the_fields_of_events() {
    let page = page();
    for (heading, git_ref) in [("git.push", "refs/heads/main"), ("git.tag", "refs/tags/v1")] {
        let push = SamplePush {
            git_ref: git_ref.to_owned(),
            ..SamplePush::to_main("shop/infra", &"1".repeat(40), &"2".repeat(40))
        };
        let request = push_request(Provider::Gitea, &push, "d", None, Encoding::Json);
        let source = source(Provider::Gitea);
        let decoded = decode(&source, &headers_of(&request), &request.body, now());
        let event = only_event(decoded.unwrap());
        assert_eq!(event.kind.as_str(), heading);
        let mut names = BTreeSet::new();
        fields("", &event.json, &mut names);
        assert_eq!(documented(&page, heading), names, "{heading}");
    }
}

#[test]
fn what_is_not_produced_yet_is_specified() {
    let page = page();
    for (heading, field) in [
        ("git.pull_request", "target_branch"),
        ("git.release", "tag"),
    ] {
        assert!(documented(&page, heading).contains(field), "{heading}");
        let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        assert!(
            rest.trim_start().starts_with("*Not produced yet"),
            "{heading}"
        );
    }
}
