//! Reading a step's `with`: errors name the field, and types that people write
//! in YAML in more than one way.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::StepError;

/// Reads an input.
///
/// # Errors
/// A failure that names the field, what it holds and what was expected.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StepError> {
    // A derived struct would take a list as its fields in order.
    if !text.trim_start().starts_with('{') {
        return Err(StepError::new("`with`: expected a map of names to values"));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner().to_string();
        // The position is one of the rendered JSON, which nobody has seen.
        let reason = reason
            .split_once(" at line ")
            .map_or(reason.as_str(), |(head, _)| head);
        if path == "." {
            StepError::new(format!("`with`: {reason}"))
        } else {
            StepError::new(format!("`with.{path}`: {reason}"))
        }
    })
}

/// One text or a list of texts; `null` is an empty list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_unit<E: de::Error>(self) -> Result<OneOrMany, E> {
                Ok(OneOrMany::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }

        deserializer.deserialize_any(Texts)
    }
}

/// A text, or a number or truth value as its text: what `args: [-n, 3]` means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scalar(pub String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a number, true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(value.to_string()))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

/// A map of names to secrets' names, as the host takes it.
pub fn pairs(map: BTreeMap<String, String>) -> Vec<(String, String)> {
    map.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        #[serde(default)]
        limit: OneOrMany,
        #[serde(default)]
        args: Vec<Scalar>,
        #[serde(default)]
        check: bool,
    }

    #[test]
    fn one_or_many_and_scalars() {
        for (text, limit) in [
            (r#"{"limit": "web"}"#, &["web"][..]),
            (r#"{"limit": ["web", "db"]}"#, &["web", "db"]),
            (r#"{"limit": null}"#, &[]),
            ("{}", &[]),
        ] {
            assert_eq!(parse::<Input>(text).unwrap().limit.0, limit, "{text}");
        }
        let input: Input = parse(r#"{"args": ["-n", 3, -4, 0.5, true], "check": true}"#).unwrap();
        let args: Vec<String> = input.args.into_iter().map(|arg| arg.0).collect();
        assert_eq!(args, ["-n", "3", "-4", "0.5", "true"]);
        assert!(input.check);
    }

    #[test]
    fn errors_name_the_field() {
        for (text, expected) in [
            (
                r#"{"check": "yes"}"#,
                "`with.check`: invalid type: string \"yes\", expected a boolean",
            ),
            (
                r#"{"limit": ["a", 1]}"#,
                "`with.limit[1]`: invalid type: integer `1`, expected a string",
            ),
            (
                r#"{"args": [[]]}"#,
                "`with.args[0]`: invalid type: sequence, expected a string, a number, true or false",
            ),
            (
                r#"{"chek": true}"#,
                "`with.chek`: unknown field `chek`, expected one of `limit`, `args`, `check`",
            ),
            ("[]", "`with`: expected a map of names to values"),
            ("1", "`with`: expected a map of names to values"),
        ] {
            let error = parse::<Input>(text).unwrap_err();
            assert_eq!(error.message, expected, "{text}");
            assert!(!error.transient);
        }
    }
}
