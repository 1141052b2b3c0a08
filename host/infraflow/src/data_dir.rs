//! The data directory: everything that the host keeps on disk, and who may read
//! what of it.
//!
//! ```text
//! data_dir/            0711  tools may pass, not look
//!   lock                     held by the watchdog
//!   host-name                this host's name, drawn once
//!   nats/              0700  the embedded server: configuration, streams, log
//!   credentials/       0700  host.env, operator.env
//!   keys/              0700  the key that plans and states are sealed with
//!   cache/             0700  compiled components
//!   work/              0711  one folder a run
//!   tofu/              0711  states while a tool works on them
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_bus::BlobKey;
use infraflow_core::id::HostName;

/// The data directory could not be used.
#[derive(Debug, thiserror::Error)]
#[error("use `{path}` in the data directory")]
pub(crate) struct DataDirError {
    path: Utf8PathBuf,
    #[source]
    source: io::Error,
}

/// The data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(Utf8PathBuf);

impl DataDir {
    /// The paths of a data directory that may not be there.
    pub(crate) fn at(path: Utf8PathBuf) -> Self {
        Self(path)
    }

    /// Makes what is missing.
    pub(crate) fn prepare(&self) -> Result<(), DataDirError> {
        self.folder(&self.0, 0o711)?;
        for (name, mode) in [
            ("nats", 0o700),
            ("credentials", 0o700),
            ("keys", 0o700),
            ("cache", 0o700),
        ] {
            self.folder(&self.0.join(name), mode)?;
        }
        Ok(())
    }

    fn folder(&self, path: &Utf8Path, mode: u32) -> Result<(), DataDirError> {
        let failed = |source| DataDirError {
            path: path.to_owned(),
            source,
        };
        match fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
        {
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed),
            Err(source) => Err(failed(source)),
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.0
    }

    /// The embedded server's folder.
    pub(crate) fn nats(&self) -> Utf8PathBuf {
        self.0.join("nats")
    }

    /// Compiled components.
    pub(crate) fn component_cache(&self) -> Utf8PathBuf {
        self.0.join("cache")
    }

    /// How the host connects to the embedded server.
    pub(crate) fn host_credentials(&self) -> Utf8PathBuf {
        self.0.join("credentials/host.env")
    }

    /// How people connect.
    pub(crate) fn operator_credentials(&self) -> Utf8PathBuf {
        self.0.join("credentials/operator.env")
    }

    /// This host's name: drawn once, the same over restarts.
    pub(crate) fn host_name(&self) -> Result<HostName, DataDirError> {
        let path = self.0.join("host-name");
        let failed = |source| DataDirError {
            path: path.clone(),
            source,
        };
        match fs::read_to_string(&path) {
            Ok(text) => HostName::new(text.trim())
                .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = format!("host-{}", random_hex::<4>().map_err(failed)?);
                self.write_private("host-name", &format!("{name}\n"))?;
                HostName::new(&name)
                    .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The key that blobs are sealed with: drawn once. Whoever loses it loses
    /// the stored states.
    pub(crate) fn blob_key(&self) -> Result<BlobKey, DataDirError> {
        let path = self.0.join("keys/blobs.key");
        let failed = |source| DataDirError {
            path: path.clone(),
            source,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = random_hex::<32>().map_err(failed)?;
                self.write_private("keys/blobs.key", &text)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        Ok(BlobKey::new(bytes))
    }

    /// Writes a file that only its owner reads, whole or not at all.
    pub(crate) fn write_private(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let path = self.0.join(name);
        let failed = |source| DataDirError {
            path: path.clone(),
            source,
        };
        let temporary = self.0.join(format!("{name}.new"));
        let write = || -> io::Result<()> {
            // A leftover of a killed host may have other permissions.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(failed)
    }
}

/// Random bytes as hexadecimal digits.
pub(crate) fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data_dir(folder: &tempfile::TempDir) -> DataDir {
        let path = Utf8PathBuf::from_path_buf(folder.path().join("data")).unwrap();
        let data = DataDir::at(path);
        data.prepare().unwrap();
        data
    }

    #[test]
    fn names_and_keys_are_drawn_once() {
        let folder = tempfile::tempdir().unwrap();
        let data = data_dir(&folder);
        let name = data.host_name().unwrap();
        assert_eq!(data.host_name().unwrap(), name);
        data.blob_key().unwrap();
        let key = fs::read(data.path().join("keys/blobs.key")).unwrap();
        data.blob_key().unwrap();
        assert_eq!(fs::read(data.path().join("keys/blobs.key")).unwrap(), key);
    }

    #[test]
    fn only_the_owner_reads_secrets_and_tools_may_pass() {
        let folder = tempfile::tempdir().unwrap();
        let data = data_dir(&folder);
        data.blob_key().unwrap();
        data.write_private("credentials/host.env", "x").unwrap();
        let mode = |name: &str| {
            fs::metadata(data.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(""), 0o711);
        for folder in ["nats", "credentials", "keys", "cache"] {
            assert_eq!(mode(folder), 0o700, "{folder}");
        }
        for file in ["keys/blobs.key", "credentials/host.env"] {
            assert_eq!(mode(file), 0o600, "{file}");
        }
    }

    #[test]
    fn a_damaged_key_is_said_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let data = data_dir(&folder);
        data.write_private("keys/blobs.key", "nonsense").unwrap();
        let error = data.blob_key().unwrap_err();
        assert!(error.to_string().contains("keys/blobs.key"), "{error}");
        assert_eq!(
            fs::read(data.path().join("keys/blobs.key")).unwrap(),
            b"nonsense"
        );
    }
}
