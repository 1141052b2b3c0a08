//! The watchdog process itself.
//!
//! One small single-threaded program that starts every child, because the
//! thread that starts a child must never end before it (`PDEATHSIG`), and
//! because forking a large host is slow. It knows only how to start, to end and
//! to report; it never decides to start anything, never reads what children
//! print, and never looks into the data directory beyond its lock.
//!
//! When its socket closes, the host is gone: it ends every tree of processes
//! and only then lets go of the lock.
//!
//! When the host's lease runs out, it ends the tools and goes on, however the
//! host is: stopped, stuck, or out of touch with the others, who may now do the
//! same work. Services are the host's own and stay.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, WaitOptions, getpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::lease::{Allowed, Lease};
use super::lock::{self, Taken};
use super::tree::{self, Process};
use super::wire::{Cause, End, Refusal, Reply, Request, SpawnRequest, StopKind, Tree};
use crate::boottime::boottime;
use crate::limits::{HOST_GONE_GRACE, KILL_AGAIN, KILL_WAIT, LEASE_LOOK, LOCK_WAIT};
use crate::packet::{Packet, Socket};

/// The number of a child's first extra descriptor; the others follow. High, so
/// that nothing else has it.
pub(crate) const EXTRA_DESCRIPTOR: i32 = 100;

