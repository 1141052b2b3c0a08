//! Bodies and headers that are refused, with the place.

use super::*;

#[test]
fn refusals_name_the_place() {
    for (pointer, value, expected) in [
        ("/ref", None, "`ref` is missing"),
        ("/ref", Some(Value::Null), "`ref` is missing"),
        ("/ref", Some(json!("refs/heads/")), "`ref` names nothing"),
        (
            "/ref",
            Some(json!("refs/heads/a\nb")),
            "`ref` holds a control character",
        ),
        (
            "/ref",
            Some(json!(format!("refs/heads/{}", "x".repeat(1_100)))),
            "`ref` is longer than a ref can be",
        ),
        ("/before", None, "`before` is missing"),
        ("/before", Some(json!("")), "`before` is missing"),
        ("/after", Some(json!("main")), "`after` is not a commit id"),
        (
            "/after",
            Some(json!("A".repeat(40))),
            "`after` is not a commit id",
        ),
        (
            "/after",
            Some(json!("a".repeat(41))),
            "`after` is not a commit id",
        ),
        ("/repository", None, "`repository` is missing"),
        ("/repository", Some(Value::Null), "`repository` is missing"),
        (
            "/repository/owner",
            Some(Value::Null),
            "`repository.owner.login` is missing",
        ),
        (
            "/repository/name",
            Some(json!("")),
            "`repository.name` is missing",
        ),
    ] {
        assert_eq!(refused(&with(pointer, value)), expected, "{pointer}");
    }
    let mut both = with("/before", Some(json!(ZERO)));
    both["after"] = json!(ZERO);
    assert_eq!(refused(&both), "`after` is zero, and so is `before`");
}

#[test]
fn wrong_json_is_refused_with_its_place() {
    for (text, expected) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("[]", "the body is not a JSON object"),
        ("null", "the body is not a JSON object"),
        (
            "{\n \"ref\": 5 }",
            "invalid type: integer `5`, expected a text at line 2 column 9",
        ),
        (
            "{\"ref\": \"a\", \"ref\": \"b\"}",
            "duplicate field `ref` at line 1 column 18",
        ),
        (
            "{\"ref\": \"\\ud800\"}",
            "unexpected end of hex escape at line 1 column 16",
        ),
        (
            "{\"total_commits\": 1e400}",
            "number out of range at line 1 column 23",
        ),
        (
            "{\"total_commits\": -1}",
            "invalid value: integer `-1`, expected u64 at line 1 column 20",
        ),
        (
            "{\"total_commits\": 99999999999999999999}",
            "invalid type: floating point `1e+20`, expected u64 at line 1 column 38",
        ),
        (
            "{\"commits\": {}}",
            "invalid type: map, expected a list of commits at line 1 column 14",
        ),
        (
            "{\"commits\": [5]}",
            "invalid type: integer `5`, expected a commit at line 1 column 14",
        ),
        (
            "{\"commits\": [{\"added\": 5}]}",
            "invalid type: integer `5`, expected a list of paths at line 1 column 24",
        ),
        (
            "{\"commits\": [{\"added\": [5]}]}",
            "invalid type: integer `5`, expected a text at line 1 column 25",
        ),
        ("{\"repository\": []}", "`before` is missing"),
        ("\u{feff}{}", "expected value at line 1 column 1"),
        ("{} {}", "trailing characters at line 1 column 4"),
    ] {
        let said = refused_text(text.as_bytes());
        assert_eq!(said, expected, "{text:?}");
    }
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let at = |place: &str| refused_text(format!("{{\"{place}\": {deep}}}").as_bytes());
    assert_eq!(at("x"), "`before` is missing");
    assert!(at("commits").starts_with("invalid type: sequence, expected a commit"));
    assert!(refused_text(b"{\"ref\": \"\xff\"}").starts_with("invalid unicode"));
}

