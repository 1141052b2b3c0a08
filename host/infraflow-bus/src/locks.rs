//! Locks, in the bucket `locks`: one key for each, changed by compare-and-set.
//!
//! A lock that nobody has is removed. Its tokens go on growing all the same:
//! each change of a lock gives out at most one token, and each is a new
//! revision of the bucket, so no token is ever greater than the bucket's last
//! revision, from which a lock that comes back begins.

use infraflow_core::id::LockName;
use infraflow_core::lock::LockState;
use infraflow_core::ports::{BoxFuture, LockStoreError, Locks, Revision, StoredLock};

use crate::connect::Bus;
use crate::kv::{self, Bucket, Stored};
use crate::reply::NotStored;
use crate::subject;
use crate::wire::lock;

/// The locks of all hosts.
#[derive(Debug, Clone)]
pub struct LockStore {
    bucket: Bucket,
}

fn unavailable(reason: String) -> LockStoreError {
    LockStoreError::Unavailable(reason)
}

impl LockStore {
    /// The locks behind this connection.
    pub fn new(bus: &Bus) -> Self {
        Self {
            bucket: kv::locks(bus),
        }
    }

    async fn read_lock(&self, name: &LockName) -> Result<StoredLock, LockStoreError> {
        let stored = self.bucket.read(&subject::key(name.as_str())).await;
        let (state, revision) = match stored.map_err(unavailable)? {
            Some(Stored {
                revision,
                value: Some(value),
            }) => (decode(name, &value)?, revision),
            Some(Stored {
                revision,
                value: None,
            }) => (unused(revision), revision),
            None => {
                let last = self.bucket.last_revision().await.map_err(unavailable)?;
                (unused(last), 0)
            }
        };
        Ok(StoredLock {
            name: name.clone(),
            state,
            revision: Revision(revision),
        })
    }

    async fn write_lock(&self, stored: &StoredLock) -> Result<(), LockStoreError> {
        let key = subject::key(stored.name.as_str());
        let Revision(revision) = stored.revision;
        let written = if stored.state.is_unused() {
            self.bucket.remove(&key, Some(revision)).await
        } else {
            let value = lock::encode(&stored.state);
            self.bucket.write(&key, value.into(), revision).await
        };
        match written {
            Ok(_) => Ok(()),
            Err(NotStored::WrongSequence) => Err(LockStoreError::Conflict),
            Err(NotStored::Full) => Err(unavailable("the bucket `locks` is full".to_owned())),
            Err(NotStored::Unknown(reason)) => Err(unavailable(reason)),
        }
    }

    async fn list_locks(&self) -> Result<Vec<StoredLock>, LockStoreError> {
        let mut locks = Vec::new();
        for (key, revision, value) in self.bucket.list().await.map_err(unavailable)? {
            let name = subject::unkey(&key).and_then(|name| LockName::new(&name).ok());
            let Some(name) = name else {
                tracing::error!(key, "key that is no lock's in the bucket `locks`");
                continue;
            };
            locks.push(StoredLock {
                state: decode(&name, &value)?,
                name,
                revision: Revision(revision),
            });
        }
        locks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(locks)
    }
}

fn unused(last_token: u64) -> LockState {
    LockState {
        last_token,
        ..LockState::default()
    }
}

fn decode(name: &LockName, value: &[u8]) -> Result<LockState, LockStoreError> {
    lock::decode(value)
        .map_err(|reason| unavailable(format!("lock `{name}` cannot be read: {reason}")))
}

impl Locks for LockStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<StoredLock, LockStoreError>> {
        Box::pin(self.read_lock(name))
    }

    fn write<'a>(&'a self, lock: &'a StoredLock) -> BoxFuture<'a, Result<(), LockStoreError>> {
        Box::pin(self.write_lock(lock))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredLock>, LockStoreError>> {
        Box::pin(self.list_locks())
    }
}
