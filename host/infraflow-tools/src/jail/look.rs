//! What a jail looks like from inside, and whether that is what we promised.
//!
//! `infraflow shim look` prints it; a probe and the tests judge it. It tries
//! what hostile code would try, and nothing that would do harm if it worked.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// What a process inside a jail can see and do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JailView {
    /// Its user, as the namespace shows it.
    pub uid: u32,
    /// Its supplementary groups.
    pub groups: usize,
    /// Its effective capabilities, as in `/proc/self/status`.
    pub capabilities: String,
    /// The capabilities that it could ever gain.
    pub capability_bounds: String,
    /// Whether it can never gain privileges.
    pub no_new_privileges: bool,
    /// Processes that it sees and that are not of the jail.
    pub foreign_processes: usize,
    /// Whether it may signal the first process.
    pub can_signal_init: bool,
    /// Network interfaces but loopback.
    pub interfaces: Vec<String>,
    /// Files and folders that it can see though it should not: those asked for,
    /// and a list of our own.
    pub visible: Vec<PathBuf>,
    /// Folders outside its workspace and its private ones that it can write to.
    pub writable: Vec<PathBuf>,
}

/// Whose presence would mean that the jail leaks.
const FORBIDDEN: [&str; 9] = [
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl/private",
    "/root/.ssh",
    "/boot",
    "/sys/fs",
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/systemd",
];

/// Where a jail must not let its tool write.
const READ_ONLY: [&str; 7] = [
    "/",
    "/usr",
    "/usr/bin",
    "/dev",
    "/run",
    "/run/infraflow",
    "/opt",
];

/// The body of `infraflow shim look [path]...`: prints a [`JailView`] as JSON.
pub(crate) fn look_around(paths: impl Iterator<Item = OsString>) -> ExitCode {
    let view = look(paths.map(PathBuf::from));
    let printed = serde_json::to_string(&view)
        .map_err(std::io::Error::from)
        .and_then(|text| writeln!(std::io::stdout(), "{text}"));
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn look(paths: impl Iterator<Item = PathBuf>) -> JailView {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let forbidden = FORBIDDEN.into_iter().map(PathBuf::from);
    JailView {
        uid: rustix::process::getuid().as_raw(),
        groups: field("Groups:").split_whitespace().count(),
        capabilities: field("CapEff:"),
        capability_bounds: field("CapBnd:"),
        no_new_privileges: field("NoNewPrivs:") == "1",
        foreign_processes: processes().saturating_sub(JAIL_PROCESSES),
        can_signal_init: Pid::from_raw(1).is_some_and(|init| test_kill_process(init).is_ok()),
        interfaces: interfaces(),
        visible: forbidden
            .chain(paths)
            .filter(|path| path.symlink_metadata().is_ok())
            .collect(),
        writable: READ_ONLY
            .into_iter()
            .map(PathBuf::from)
            .filter(|folder| is_writable(folder))
            .collect(),
    }
}

/// Bubblewrap's init, the shim, and the one who looks.
const JAIL_PROCESSES: usize = 3;

fn processes() -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return 0;
    };
    let is_number = |name: &str| name.bytes().all(|b| b.is_ascii_digit());
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_number))
        .count()
}

fn interfaces() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name != "lo")
        .collect()
}

fn is_writable(folder: &Path) -> bool {
    let file = folder.join(".infraflow-look");
    let made = std::fs::File::create_new(&file).is_ok();
    if made {
        let _ = std::fs::remove_file(&file);
    }
    made
}

/// What of a view breaks the promise of a jail without network; empty when
/// nothing does. `is_root` says whether the host is root, so that the tool's
/// user has to be another.
pub(crate) fn breaches(view: &JailView, is_root: bool, uid: u32) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut unless = |fine: bool, text: String| {
        if !fine {
            breaches.push(text);
        }
    };
    unless(
        view.uid == uid && (!is_root || view.uid != 0),
        format!("tools run as user {}", view.uid),
    );
    unless(
        !is_root || view.groups == 0,
        format!("tools have {} supplementary groups", view.groups),
    );
    unless(
        is_zero(&view.capabilities),
        format!("tools have the capabilities {}", view.capabilities),
    );
    unless(
        is_zero(&view.capability_bounds) || view.no_new_privileges,
        format!("tools may gain the capabilities {}", view.capability_bounds),
    );
    unless(
        view.no_new_privileges,
        "tools may gain privileges".to_owned(),
    );
    unless(
        view.foreign_processes == 0,
        format!("tools see {} processes of others", view.foreign_processes),
    );
    unless(
        !is_root || !view.can_signal_init,
        "tools may signal the jail's init".to_owned(),
    );
    unless(
        view.interfaces.is_empty(),
        format!("tools see the network: {}", view.interfaces.join(", ")),
    );
    for path in &view.visible {
        unless(false, format!("tools see `{}`", path.display()));
    }
    for path in &view.writable {
        unless(false, format!("tools can write to `{}`", path.display()));
    }
    breaches
}

fn is_zero(mask: &str) -> bool {
    !mask.is_empty() && mask.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> JailView {
        JailView {
            uid: 64_198,
            groups: 0,
            capabilities: "0000000000000000".to_owned(),
            capability_bounds: "0000000000000000".to_owned(),
            no_new_privileges: true,
            foreign_processes: 0,
            can_signal_init: false,
            interfaces: vec![],
            visible: vec![],
            writable: vec![],
        }
    }

    #[test]
    fn a_good_view_has_no_breach() {
        assert_eq!(breaches(&good(), true, 64_198), Vec::<String>::new());
    }

    #[test]
    fn every_breach_is_named() {
        type Spoil = fn(&mut JailView);
        let cases: [(Spoil, &str); 10] = [
            (|v| v.uid = 0, "tools run as user 0"),
            (|v| v.groups = 2, "tools have 2 supplementary groups"),
            (
                |v| v.capabilities = "00000000000001c1".to_owned(),
                "tools have the capabilities 00000000000001c1",
            ),
            (|v| v.capabilities.clear(), "tools have the capabilities "),
            (|v| v.no_new_privileges = false, "tools may gain privileges"),
            (
                |v| v.foreign_processes = 4,
                "tools see 4 processes of others",
            ),
            (
                |v| v.can_signal_init = true,
                "tools may signal the jail's init",
            ),
            (
                |v| v.interfaces.push("eth0".to_owned()),
                "tools see the network: eth0",
            ),
            (
                |v| v.visible.push("/etc/shadow".into()),
                "tools see `/etc/shadow`",
            ),
            (
                |v| v.writable.push("/usr".into()),
                "tools can write to `/usr`",
            ),
        ];
        for (spoil, expected) in cases {
            let mut view = good();
            spoil(&mut view);
            assert_eq!(breaches(&view, true, 64_198), [expected]);
        }
    }

    /// What runs this test is no jail, and looking says so.
    #[test]
    fn looking_without_a_jail_finds_breaches() {
        let uid = rustix::process::getuid().as_raw();
        let view = look([PathBuf::from("/proc/self")].into_iter());
        assert!(view.visible.contains(&PathBuf::from("/proc/self")));
        assert!(!breaches(&view, uid == 0, uid).is_empty());
    }
}
