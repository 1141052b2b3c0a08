//! The jail that tools run in.
//!
//! A pushed playbook is somebody else's code. What Ansible, OpenTofu, git and
//! commands run sees the run's workspace, a read-only system, private temporary
//! folders, the secrets that were granted to the step, and nothing else: no
//! data directory, no other workspace, no credentials, no environment of the
//! host, no other process, and a network only where it was granted.
//!
//! As root, bubblewrap makes the mounts as real root and a shim inside becomes
//! an unprivileged user, without capabilities and for good, before any foreign
//! code runs. As an ordinary user a user namespace does the same. Where neither
//! can be made, only code of trusted sources runs, and then without any jail.
//! Landlock as a second choice is not supported yet.
//!
//! This module says what a jail is made of; starting processes is `process`'s.

mod arguments;
mod look;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::limits::ByteCount;
use infraflow_core::ports::Trust;
use rustix::process::getuid;

pub use self::look::JailView;
pub(crate) use self::look::{breaches, look_around};
use crate::limits::{JAIL_HOME, JAIL_TMP, TOOL_FILE_BYTES, TOOL_FILES, TOOL_PROCESSES};
use crate::programs::find_program;
use crate::shim::{Identity, PrivateFile, Privileges, ProcessLimits};

/// The user and group of tools when the host is root, unless configured: high,
/// so that nobody has it, and not `nobody`, who owns files on some systems.
pub const TOOL_UID: u32 = 64_198;

/// How tools are jailed.
#[derive(Debug, Clone)]
pub struct JailConfig {
    /// Whether tools need a jail.
    pub mode: JailMode,
    /// Our own program, absolute; it is the shim inside.
    pub program: Utf8PathBuf,
    /// Bubblewrap, 0.8 or newer. Unset: `bwrap` of `search_path`.
    pub bubblewrap: Option<Utf8PathBuf>,
    /// Folders to look for programs in.
    pub search_path: Vec<Utf8PathBuf>,
    /// The user that tools run as when the host is root; never 0. When the host
    /// is not root, tools run as its own user, in a user namespace.
    pub uid: u32,
    /// The group that goes with it; never 0.
    pub gid: u32,
    /// More files and folders that every tool may read, at their own paths.
    pub read_only: Vec<Utf8PathBuf>,
    /// Size of the private `/tmp`, in bytes of memory.
    pub tmp_bytes: u64,
    /// Size of the private home, in bytes of memory.
    pub home_bytes: u64,
    /// What one tool may use of the machine.
    pub limits: ProcessLimits,
}

impl JailConfig {
    /// A required jail with the default limits. `program` is our own program.
    pub fn new(program: Utf8PathBuf) -> Self {
        Self {
            mode: JailMode::Required,
            program,
            bubblewrap: None,
            search_path: crate::programs::standard_search_path(),
            uid: TOOL_UID,
            gid: TOOL_UID,
            read_only: Vec::new(),
            tmp_bytes: JAIL_TMP.0,
            home_bytes: JAIL_HOME.0,
            limits: ProcessLimits {
                open_files: Some(TOOL_FILES),
                processes: Some(TOOL_PROCESSES),
                file_bytes: Some(TOOL_FILE_BYTES.0),
                cpu_seconds: None,
            },
        }
    }
}

/// Whether tools need a jail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JailMode {
    /// They do. Where none can be made, only trusted code runs, without one,
    /// and its log says so.
    Required,
    /// No tool gets one (`tools.jail: off`): they run as the host's own user
    /// and see what it sees. For hosts that manage themselves.
    Off,
}

/// Whether there is a jail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JailStatus {
    /// There is, and what it looks like from inside is what we promise.
    Holds(JailView),
    /// It is switched off by name.
    Off,
    /// There is none.
    Missing {
        /// Why.
        reason: String,
        /// What the operator can do.
        mend: String,
    },
}

/// Whether a tool has the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// It has none but a loopback of its own.
    None,
    /// It has the host's, loopback services included.
    Host,
}

/// What a tool may do with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// What one tool sees beside the system.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    /// The run's workspace, on the host. A probe has none.
    pub(crate) workspace: Option<Utf8PathBuf>,
    pub(crate) network: Network,
    /// The tool's own files and folders, at their own paths.
    pub(crate) read_only: Vec<Utf8PathBuf>,
    /// Private folders of this call.
    pub(crate) binds: Vec<Bind>,
}

