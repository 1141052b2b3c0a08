//! Files that say where NATS is and who one is there. They are shell: what
//! `nats` and `infraflow` read from the environment.

use std::fs;

use camino::Utf8Path;
use infraflow_bus::Credentials;

/// Where NATS is and who one is there.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NatsAccess {
    /// The address.
    pub(crate) url: String,
    /// The user.
    pub(crate) user: String,
    /// The password.
    pub(crate) password: String,
}

impl NatsAccess {
    /// The file's text.
    pub(crate) fn to_text(&self) -> String {
        format!(
            "# For `nats` and other clients: `. this-file` in a shell.\n\
             export NATS_URL={}\nexport NATS_USER={}\nexport NATS_PASSWORD={}\n",
            self.url, self.user, self.password
        )
    }

    /// Reads such a file.
    pub(crate) fn read(path: &Utf8Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.trim().to_owned())
                .ok_or_else(|| format!("it does not set {name}"))
        };
        Ok(Self {
            url: value("NATS_URL")?,
            user: value("NATS_USER")?,
            password: value("NATS_PASSWORD")?,
        })
    }

    /// The same for a connection.
    pub(crate) fn credentials(&self) -> Credentials {
        if self.password.is_empty() {
            return Credentials::Anonymous;
        }
        Credentials::Password {
            user: self.user.clone(),
            password: self.password.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camino::Utf8PathBuf;

    #[test]
    fn what_is_written_reads_back() {
        let access = NatsAccess {
            url: "nats://127.0.0.1:4222".into(),
            user: "operator".into(),
            password: "00ff".into(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("a.env")).unwrap();
        fs::write(&path, access.to_text()).unwrap();
        assert!(NatsAccess::read(&path).is_ok_and(|read| read == access));
        fs::write(&path, "export NATS_URL=x\n").unwrap();
        assert_eq!(
            NatsAccess::read(&path).err(),
            Some("it does not set NATS_USER".to_owned())
        );
    }
}
