//! The door for processes: every tool goes through here.
//!
//! An argument vector, an absolute program, an explicit working directory, a
//! whole environment made here, standard input closed or given, both pipes read
//! to their end, TERM then grace then KILL for the whole tree, and a bounded
//! wait for whoever keeps the pipes open. Never a shell, never a secret in an
//! argument. It knows nothing of Ansible, OpenTofu or git.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_core::limits::ByteCount;
use infraflow_core::line::{Level, Line, Stream};
use infraflow_core::ports::{StopSignal, ToolScope, Trust};
use infraflow_core::tool::{CallError, ProcessEnd};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::errors::{chain, system, too_large, too_many};
use crate::jail::{
    Decision, Jail, JailStatus, JailView, Network, Places, Room, Walls, decide, inside,
};
use crate::limits::{
    ARGUMENT_BYTES, ARGUMENTS, JAIL_WORDS, KILL_AGAIN, KILL_WAIT, PROBE, VARIABLES,
};
use crate::loose::LooseFolder;
use crate::packet::{self, Socket};
use crate::shim::{Failure, PrivateFile, Report, Spec, memory_file, send_order};
use crate::sinks::{Capture, Sink};
use crate::watchdog::{
    Child, EXTRA_DESCRIPTOR, Spawn, SpawnError, StopKind, Tree, Watchdog, WatchdogError,
};

/// A process to run.
#[derive(Debug, Default)]
pub(crate) struct Launch {
    /// The program, absolute.
    pub(crate) program: Utf8PathBuf,
    /// Its arguments, without its name.
    pub(crate) arguments: Vec<String>,
    /// What its environment has beside the common one.
    pub(crate) environment: Vec<(String, String)>,
    /// Its working directory, as it sees it.
    pub(crate) directory: Utf8PathBuf,
    /// Files that only it may read, at the paths where it sees them: beneath
    /// [`Places::private`].
    pub(crate) files: Vec<PrivateFile>,
    /// Its standard input. Unset: closed.
    pub(crate) stdin: Option<Vec<u8>>,
}

/// The door.
pub(crate) struct Processes {
    watchdog: Watchdog,
    jail: Jail,
    /// The jail's state, once it holds; a broken one is tried again each time.
    holds: OnceCell<JailStatus>,
    places: Semaphore,
    settings: ProcessSettings,
}

/// What the configuration says about processes.
#[derive(Debug, Clone)]
pub(crate) struct ProcessSettings {
    /// Where private files of tools without a jail go.
    pub(crate) private: Utf8PathBuf,
    /// Variables that every tool gets.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) active: usize,
    pub(crate) grace: Duration,
    pub(crate) leaked_handles: Duration,
}

impl Processes {
    pub(crate) fn new(watchdog: Watchdog, jail: Jail, settings: ProcessSettings) -> Self {
        Self {
            watchdog,
            jail,
            holds: OnceCell::new(),
            places: Semaphore::new(settings.active),
            settings,
        }
    }

    pub(crate) fn jail(&self) -> &Jail {
        &self.jail
    }

    /// Waits until every tool whose call was dropped is gone.
    pub(crate) async fn settle(&self) {
        self.watchdog.settle().await;
    }