/// A file or folder of the host at a fixed place inside.
#[derive(Debug, Clone)]
pub(crate) struct Bind {
    pub(crate) host: Utf8PathBuf,
    /// Its name beneath `/run/infraflow`.
    pub(crate) name: &'static str,
    pub(crate) access: Access,
}

/// Whether a tool is jailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walls {
    Jail,
    None,
}

/// What one run of a tool needs to know of where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The workspace, as the tool sees it.
    pub(crate) workspace: Utf8PathBuf,
    /// A folder for private files of this call, as the tool sees it.
    pub(crate) private: Utf8PathBuf,
    pub(crate) home: Utf8PathBuf,
    pub(crate) tmp: Utf8PathBuf,
    /// Where the binds are, by name.
    binds: Vec<(&'static str, Utf8PathBuf)>,
}

impl Places {
    /// Where everything is inside a jail.
    pub(crate) fn inside(room: &Room) -> Self {
        let bound = |bind: &Bind| (bind.name, inside::bound(bind.name));
        Self {
            workspace: inside::WORKSPACE.into(),
            private: inside::PRIVATE.into(),
            home: inside::HOME.into(),
            tmp: "/tmp".into(),
            binds: room.binds.iter().map(bound).collect(),
        }
    }

    /// Where everything is without a jail; `private` is a folder of this call.
    pub(crate) fn outside(room: &Room, private: &Utf8Path) -> Self {
        Self {
            workspace: room.workspace.clone().unwrap_or_default(),
            private: private.join("private"),
            home: private.join("home"),
            tmp: private.join("tmp"),
            binds: room
                .binds
                .iter()
                .map(|bind| (bind.name, bind.host.clone()))
                .collect(),
        }
    }

    /// A path of the workspace, as the tool sees it.
    pub(crate) fn of(&self, path: &infraflow_core::tool::GuestPath) -> Utf8PathBuf {
        if path.is_root() {
            self.workspace.clone()
        } else {
            self.workspace.join(path.as_str())
        }
    }

    /// Where a bind is, as the tool sees it.
    pub(crate) fn bound(&self, name: &str) -> Utf8PathBuf {
        let found = self.binds.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| inside::bound(name), |(_, path)| path.clone())
    }
}

/// Fixed places inside a jail.
pub(crate) mod inside {
    use camino::{Utf8Path, Utf8PathBuf};

    pub(crate) const WORKSPACE: &str = "/workspace";
    pub(crate) const HOME: &str = "/home/infraflow";
    pub(crate) const SHIM: &str = "/run/infraflow/infraflow";
    pub(crate) const PRIVATE: &str = "/run/infraflow/private";

    pub(crate) fn bound(name: &str) -> Utf8PathBuf {
        Utf8Path::new("/run/infraflow").join(name)
    }
}

/// Who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Ordinary(u32),
}

/// What of the machine decides how a jail is made.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) user: User,
    /// The system's folders beside `/usr`, and what they link to.
    system_folders: Vec<(Utf8PathBuf, Option<Utf8PathBuf>)>,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Self {
        let uid = getuid();
        let folders = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
        let system_folders = folders
            .into_iter()
            .map(Utf8PathBuf::from)
            .filter(|folder| folder.exists())
            .map(|folder| {
                let target = folder.read_link_utf8().ok();
                (folder, target)
            })
            .collect();
        Self {
            user: if uid.is_root() {
                User::Root
            } else {
                User::Ordinary(uid.as_raw())
            },
            system_folders,
        }
    }

    /// Whether every jail has the path already.
    fn is_in_system(&self, path: &Utf8Path) -> bool {
        let mut folders = self.system_folders.iter().map(|(folder, _)| folder);
        path.starts_with("/usr") || folders.any(|folder| path.starts_with(folder))
    }
}

/// How jails are made here.
#[derive(Debug, Clone)]
pub struct Jail {
    config: JailConfig,
    machine: Machine,
}

impl Jail {
    /// Takes a configuration. Nothing is tried yet.
    pub(crate) fn new(config: JailConfig) -> Self {
        let machine = Machine::here();
        Self { config, machine }
    }

