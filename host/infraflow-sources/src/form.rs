//! `application/x-www-form-urlencoded` bodies: the JSON inside `payload`.

/// The decoded value of the one field `payload`.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn payload(body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut values = body.split(|b| *b == b'&').filter_map(|field| {
        let mut parts = field.splitn(2, |b| *b == b'=');
        let name = parts.next()?;
        (name == b"payload").then(|| parts.next().unwrap_or_default())
    });
    let Some(value) = values.next() else {
        return Err("the form has no field `payload`");
    };
    if values.next().is_some() {
        return Err("the form has more than one field `payload`");
    }
    decode(value).ok_or("the field `payload` is not URL-encoded")
}

/// Replaces `+` and `%XX`; `None` for a `%` without two hexadecimal digits.
fn decode(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => *other,
        });
    }
    Some(decoded)
}

fn hex_digit(byte: &u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Encodes a value as a browser does.
pub(crate) fn encode(value: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(value.len() * 3 / 2);
    for byte in value {
        match byte {
            b' ' => text.push('+'),
            b'*' | b'-' | b'.' | b'_' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => {
                let written = write!(text, "%{byte:02X}");
                debug_assert!(written.is_ok(), "a text takes everything");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms() {
        for (body, expected) in [
            ("payload=%7B%7D", Ok("{}")),
            ("a=1&payload=a+b%2B&c", Ok("a b+")),
            ("payload=", Ok("")),
            ("payload", Ok("")),
            ("payload=a=b", Ok("a=b")),
            ("payload=%7b", Ok("{")),
            ("", Err("the form has no field `payload`")),
            ("Payload=x", Err("the form has no field `payload`")),
            (
                "payload=1&payload=2",
                Err("the form has more than one field `payload`"),
            ),
            ("payload=%7", Err("the field `payload` is not URL-encoded")),
            ("payload=%zz", Err("the field `payload` is not URL-encoded")),
        ] {
            let expected = expected.map(|text: &str| text.as_bytes().to_vec());
            assert_eq!(payload(body.as_bytes()), expected, "{body}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let body = format!("payload={}", encode(&bytes));
            prop_assert_eq!(payload(body.as_bytes()), Ok(bytes));
        }
    }
}
