//! Secrets of the configuration: files and environment variables.
//!
//! Never keeps a value: each reading asks its place again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use infraflow_core::id::SecretName;
use infraflow_core::limits::{SECRET, SECRET_MIN};
use infraflow_core::ports::{Secret, SecretError, Secrets};

use crate::config::SecretPlace;

/// The secrets of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredSecrets(BTreeMap<SecretName, SecretPlace>);

impl ConfiguredSecrets {
    /// These secrets.
    pub(crate) fn new(places: BTreeMap<SecretName, SecretPlace>) -> Self {
        Self(places)
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<SecretName> {
        self.0.keys().cloned().collect()
    }
}

impl Secrets for ConfiguredSecrets {
    fn read(&self, name: &SecretName) -> Result<Secret, SecretError> {
        let place = self
            .0
            .get(name)
            .ok_or_else(|| SecretError::Unknown(name.clone()))?;
        let unreadable = |reason: String| SecretError::Unreadable {
            name: name.clone(),
            reason,
        };
        let value = match place {
            SecretPlace::File(path) => {
                let mut text = String::new();
                let read = fs::File::open(path)
                    .and_then(|file| file.take(SECRET.0 + 1).read_to_string(&mut text));
                read.map_err(|error| unreadable(format!("file `{path}`: {error}")))?;
                text
            }
            SecretPlace::Environment(variable) => std::env::var(variable).map_err(|error| {
                unreadable(format!("environment variable `{variable}`: {error}"))
            })?,
        };
        let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if bytes > SECRET.0 {
            return Err(unreadable(format!("it has more than {SECRET}")));
        }
        let one_line = value.strip_suffix('\n').unwrap_or(&value);
        // A key ends with a newline, a password does not.
        let value = if one_line.contains('\n') {
            value.as_str()
        } else {
            one_line
        };
        if u64::try_from(value.len()).unwrap_or(0) < SECRET_MIN.0 {
            return Err(unreadable(format!(
                "it has less than {SECRET_MIN}: such a short text cannot be masked in logs"
            )));
        }
        Ok(Secret::new(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;

    fn read(content: &[u8]) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("s")).unwrap();
        fs::write(&path, content).unwrap();
        let name = SecretName::new("s").unwrap();
        ConfiguredSecrets::new(BTreeMap::from([(name.clone(), SecretPlace::File(path))]))
            .read(&name)
            .map(|secret| secret.expose().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values() {
        assert_eq!(read(b"password1\n"), Ok("password1".into()));
        assert_eq!(read(b"password1"), Ok("password1".into()));
        assert_eq!(
            read(b"-----BEGIN\nx\n-----END\n"),
            Ok("-----BEGIN\nx\n-----END\n".into())
        );
    }

    #[test]
    fn promise_08_what_cannot_be_used_is_said_without_its_value() {
        for (content, expected) in [
            (&b"tiny7\n"[..], "less than 8 bytes"),
            (b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe\xff", "valid UTF-8"),
            (&[b'x'; 70_000], "more than 64 KiB"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(
                !error.contains("tiny7") && !error.contains("xxx"),
                "{error}"
            );
        }
        let none = ConfiguredSecrets::new(BTreeMap::new());
        let error = none.read(&SecretName::new("nope").unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "secret `nope` is not in the configuration"
        );
    }
}