    /// Makes a jail, looks around in it, and says what holds; for `doctor`.
    ///
    /// Starts a watchdog of its own for it, without a data directory. Takes
    /// some milliseconds, at most 20 s.
    pub async fn probe(config: &JailConfig) -> JailStatus {
        if config.mode == JailMode::Off {
            return JailStatus::Off;
        }
        match crate::watchdog::Watchdog::start_unlocked(config.program.clone()).await {
            Ok(watchdog) => {
                let status = Self::new(config.clone()).status(&watchdog).await;
                watchdog.shutdown().await;
                status
            }
            Err(error) => JailStatus::Missing {
                reason: crate::errors::chain(&error),
                mend: "install infraflow anew".to_owned(),
            },
        }
    }

    /// The same with a watchdog that is there.
    pub(crate) async fn status(&self, watchdog: &crate::watchdog::Watchdog) -> JailStatus {
        match crate::process::look_into_jail(self, watchdog).await {
            Ok(view) => {
                let is_root = self.machine.user == User::Root;
                let breaches = breaches(&view, is_root, self.uid());
                if breaches.is_empty() {
                    return JailStatus::Holds(view);
                }
                JailStatus::Missing {
                    reason: format!("the jail leaks: {}", breaches.join("; ")),
                    mend: "report this with the output of `infraflow doctor`".to_owned(),
                }
            }
            Err(reason) => {
                let mend = self.mend(&reason);
                JailStatus::Missing { reason, mend }
            }
        }
    }

    /// What an operator can do when no jail can be made.
    fn mend(&self, reason: &str) -> String {
        if self.bubblewrap().is_none() {
            return "install the package `bubblewrap` (0.8 or newer)".to_owned();
        }
        if reason.contains("nknown option") {
            return "install a newer `bubblewrap`: 0.8 or newer is needed".to_owned();
        }
        match self.machine.user {
            User::Root => {
                "start the container with the capabilities SYS_ADMIN and SETPCAP, or run \
                           infraflow as an ordinary user on a host that allows user namespaces"
                    .to_owned()
            }
            User::Ordinary(_) => "allow user namespaces (`sysctl user.max_user_namespaces`, \
                                  `kernel.unprivileged_userns_clone=1`, \
                                  `kernel.apparmor_restrict_unprivileged_userns=0`), or run \
                                  infraflow as root"
                .to_owned(),
        }
    }

    pub(crate) fn config(&self) -> &JailConfig {
        &self.config
    }

    /// Bubblewrap, where there is one.
    pub(crate) fn bubblewrap(&self) -> Option<Utf8PathBuf> {
        match &self.config.bubblewrap {
            Some(path) => path.is_file().then(|| path.clone()),
            None => find_program("bwrap", &self.config.search_path),
        }
    }

    /// Bubblewrap's options for a room; `shim` is our own program.
    pub(crate) fn arguments(&self, shim: &Utf8Path, room: &Room) -> Vec<String> {
        arguments::arguments(&self.config, &self.machine, shim, room)
    }

    /// Whom tools run as inside a jail.
    fn uid(&self) -> u32 {
        match self.machine.user {
            User::Root => self.config.uid,
            User::Ordinary(uid) => uid,
        }
    }

    /// Whom the shim inside a jail becomes.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self.machine.user {
            User::Root => Some(Identity {
                uid: self.config.uid,
                gid: self.config.gid,
            }),
            User::Ordinary(_) => None,
        }
    }

    /// How a shim confines a tool.
    pub(crate) fn privileges(walls: Walls) -> Privileges {
        match walls {
            Walls::Jail => Privileges::Fixed,
            Walls::None => Privileges::Ordinary,
        }
    }

    /// The files of the generated `/etc`.
    pub(crate) fn etc_files(&self, network: Network) -> Vec<PrivateFile> {
        let gid = match self.machine.user {
            User::Root => self.config.gid,
            User::Ordinary(_) => rustix::process::getgid().as_raw(),
        };
        let mut files = vec![
            ("/etc/passwd", passwd(self.uid(), gid)),
            ("/etc/group", group(gid)),
            ("/etc/nsswitch.conf", NSSWITCH.to_owned()),
        ];
        match network {
            Network::None => files.push(("/etc/hosts", HOSTS.to_owned())),
            Network::Host => {
                files.push(("/etc/hosts", of_host("/etc/hosts", HOSTS)));
                files.push(("/etc/resolv.conf", of_host("/etc/resolv.conf", "")));
            }
        }
        files
            .into_iter()
            .map(|(path, text)| PrivateFile {
                path: path.into(),
                mode: 0o644,
                text,
            })
            .collect()
    }
}

