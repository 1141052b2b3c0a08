//! Arguments that several calls have, into types of core.

use infraflow_core::id::{Digest, SecretName};
use infraflow_core::limits::ByteCount;
use infraflow_core::tool::{GuestPath, SecretEnv};
use infraflow_core::{Json, JsonMap};

use super::{Failure, invalid};
use crate::limits::{PATHS, VARIABLE_BYTES, VARIABLES, VARIABLES_SET, WORD, WORDS};

/// A path relative to the workspace.
pub(super) fn path(text: &str) -> Result<GuestPath, Failure> {
    GuestPath::new(text).map_err(invalid)
}

/// Paths, at most [`PATHS`].
pub(super) fn paths(what: &str, texts: &[String]) -> Result<Vec<GuestPath>, Failure> {
    at_most(what, texts.len(), PATHS)?;
    texts.iter().map(|text| path(text)).collect()
}

/// A list's length.
pub(super) fn at_most(what: &str, count: usize, max: usize) -> Result<(), Failure> {
    if count > max {
        return Err(invalid(format!(
            "`{what}` has {count} entries, more than the {max} allowed"
        )));
    }
    Ok(())
}

/// A size.
pub(super) fn bytes_at_most(what: &str, bytes: usize, max: ByteCount) -> Result<(), Failure> {
    if bytes > max.to_usize() {
        return Err(invalid(format!(
            "`{what}` has {bytes} bytes, more than the {max} allowed"
        )));
    }
    Ok(())
}

/// Host patterns or tags: not empty, one line each.
pub(super) fn words(what: &str, texts: Vec<String>) -> Result<Vec<String>, Failure> {
    at_most(what, texts.len(), WORDS)?;
    for text in &texts {
        word(what, text)?;
    }
    Ok(texts)
}

/// A pattern, a tag, a user name: not empty, one line, no option.
pub(super) fn word(what: &str, text: &str) -> Result<(), Failure> {
    let shown: String = text.chars().take(80).collect();
    let shown = shown.escape_debug();
    if text.is_empty() {
        Err(invalid(format!("`{what}` holds an empty text")))
    } else if text.len() > WORD {
        Err(invalid(format!(
            "`{what}` holds `{shown}...`, which is longer than {WORD} bytes"
        )))
    } else if text.chars().any(char::is_control) {
        Err(invalid(format!(
            "`{what}` holds `{shown}`, which has a control character"
        )))
    } else if text.starts_with('-') {
        Err(invalid(format!(
            "`{what}` holds `{shown}`, which starts with `-`"
        )))
    } else {
        Ok(())
    }
}

/// Variables: a JSON object. An empty text is an empty object.
pub(super) fn variables(what: &str, text: &str) -> Result<JsonMap, Failure> {
    bytes_at_most(what, text.len(), VARIABLES)?;
    if text.is_empty() {
        return Ok(JsonMap::new());
    }
    match serde_json::from_str(text) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => Err(invalid(format!("`{what}` is not a JSON object"))),
        Err(error) => Err(invalid(format!("`{what}` is not JSON: {error}"))),
    }
}

/// A secret's name.
pub(super) fn secret_name(text: &str) -> Result<SecretName, Failure> {
    SecretName::new(text).map_err(|error| invalid(error.to_string()))
}

/// A digest.
pub(super) fn digest(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|error: infraflow_core::id::InvalidName| invalid(error.to_string()))
}

/// Environment variables whose values are secrets.
pub(super) fn secret_env(pairs: Vec<(String, String)>) -> Result<Vec<SecretEnv>, Failure> {
    at_most("secret-env", pairs.len(), VARIABLES_SET)?;
    pairs
        .into_iter()
        .map(|(variable, secret)| {
            variable_name("secret-env", &variable)?;
            let secret = secret_name(&secret)?;
            Ok(SecretEnv { variable, secret })
        })
        .collect()
}

/// Environment variables with values.
pub(super) fn env(pairs: Vec<(String, String)>) -> Result<Vec<(String, String)>, Failure> {
    at_most("env", pairs.len(), VARIABLES_SET)?;
    let bytes = pairs.iter().map(|(_, value)| value.len()).sum();
    bytes_at_most("env", bytes, VARIABLE_BYTES)?;
    for (name, value) in &pairs {
        variable_name("env", name)?;
        if value.contains('\0') {
            return Err(invalid(format!(
                "the value of `{name}` in `env` holds a NUL"
            )));
        }
    }
    Ok(pairs)
}

/// The names of secrets in a list of variables.
pub(super) fn names_of(env: &[SecretEnv]) -> Vec<SecretName> {
    env.iter().map(|pair| pair.secret.clone()).collect()
}

