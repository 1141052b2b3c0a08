//! Which host a server that is not ours belongs to. More than one host on one
//! server is not supported yet: their claims could not be told apart from those
//! of dead ones.

use async_nats::jetstream::kv;
use infraflow_core::id::HostName;

use crate::connect::Bus;

const BUCKET: &str = "hosts";
const KEY: &str = "owner";

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another host has it.
    #[error(
        "host `{owner}` uses this NATS account, and more than one host is not supported yet: use \
         its data directory, or, when that host is gone for good, remove the key `owner` of the \
         bucket `hosts` (`nats kv del hosts owner`)"
    )]
    Other {
        /// That host.
        owner: String,
    },
    /// The server does not answer.
    #[error("ask NATS which host it belongs to: {0}")]
    Unavailable(String),
}

impl Bus {
    /// Makes this host the owner of the server, or finds that it is.
    ///
    /// # Errors
    /// When another host is, or the server does not answer.
    pub async fn own(&self, host: &HostName) -> Result<(), OwnerError> {
        let failed = |error: &dyn std::fmt::Display| OwnerError::Unavailable(error.to_string());
        let bucket = self
            .jetstream
            .get_key_value(BUCKET)
            .await
            .map_err(|error| failed(&error))?;
        let created = bucket.create(KEY, host.as_str().to_owned().into()).await;
        match created {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&error)),
        }
        let owner = bucket
            .get(KEY)
            .await
            .map_err(|error| failed(&error))?
            .unwrap_or_default();
        let owner = String::from_utf8_lossy(&owner).into_owned();
        if owner == host.as_str() {
            Ok(())
        } else {
            Err(OwnerError::Other { owner })
        }
    }
}