    /// Decides how the tools of a call run, and where they see what.
    ///
    /// # Errors
    /// `Unavailable` when the code is not trusted and no jail can be made.
    pub(crate) async fn prepare<'a>(
        &'a self,
        scope: &'a ToolScope,
        trust: Trust,
        room: Room,
    ) -> Result<Stand<'a>, CallError> {
        if !self.watchdog.allows_tools() {
            // Else the jail's own look would be refused, as if there were none.
            return Err(interrupted(scope, &SpawnError::Lease));
        }
        let status = self.jail_status().await;
        let decision = decide(&status, trust).map_err(CallError::Unavailable)?;
        let (walls, places, loose) = match decision {
            Decision::Jailed => (Walls::Jail, Places::inside(&room), None),
            Decision::Open { warning } => {
                if let Some(text) = warning {
                    scope.lines.line(Line {
                        stream: Stream::Host,
                        level: Level::Warn,
                        text,
                        continues: false,
                    });
                }
                let loose = LooseFolder::make(&self.settings.private)
                    .map_err(|error| system("make a private folder", &error))?;
                let places = Places::outside(&room, loose.path());
                (Walls::None, places, Some(loose))
            }
        };
        Ok(Stand {
            door: self,
            scope,
            room,
            walls,
            places,
            loose,
        })
    }

    pub(crate) async fn jail_status(&self) -> JailStatus {
        if let Some(status) = self.holds.get() {
            return status.clone();
        }
        let status = match self.jail.config().mode {
            crate::jail::JailMode::Off => JailStatus::Off,
            crate::jail::JailMode::Required => self.jail.status(&self.watchdog).await,
        };
        if !matches!(status, JailStatus::Missing { .. }) {
            // Another call may have been first; it saw the same.
            let _ = self.holds.set(status.clone());
        }
        status
    }

    /// Waits for a free place, in order.
    async fn place(&self, stop: &dyn StopSignal) -> Result<SemaphorePermit<'_>, CallError> {
        let stopped =
            || CallError::Unavailable("the attempt was ended before its tool started".to_owned());
        if stop.reason().is_some() {
            return Err(stopped());
        }
        tokio::select! {
            place = self.places.acquire() => place.map_err(|_| stopped()),
            _ = stop.stopped() => Err(stopped()),
        }
    }

    /// What every tool's environment has.
    fn common_environment(&self, places: &Places) -> Vec<(String, String)> {
        let path = crate::programs::standard_search_path();
        let path: Vec<String> = path.into_iter().map(Utf8PathBuf::into_string).collect();
        let mut environment: Vec<(String, String)> = [
            ("PATH", path.join(":")),
            ("HOME", places.home.to_string()),
            ("TMPDIR", places.tmp.to_string()),
            ("USER", "infraflow".to_owned()),
            ("LOGNAME", "infraflow".to_owned()),
            ("SHELL", "/bin/sh".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("TERM", "dumb".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(self.settings.environment.iter().cloned());
        environment
    }
}

/// Where the tools of one call stand.
pub(crate) struct Stand<'a> {
    door: &'a Processes,
    scope: &'a ToolScope,
    room: Room,
    walls: Walls,
    places: Places,
    loose: Option<LooseFolder>,
}

impl Stand<'_> {
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }

    /// Runs a process to its end.
    ///
    /// # Errors
    /// When it could not be started. How it ended is never an error.
    ///
    /// # Cancellation
    /// Dropping the future kills the process and everything below it.
    pub(crate) async fn run(
        &self,
        launch: Launch,
        stdout: &mut dyn Sink,
        stderr: &mut dyn Sink,
    ) -> Result<ProcessEnd, CallError> {
        check(&launch)?;
        let door = self.door;
        let _place = door.place(&*self.scope.stop).await?;
        if let Some(loose) = &self.loose {
            let renewed = loose.renew();
            renewed.map_err(|error| system("make a private folder", &error))?;
        }
        let program = launch.program.clone();
        let spec = self.spec(
            launch.environment,
            launch.files,
            Wanted {
                program: launch.program,
                arguments: launch.arguments,
                directory: launch.directory,
            },
        );
        let jail = (self.walls == Walls::Jail).then_some((&door.jail, &self.room));
        let running = start(&door.watchdog, jail, spec, launch.stdin)
            .await
            .map_err(|error| could_not_start(self.scope, &error))?;
        let limits = (door.settings.grace, door.settings.leaked_handles);
        let ended = running
            .finish(&*self.scope.stop, limits, stdout, stderr)
            .await;
        let ended = ended.map_err(|error| match error {
            RunError::Lease => interrupted(self.scope, &error),
            other => other.blame(&program),
        })?;
        if ended.leaked_handles {
            self.scope.facts.note_leaked_handles();
        }
        Ok(ended.end)
    }

    fn spec(&self, own: Vec<(String, String)>, files: Vec<PrivateFile>, wanted: Wanted) -> Spec {
        let mut environment = self.door.common_environment(&self.places);
        environment.extend(own);
        let jailed = self.walls == Walls::Jail;
        let jail = &self.door.jail;
        let mut all_files = Vec::new();
        if jailed {
            all_files = jail.etc_files(self.room.network);
        }
        all_files.extend(files);
        Spec {
            parent: (!jailed).then(|| self.door.watchdog.pid()),
            identity: jail.identity().filter(|_| jailed),
            privileges: Jail::privileges(self.walls),
            files: all_files,
            owned: if jailed {
                vec![self.places.home.clone(), self.places.private.clone()]
            } else {
                Vec::new()
            },
            limits: jail.config().limits,
            program: wanted.program,
            arguments: wanted.arguments,
            environment,
            directory: wanted.directory,
        }
    }
}

