//! The watchdog: one small process per host that starts and knows every child.
//!
//! This is the host's side of it: starting it, asking it for children, and
//! being told when they end. What it does by itself stands in [`run`]. Nothing
//! here looks at what children print or decides what to start.
//!
//! ```text
//! host ── socket ── watchdog ─┬─ nats-server            (Tree::Service)
//!                             ├─ bwrap ─ init ─ shim ─ ansible-playbook ...
//!                             └─ shim ─ a trusted tool without a jail
//! ```

mod lease;
mod lock;
mod server;
mod service;
mod tree;
mod wire;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::tool::ProcessEnd;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use self::lease::{Allowed, Lease};
pub(crate) use self::server::EXTRA_DESCRIPTOR;
pub use self::server::run;
pub use self::service::{Service, ServiceSpec};
use self::wire::{Cause, End, Refusal, Reply, Request, SpawnRequest};
pub use self::wire::{Holder, StopKind, Tree};
use crate::boottime::boottime;
use crate::limits::{
    CHILDREN, HOST_GONE_GRACE, KILL_WAIT, LOCK_WAIT, PACKET_BYTES, PACKET_DESCRIPTORS,
    WATCHDOG_ANSWER,
};
use crate::packet::{self, Socket};
use crate::tasks::{self, Task};

/// How to start a watchdog.
#[derive(Debug, Clone)]
pub struct WatchdogConfig {
    /// Our own program, absolute. It has the hidden subcommand `shim` too.
    pub program: Utf8PathBuf,
    /// Its arguments that make it a watchdog, usually `["watchdog"]`.
    pub arguments: Vec<String>,
    /// The data directory whose lock it takes and holds until the last child
    /// has ended; made (0700) when it is not there.
    pub data_dir: Utf8PathBuf,
}

