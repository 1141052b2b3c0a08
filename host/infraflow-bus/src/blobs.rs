//! Sealed bytes by digest in the object store, and named pointers to them in
//! KV.
//!
//! Plans and states hold secrets: everything here is encrypted
//! (XChaCha20-Poly1305) with a key that the store never sees.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::kv;
use async_nats::jetstream::object_store::ObjectStore;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use futures::StreamExt as _;
use infraflow_core::Timestamp;
use infraflow_core::id::Digest;
use infraflow_core::ports::{BlobError, Blobs, BoxFuture, Revision};
use tokio::io::AsyncReadExt as _;

use crate::connect::{Bus, REQUEST_TIMEOUT};
use crate::{kv as bucket, topology};

const OBJECTS: &str = "artifacts";
const POINTERS: &str = "pointers";

const NONCE_BYTES: usize = 24;
/// What sealing adds: the nonce and the tag.
const SEAL_BYTES: u64 = 24 + 16;

/// The key that blobs are sealed with.
#[derive(Clone)]
pub struct BlobKey([u8; 32]);

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(<redacted>)")
    }
}

impl BlobKey {
    /// A key of these random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What tells this key from others without giving any of it away.
    pub fn fingerprint(&self) -> String {
        let digest = Digest::of(&[b"infraflow blob key:".as_slice(), &self.0].concat()).to_hex();
        digest.get(..32).unwrap_or(&digest).to_owned()
    }

    /// Encrypts; the digest of the plain bytes is authenticated with them.
    fn seal(&self, digest: Digest, plain: &[u8]) -> Result<Vec<u8>, BlobError> {
        let failed = |what: &str| BlobError::Unavailable(what.to_owned());
        let mut nonce = [0_u8; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| failed("no random numbers"))?;
        let name = digest.to_hex();
        let payload = Payload {
            msg: plain,
            aad: name.as_bytes(),
        };
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| failed("cannot encrypt"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn unseal(&self, digest: Digest, sealed: &[u8]) -> Result<Vec<u8>, BlobError> {
        let damaged = || BlobError::Damaged(digest.to_string());
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(damaged)?;
        let name = digest.to_hex();
        let payload = Payload {
            msg: sealed,
            aad: name.as_bytes(),
        };
        let cipher = XChaCha20Poly1305::new(&Key::from(self.0));
        let plain = cipher
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| damaged())?;
        if Digest::of(&plain) == digest {
            Ok(plain)
        } else {
            Err(damaged())
        }
    }
}

/// A stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// The digest of its plain bytes.
    pub digest: Digest,
    /// Its size in the store, in bytes.
    pub bytes: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
}

/// Sealed blobs in NATS.
#[derive(Debug, Clone)]
pub struct SealedBlobs {
    bus: Bus,
    key: BlobKey,
}

fn unavailable(error: impl fmt::Display) -> BlobError {
    BlobError::Unavailable(error.to_string())
}

/// A blob that is stored again is written anew when it is older than this, so
/// that retention by age counts from its last use.
const REFRESH: Duration = Duration::from_secs(1_800);

fn is_old(object: &async_nats::jetstream::object_store::ObjectInfo) -> bool {
    let stored_at = object
        .modified
        .and_then(|time| Timestamp::from_nanosecond(time.unix_timestamp_nanos()).ok());
    stored_at.is_none_or(|time| {
        let age = Duration::try_from(Timestamp::now().duration_since(time));
        age.is_ok_and(|age| age > REFRESH)
    })
}

impl SealedBlobs {
    /// The blobs behind this connection, sealed with this key.
    pub fn new(bus: Bus, key: BlobKey) -> Self {
        Self { bus, key }
    }