struct Wanted {
    program: Utf8PathBuf,
    arguments: Vec<String>,
    directory: Utf8PathBuf,
}

/// Checks what Linux would refuse with a worse message.
fn check(launch: &Launch) -> Result<(), CallError> {
    let bytes: usize = launch.arguments.iter().map(|text| text.len() + 1).sum();
    if bytes > ARGUMENT_BYTES.to_usize() {
        return Err(too_large("argument_bytes", ARGUMENT_BYTES));
    }
    if launch.arguments.len() > ARGUMENTS {
        return Err(too_many("arguments", ARGUMENTS));
    }
    if launch.environment.len() > VARIABLES {
        return Err(too_many("environment_variables", VARIABLES));
    }
    if let Some(text) = launch.arguments.iter().find(|text| text.contains('\0')) {
        let shown: String = text.chars().take(40).collect();
        return Err(CallError::Invalid(format!(
            "argument `{}` holds a NUL",
            shown.escape_debug()
        )));
    }
    for (name, value) in &launch.environment {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(CallError::Invalid(format!(
                "environment variable `{}` cannot be set",
                name.escape_debug()
            )));
        }
        if name.len() + value.len() + 2 > ARGUMENT_BYTES.to_usize() {
            return Err(too_large("environment_variable_bytes", ARGUMENT_BYTES));
        }
    }
    Ok(())
}

// ---- starting -------------------------------------------------------------------

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("prepare the tool's pipes")]
    Pipes(#[from] io::Error),
    #[error("bubblewrap is not there")]
    NoBubblewrap,
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// The end of a lease, noted for the record: whatever the plugin makes of it,
/// the attempt was interrupted.
fn interrupted(scope: &ToolScope, error: &dyn std::error::Error) -> CallError {
    scope.facts.note_lease_ended();
    CallError::Interrupted(error.to_string())
}

fn could_not_start(scope: &ToolScope, error: &StartError) -> CallError {
    let text = chain(error);
    match error {
        StartError::Spawn(SpawnError::Lease) => interrupted(scope, error),
        StartError::Spawn(SpawnError::Watchdog(_)) | StartError::Pipes(_) => {
            CallError::Internal(text)
        }
        StartError::NoBubblewrap | StartError::Spawn(_) => CallError::Unavailable(text),
    }
}

/// A tool that was started, with everything that it says.
struct Running {
    child: Child,
    reports: Socket,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
    /// What bubblewrap and the shim print themselves.
    words: pipe::Receiver,
}

async fn start(
    watchdog: &Watchdog,
    jail: Option<(&Jail, &Room)>,
    spec: Spec,
    stdin: Option<Vec<u8>>,
) -> Result<Running, StartError> {
    let (ours, theirs) = packet::pair()?;
    let (stdout, tool_stdout) = pipe_from_tool()?;
    let (stderr, tool_stderr) = pipe_from_tool()?;
    let (words, own_stderr) = pipe_from_tool()?;
    let stdin = match stdin {
        Some(bytes) => memory_file("stdin", &bytes)?,
        None => File::open("/dev/null")?.into(),
    };
    send_order(&ours, &spec, [stdin, tool_stdout, tool_stderr])?;
    let shim = watchdog.program();
    let supervise = ["shim".to_owned(), "supervise".to_owned()];
    let (program, arguments, extra, tree) = match jail {
        Some((jail, room)) => {
            let program = jail.bubblewrap().ok_or(StartError::NoBubblewrap)?;
            // Through a file: options on the command line show in `ps`.
            let mut options = jail.arguments(shim, room).join("\0").into_bytes();
            options.push(0);
            let options = memory_file("bubblewrap", &options)?;
            let mut arguments = vec!["--args".to_owned(), EXTRA_DESCRIPTOR.to_string()];
            arguments.extend(["--".to_owned(), inside::SHIM.to_owned()]);
            arguments.extend(supervise);
            (program, arguments, vec![options], Tree::Jailed)
        }
        None => {
            let arguments = supervise.to_vec();
            (shim.to_owned(), arguments, Vec::new(), Tree::Supervised)
        }
    };
    let child = watchdog
        .spawn(Spawn {
            program,
            arguments,
            environment: Vec::new(),
            directory: "/".into(),
            stdin: Some(theirs),
            stdout: None,
            stderr: Some(own_stderr),
            extra,
            tree,
        })
        .await?;
    Ok(Running {
        child,
        reports: Socket::new(ours)?,
        stdout,
        stderr,
        words,
    })
}

fn pipe_from_tool() -> io::Result<(pipe::Receiver, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(reader)?, writer))
}

