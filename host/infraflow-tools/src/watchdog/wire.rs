//! What host and watchdog say to each other: one JSON object a message.
//!
//! Both are the same program, so there is one version of it.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::lease::Lease;

/// From the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message: take the lock, if there is a data directory.
    Hello {
        /// Whose lock to take; without one the watchdog holds none.
        data_dir: Option<Utf8PathBuf>,
        /// The host's process, for the lock file.
        host: i32,
    },
    /// Start a child. Its descriptors come with the message: first standard
    /// input, output and error, as far as `streams` says, then the extra ones.
    Spawn(SpawnRequest),
    /// End a child.
    Stop {
        /// The child.
        id: u64,
        /// How.
        kind: StopKind,
    },
    /// The host has confirmed its lease; replaces what was said before.
    Lease(Lease),
}

/// A child to start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    /// How the host calls it.
    pub(crate) id: u64,
    /// The program, absolute.
    pub(crate) program: Utf8PathBuf,
    /// Its arguments, without its name.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Its working directory, absolute.
    pub(crate) directory: Utf8PathBuf,
    /// Which of standard input, output and error have a descriptor in the
    /// message; the others are `/dev/null`.
    pub(crate) streams: [bool; 3],
    /// What its tree of processes looks like.
    pub(crate) tree: Tree,
}

/// What the processes below a child look like; decides who is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tree {
    /// A program of ours that lasts and writes to the data directory: it keeps
    /// the lock of the data directory taken while it lives.
    Service,
    /// A shim that stays and has the tool below it. The shim itself is not told
    /// to end: it does when nothing is left below it.
    Supervised,
    /// Bubblewrap, its init, a shim and the tool. Only what is below the shim
    /// is told to end.
    Jailed,
}

/// How to end a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopKind {
    /// Ask every process of the tree to end (TERM).
    Term,
    /// End every process of the tree (KILL).
    Kill,
}

/// From the watchdog.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The lock is taken, children can be started.
    Ready,
    /// Somebody else has the data directory.
    InUse {
        /// What the lock file says.
        holder: Holder,
    },
    /// The lock file cannot be made or locked.
    NoLock {
        /// The system's error number.
        errno: i32,
    },
    /// The child runs.
    Spawned {
        /// The child.
        id: u64,
        /// Its process.
        pid: i32,
    },
    /// The child could not be started.
    NotSpawned {
        /// The child.
        id: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The child has ended, and with it everything below it.
    Exited {
        /// The child.
        id: u64,
        /// How it ended.
        end: End,
        /// Whose doing that was.
        cause: Cause,
    },
}

/// Why a child was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// The system's error number.
    System(i32),
    /// The lease allows no new tools.
    Lease,
}

/// Whose doing the end of a child was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// Its own, or that of whoever had it stopped.
    Usual,
    /// The lease ran out while it was there.
    Lease,
}

/// Who has a data directory, as far as the lock file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holder {
    /// The host's process.
    pub host: Option<i32>,
    /// Its watchdog, which holds the lock.
    pub watchdog: Option<i32>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
}

impl End {
    /// Of what the system says; `None` for a process that only stopped.
    pub(crate) fn of(status: rustix::process::WaitStatus) -> Option<Self> {
        status
            .exit_status()
            .map(Self::Exited)
            .or_else(|| status.terminating_signal().map(Self::Signalled))
    }
}
