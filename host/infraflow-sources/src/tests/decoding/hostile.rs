//! Names and bodies of somebody who means harm.

use super::*;

#[test]
fn hostile_names_stay_texts() {
    for name in [
        "a.b",
        "a b",
        "a/b",
        "*",
        ">",
        "a.>",
        "日本",
        "..",
        "-",
        "\u{202e}x",
        "a\u{0}b\r\nc\u{1b}[0m",
    ] {
        let mut body = with("/repository/name", Some(json!(name)));
        body["repository"]["full_name"] = json!(format!("{name}/{name}"));
        body["repository"]["owner"]["login"] = json!(name);
        body["pusher"]["login"] = json!(name);
        let event = event_of(&body);
        let push = push_of(&event);
        let shown = [
            push.repository.name.as_str(),
            &push.repository.full_name,
            &push.repository.owner,
            event.subject.as_deref().unwrap(),
            &event.actor.to_string(),
        ]
        .concat();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        if !name.contains(char::is_control) {
            assert_eq!(push.repository.name, name);
        }
        let again = EventData::from_document(&event.kind, &event.json).unwrap();
        assert_eq!(again, event.data);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(Value::from(ZERO)),
        Just(Value::from(AFTER)),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,10}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(&bytes);
    }

    #[test]
    fn any_value_anywhere_is_taken_or_refused(
        at in 0..24_usize,
        value in any_json(),
    ) {
        let places = [
            "/ref", "/before", "/after", "/compare_url", "/commits", "/commits/0", "/commits/0/id",
            "/commits/0/message", "/commits/0/author", "/commits/0/author/name", "/commits/0/added",
            "/commits/0/timestamp", "/total_commits", "/head_commit", "/head_commit/message",
            "/repository", "/repository/owner", "/repository/owner/login", "/repository/name",
            "/repository/full_name", "/pusher", "/pusher/login", "/sender", "/sender/login",
        ];
        let body = with(places[at], Some(value));
        if let Ok(Decoded::Events(events)) = decoded(body.to_string().as_bytes()) {
            for event in events {
                let subject = event.subject.clone().unwrap_or_default();
                prop_assert!(!subject.contains(char::is_control));
                prop_assert!(event.json.to_string().len() < 512 * 1024);
                let again = EventData::from_document(&event.kind, &event.json).unwrap();
                prop_assert_eq!(again, event.data);
            }
        }
    }

    #[test]
    fn any_headers_are_taken_or_refused(
        pairs in proptest::collection::vec(("x-(forgejo|gitea|github|gogs)-(event|delivery|signature)|x-hub-signature-256|content-type", "[ -~]{0,70}"), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let headers = headers(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let received = receive(&source(Provider::Forgejo), &headers, &body, now());
        prop_assert!(received.is_err());
    }
}