// ---- running --------------------------------------------------------------------

struct Ended {
    end: ProcessEnd,
    leaked_handles: bool,
}

/// Why there is no end to report.
#[derive(Debug, thiserror::Error)]
enum RunError {
    /// Something before the tool failed.
    #[error("start the tool")]
    Failed { at: Failure, errno: i32 },
    /// There was no report; what bubblewrap or the shim printed.
    #[error("make the jail: {words}")]
    NoJail { words: String },
    /// The tree does not vanish.
    #[error("it does not end by KILL")]
    Unkillable,
    /// The watchdog ended it.
    #[error("the host's lease ran out, the tool was killed")]
    Lease,
    #[error(transparent)]
    Watchdog(WatchdogError),
}

impl RunError {
    fn blame(self, program: &Utf8PathBuf) -> CallError {
        match self {
            Self::Failed { at, errno } => {
                let cause = io::Error::from_raw_os_error(errno);
                match at {
                    Failure::Program if cause.kind() == io::ErrorKind::ArgumentListTooLong => {
                        too_large("argument_bytes", ARGUMENT_BYTES)
                    }
                    Failure::Program => {
                        CallError::Unavailable(format!("start `{program}`: {cause}"))
                    }
                    Failure::Directory => CallError::Invalid(format!(
                        "the working directory cannot be entered: {cause}"
                    )),
                    Failure::Files => system("write the tool's private files", &cause),
                    Failure::Confinement => {
                        CallError::Unavailable(format!("confine `{program}`: {cause}"))
                    }
                }
            }
            Self::NoJail { words } => {
                CallError::Unavailable(format!("the jail for `{program}` cannot be made: {words}"))
            }
            Self::Unkillable => CallError::Internal(format!("`{program}` does not end by KILL")),
            Self::Lease => CallError::Interrupted(self.to_string()),
            Self::Watchdog(error) => CallError::Internal(chain(&error)),
        }
    }
}

impl Running {
    async fn finish(
        self,
        stop: &dyn StopSignal,
        (grace, leaked_after): (Duration, Duration),
        out: &mut dyn Sink,
        err: &mut dyn Sink,
    ) -> Result<Ended, RunError> {
        let Self {
            child,
            reports,
            stdout,
            stderr,
            words,
        } = self;
        let mut end = Ending {
            child: &child,
            reports,
            words,
            started: false,
        };
        let result = {
            let mut drained = std::pin::pin!(async {
                tokio::join!(drain(stdout, &mut *out), drain(stderr, &mut *err));
            });
            let mut all_read = false;
            let ended = {
                let mut ended = std::pin::pin!(end.wait(stop, grace));
                loop {
                    tokio::select! {
                        () = &mut drained, if !all_read => all_read = true,
                        ended = &mut ended => break ended,
                    }
                }
            };
            let mut leaked_handles = false;
            if !all_read && ended.is_ok() {
                leaked_handles = timeout(leaked_after, &mut drained).await.is_err();
                all_read = !leaked_handles;
            }
            // Whatever the tool left behind ends now.
            let gone = end_what_is_left(&child, all_read).await;
            if !all_read {
                // With everybody gone the pipes end; take what is in them.
                let _ = timeout(KILL_WAIT, &mut drained).await;
            }
            if child.ended_by_lease() {
                Err(RunError::Lease)
            } else {
                ended.and_then(|end| {
                    gone.map(|()| Ended {
                        end,
                        leaked_handles,
                    })
                })
            }
        };
        out.finish();
        err.finish();
        result
    }
}