/// Variables that change which code a program runs, or where it looks for it.
const REFUSED: [&str; 16] = [
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "ENV",
    "BASH_ENV",
    "CDPATH",
    "TMPDIR",
    "NODE_OPTIONS",
    "NODE_PATH",
    "JAVA_TOOL_OPTIONS",
    "CLASSPATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GCONV_PATH",
    "LOCPATH",
];

/// Families of them.
const REFUSED_STARTS: [&str; 8] = [
    "LD_",
    "DYLD_",
    "PYTHON",
    "PERL",
    "RUBY",
    "GLIBC_",
    "MALLOC_",
    "BASH_FUNC_",
];

fn variable_name(what: &str, name: &str) -> Result<(), Failure> {
    let shown: String = name.chars().take(80).collect();
    let plain = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return Err(invalid(format!(
            "`{}` in `{what}` is not the name of an environment variable: expected letters, digits and `_`",
            shown.escape_debug()
        )));
    }
    let refused =
        REFUSED.contains(&name) || REFUSED_STARTS.iter().any(|start| name.starts_with(start));
    if refused {
        return Err(invalid(format!(
            "`{shown}` in `{what}` decides which code a program runs and cannot be set"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::tool::CallError;

    fn text_of<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        match result {
            Err(Failure::Refused(CallError::Invalid(text))) => text,
            other => panic!("expected an invalid argument, got {other:?}"),
        }
    }

    #[test]
    fn lists_and_sizes_at_the_limit_and_one_past_it() {
        assert!(at_most("x", 16, 16).is_ok());
        assert_eq!(
            text_of(at_most("x", 17, 16)),
            "`x` has 17 entries, more than the 16 allowed"
        );
        assert!(bytes_at_most("x", 1_024, ByteCount::kib(1)).is_ok());
        assert_eq!(
            text_of(bytes_at_most("x", 1_025, ByteCount::kib(1))),
            "`x` has 1025 bytes, more than the 1 KiB allowed"
        );
        assert!(paths("inventory", &vec!["a".to_owned(); 16]).is_ok());
        assert!(paths("inventory", &vec!["a".to_owned(); 17]).is_err());
    }

    #[test]
    fn words_are_one_line_and_no_option() {
        for good in ["web", "web*:!db", "@retry", "ü", &"x".repeat(1_024)] {
            assert!(word("limit", good).is_ok(), "{good}");
        }
        for (bad, expected) in [
            ("", "`limit` holds an empty text"),
            (
                "a\nb",
                "`limit` holds `a\\nb`, which has a control character",
            ),
            ("-i", "`limit` holds `-i`, which starts with `-`"),
        ] {
            assert_eq!(text_of(word("limit", bad)), expected);
        }
        assert!(word("limit", &"x".repeat(1_025)).is_err());
        assert!(words("tags", vec!["t".to_owned(); 257]).is_err());
    }

    #[test]
    fn variables_are_objects() {
        assert!(variables("vars", "").unwrap().is_empty());
        assert_eq!(variables("vars", r#"{"a": 1}"#).unwrap().len(), 1);
        assert_eq!(
            text_of(variables("vars", "[]")),
            "`vars` is not a JSON object"
        );
        assert!(text_of(variables("vars", "{")).starts_with("`vars` is not JSON"));
        let deep = "[".repeat(10_000);
        assert!(variables("vars", &deep).is_err());
        let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(256 * 1024));
        assert!(text_of(variables("vars", &large)).contains("256 KiB"));
    }

    #[test]
    fn environment_variables_have_harmless_names() {
        let pair = |name: &str| vec![(name.to_owned(), "v".to_owned())];
        for good in ["A", "_x", "AWS_SECRET_ACCESS_KEY", "TF_VAR_region", "LDAP"] {
            assert!(env(pair(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1A",
            "A B",
            "A=B",
            "A\0",
            "Ä",
            "PATH",
            "LD_PRELOAD",
            "PYTHONPATH",
            "PERL5LIB",
            "BASH_ENV",
            "GIT_SSH_COMMAND",
            &"A".repeat(129),
        ] {
            assert!(env(pair(bad)).is_err(), "{bad}");
            assert!(secret_env(pair(bad)).is_err(), "{bad}");
        }
        assert!(env(vec![("A".to_owned(), "a\0b".to_owned())]).is_err());
        assert!(env(vec![("A".to_owned(), "x".repeat(128 * 1024 + 1))]).is_err());
        assert!(secret_env(vec![("A".to_owned(), "no name".to_owned())]).is_err());
        assert!(env(vec![("A".to_owned(), String::new()); 129]).is_err());
    }
}