/// Why there is no watchdog, or none any more.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// Our own program could not be started.
    #[error("start the watchdog `{program}`")]
    Start {
        /// The program.
        program: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another infraflow has the data directory.
    #[error(
        "use data directory `{data_dir}`: another infraflow has it ({}); stop that one, or choose another directory",
        holder_text(holder)
    )]
    InUse {
        /// The data directory.
        data_dir: Utf8PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The data directory cannot be made or locked.
    #[error("lock data directory `{data_dir}`")]
    Lock {
        /// The data directory.
        data_dir: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended or does not answer. Every child of it is being ended; the host
    /// must end too.
    #[error("the watchdog is gone")]
    Gone,
}

fn holder_text(holder: &Holder) -> String {
    match (holder.host, holder.watchdog) {
        (Some(host), Some(watchdog)) => format!("process {host}, its watchdog is {watchdog}"),
        (Some(process), None) | (None, Some(process)) => format!("process {process}"),
        (None, None) => "its process is not known".to_owned(),
    }
}

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused.
    #[error("start `{program}`")]
    System {
        /// The program.
        program: Utf8PathBuf,
        /// Why; `NotFound` when the program or the directory is missing.
        #[source]
        source: io::Error,
    },
    /// The request is too large to send.
    #[error("start `{program}`: its arguments and environment are too long")]
    TooLarge {
        /// The program.
        program: Utf8PathBuf,
    },
    /// The lease that [`Watchdog::lease`] gave has come to an end. Nothing was
    /// started; after a newer lease it may be.
    #[error("this host has lost touch with NATS: its lease allows no new tools")]
    Lease,
    /// There is no watchdog any more.
    #[error(transparent)]
    Watchdog(#[from] WatchdogError),
}

/// A child to start.
#[derive(Debug)]
pub struct Spawn {
    /// The program, absolute.
    pub program: Utf8PathBuf,
    /// Its arguments, without its name.
    pub arguments: Vec<String>,
    /// Its whole environment; nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// Its working directory, absolute.
    pub directory: Utf8PathBuf,
    /// Its standard input. Unset: `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Its standard output. Unset: `/dev/null`.
    pub stdout: Option<OwnedFd>,
    /// Its standard error. Unset: `/dev/null`.
    pub stderr: Option<OwnedFd>,
    /// More descriptors, which get the numbers 100, 101 and so on. At most 12.
    pub extra: Vec<OwnedFd>,
    /// What its tree of processes looks like.
    pub tree: Tree,
}

/// The host's handle of its watchdog. Cloning is cheap.
///
/// When the last clone and the last [`Child`] are dropped, the watchdog ends
/// every child and then itself.
#[derive(Clone)]
pub struct Watchdog {
    inner: Arc<Inner>,
}

struct Inner {
    requests: mpsc::Sender<Outgoing>,
    children: Arc<Children>,
    next_id: AtomicU64,
    program: Utf8PathBuf,
    pid: i32,
    gone: watch::Receiver<bool>,
    /// Never more than the newest one is under way, and none waits behind
    /// requests.
    lease: watch::Sender<Option<Lease>>,
    _connection: Task,
}

enum Outgoing {
    Request(Request, Vec<OwnedFd>),
    /// Let the watchdog end everything, and wait for it.
    Close,
}

/// What the host waits for, by child.
#[derive(Default)]
struct Children {
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// Told whenever a child is gone.
    one_less: Notify,
}

struct Waiting {
    spawned: Option<oneshot::Sender<Result<i32, Refusal>>>,
    ended: watch::Sender<Option<(End, Cause)>>,
    /// Whether its handle is dropped, so that it is being killed.
    dropped: bool,
}

impl Watchdog {
    /// Starts a watchdog and waits until it has the lock of the data directory.
    ///
    /// Waits up to 5 s for a holder that is just ending. Needs a tokio runtime
    /// with I/O and time.
    ///
    /// # Errors
    /// When the program cannot be started, or somebody else has the data
    /// directory.
    ///
    /// # Cancellation
    /// Dropping the future ends the watchdog.
    pub async fn start(config: WatchdogConfig) -> Result<Self, WatchdogError> {
        let data_dir = Some(config.data_dir);
        Self::begin(config.program, &config.arguments, data_dir).await
    }

    /// Starts a watchdog that holds no lock, for a probe.
    pub(crate) async fn start_unlocked(program: Utf8PathBuf) -> Result<Self, WatchdogError> {
        Self::begin(program, &["watchdog".to_owned()], None).await
    }

    async fn begin(
        program: Utf8PathBuf,
        arguments: &[String],
        data_dir: Option<Utf8PathBuf>,
    ) -> Result<Self, WatchdogError> {
        let (socket, process) =
            start_process(&program, arguments).map_err(|source| WatchdogError::Start {
                program: program.clone(),
                source,
            })?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok());
        greet(&socket, data_dir).await?;
        let (requests, outgoing) = mpsc::channel(CHILDREN * 2);
        let (now_gone, gone) = watch::channel(false);
        let (lease, leases) = watch::channel(None);
        let children = Arc::new(Children::default());
        let connection = Connection {
            socket,
            process,
            outgoing,
            leases,
            children: Arc::clone(&children),
            now_gone,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                requests,
                children,
                next_id: AtomicU64::new(1),
                program,
                pid: pid.unwrap_or_default(),
                gone,
                lease,
                _connection: tasks::start("watchdog connection", connection.run()),
            }),
        })
    }

    /// The watchdog's process id.
    pub fn pid(&self) -> i32 {
        self.inner.pid
    }

    /// Our own program, which is the shim too.
    pub(crate) fn program(&self) -> &Utf8Path {
        &self.inner.program
    }

    /// Waits until the watchdog is gone. Its children are gone too, or just
    /// ending; the host has to end.
    pub async fn died(&self) {
        let mut gone = self.inner.gone.clone();
        // A dropped sender means the same.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    /// Starts a child.
    ///
    /// # Errors
    /// When the system refuses, or the watchdog is gone.
    ///
    /// # Cancellation
    /// Dropping the future kills the child if it was started.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Child, SpawnError> {
        let inner = &self.inner;
        let gone = || SpawnError::Watchdog(WatchdogError::Gone);
        // Two places in the queue: the second is for ending the child, so that
        // dropping it never fails.
        let place = inner.requests.clone().reserve_owned().await;
        let last_place = inner.requests.clone().reserve_owned().await;
        let (Ok(place), Ok(last_place)) = (place, last_place) else {
            return Err(gone());
        };
        let id = inner.next_id.fetch_add(1, Ordering::Relaxed);
        let program = spawn.program.clone();
        let (request, descriptors) = spawn.into_request(id)?;
        let (spawned, answer) = oneshot::channel();
        let mut child = Child {
            id,
            pid: 0,
            end: inner.children.wait_for(id, spawned),
            watchdog: Arc::clone(inner),
            kill: Some(last_place),
        };
        place.send(Outgoing::Request(request, descriptors));
        // From here on dropping `child` kills what may have been started.
        match timeout(WATCHDOG_ANSWER, answer).await {
            Ok(Ok(Ok(pid))) => {
                child.pid = pid;
                Ok(child)
            }
            Ok(Ok(Err(Refusal::Lease))) => Err(SpawnError::Lease),
            Ok(Ok(Err(Refusal::System(errno)))) => Err(SpawnError::System {
                program,
                source: io::Error::from_raw_os_error(errno),
            }),
            Ok(Err(_)) | Err(_) => Err(gone()),
        }
    }

    /// Says until when this host may act, in the time of
    /// [`boottime`](crate::boottime()); replaces what was said before. Never
    /// waits, and comes before any later [`Watchdog::spawn`].
    ///
    /// From `spawn_until` on the watchdog refuses to start tools
    /// ([`SpawnError::Lease`]). At `kill_at` it kills every tool with everything
    /// below it; half of the time in between, but at most 2 s, before that it
    /// asks them to end. It does so by itself, also when this process is
    /// stopped, and right after the machine has slept. Services stay. After a
    /// newer lease tools may be started again; those that were already asked to
    /// end are gone.
    ///
    /// Without any call tools run as long as they like.
    pub fn lease(&self, spawn_until: Duration, kill_at: Duration) {
        let lease = Lease::new(spawn_until, kill_at);
        self.inner.lease.send_replace(Some(lease));
    }

    /// Whether the lease allows to start tools now. The watchdog asks itself
    /// again before each start.
    pub(crate) fn allows_tools(&self) -> bool {
        let lease = *self.inner.lease.borrow();
        lease.is_none_or(|lease| lease.allows(boottime()) == Allowed::Spawns)
    }

    /// Waits until every child whose handle was dropped is gone, at most 10 s.
    pub(crate) async fn settle(&self) {
        let _ = timeout(KILL_WAIT, self.inner.children.settle()).await;
    }

    /// Ends every child and the watchdog, and waits for it: TERM, a short
    /// grace, KILL. Afterwards the data directory is free. At most 12 s.
    pub async fn shutdown(&self) {
        let _ = self.inner.requests.send(Outgoing::Close).await;
        let _ = timeout(HOST_GONE_GRACE + KILL_WAIT, self.died()).await;
    }
}