#[test]
fn headers_that_do_not_fit() {
    let forgejo = [("x-forgejo-event", "push"), ("x-forgejo-delivery", "d")];
    let gitea = [("x-gitea-event", "push"), ("x-gitea-delivery", "d")];
    let both: Vec<_> = forgejo.into_iter().chain(gitea).collect();
    let said = |provider, pairs: &[(&str, &str)]| {
        let body = body().to_string();
        match decode(
            &source(provider),
            &headers(pairs.iter().copied()),
            body.as_bytes(),
            now(),
        ) {
            Ok(decoded) => only_event(decoded).id.to_string(),
            Err(malformed) => malformed.to_string(),
        }
    };
    let mut lines = String::new();
    for (provider, pairs) in [
        (Provider::Forgejo, &forgejo[..]),
        (Provider::Gitea, &gitea),
        (Provider::Forgejo, &both),
        (Provider::Gitea, &both),
        (Provider::Forgejo, &gitea),
        (Provider::Gitea, &forgejo),
        (
            Provider::Forgejo,
            &[("x-github-event", "push"), ("x-github-delivery", "d")],
        ),
        (Provider::Gitea, &[("x-gitlab-event", "Push Hook")]),
        (Provider::Gitea, &[("x-event-key", "repo:push")]),
        (Provider::Gitea, &[("x-gogs-event", "push")]),
        (Provider::Forgejo, &[]),
        (Provider::Forgejo, &[("x-forgejo-event", "push")]),
        (
            Provider::Forgejo,
            &[("x-forgejo-event", ""), ("x-forgejo-delivery", "d")],
        ),
        (
            Provider::Forgejo,
            &[
                ("x-forgejo-event", "push"),
                ("x-forgejo-event", "push"),
                ("x-forgejo-delivery", "d"),
            ],
        ),
        (
            Provider::Forgejo,
            &[("x-forgejo-event", "push"), ("x-forgejo-delivery", "é")],
        ),
        (
            Provider::Forgejo,
            &[
                ("x-forgejo-event", "push"),
                ("x-gitea-event", "create"),
                ("x-forgejo-delivery", "d"),
            ],
        ),
        (
            Provider::Gitea,
            &[
                ("x-gitea-event", "push"),
                ("x-gitea-delivery", "a"),
                ("x-forgejo-delivery", "b"),
            ],
        ),
    ] {
        lines.push_str(&format!(
            "{provider} {pairs:?}\n    => {}\n",
            said(provider, pairs)
        ));
    }
    let long = "x".repeat(257);
    let long = said(
        Provider::Gitea,
        &[("x-gitea-event", "push"), ("x-gitea-delivery", &long)],
    );
    lines.push_str(&format!("257 bytes => {long}\n"));
    expect![[r#"
        forgejo [("x-forgejo-event", "push"), ("x-forgejo-delivery", "d")]
            => d
        gitea [("x-gitea-event", "push"), ("x-gitea-delivery", "d")]
            => d
        forgejo [("x-forgejo-event", "push"), ("x-forgejo-delivery", "d"), ("x-gitea-event", "push"), ("x-gitea-delivery", "d")]
            => d
        gitea [("x-forgejo-event", "push"), ("x-forgejo-delivery", "d"), ("x-gitea-event", "push"), ("x-gitea-delivery", "d")]
            => d
        forgejo [("x-gitea-event", "push"), ("x-gitea-delivery", "d")]
            => source `shop` is of type `forgejo`, but the request comes from Gitea: set its `type` to `gitea`
        gitea [("x-forgejo-event", "push"), ("x-forgejo-delivery", "d")]
            => source `shop` is of type `gitea`, but the request comes from Forgejo: set its `type` to `forgejo`
        forgejo [("x-github-event", "push"), ("x-github-delivery", "d")]
            => source `shop` is of type `forgejo`, but the request comes from GitHub: GitHub is not supported yet
        gitea [("x-gitlab-event", "Push Hook")]
            => source `shop` is of type `gitea`, but the request comes from GitLab: GitLab is not supported yet
        gitea [("x-event-key", "repo:push")]
            => source `shop` is of type `gitea`, but the request comes from Bitbucket: Bitbucket is not supported yet
        gitea [("x-gogs-event", "push")]
            => source `shop` is of type `gitea`, but the request comes from Gogs: Gogs is not supported
        forgejo []
            => the header `x-forgejo-event` is missing
        forgejo [("x-forgejo-event", "push")]
            => the header `x-forgejo-delivery` is missing
        forgejo [("x-forgejo-event", ""), ("x-forgejo-delivery", "d")]
            => the header `x-forgejo-event` is not valid
        forgejo [("x-forgejo-event", "push"), ("x-forgejo-event", "push"), ("x-forgejo-delivery", "d")]
            => the header `x-forgejo-event` is not valid
        forgejo [("x-forgejo-event", "push"), ("x-forgejo-delivery", "é")]
            => the header `x-forgejo-delivery` is not valid
        forgejo [("x-forgejo-event", "push"), ("x-gitea-event", "create"), ("x-forgejo-delivery", "d")]
            => the headers `x-forgejo-event` and `x-gitea-event` disagree
        gitea [("x-gitea-event", "push"), ("x-gitea-delivery", "a"), ("x-forgejo-delivery", "b")]
            => the headers `x-gitea-delivery` and `x-forgejo-delivery` disagree
        257 bytes => the header `x-gitea-delivery` is not valid
    "#]].assert_eq(&lines);
}