/// Waits for one tool's end.
struct Ending<'a> {
    child: &'a Child,
    reports: Socket,
    words: pipe::Receiver,
    started: bool,
}

impl Ending<'_> {
    /// TERM, grace, KILL once there is a reason to stop.
    async fn wait(
        &mut self,
        stop: &dyn StopSignal,
        grace: Duration,
    ) -> Result<ProcessEnd, RunError> {
        // Reports are taken whole or not at all, so dropping this is safe.
        tokio::select! {
            ended = self.tool_ended() => return ended,
            _ = stop.stopped() => {}
        }
        self.child.stop(StopKind::Term).await;
        if let Ok(ended) = timeout(grace, self.tool_ended()).await {
            return ended;
        }
        self.child.stop(StopKind::Kill).await;
        timeout(KILL_WAIT, self.tool_ended())
            .await
            .unwrap_or(Err(RunError::Unkillable))
    }

    async fn tool_ended(&mut self) -> Result<ProcessEnd, RunError> {
        while let Some(report) = self.next_report().await {
            match report {
                Report::Started => self.started = true,
                Report::Exited(code) => return Ok(ProcessEnd::Exited(code)),
                Report::Signalled(signal) => return Ok(ProcessEnd::Signalled(signal)),
                Report::Failed { at, errno } => return Err(RunError::Failed { at, errno }),
            }
        }
        // The shim is gone without a word: killed, or never started.
        let end = self.child.wait().await.map_err(RunError::Watchdog)?;
        if self.started {
            Ok(of_bubblewrap(end))
        } else {
            let words = read_words(&mut self.words, end).await;
            Err(RunError::NoJail { words })
        }
    }

    async fn next_report(&mut self) -> Option<Report> {
        let packet = self.reports.receive().await;
        serde_json::from_slice(&packet.ok()??.bytes).ok()
    }
}

/// How the tool ended when only bubblewrap can tell: it exits with 128 and the
/// number of the signal. A shim that is killed takes its tool with it.
fn of_bubblewrap(end: ProcessEnd) -> ProcessEnd {
    match end {
        ProcessEnd::Exited(code) if (129..=192).contains(&code) => {
            ProcessEnd::Signalled(code - 128)
        }
        ProcessEnd::Exited(_) => ProcessEnd::Signalled(9),
        signalled @ ProcessEnd::Signalled(_) => signalled,
    }
}

async fn read_words(words: &mut pipe::Receiver, end: ProcessEnd) -> String {
    let mut bytes = Vec::new();
    let mut limited = words.take(JAIL_WORDS.0);
    let _ = timeout(KILL_WAIT, limited.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes).trim().replace('\n', "; ");
    if text.is_empty() {
        format!("it ended with {end:?}")
    } else {
        text
    }
}

async fn end_what_is_left(child: &Child, all_read: bool) -> Result<(), RunError> {
    // The usual case: nothing is left, and the shim is just ending.
    let usual = if all_read {
        KILL_AGAIN * 5
    } else {
        Duration::ZERO
    };
    let ended = match timeout(usual, child.wait()).await {
        Ok(ended) => Some(ended),
        Err(_) => {
            child.stop(StopKind::Kill).await;
            timeout(KILL_WAIT, child.wait()).await.ok()
        }
    };
    match ended {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(RunError::Watchdog(error)),
        None => Err(RunError::Unkillable),
    }
}

