//! What all hosts of one NATS account share: timers, locks, leases, the audit.

use std::time::Duration;

use super::{BoxFuture, Revision, StoreError};
use crate::event::Actor;
use crate::id::{HostName, Incarnation, LockName, PoolName, RunId};
use crate::lock::LockState;
use crate::{Json, Timestamp};

/// The time of a parked run has come, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueTimer {
    /// The run.
    pub run: RunId,
    /// When it was to be woken.
    pub due: Timestamp,
}

/// Wakes parked runs. One timer for each run: setting it again replaces it. A
/// timer is a hint: the run's journal says whether its time has come.
pub trait Timers: Send + Sync {
    /// Sets the timer of a run. Returns once it is durable.
    ///
    /// # Errors
    /// When the server did not answer; setting it again does no harm.
    fn set(&self, run: RunId, due: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A lock as it is stored, with its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLock {
    /// Its name.
    pub name: LockName,
    /// Who has it, who waits.
    pub state: LockState,
    /// Its version. 0: it is not stored.
    pub revision: Revision,
}

/// Why a lock was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockStoreError {
    /// Somebody else changed it first: read it again.
    #[error("the lock was changed by somebody else")]
    Conflict,
    /// The store did not answer; whether it was changed is unknown.
    #[error("the lock store did not answer: {0}")]
    Unavailable(String),
}

/// The locks of all hosts.
pub trait Locks: Send + Sync {
    /// A lock. One that nobody ever asked for is an empty one.
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<StoredLock, LockStoreError>>;
    /// Changes a lock whose version still is that of `lock`.
    fn write<'a>(&'a self, lock: &'a StoredLock) -> BoxFuture<'a, Result<(), LockStoreError>>;
    /// All locks that somebody has or waits for.
    fn list(&self) -> BoxFuture<'_, Result<Vec<StoredLock>, LockStoreError>>;
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCard {
    /// Its name.
    pub host: HostName,
    /// Its life.
    pub life: Incarnation,
    /// The pools whose runs it executes.
    pub pools: Vec<PoolName>,
    /// How long its lease lasts after each renewal.
    pub lease: Duration,
    /// Whether it takes no new runs.
    pub draining: bool,
    /// When it started.
    pub started_at: Timestamp,
    /// Runs that it works on.
    pub runs_active: usize,
    /// Its version of infraflow.
    pub version: String,
}

/// A change among the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostChange {
    /// A host has renewed its lease, or was there when the watch began.
    Renewed {
        /// What it says.
        card: HostCard,
        /// The version of its lease.
        revision: Revision,
    },
    /// A host has left in order.
    Left {
        /// The host.
        host: HostName,
        /// The version of its lease.
        revision: Revision,
    },
    /// Somebody asked a host to take no new runs, or to take some again.
    Drain {
        /// The host.
        host: HostName,
        /// Whether it is to drain.
        draining: bool,
    },
    /// Everything that was there has been given: after each connect.
    Complete,
    /// The connection is gone: what happens now is not seen.
    Disconnected,
}

/// Why a lease was not renewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another life has the lease: a second host runs under the same name.
    #[error("another process has the lease of this host: two hosts share the name `{0}`")]
    Taken(HostName),
    /// The server did not answer.
    #[error("NATS did not confirm the lease: {0}")]
    Unavailable(String),
}

/// The hosts of one NATS account.
pub trait Hosts: Send + Sync {
    /// Writes or renews this host's lease. The first one of a life replaces
    /// that of an earlier life of the same host.
    fn renew<'a>(&'a self, card: &'a HostCard) -> BoxFuture<'a, Result<(), LeaseError>>;
    /// Gives this host's lease back.
    fn leave<'a>(&'a self, card: &'a HostCard) -> BoxFuture<'a, Result<(), LeaseError>>;
    /// The next change; waits for it. Cancel-safe.
    fn next(&self) -> BoxFuture<'_, HostChange>;
    /// Asks a host to drain, or not to any more; survives its restart.
    fn set_draining<'a>(
        &'a self,
        host: &'a HostName,
        draining: bool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Whether an audited act is about to happen or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPhase {
    /// It is about to.
    Intent,
    /// It has.
    Done,
    /// It was refused or failed.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Who did what to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Tells the intent and the result of one act from those of others.
    pub act: u64,
    /// Who.
    pub actor: Actor,
    /// What: a verb such as `runs.cancel`.
    pub action: String,
    /// To what: a run, a lock, a host.
    pub object: String,
    /// More of it, for people: inputs, an answer. Never a secret.
    pub detail: Json,
    /// When, by the clock of the host that was asked.
    pub at: Timestamp,
    /// Before or after it.
    pub phase: AuditPhase,
}

/// Where acts of people are written down.
pub trait Audit: Send + Sync {
    /// Writes an entry. Returns once it is durable.
    ///
    /// # Errors
    /// When it is not: the act must not happen then.
    fn write<'a>(&'a self, entry: &'a AuditEntry) -> BoxFuture<'a, Result<(), StoreError>>;
}
