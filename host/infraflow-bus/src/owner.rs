//! Whose account of a NATS server this is: one host's alone, or that of several
//! with leases. The two never mix: a host that is alone takes every claim of
//! others for that of a dead one.
//!
//! The key `owner` of the bucket `hosts` names the host that is alone.

use infraflow_core::id::HostName;

use crate::blobs::BlobKey;
use crate::connect::Bus;
use crate::kv::{self, Bucket};
use crate::reply::NotStored;

const OWNER: &str = "owner";
const BLOB_KEY: &str = "blob_key";

/// Longest value of ours in these keys.
const VALUE_BYTES_MAX: usize = 256;

/// How often a key that somebody else changed is looked at again.
const TRIES: usize = 4;

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another host has the account for itself.
    #[error(
        "host `{owner}` has this NATS account for itself: use its data directory, or start it \
         without `sole_host`, so that both share the account. When that host is gone for good, \
         remove the key `owner` of the bucket `hosts` (`nats kv del hosts owner`)"
    )]
    Other {
        /// That host.
        owner: String,
    },
    /// Other hosts share the account.
    #[error(
        "hosts share this NATS account: {}. Start this one without `sole_host`, or stop them \
         first. When one of them is gone for good, remove its lease (`nats kv del hosts \
         lease.<host>`)", hosts.join(", ")
    )]
    Shared {
        /// Hosts with a lease.
        hosts: Vec<String>,
    },
    /// The server does not answer.
    #[error("ask NATS which host it belongs to: {0}")]
    Unavailable(String),
}

/// Why the key of this host's blobs cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlobKeyError {
    /// The hosts of this account seal with another one.
    #[error(
        "this host seals stored files with another key ({ours}) than the other hosts of this NATS \
         account ({theirs}), and could not read theirs: copy `<data_dir>/keys/blobs.key` of one of \
         them over this host's. When none of them is left, remove the key `blob_key` of the bucket \
         `hosts` (`nats kv del hosts blob_key`); what is stored cannot be read then"
    )]
    Differs {
        /// The fingerprint of this host's key.
        ours: String,
        /// The fingerprint that the account has.
        theirs: String,
    },
    /// The server does not answer.
    #[error("ask NATS which key its hosts seal with: {0}")]
    Unavailable(String),
}

impl Bus {
    /// Takes the account for this host alone, or finds that it has it.
    ///
    /// # Errors
    /// When another host has it, others share it, or the server does not
    /// answer.
    pub async fn own_alone(&self, host: &HostName) -> Result<(), OwnerError> {
        let bucket = kv::hosts(self);
        let before = text(&bucket, OWNER).await?;
        match claim(&bucket, OWNER, host.as_str()).await? {
            Some(owner) => return Err(OwnerError::Other { owner }),
            None => tracing::debug!("this host has the NATS account for itself"),
        }
        // After the owner is written: see `HostStore::check_owner`.
        let own = format!("lease.{host}");
        let mut hosts = Vec::new();
        for key in bucket.keys("lease.*").await.map_err(unavailable)? {
            let stored = bucket.read(&key).await.map_err(unavailable)?;
            if key != own && stored.is_some_and(|stored| stored.value.is_some()) {
                hosts.push(key.trim_start_matches("lease.").to_owned());
            }
        }
        if hosts.is_empty() {
            // Of a life that shared the account; its data directory is ours.
            return remove_if_there(&bucket, &own).await;
        }
        if before.is_none() {
            remove_if_there(&bucket, OWNER).await?;
        }
        Err(OwnerError::Shared { hosts })
    }

    /// Makes sure that no other host has the account for itself, and gives up
    /// having it.
    ///
    /// # Errors
    /// When another host has it, or the server does not answer.
    pub async fn share(&self, host: &HostName) -> Result<(), OwnerError> {
        let bucket = kv::hosts(self);
        match other_owner(&bucket, host).await.map_err(unavailable)? {
            Some(owner) => Err(OwnerError::Other { owner }),
            None => remove_if_there(&bucket, OWNER).await,
        }
    }

    /// Makes sure that all hosts of the account seal with the same key: the
    /// first one decides.
    ///
    /// # Errors
    /// When the others have another key, or the server does not answer.
    pub async fn check_blob_key(&self, key: &BlobKey) -> Result<(), BlobKeyError> {
        let ours = key.fingerprint();
        let found = claim(&kv::hosts(self), BLOB_KEY, &ours).await;
        match found.map_err(|error| BlobKeyError::Unavailable(error.to_string()))? {
            None => Ok(()),
            Some(theirs) => Err(BlobKeyError::Differs { ours, theirs }),
        }
    }
}

fn unavailable(reason: String) -> OwnerError {
    OwnerError::Unavailable(reason)
}

/// The other host that has the account for itself.
pub(crate) async fn other_owner(
    bucket: &Bucket,
    host: &HostName,
) -> Result<Option<String>, String> {
    let owner = text(bucket, OWNER)
        .await
        .map_err(|error| error.to_string())?;
    Ok(owner.filter(|owner| owner != host.as_str()))
}

/// What a key says, cut to what is shown.
async fn text(bucket: &Bucket, key: &str) -> Result<Option<String>, OwnerError> {
    let stored = bucket.read(key).await.map_err(unavailable)?;
    let value = stored.and_then(|stored| stored.value);
    Ok(value.map(|value| {
        let value = value.get(..VALUE_BYTES_MAX).unwrap_or(&value);
        let text = String::from_utf8_lossy(value);
        text.chars().filter(|c| !c.is_control()).collect()
    }))
}

/// Writes a key that is not there; returns what it says otherwise.
async fn claim(bucket: &Bucket, key: &str, value: &str) -> Result<Option<String>, OwnerError> {
    for _ in 0..TRIES {
        let stored = bucket.read(key).await.map_err(unavailable)?;
        if stored.as_ref().is_some_and(|stored| stored.value.is_some()) {
            let found = text(bucket, key).await?;
            return Ok(found.filter(|found| found != value));
        }
        let revision = stored.map_or(0, |stored| stored.revision);
        match bucket.write(key, value.to_owned().into(), revision).await {
            Ok(_) => return Ok(None),
            Err(NotStored::WrongSequence) => {}
            Err(error) => return Err(unavailable(error.to_string())),
        }
    }
    Err(unavailable(format!(
        "the key `{key}` keeps being changed by somebody else"
    )))
}

async fn remove_if_there(bucket: &Bucket, key: &str) -> Result<(), OwnerError> {
    let stored = bucket.read(key).await.map_err(unavailable)?;
    if stored.is_none_or(|stored| stored.value.is_none()) {
        return Ok(());
    }
    let removed = bucket.remove(key, None).await;
    removed
        .map(drop)
        .map_err(|error| unavailable(error.to_string()))
}