/// The body of the hidden subcommand `infraflow watchdog`.
///
/// Descriptor 0 is the socket to the host. Ends when that is closed, after
/// every child has ended; never by TERM, INT or HUP.
pub fn run() -> ExitCode {
    match prepare().and_then(|(runtime, socket)| runtime.block_on(serve(socket))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn prepare() -> io::Result<(tokio::runtime::Runtime, OwnedFd)> {
    // An own session: Ctrl-C in the host's terminal is not for us. It fails
    // only where we lead one already.
    let _ = rustix::process::setsid();
    rustix::process::set_child_subreaper(Some(getpid()))?;
    let socket = fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok((runtime, socket))
}

async fn serve(socket: OwnedFd) -> io::Result<()> {
    // Taking these signals, and then doing nothing, is how they are ignored
    // without children inheriting it.
    let _ignored = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let mut child_ended = signal(SignalKind::child())?;
    let mut server = Server::new(Socket::new(socket)?);
    loop {
        let understood = match server.wait(&mut child_ended).await {
            Some(HostSaid::Message(packet)) => server.handle(packet).await,
            Some(HostSaid::Gone) => break,
            None => Ok(()),
        };
        if understood.is_err() {
            break;
        }
        server.keep_lease();
        server.look_after_children();
    }
    server.end_everything(&mut child_ended).await;
    Ok(())
}

enum HostSaid {
    Message(Packet),
    Gone,
}

struct Server {
    socket: Socket,
    lock: Option<File>,
    children: BTreeMap<u64, Child>,
    /// What the host has still to be told; bounded by its children.
    replies: VecDeque<Vec<u8>>,
    /// What the host said last; a host that is alone never says anything.
    lease: Option<Lease>,
}

struct Child {
    pid: Pid,
    tree: Tree,
    /// Since when it is being killed.
    killed: Option<Instant>,
    /// How it ended, while something of it may be left.
    end: Option<(End, Instant)>,
    /// Why it ends.
    cause: Cause,
}

impl Server {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            lock: None,
            children: BTreeMap::new(),
            replies: VecDeque::new(),
            lease: None,
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, child_ended: &mut tokio::signal::unix::Signal) -> Option<HostSaid> {
        let next_look = self.next_look();
        let wants_to_send = !self.replies.is_empty();
        // Each branch is cancel-safe: a message is taken or not.
        tokio::select! {
            received = self.socket.receive() => {
                Some(match received {
                    Ok(Some(packet)) => HostSaid::Message(packet),
                    Ok(None) | Err(_) => HostSaid::Gone,
                })
            }
            _ = child_ended.recv() => None,
            _ = self.socket.writable(), if wants_to_send => {
                self.send_replies();
                None
            }
            () = sleep(next_look.unwrap_or_default()), if next_look.is_some() => None,
        }
    }

    /// How long to wait for the next look at the children, when nothing else
    /// happens; `None`: for ever.
    fn next_look(&self) -> Option<Duration> {
        let mut children = self.children.values();
        if children.any(|child| child.killed.is_some() || child.end.is_some()) {
            return Some(KILL_AGAIN);
        }
        let change = self.lease?.next_change(boottime())?;
        let mut children = self.children.values();
        let has_tools = children.any(|child| child.tree != Tree::Service);
        has_tools.then(|| change.min(LEASE_LOOK))
    }

    /// Does what the host asks.
    ///
    /// # Errors
    /// When the host does not speak our language, or must not go on.
    async fn handle(&mut self, packet: Packet) -> Result<(), ()> {
        match serde_json::from_slice(&packet.bytes) {
            Ok(Request::Hello { data_dir, host }) => self.take_lock(data_dir, host).await,
            Ok(Request::Spawn(request)) => {
                let id = request.id;
                let reply = match self.may_spawn(request.tree) {
                    Ok(()) => self.spawn(request, packet.descriptors),
                    Err(refusal) => Err(refusal),
                };
                let reply = match reply {
                    Ok(pid) => Reply::Spawned {
                        id,
                        pid: pid.as_raw_pid(),
                    },
                    Err(refusal) => Reply::NotSpawned { id, refusal },
                };
                self.reply(&reply);
                Ok(())
            }
            Ok(Request::Stop { id, kind }) => {
                self.stop(id, kind);
                Ok(())
            }
            Ok(Request::Lease(lease)) => {
                self.renew(lease);
                Ok(())
            }
            Err(_) => Err(()),
        }
    }

    async fn take_lock(&mut self, data_dir: Option<Utf8PathBuf>, host: i32) -> Result<(), ()> {
        let Some(data_dir) = data_dir else {
            self.reply(&Reply::Ready);
            return Ok(());
        };
        let reply = match wait_for_lock(&data_dir, host).await {
            Ok(Taken::Ours(file)) => {
                self.lock = Some(file);
                Reply::Ready
            }
            Ok(Taken::Theirs(holder)) => Reply::InUse { holder },
            Err(error) => Reply::NoLock {
                errno: error.raw_os_error().unwrap_or_default(),
            },
        };
        self.reply(&reply);
        if self.lock.is_some() { Ok(()) } else { Err(()) }
    }

    fn renew(&mut self, lease: Lease) {
        self.lease = Some(lease);
        // Who was asked to end under the old lease is not left half-way.
        for child in self.children.values_mut() {
            if child.cause == Cause::Lease {
                child.killed.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Ends the tools when the lease wants it.
    fn keep_lease(&mut self) {
        let Some(allowed) = self.lease.map(|lease| lease.allows(boottime())) else {
            return;
        };
        if allowed >= Allowed::Ending {
            for child in self.children.values_mut() {
                child.end_by_lease(allowed);
            }
        }
    }

    fn may_spawn(&self, tree: Tree) -> Result<(), Refusal> {
        match (tree, self.lease.map(|lease| lease.allows(boottime()))) {
            (Tree::Service, _) | (_, None | Some(Allowed::Spawns)) => Ok(()),
            (Tree::Supervised | Tree::Jailed, Some(_)) => Err(Refusal::Lease),
        }
    }

    fn spawn(&mut self, request: SpawnRequest, descriptors: Vec<OwnedFd>) -> Result<Pid, Refusal> {
        self.try_spawn(request, descriptors)
            .map_err(|error| Refusal::System(error.raw_os_error().unwrap_or_default()))
    }

    fn try_spawn(&mut self, request: SpawnRequest, descriptors: Vec<OwnedFd>) -> io::Result<Pid> {
        let mut descriptors = descriptors.into_iter();
        let mut streams = [Stdio::null(), Stdio::null(), Stdio::null()];
        for (stream, given) in streams.iter_mut().zip(request.streams) {
            if given {
                let descriptor = descriptors.next();
                *stream = descriptor.ok_or(io::ErrorKind::InvalidInput)?.into();
            }
        }
        let [stdin, stdout, stderr] = streams;
        let _inherited = inherit(descriptors)?;
        let _lock = match (request.tree, &self.lock) {
            (Tree::Service, Some(lock)) => Some(inheritable(lock.try_clone()?.into())?),
            _ => None,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the watchdog is the process that starts processes"
        )]
        let mut command = Command::new(&request.program);
        let child = command
            .args(&request.arguments)
            .env_clear()
            .envs(request.environment)
            .current_dir(&request.directory)
            .process_group(0)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        let pid = Pid::from_child(&child);
        self.children.insert(
            request.id,
            Child {
                pid,
                tree: request.tree,
                killed: None,
                end: None,
                cause: Cause::Usual,
            },
        );
        Ok(pid)
    }

    fn stop(&mut self, id: u64, kind: StopKind) {
        let Some(child) = self.children.get_mut(&id) else {
            return;
        };
        match kind {
            StopKind::Term => child.term(),
            StopKind::Kill => {
                child.killed.get_or_insert_with(Instant::now);
                child.kill();
            }
        }
    }

    /// Takes the ends of processes, and goes on killing what is to be killed.
    fn look_after_children(&mut self) {
        self.reap();
        for child in self.children.values() {
            if child.killed.is_some() && child.end.is_none() {
                child.kill();
            }
        }
        let strays = self.kill_strays();
        self.report(strays);
        self.send_replies();
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let ended = self.children.values_mut().find(|child| child.pid == pid);
            if let (Some(child), Some(end)) = (ended, End::of(status)) {
                child.end = Some((end, Instant::now()));
            }
        }
    }

    /// Ends processes that were given to us because their parent is gone.
    /// Whether there are any.
    fn kill_strays(&self) -> bool {
        let living = |pid: &Pid| {
            let mut children = self.children.values();
            children.any(|child| child.pid == *pid && child.end.is_none())
        };
        let mut any = false;
        for stray in tree::children(getpid()).into_iter().filter(|p| !living(p)) {
            any = true;
            for process in tree::descendants(stray) {
                tree::signal(process, Signal::KILL);
            }
            // Ours alone to reap: its id cannot be another's.
            let _ = rustix::process::kill_process(stray, Signal::KILL);
        }
        any
    }

    /// Tells the host of the children that have ended, once nothing of them can
    /// be left.
    fn report(&mut self, strays: bool) {
        let ended: Vec<(u64, End, Cause)> = self
            .children
            .iter()
            .filter_map(|(id, child)| {
                let (end, since) = child.end?;
                let is_over = !strays || since.elapsed() > KILL_WAIT;
                is_over.then_some((*id, end, child.cause))
            })
            .collect();
        for (id, end, cause) in ended {
            self.children.remove(&id);
            self.reply(&Reply::Exited { id, end, cause });
        }
    }

    fn reply(&mut self, reply: &Reply) {
        if let Ok(bytes) = serde_json::to_vec(reply) {
            self.replies.push_back(bytes);
        }
        self.send_replies();
    }

    fn send_replies(&mut self) {
        while let Some(bytes) = self.replies.front() {
            match self.socket.try_send(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A host that is gone shows when we read.
                Ok(()) | Err(_) => {
                    self.replies.pop_front();
                }
            }
        }
    }

    /// TERM, grace, KILL for every tree, until nothing is left.
    async fn end_everything(&mut self, child_ended: &mut tokio::signal::unix::Signal) {
        for child in self.children.values() {
            child.term();
        }
        let begun = Instant::now();
        loop {
            self.reap();
            let strays = self.kill_strays();
            self.children.retain(|_, child| child.end.is_none());
            if (self.children.is_empty() && !strays)
                || begun.elapsed() > HOST_GONE_GRACE + KILL_WAIT
            {
                return;
            }
            if begun.elapsed() > HOST_GONE_GRACE {
                for child in self.children.values_mut() {
                    child.killed.get_or_insert_with(Instant::now);
                    child.kill();
                }
            }
            tokio::select! {
                _ = child_ended.recv() => {}
                () = sleep(KILL_AGAIN) => {}
            }
        }
    }
}

impl Child {
    /// Asks every process that is the tool's to end.
    fn term(&self) {
        for process in tree::descendants(self.pid) {
            if !self.is_ours(process) {
                tree::signal(process, Signal::TERM);
                // A stopped process takes TERM only once it goes on.
                tree::signal(process, Signal::CONT);
            }
        }
        if self.tree == Tree::Service {
            let _ = rustix::process::kill_process(self.pid, Signal::TERM);
        }
    }

    /// Ends a tool that the lease does not allow any more: TERM once, then KILL.
    fn end_by_lease(&mut self, allowed: Allowed) {
        if self.tree == Tree::Service || self.end.is_some() {
            return;
        }
        if self.cause == Cause::Usual {
            self.cause = Cause::Lease;
            if allowed == Allowed::Ending {
                self.term();
            }
        }
        if allowed == Allowed::Nothing {
            // The kill follows with the look after all children.
            self.killed.get_or_insert_with(Instant::now);
        }
    }

    /// Kills what is below the child; the child itself (bubblewrap, a shim)
    /// then ends, and is killed too when it does not.
    fn kill(&self) {
        let below = tree::descendants(self.pid);
        let overdue = self
            .killed
            .is_some_and(|since| since.elapsed() > KILL_AGAIN * 10);
        if below.is_empty() || overdue {
            // Not reaped yet, so its id cannot be another's.
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
        for process in below {
            tree::signal(process, Signal::KILL);
        }
    }

    /// Whether a process of the tree belongs to the jail and not to the tool.
    fn is_ours(&self, process: Process) -> bool {
        match self.tree {
            Tree::Service | Tree::Supervised => false,
            // Bubblewrap's init, and the shim, which it started first.
            Tree::Jailed => matches!(tree::jail_pid(process.pid), Some(1 | 2)),
        }
    }
}

async fn wait_for_lock(data_dir: &Utf8Path, host: i32) -> io::Result<Taken> {
    let begun = Instant::now();
    loop {
        match lock::try_take(data_dir, host)? {
            Taken::Theirs(_) if begun.elapsed() < LOCK_WAIT => sleep(KILL_AGAIN).await,
            taken => return Ok(taken),
        }
    }
}

/// Gives descriptors the numbers from [`EXTRA_DESCRIPTOR`] on, open over exec
/// for as long as the result lives.
fn inherit(descriptors: impl Iterator<Item = OwnedFd>) -> io::Result<Vec<OwnedFd>> {
    let mut inherited = Vec::new();
    for (number, descriptor) in (EXTRA_DESCRIPTOR..).zip(descriptors) {
        let moved = fcntl_dupfd_cloexec(&descriptor, EXTRA_DESCRIPTOR)?;
        if moved.as_raw_fd() != number {
            return Err(io::Error::other("a descriptor's number is taken"));
        }
        inherited.push(inheritable(moved)?);
    }
    Ok(inherited)
}

fn inheritable(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    fcntl_setfd(&descriptor, FdFlags::empty())?;
    Ok(descriptor)
}
