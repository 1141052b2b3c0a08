//! The shim: what must be set up between "a process is there" and "it is the
//! tool", as a tiny program of its own, so that no large process ever forks.
//!
//! `infraflow shim supervise` stays above its tool: it writes the private
//! files, drops every privilege, starts the tool, collects what the tool leaves
//! behind, and says how the tool ended. `infraflow shim exec` replaces itself
//! by a program that dies with its parent. `infraflow shim look` says what a
//! jail looks like from inside. Single-threaded throughout; it never reads what
//! the tool prints and never decides what runs.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, WaitOptions, getpid, getppid,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

use crate::packet;

/// What the shim is to do; sent to its standard input as a memory file,
/// together with the tool's standard input, output and error.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Without a jail: the process to die with.
    pub(crate) parent: Option<i32>,
    /// Whom to become, when we are root.
    pub(crate) identity: Option<Identity>,
    /// Whether the tool may ever gain privileges.
    pub(crate) privileges: Privileges,
    /// Files to write before the tool starts, with the folders above them.
    pub(crate) files: Vec<PrivateFile>,
    /// Folders that the tool owns, with all that is in them by then.
    pub(crate) owned: Vec<Utf8PathBuf>,
    /// Limits of the tool.
    pub(crate) limits: ProcessLimits,
    /// The tool, absolute.
    pub(crate) program: Utf8PathBuf,
    /// Its arguments, without its name.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Its working directory.
    pub(crate) directory: Utf8PathBuf,
}

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether a tool may gain privileges by what it executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Privileges {
    /// Never (`no_new_privs`).
    Fixed,
    /// Like any process, for tools that run without a jail.
    Ordinary,
}

/// A file that only the tool may read.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PrivateFile {
    pub(crate) path: Utf8PathBuf,
    pub(crate) mode: u32,
    pub(crate) text: String,
}

impl std::fmt::Debug for PrivateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateFile({})", self.path)
    }
}

/// What one tool may use of the machine. `None`: no limit of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLimits {
    /// Open files.
    pub open_files: Option<u64>,
    /// Processes and threads of the tools' user.
    pub processes: Option<u64>,
    /// Size of one file, in bytes.
    pub file_bytes: Option<u64>,
    /// Time on the CPU of one process, in seconds.
    pub cpu_seconds: Option<u64>,
}

/// What the shim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The tool runs.
    Started,
    /// The tool could not be started.
    Failed {
        /// At what.
        at: Failure,
        /// The system's error number.
        errno: i32,
    },
    /// The tool ended by itself.
    Exited(i32),
    /// A signal ended the tool.
    Signalled(i32),
}

/// What can fail before the tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// Dropping privileges and setting limits.
    Confinement,
    /// Writing the private files.
    Files,
    /// The tool's working directory.
    Directory,
    /// The tool's program.
    Program,
}

/// The arguments of our own program that make it `program`, dying with
/// `parent`.
pub(crate) fn exec_arguments(parent: i32, program: &Utf8Path, arguments: &[String]) -> Vec<String> {
    let mut all = vec![
        "shim".to_owned(),
        "exec".to_owned(),
        parent.to_string(),
        program.to_string(),
    ];
    all.extend_from_slice(arguments);
    all
}

/// The body of the hidden subcommand `infraflow shim`; `arguments` are those
/// after `shim`.
///
/// Returns exit code 64 for arguments that are not ours, 126 when a program
/// cannot be started.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let verb = arguments.next();
    match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some("supervise") => supervise(),
        Some("exec") => exec(arguments),
        Some("look") => crate::jail::look_around(arguments),
        _ => ExitCode::from(64),
    }
}

// ---- exec -----------------------------------------------------------------------

fn exec(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = arguments
        .next()
        .and_then(|text| text.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(program)) = (parent, arguments.next()) else {
        return ExitCode::from(64);
    };
    if die_with(parent).is_err() {
        return ExitCode::from(126);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the shim becomes the program that the host asked for"
    )]
    let error = Command::new(&program).args(arguments).exec();
    let _ = writeln!(io::stderr(), "{}: {error}", program.display());
    ExitCode::from(126)
}

/// Has this process killed when `parent`, its parent, ends.
fn die_with(parent: i32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid().map(Pid::as_raw_pid) == Some(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the parent is gone already"))
    }
}

// ---- supervise ------------------------------------------------------------------

fn supervise() -> ExitCode {
    let Ok(Some(order)) = packet::receive(rustix::stdio::stdin()) else {
        return ExitCode::from(64);
    };
    let mut descriptors = order.descriptors.into_iter();
    let (Some(spec), Some(stdin), Some(stdout), Some(stderr)) = (
        descriptors.next(),
        descriptors.next(),
        descriptors.next(),
        descriptors.next(),
    ) else {
        return ExitCode::from(64);
    };
    let Ok(spec) = read_spec(spec) else {
        return ExitCode::from(64);
    };
    match start(&spec, [stdin, stdout, stderr]) {
        Ok(tool) => {
            report(&Report::Started);
            collect(tool);
        }
        Err((at, error)) => report(&Report::Failed {
            at,
            errno: error.raw_os_error().unwrap_or_default(),
        }),
    }
    ExitCode::SUCCESS
}

fn read_spec(file: OwnedFd) -> io::Result<Spec> {
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

fn report(report: &Report) {
    if let Ok(bytes) = serde_json::to_vec(report) {
        // A host that is gone needs no report.
        let _ = packet::send(rustix::stdio::stdin(), &bytes, &[]);
    }
}

/// Reports the tool's end, and stays until nothing of it is left.
fn collect(tool: Pid) {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::empty()) {
        if pid != tool {
            continue;
        }
        if let Some(code) = status.exit_status() {
            report(&Report::Exited(code));
        } else if let Some(signal) = status.terminating_signal() {
            report(&Report::Signalled(signal));
        }
    }
}