    /// Every blob, the oldest first. Objects of others in the store are left out.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self) -> Result<Vec<StoredBlob>, BlobError> {
        let mut objects = self.objects().await?.list().await.map_err(unavailable)?;
        let mut blobs = Vec::new();
        loop {
            let next = tokio::time::timeout(REQUEST_TIMEOUT, objects.next()).await;
            let Some(object) = next.map_err(|_| unavailable("no answer in time"))? else {
                break;
            };
            let object = object.map_err(unavailable)?;
            let digest = format!("sha256:{}", object.name).parse();
            let stored_at = object
                .modified
                .and_then(|time| Timestamp::from_nanosecond(time.unix_timestamp_nanos()).ok());
            if let (Ok(digest), Some(stored_at)) = (digest, stored_at) {
                blobs.push(StoredBlob {
                    digest,
                    bytes: u64::try_from(object.size).unwrap_or(u64::MAX),
                    stored_at,
                });
            }
        }
        blobs.sort_by_key(|blob| blob.stored_at);
        Ok(blobs)
    }

    /// Removes a blob. One that is not there is no error.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(&self, digest: Digest) -> Result<(), BlobError> {
        use async_nats::jetstream::object_store::{DeleteErrorKind, InfoErrorKind};
        let name = digest.to_hex();
        let objects = self.objects().await?;
        match objects.info(name.as_str()).await {
            Ok(_) => {}
            Err(error) if error.kind() == InfoErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unavailable(error)),
        }
        match objects.delete(name.as_str()).await {
            Ok(()) => {}
            Err(error) if error.kind() == DeleteErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error)),
        }
        // The client leaves a marker in the object's place, for ever.
        let subject = format!("$O.{OBJECTS}.M.{}", URL_SAFE.encode(name));
        topology::purge_subject(&self.bus, "OBJ_artifacts", &subject)
            .await
            .map_err(unavailable)
    }

    /// What every pointer points at: blobs that must stay.
    ///
    /// # Errors
    /// When the store does not answer, or a pointer cannot be read.
    pub async fn pointers_all(&self) -> Result<Vec<(String, Digest)>, BlobError> {
        let found = bucket::pointers(&self.bus)
            .list()
            .await
            .map_err(unavailable)?;
        let pointer = |(name, _, value): (String, u64, bytes::Bytes)| {
            let digest = std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse().ok());
            match digest {
                Some(digest) => Ok((name, digest)),
                None => Err(BlobError::Damaged(format!("pointer `{name}`"))),
            }
        };
        found.into_iter().map(pointer).collect()
    }

    async fn objects(&self) -> Result<ObjectStore, BlobError> {
        self.bus
            .jetstream
            .get_object_store(OBJECTS)
            .await
            .map_err(unavailable)
    }

    async fn pointers(&self) -> Result<kv::Store, BlobError> {
        self.bus
            .jetstream
            .get_key_value(POINTERS)
            .await
            .map_err(unavailable)
    }

    async fn put_blob(&self, plain: Vec<u8>) -> Result<Digest, BlobError> {
        let digest = Digest::of(&plain);
        let objects = self.objects().await?;
        let name = digest.to_hex();
        if objects
            .info(name.as_str())
            .await
            .is_ok_and(|found| !found.deleted && !is_old(&found))
        {
            return Ok(digest);
        }
        let sealed = self.key.seal(digest, &plain)?;
        objects
            .put(name.as_str(), &mut sealed.as_slice())
            .await
            .map_err(unavailable)?;
        Ok(digest)
    }

    async fn get_blob(&self, digest: Digest, bytes_max: u64) -> Result<Vec<u8>, BlobError> {
        let objects = self.objects().await?;
        let name = digest.to_hex();
        let mut object = objects.get(name.as_str()).await.map_err(|error| {
            use async_nats::jetstream::object_store::GetErrorKind;
            match error.kind() {
                GetErrorKind::NotFound => BlobError::NotFound(digest.to_string()),
                _ => unavailable(error),
            }
        })?;
        let bytes = u64::try_from(object.info.size)
            .unwrap_or(u64::MAX)
            .saturating_sub(SEAL_BYTES);
        if bytes > bytes_max {
            let what = digest.to_string();
            return Err(BlobError::TooLarge {
                what,
                bytes,
                allowed: bytes_max,
            });
        }
        let mut sealed = Vec::new();
        let sealed_max = bytes_max.saturating_add(SEAL_BYTES);
        (&mut object)
            .take(sealed_max)
            .read_to_end(&mut sealed)
            .await
            .map_err(unavailable)?;
        self.key.unseal(digest, &sealed)
    }

    async fn read_pointer(&self, name: &str) -> Result<Option<(Digest, Revision)>, BlobError> {
        let entry = self
            .pointers()
            .await?
            .entry(name)
            .await
            .map_err(unavailable)?;
        let Some(entry) = entry.filter(|entry| entry.operation == kv::Operation::Put) else {
            return Ok(None);
        };
        let digest = std::str::from_utf8(&entry.value)
            .ok()
            .and_then(|text| text.parse().ok());
        let digest = digest.ok_or_else(|| BlobError::Damaged(format!("pointer `{name}`")))?;
        Ok(Some((digest, Revision(entry.revision))))
    }

    async fn write_pointer(
        &self,
        name: &str,
        digest: Digest,
        expected: Option<Revision>,
    ) -> Result<Revision, BlobError> {
        let pointers = self.pointers().await?;
        let value = digest.to_string();
        let written = match expected {
            None => pointers.create(name, value.into()).await.map_err(|error| {
                use kv::CreateErrorKind;
                match error.kind() {
                    CreateErrorKind::AlreadyExists => conflict(name),
                    _ => unavailable(error),
                }
            }),
            Some(Revision(revision)) => pointers
                .update(name, value.into(), revision)
                .await
                .map_err(|error| {
                    use kv::UpdateErrorKind;
                    match error.kind() {
                        UpdateErrorKind::WrongLastRevision => conflict(name),
                        _ => unavailable(error),
                    }
                }),
        };
        match written {
            Ok(revision) => Ok(Revision(revision)),
            // After a lost answer our own write is what is there now.
            Err(BlobError::Conflict(_)) => match self.read_pointer(name).await? {
                Some((found, revision)) if found == digest => Ok(revision),
                _ => Err(conflict(name)),
            },
            Err(error) => Err(error),
        }
    }
}