impl Spawn {
    fn into_request(self, id: u64) -> Result<(Request, Vec<OwnedFd>), SpawnError> {
        let streams = [&self.stdin, &self.stdout, &self.stderr].map(Option::is_some);
        let given = [self.stdin, self.stdout, self.stderr];
        let descriptors: Vec<OwnedFd> = given.into_iter().flatten().chain(self.extra).collect();
        let program = self.program.clone();
        let request = Request::Spawn(SpawnRequest {
            id,
            program: self.program,
            arguments: self.arguments,
            environment: self.environment,
            directory: self.directory,
            streams,
            tree: self.tree,
        });
        let bytes = serde_json::to_vec(&request).map_or(usize::MAX, |bytes| bytes.len());
        if bytes > PACKET_BYTES.to_usize() || descriptors.len() > PACKET_DESCRIPTORS {
            return Err(SpawnError::TooLarge { program });
        }
        Ok((request, descriptors))
    }
}

/// A child of the watchdog. Dropping it kills its whole tree.
pub struct Child {
    id: u64,
    pid: i32,
    end: watch::Receiver<Option<(End, Cause)>>,
    watchdog: Arc<Inner>,
    kill: Option<mpsc::OwnedPermit<Outgoing>>,
}

impl Child {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits until it has ended and nothing of its tree is left. Cancel-safe.
    ///
    /// # Errors
    /// When the watchdog is gone; the child is then gone too, or just ending.
    pub async fn wait(&self) -> Result<ProcessEnd, WatchdogError> {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        match ended.map_err(|_| WatchdogError::Gone)?.as_ref() {
            Some((End::Exited(code), _)) => Ok(ProcessEnd::Exited(*code)),
            Some((End::Signalled(signal), _)) => Ok(ProcessEnd::Signalled(*signal)),
            None => Err(WatchdogError::Gone),
        }
    }

    /// Whether it has ended because the lease ran out.
    pub fn ended_by_lease(&self) -> bool {
        matches!(*self.end.borrow(), Some((_, Cause::Lease)))
    }

    /// Has its tree ended. Returns at once; [`Child::wait`] says when it is.
    pub async fn stop(&self, kind: StopKind) {
        let request = Request::Stop { id: self.id, kind };
        // A watchdog that is gone has ended its children.
        let outgoing = Outgoing::Request(request, Vec::new());
        let _ = self.watchdog.requests.send(outgoing).await;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(child) = self.watchdog.children.lock().get_mut(&self.id) {
            child.dropped = true;
        }
        let ended = self.end.borrow().is_some();
        if let (Some(place), false) = (self.kill.take(), ended) {
            let request = Request::Stop {
                id: self.id,
                kind: StopKind::Kill,
            };
            place.send(Outgoing::Request(request, Vec::new()));
        }
    }
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(
        &self,
        id: u64,
        spawned: oneshot::Sender<Result<i32, Refusal>>,
    ) -> watch::Receiver<Option<(End, Cause)>> {
        let (ended, end) = watch::channel(None);
        let waiting = Waiting {
            spawned: Some(spawned),
            ended,
            dropped: false,
        };
        self.lock().insert(id, waiting);
        end
    }

    /// Waits until every child whose handle was dropped is gone.
    async fn settle(&self) {
        loop {
            let mut one_less = std::pin::pin!(self.one_less.notified());
            one_less.as_mut().enable();
            if !self.lock().values().any(|child| child.dropped) {
                return;
            }
            one_less.await;
        }
    }