/// Reads a pipe to its end, no faster than its lines find room: a tool that
/// prints more waits at its full pipe.
async fn drain(mut pipe: pipe::Receiver, sink: &mut dyn Sink) {
    /// What is handed on between two waits: no more lines than there is room for.
    const PIECE: usize = 1024;
    let mut buffer = vec![0_u8; 64 * 1024];
    // A pipe that cannot be read any more has ended.
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        for piece in buffer.get(..count).unwrap_or_default().chunks(PIECE) {
            sink.room().await;
            sink.push(piece);
        }
    }
}

// ---- the jail's own look ----------------------------------------------------------

/// Runs `infraflow shim look` in a jail without workspace or network.
///
/// # Errors
/// A text for people: why no jail could be made.
pub(crate) async fn look_into_jail(jail: &Jail, watchdog: &Watchdog) -> Result<JailView, String> {
    let room = Room {
        workspace: None,
        network: Network::None,
        read_only: Vec::new(),
        binds: Vec::new(),
    };
    let places = Places::inside(&room);
    let spec = Spec {
        parent: None,
        identity: jail.identity(),
        privileges: Jail::privileges(Walls::Jail),
        files: jail.etc_files(Network::None),
        owned: vec![places.home, places.private],
        limits: jail.config().limits,
        program: inside::SHIM.into(),
        arguments: vec!["shim".to_owned(), "look".to_owned()],
        environment: Vec::new(),
        directory: "/".into(),
    };
    let looked = async {
        let running = start(watchdog, Some((jail, &room)), spec, None)
            .await
            .map_err(|error| chain(&error))?;
        let mut out = Capture::new(ByteCount::kib(64));
        let mut err = Capture::new(JAIL_WORDS);
        let never = infraflow_core::ports::NeverStop;
        let limits = (PROBE, PROBE);
        let ended = running.finish(&never, limits, &mut out, &mut err).await;
        match ended.map(|ended| ended.end) {
            Ok(ProcessEnd::Exited(0)) => serde_json::from_slice(out.bytes())
                .map_err(|error| format!("its answer makes no sense: {error}")),
            Ok(end) => Err(format!(
                "looking around in it ended with {end:?}: {}",
                String::from_utf8_lossy(err.bytes())
            )),
            Err(RunError::NoJail { words }) => Err(words),
            Err(error) => Err(error.blame(&inside::SHIM.into()).to_string()),
        }
    };
    timeout(PROBE, looked)
        .await
        .unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_at_and_past_the_limits() {
        let with = |arguments: Vec<String>| {
            check(&Launch {
                arguments,
                ..Launch::default()
            })
        };
        let all = ARGUMENT_BYTES.to_usize();
        assert_eq!(with(vec!["x".repeat(all - 1)]), Ok(()));
        assert_eq!(
            with(vec!["x".repeat(all)]),
            Err(too_large("argument_bytes", ARGUMENT_BYTES))
        );
        assert_eq!(with(vec![String::new(); ARGUMENTS]), Ok(()));
        assert_eq!(
            with(vec![String::new(); ARGUMENTS + 1]),
            Err(too_many("arguments", ARGUMENTS))
        );
        assert!(matches!(
            with(vec!["a\0b".to_owned()]),
            Err(CallError::Invalid(_))
        ));
    }

    #[test]
    fn variables_that_cannot_be_set() {
        for (name, value) in [("", "x"), ("a=b", "x"), ("a", "x\0"), ("a\0", "")] {
            let launch = Launch {
                environment: vec![(name.to_owned(), value.to_owned())],
                ..Launch::default()
            };
            assert!(
                matches!(check(&launch), Err(CallError::Invalid(_))),
                "{name:?}"
            );
        }
    }

    #[test]
    fn ends_as_bubblewrap_tells_them() {
        for (said, meant) in [
            (ProcessEnd::Exited(143), ProcessEnd::Signalled(15)),
            (ProcessEnd::Exited(137), ProcessEnd::Signalled(9)),
            (ProcessEnd::Exited(0), ProcessEnd::Signalled(9)),
            (ProcessEnd::Signalled(9), ProcessEnd::Signalled(9)),
        ] {
            assert_eq!(of_bubblewrap(said), meant);
        }
    }
}