fn conflict(name: &str) -> BlobError {
    BlobError::Conflict(format!("pointer `{name}`"))
}

impl Blobs for SealedBlobs {
    fn put(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(self.put_blob(bytes))
    }

    fn get(&self, digest: Digest, bytes_max: u64) -> BoxFuture<'_, Result<Vec<u8>, BlobError>> {
        Box::pin(self.get_blob(digest, bytes_max))
    }

    fn pointer<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Digest, Revision)>, BlobError>> {
        Box::pin(self.read_pointer(name))
    }

    fn set_pointer<'a>(
        &'a self,
        name: &'a str,
        digest: Digest,
        expected: Option<Revision>,
    ) -> BoxFuture<'a, Result<Revision, BlobError>> {
        Box::pin(self.write_pointer(name, digest, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_with_their_key_and_name_only() {
        let key = BlobKey::new([7; 32]);
        let digest = Digest::of(b"state");
        let sealed = key.seal(digest, b"state").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"state"));
        assert_eq!(key.unseal(digest, &sealed), Ok(b"state".to_vec()));
        let damaged = BlobError::Damaged(digest.to_string());
        assert_eq!(
            BlobKey::new([8; 32]).unseal(digest, &sealed),
            Err(damaged.clone())
        );
        assert!(key.unseal(Digest::of(b"other"), &sealed).is_err());
        for length in 0..sealed.len() {
            assert_eq!(key.unseal(digest, &sealed[..length]), Err(damaged.clone()));
        }
        assert_ne!(
            sealed,
            key.seal(digest, b"state").unwrap(),
            "a nonce is used once"
        );
    }

    #[test]
    fn fingerprints_tell_keys_apart_and_show_nothing() {
        let print = BlobKey::new([1; 32]).fingerprint();
        assert_eq!(print, BlobKey::new([1; 32]).fingerprint());
        assert_ne!(print, BlobKey::new([2; 32]).fingerprint());
        assert_eq!(print.len(), 32);
        assert!(!print.contains("0101"), "{print}");
        assert!(!Digest::of(&[1; 32]).to_hex().contains(&print));
    }

    #[test]
    fn keys_do_not_show() {
        assert_eq!(
            format!("{:?}", BlobKey::new([1; 32])),
            "BlobKey(<redacted>)"
        );
    }
}