/// Whether code may run, and within what walls, when the jail's state is known.
/// The text says why it may not.
pub(crate) fn decide(status: &JailStatus, trust: Trust) -> Result<Decision, String> {
    match (status, trust) {
        (JailStatus::Holds(_), _) => Ok(Decision::Jailed),
        (JailStatus::Off, _) => Ok(Decision::Open { warning: None }),
        (JailStatus::Missing { reason, mend }, Trust::Trusted) => Ok(Decision::Open {
            warning: Some(format!(
                "warning: this tool runs without a jail, because none can be made here: {reason}; to mend it, {mend}"
            )),
        }),
        (JailStatus::Missing { reason, mend }, Trust::Untrusted) => Err(format!(
            "no jail can be made here, and only code of trusted sources runs without one: {reason}; to mend it, {mend}"
        )),
    }
}

/// How a tool runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// In a jail.
    Jailed,
    /// Without one.
    Open {
        /// What the attempt's log is to say about it.
        warning: Option<String>,
    },
}

const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

fn passwd(uid: u32, gid: u32) -> String {
    let home = inside::HOME;
    let own = format!("infraflow:x:{uid}:{gid}:infraflow:{home}:/bin/sh\n");
    if uid == 0 {
        own
    } else {
        format!("root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n{own}")
    }
}

fn group(gid: u32) -> String {
    if gid == 0 {
        "infraflow:x:0:\n".to_owned()
    } else {
        format!("root:x:0:\ninfraflow:x:{gid}:\n")
    }
}

/// A file of the host as it is now, at most 64 KiB of it.
fn of_host(path: &str, otherwise: &str) -> String {
    const AT_MOST: ByteCount = ByteCount::kib(64);
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() <= AT_MOST.to_usize() => {
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Ok(_) | Err(_) => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_code_never_runs_without_a_jail_unless_it_is_off_by_name() {
        let missing = JailStatus::Missing {
            reason: "bwrap is not there".to_owned(),
            mend: "install the package `bubblewrap`".to_owned(),
        };
        let refused = decide(&missing, Trust::Untrusted).unwrap_err();
        assert!(refused.contains("install the package `bubblewrap`"));
        let Ok(Decision::Open { warning }) = decide(&missing, Trust::Trusted) else {
            panic!("trusted code runs");
        };
        assert!(warning.unwrap().contains("without a jail"));
        for trust in [Trust::Trusted, Trust::Untrusted] {
            assert_eq!(
                decide(&JailStatus::Off, trust),
                Ok(Decision::Open { warning: None })
            );
        }
    }

    #[test]
    fn generated_users() {
        assert_eq!(
            passwd(7, 8),
            "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\ninfraflow:x:7:8:infraflow:/home/infraflow:/bin/sh\n"
        );
        assert_eq!(group(8), "root:x:0:\ninfraflow:x:8:\n");
    }

    #[test]
    fn only_the_network_brings_name_servers() {
        let jail = Jail::new(JailConfig::new("/x".into()));
        let names = |network| -> Vec<String> {
            let files = jail.etc_files(network);
            files.into_iter().map(|f| f.path.into_string()).collect()
        };
        assert!(!names(Network::None).contains(&"/etc/resolv.conf".to_owned()));
        assert!(names(Network::Host).contains(&"/etc/resolv.conf".to_owned()));
    }

    #[test]
    fn places_differ_with_the_walls() {
        let room = Room {
            workspace: Some("/data/work/r".into()),
            network: Network::None,
            read_only: vec![],
            binds: vec![Bind {
                host: "/data/tofu/k".into(),
                name: "state",
                access: Access::Write,
            }],
        };
        let path = infraflow_core::tool::GuestPath::new("a/b").unwrap();
        let inside = Places::inside(&room);
        assert_eq!(inside.of(&path), "/workspace/a/b");
        assert_eq!(inside.bound("state"), "/run/infraflow/state");
        let outside = Places::outside(&room, Utf8Path::new("/data/private/1"));
        assert_eq!(outside.of(&path), "/data/work/r/a/b");
        assert_eq!(outside.bound("state"), "/data/tofu/k");
    }
}