    /// Hands an answer to whoever waits for it.
    fn take(&self, reply: &Reply) {
        let mut waiting = self.lock();
        match *reply {
            Reply::Spawned { id, pid } => answer(&mut waiting, id, Ok(pid)),
            Reply::NotSpawned { id, refusal } => {
                answer(&mut waiting, id, Err(refusal));
                waiting.remove(&id);
                self.one_less.notify_waiters();
            }
            Reply::Exited { id, end, cause } => {
                if let Some(child) = waiting.remove(&id) {
                    child.ended.send_replace(Some((end, cause)));
                }
                self.one_less.notify_waiters();
            }
            Reply::Ready | Reply::InUse { .. } | Reply::NoLock { .. } => {}
        }
    }
}

fn answer(waiting: &mut HashMap<u64, Waiting>, id: u64, answer: Result<i32, Refusal>) {
    let spawned = waiting.get_mut(&id).and_then(|child| child.spawned.take());
    if let Some(spawned) = spawned {
        // Whoever asked may be gone; its child is then killed by its drop.
        let _ = spawned.send(answer);
    }
}

/// The task that talks to the watchdog.
struct Connection {
    socket: Socket,
    process: tokio::process::Child,
    outgoing: mpsc::Receiver<Outgoing>,
    leases: watch::Receiver<Option<Lease>>,
    children: Arc<Children>,
    now_gone: watch::Sender<bool>,
}

impl Connection {
    async fn run(mut self) {
        while self.step().await.is_some() {}
        // Nobody is told of an end any more: they see that we are gone.
        self.children.lock().clear();
        self.children.one_less.notify_waiters();
        let _ = timeout(KILL_WAIT, self.process.wait()).await;
        self.now_gone.send_replace(true);
    }

    /// `None` when the watchdog is gone.
    async fn step(&mut self) -> Option<()> {
        // Each branch is cancel-safe: a message is taken or not.
        tokio::select! {
            received = self.socket.receive() => {
                let packet = received.ok()??;
                let reply = serde_json::from_slice(&packet.bytes).ok()?;
                self.children.take(&reply);
                Some(())
            }
            Ok(()) = self.leases.changed() => self.send_lease().await,
            Some(outgoing) = self.outgoing.recv() => {
                // A lease that was given before a request counts for it.
                if matches!(self.leases.has_changed(), Ok(true)) {
                    self.leases.mark_unchanged();
                    self.send_lease().await?;
                }
                self.send(outgoing).await
            }
        }
    }

    async fn send_lease(&self) -> Option<()> {
        let lease = *self.leases.borrow();
        match lease {
            Some(lease) => send(&self.socket, &Request::Lease(lease), &[]).await.ok(),
            None => Some(()),
        }
    }

    async fn send(&self, outgoing: Outgoing) -> Option<()> {
        match outgoing {
            Outgoing::Request(request, descriptors) => {
                send(&self.socket, &request, &descriptors).await.ok()
            }
            Outgoing::Close => self.socket.close_sending().ok(),
        }
    }
}

async fn send(socket: &Socket, request: &Request, descriptors: &[OwnedFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(request)?;
    socket.send(&bytes, descriptors).await
}

fn start_process(
    program: &Utf8Path,
    arguments: &[String],
) -> io::Result<(Socket, tokio::process::Child)> {
    let (ours, theirs) = packet::pair()?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the watchdog is what starts every other process"
    )]
    let mut command = tokio::process::Command::new(program);
    // Standard error stays ours: a panic of the watchdog must be seen.
    let process = command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(theirs)
        .stdout(Stdio::null())
        .spawn()?;
    Ok((Socket::new(ours)?, process))
}

/// Says hello and waits for the lock.
async fn greet(socket: &Socket, data_dir: Option<Utf8PathBuf>) -> Result<(), WatchdogError> {
    let host = rustix::process::getpid().as_raw_pid();
    let hello = Request::Hello {
        data_dir: data_dir.clone(),
        host,
    };
    let data_dir = data_dir.unwrap_or_default();
    let talk = async {
        send(socket, &hello, &[]).await.ok()?;
        let packet = socket.receive().await;
        serde_json::from_slice(&packet.ok()??.bytes).ok()
    };
    match timeout(LOCK_WAIT + WATCHDOG_ANSWER, talk).await {
        Ok(Some(Reply::Ready)) => Ok(()),
        Ok(Some(Reply::InUse { holder })) => Err(WatchdogError::InUse { data_dir, holder }),
        Ok(Some(Reply::NoLock { errno })) => Err(WatchdogError::Lock {
            data_dir,
            source: io::Error::from_raw_os_error(errno),
        }),
        Ok(_) | Err(_) => Err(WatchdogError::Gone),
    }
}
