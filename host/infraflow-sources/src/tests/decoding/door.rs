//! One request through the door: signatures, encodings, secrets.

use super::*;

fn received(
    encoding: Encoding,
    change: impl FnOnce(&mut SampleRequest),
) -> Result<Decoded, Refused> {
    let secret = Secret::new(SECRET);
    let mut request = push_request(Provider::Forgejo, &sample(), "d", Some(&secret), encoding);
    change(&mut request);
    receive(
        &source(Provider::Forgejo),
        &headers_of(&request),
        &request.body,
        now(),
    )
}

fn set(request: &mut SampleRequest, name: &str, value: &str) {
    for header in request
        .headers
        .iter_mut()
        .filter(|(known, _)| *known == name)
    {
        header.1 = value.to_owned();
    }
}

#[test]
fn signed_requests_are_taken_in_both_encodings() {
    for encoding in [Encoding::Json, Encoding::Form] {
        let event = only_event(received(encoding, |_| {}).unwrap());
        assert_eq!(push_of(&event).paths, ["README.md"]);
    }
    for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON"] {
        received(Encoding::Json, |request| {
            set(request, "content-type", content_type);
        })
        .unwrap();
    }
    received(Encoding::Json, |request| {
        request.headers.retain(|(name, _)| *name != "content-type");
    })
    .unwrap();
}

#[test]
fn what_is_not_signed_is_refused() {
    for encoding in [Encoding::Json, Encoding::Form] {
        let changed = received(encoding, |request| {
            let last = request.body.len() - 2;
            request.body[last] ^= 1;
        });
        assert!(changed.is_err());
        let unsigned = received(encoding, |request| {
            request
                .headers
                .retain(|(name, _)| !name.ends_with("signature") && !name.contains("hub-"));
        });
        assert!(matches!(unsigned, Err(Refused::NotSigned)), "{unsigned:?}");
        // Every signature that is there must be right.
        for name in [
            "x-forgejo-signature",
            "x-gitea-signature",
            "x-hub-signature-256",
        ] {
            let wrong = received(encoding, |request| set(request, name, ""));
            assert!(
                matches!(wrong, Err(Refused::WrongSignature)),
                "{name}: {wrong:?}"
            );
        }
    }
    // A JSON body sent as a form, and the other way round.
    let as_form = received(Encoding::Json, |request| {
        set(request, "content-type", "application/x-www-form-urlencoded");
    });
    assert!(
        matches!(as_form, Err(Refused::Malformed(Malformed::Form(_)))),
        "{as_form:?}"
    );
    let as_json = received(Encoding::Form, |request| {
        set(request, "content-type", "application/json");
    });
    assert!(
        matches!(as_json, Err(Refused::WrongSignature)),
        "{as_json:?}"
    );
    let as_text = received(Encoding::Json, |request| {
        set(request, "content-type", "text/plain");
    });
    assert!(
        matches!(as_text, Err(Refused::Malformed(Malformed::ContentType))),
        "{as_text:?}"
    );
}

#[test]
fn any_of_several_secrets_will_do() {
    let secrets = vec![Secret::new("the new secret"), Secret::new(SECRET)];
    let rotating = WebhookSource::new(WebhookSettings {
        secrets,
        ..settings("shop", Provider::Forgejo)
    })
    .unwrap();
    for (secret, expected) in [
        (SECRET, true),
        ("the new secret", true),
        ("another one", false),
    ] {
        let secret = Secret::new(secret);
        let request = push_request(
            Provider::Forgejo,
            &sample(),
            "d",
            Some(&secret),
            Encoding::Json,
        );
        let received = receive(&rotating, &headers_of(&request), &request.body, now());
        assert_eq!(received.is_ok(), expected);
    }
}

#[test]
fn an_insecure_source_says_so_and_takes_anything() {
    let insecure = WebhookSource::new(WebhookSettings {
        secrets: vec![],
        insecure: true,
        ..settings("shop", Provider::Forgejo)
    })
    .unwrap();
    assert!(insecure.is_insecure());
    let request = push_request(Provider::Forgejo, &sample(), "d", None, Encoding::Json);
    receive(&insecure, &headers_of(&request), &request.body, now()).unwrap();
}

#[test]
fn a_source_checks_something_or_says_that_it_does_not() {
    let made = |secrets: &[&str], insecure| {
        WebhookSource::new(WebhookSettings {
            secrets: secrets.iter().map(|secret| Secret::new(secret)).collect(),
            insecure,
            ..settings("shop", Provider::Forgejo)
        })
        .map(|source| source.is_insecure())
        .map_err(|error| error.to_string())
    };
    assert_eq!(made(&["12345678"], false), Ok(false));
    assert_eq!(made(&[], true), Ok(true));
    let text = made(&[], false).unwrap_err();
    assert!(
        text.contains("set `secret`") && text.contains("`insecure: true`"),
        "{text}"
    );
    assert!(
        made(&["12345678"], true)
            .unwrap_err()
            .contains("leave one of them out")
    );
    let short = made(&["1234567"], false).unwrap_err();
    assert!(
        short.contains("7 bytes") && !short.contains("1234567"),
        "{short}"
    );
    let error = WebhookSource::new(WebhookSettings {
        secrets: vec![],
        ..settings("shop", Provider::Forgejo)
    });
    assert!(matches!(error, Err(SourceError::NoSecret { .. })));
    assert!(!format!("{:?}", source(Provider::Forgejo)).contains(SECRET));
}