fn start(spec: &Spec, streams: [OwnedFd; 3]) -> Result<Pid, (Failure, io::Error)> {
    let confined = |error| (Failure::Confinement, error);
    if let Some(parent) = spec.parent {
        die_with(parent).map_err(confined)?;
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    write_files(&spec.files).map_err(|error| (Failure::Files, error))?;
    hand_over(spec).map_err(|error| (Failure::Files, error))?;
    limit(spec.limits).map_err(confined)?;
    confine(spec).map_err(confined)?;
    if let Some(parent) = spec.parent {
        // A change of user has cleared it.
        die_with(parent).map_err(confined)?;
    }
    // What the tool leaves behind comes to us, not to init.
    rustix::process::set_child_subreaper(Some(getpid())).map_err(|e| confined(e.into()))?;
    std::fs::metadata(&spec.directory).map_err(|error| (Failure::Directory, error))?;
    std::fs::metadata(&spec.program).map_err(|error| (Failure::Program, error))?;
    spawn(spec, streams).map_err(|error| (Failure::Program, error))
}

fn spawn(spec: &Spec, [stdin, stdout, stderr]: [OwnedFd; 3]) -> io::Result<Pid> {
    let (program, arguments) = if spec.parent.is_some() {
        let shim = std::env::current_exe()?;
        let own = getpid().as_raw_pid();
        let arguments = exec_arguments(own, &spec.program, &spec.arguments);
        (shim, arguments)
    } else {
        let program = spec.program.clone().into_std_path_buf();
        (program, spec.arguments.clone())
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the shim starts the one tool that the host asked for"
    )]
    let mut command = Command::new(program);
    let environment = spec.environment.iter().map(|(name, value)| (name, value));
    let tool = command
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir(&spec.directory)
        .process_group(0)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()?;
    Ok(Pid::from_child(&tool))
}

fn write_files(files: &[PrivateFile]) -> io::Result<()> {
    for file in files {
        if let Some(folder) = file.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode)
            .open(&file.path)?
            .write_all(file.text.as_bytes())?;
    }
    Ok(())
}

/// Gives the tool its folders.
fn hand_over(spec: &Spec) -> io::Result<()> {
    let Some(identity) = spec.identity else {
        return Ok(());
    };
    for folder in &spec.owned {
        give(folder, identity)?;
    }
    Ok(())
}

/// What is in the folder first: afterwards we may not look into it any more.
fn give(path: &Utf8Path, identity: Identity) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in path.read_dir_utf8()? {
            give(entry?.path(), identity)?;
        }
    }
    rustix::fs::chownat(
        rustix::fs::CWD,
        path.as_std_path(),
        Some(Uid::from_raw(identity.uid)),
        Some(Gid::from_raw(identity.gid)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )?;
    Ok(())
}

fn limit(limits: ProcessLimits) -> io::Result<()> {
    for (resource, value) in [
        (Resource::Core, Some(0)),
        (Resource::Nofile, limits.open_files),
        (Resource::Nproc, limits.processes),
        (Resource::Fsize, limits.file_bytes),
        (Resource::Cpu, limits.cpu_seconds),
    ] {
        let Some(value) = value else { continue };
        // Never more than we have ourselves: only root could raise it.
        let have = rustix::process::getrlimit(resource).maximum;
        let value = have.map_or(value, |have| value.min(have));
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Drops every privilege, for good.
fn confine(spec: &Spec) -> io::Result<()> {
    if let Some(identity) = spec.identity {
        empty_bounding_set();
        let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        rustix::thread::clear_ambient_capability_set()?;
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        rustix::thread::set_capabilities(None, none)?;
    }
    if spec.privileges == Privileges::Fixed {
        rustix::thread::set_no_new_privs(true)?;
        // The tool has our user: it must not look into us.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Without `CAP_SETPCAP` this is not allowed; `no_new_privs` then does as well.
fn empty_bounding_set() {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
}

/// Puts an order for a shim into its future standard input.
pub(crate) fn send_order(socket: impl AsFd, spec: &Spec, streams: [OwnedFd; 3]) -> io::Result<()> {
    let text = serde_json::to_vec(spec)?;
    let file = memory_file("shim", &text)?;
    let [stdin, stdout, stderr] = &streams;
    let descriptors = [file.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    packet::send(socket, b"{}", &descriptors)
}

/// A file that is only memory, at its beginning.
pub(crate) fn memory_file(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(bytes)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_do_not_show() {
        let file = PrivateFile {
            path: "/run/x".into(),
            mode: 0o600,
            text: "hunter22".to_owned(),
        };
        assert_eq!(format!("{file:?}"), "PrivateFile(/run/x)");
    }

    #[test]
    fn private_files_are_written_once_and_closed_to_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("a/b/key");
        let files = [PrivateFile {
            path: path.clone(),
            mode: 0o600,
            text: "secret".to_owned(),
        }];
        write_files(&files).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
        let mode = |path: &Utf8Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert!(write_files(&files).is_err(), "never over an existing file");
    }

    #[test]
    fn other_arguments_are_refused() {
        for arguments in [&[][..], &["x"], &["exec"], &["exec", "x", "/bin/true"]] {
            let code = run(arguments.iter().map(OsString::from));
            assert_eq!(
                format!("{code:?}"),
                format!("{:?}", ExitCode::from(64)),
                "{arguments:?}"
            );
        }
    }
}
