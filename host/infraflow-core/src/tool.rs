//! What a guest asks the tool door for, and what it gets back.
//!
//! The same shapes as in `wit/`, with names already checked: a text that
//! reaches these types is valid, a path is not yet (the door resolves it
//! beneath the workspace).

use std::fmt;

use crate::grant::NotGranted;
use crate::id::{CommandName, Digest, SecretName, SourceName};
use crate::{Json, JsonMap};

/// Why a host call did not do what was asked (`error` in `wit/types.wit`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The operator has not granted it.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// An argument is wrong; which one, and what was expected.
    #[error("{0}")]
    Invalid(String),
    /// What an argument names does not exist.
    #[error("{0} does not exist")]
    NotFound(String),
    /// A limit was hit.
    #[error("limit `{name}` of {value} {unit} exceeded")]
    LimitExceeded {
        /// The limit's name.
        name: &'static str,
        /// Its value.
        value: u64,
        /// Its unit.
        unit: Unit,
    },
    /// A tool could not be started or talked to; what and why.
    #[error("{0}")]
    Unavailable(String),
    /// The host has lost its right to run tools; what that did to this one. The
    /// attempt was interrupted, and nobody is to blame.
    #[error("{0}")]
    Interrupted(String),
    /// This host does not have the call, or not in this form; its name.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// The host failed.
    #[error("{0}")]
    Internal(String),
}

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Host calls.
    Calls,
    /// Milliseconds.
    Millis,
    /// Anything that is counted.
    Items,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Calls => "calls",
            Self::Millis => "ms",
            Self::Items => "items",
        })
    }
}

/// A path that a guest gave: relative to the workspace, not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GuestPath(String);

impl GuestPath {
    /// Checks what can be seen from the text alone. An empty text is the
    /// workspace itself.
    ///
    /// # Errors
    /// A text for people when it is absolute, holds `..`, a control character
    /// or more than 4,096 bytes.
    pub fn new(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(120).collect();
        if text.len() > 4_096 {
            return Err(format!("path `{shown}...` is longer than 4096 bytes"));
        }
        if text.starts_with('/') {
            return Err(format!(
                "path `{shown}` is absolute: expected one relative to the workspace"
            ));
        }
        if text.split('/').any(|part| part == "..") {
            return Err(format!(
                "path `{shown}` holds `..`: expected one inside the workspace"
            ));
        }
        if text.chars().any(char::is_control) {
            return Err(format!(
                "path `{}` holds a control character",
                shown.escape_debug()
            ));
        }
        let parts: Vec<&str> = text
            .split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .collect();
        Ok(Self(parts.join("/")))
    }

    /// The workspace itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The path, without a leading or trailing `/`; empty for the workspace.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the workspace itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "." } else { &self.0 })
    }
}

// ---- git ----------------------------------------------------------------------

/// What to check out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// The commit that the run's event names.
    Event,
    /// A commit: 40 or 64 lower-case hexadecimal digits.
    Commit(CommitId),
    /// The tip of a branch.
    Branch(RefName),
    /// What a tag points at.
    Tag(RefName),
}

/// A commit's id: 40 or 64 lower-case hexadecimal digits, not all zero.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitId(String);

impl CommitId {
    /// Checks and takes a text.
    ///
    /// # Errors
    /// A text for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let digits = text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let zeros = text.bytes().all(|b| b == b'0');
        if matches!(text.len(), 40 | 64) && digits && !zeros {
            Ok(Self(text.to_owned()))
        } else {
            let shown: String = text.chars().take(80).collect();
            Err(format!(
                "`{shown}` is not a commit: expected 40 or 64 lower-case hexadecimal digits, not all zero"
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch's or tag's short name that git accepts and that no command line can
/// mistake for an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefName(String);

impl RefName {
    /// Checks and takes a text, by the rules of `git check-ref-format`.
    ///
    /// # Errors
    /// A text for people.
    pub fn new(text: &str) -> Result<Self, String> {
        let bad_part = |part: &str| {
            part.is_empty()
                || part.starts_with('.')
                || part.ends_with('.')
                || part.ends_with(".lock")
        };
        let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        if text.is_empty()
            || text.len() > 1_024
            || text.starts_with('-')
            || text == "@"
            || text.contains("..")
            || text.contains("@{")
            || text.contains(bad_char)
            || text.split('/').any(bad_part)
        {
            let shown: String = text.chars().take(80).collect();
            return Err(format!(
                "`{}` is not a branch or tag name",
                shown.escape_debug()
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A checkout to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutRequest {
    /// The configured source. Unset: the source of the run's event.
    pub source: Option<SourceName>,
    /// What to check out.
    pub revision: Revision,
    /// The folder to check out into; emptied first.
    pub path: GuestPath,
    /// How many commits of history; `None`: all.
    pub depth: Option<u32>,
}

/// A checkout that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The source.
    pub source: SourceName,
    /// The commit.
    pub commit: String,
    /// The first line of its message.
    pub subject: String,
    /// The folder, as asked for.
    pub path: GuestPath,
}

// ---- Ansible ------------------------------------------------------------------

/// How Ansible connects and becomes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connection {
    /// The remote user.
    pub user: Option<String>,
    /// The secret that holds the private key.
    pub private_key: Option<SecretName>,
    /// The secret that holds the known hosts.
    pub known_hosts: Option<SecretName>,
    /// The secret that holds the vault password.
    pub vault_password: Option<SecretName>,
    /// Whether to become another user.
    pub become_user: Become,
}

/// Whether Ansible becomes another user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Become {
    /// As the playbook says.
    #[default]
    AsPlaybook,
    /// Yes, root.
    Root,
    /// Yes, this user.
    User(String),
}

/// A playbook to run.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaybookRequest {
    /// The playbook.
    pub playbook: GuestPath,
    /// Inventories.
    pub inventory: Vec<GuestPath>,
    /// Host patterns.
    pub limit: Vec<String>,
    /// Tags to run.
    pub tags: Vec<String>,
    /// Tags to leave out.
    pub skip_tags: Vec<String>,
    /// Extra variables.
    pub extra_vars: JsonMap,
    /// What to do with the hosts.
    pub mode: PlaybookMode,
    /// Show differences of changed files.
    pub diff: Diff,
    /// Hosts at once, 1 to 500. Unset: Ansible's default.
    pub forks: Option<u16>,
    /// How talkative, 0 to 4.
    pub verbosity: u8,
    /// How to connect.
    pub connection: Connection,
}

/// Whether a playbook changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaybookMode {
    /// It does.
    Apply,
    /// It says what it would change (`--check`). Its code runs all the same.
    Check,
}

/// Whether to show differences of changed files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diff {
    /// Yes.
    Show,
    /// No.
    Hide,
}

/// A ping of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingRequest {
    /// Inventories.
    pub inventory: Vec<GuestPath>,
    /// Host patterns.
    pub limit: Vec<String>,
    /// How to connect.
    pub connection: Connection,
}

/// How one host fared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostStats {
    /// The host's name in the inventory.
    pub host: String,
    /// Tasks that ran, the changed ones included.
    pub ok: u32,
    /// Tasks that changed something.
    pub changed: u32,
    /// Tasks that failed.
    pub failures: u32,
    /// How often it could not be reached.
    pub unreachable: u32,
    /// Tasks that were left out.
    pub skipped: u32,
    /// Failed tasks that a rescue block dealt with.
    pub rescued: u32,
    /// Failed tasks that were ignored.
    pub ignored: u32,
}

/// How an Ansible command ended.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaybookResult {
    /// What ended it.
    pub end: ProcessEnd,
    /// What kind of end it was.
    pub ending: PlaybookEnding,
    /// One entry a host, sorted by name.
    pub hosts: Vec<HostStats>,
    /// What the playbook set with `set_stats`.
    pub custom_stats: JsonMap,
    /// Why it did not succeed; empty when it did.
    pub message: String,
}

/// Kinds of end of an Ansible command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaybookEnding {
    /// Every host did every task.
    Succeeded,
    /// Tasks failed on one or more hosts.
    HostsFailed,
    /// One or more hosts could not be reached, and none failed.
    HostsUnreachable,
    /// Nothing ran.
    NotRun,
    /// A signal ended it.
    Signalled,
}

/// What ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessEnd {
    /// It exited by itself.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
}

impl ProcessEnd {
    /// Its exit code, when it exited by itself.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signalled(_) => None,
        }
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Exited(_) => None,
            Self::Signalled(signal) => Some(signal),
        }
    }
}

// ---- OpenTofu -----------------------------------------------------------------

/// A module to work on.
#[derive(Debug, Clone, PartialEq)]
pub struct TofuModule {
    /// The folder of the root module.
    pub dir: GuestPath,
    /// Variables.
    pub vars: JsonMap,
    /// Variable files.
    pub var_files: Vec<GuestPath>,
    /// Environment variables whose values are secrets.
    pub secret_env: Vec<SecretEnv>,
}

/// An environment variable of a tool whose value is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEnv {
    /// The variable.
    pub variable: String,
    /// The secret.
    pub secret: SecretName,
}

/// What kind of plan to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    /// Bring everything to what the module says.
    Apply,
    /// Destroy everything.
    Destroy,
}

/// How many resources a plan or an apply changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// To create, or created.
    pub add: u32,
    /// To change in place, or changed.
    pub change: u32,
    /// To destroy, or destroyed.
    pub destroy: u32,
    /// To import, or imported.
    pub import: u32,
}

/// How a command of the tool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TofuOutcome {
    /// What ended it.
    pub end: ProcessEnd,
    /// Whether it did what was asked.
    pub succeeded: bool,
    /// The errors that it reported.
    pub message: String,
}

/// A plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanResult {
    /// How the command ended.
    pub outcome: TofuOutcome,
    /// Whether applying would change anything, outputs included.
    pub has_changes: bool,
    /// What it would change.
    pub changes: Changes,
    /// The changed resources: `address`, `action` and maybe `reason` each.
    pub resource_changes: Vec<Json>,
    /// Whether some were left out.
    pub truncated: bool,
    /// The stored plan; unset when the command failed.
    pub plan: Option<Digest>,
}

/// An apply, a destroy or a reading of outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplyResult {
    /// How the command ended.
    pub outcome: TofuOutcome,
    /// What it changed.
    pub changes: Changes,
    /// The module's outputs, without the sensitive ones.
    pub outputs: JsonMap,
    /// The names of the sensitive outputs.
    pub sensitive_outputs: Vec<String>,
}

// ---- commands -----------------------------------------------------------------

/// A command to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRequest {
    /// Its name in the configuration.
    pub name: CommandName,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its working directory.
    pub dir: GuestPath,
    /// Environment variables to set.
    pub env: Vec<(String, String)>,
    /// Environment variables whose values are secrets.
    pub secret_env: Vec<SecretEnv>,
    /// Its standard input. Unset: closed.
    pub stdin: Option<Vec<u8>>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// What ended it.
    pub end: ProcessEnd,
    /// What it printed, masked, the first part.
    pub stdout: String,
    /// Whether `stdout` was cut.
    pub stdout_truncated: bool,
}

// ---- workspace ----------------------------------------------------------------

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: EntryKind,
    /// Its size; 0 for anything but a file.
    pub size: u64,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Anything else.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn guest_paths() {
        for (text, shown) in [
            ("", "."),
            (".", "."),
            ("a", "a"),
            ("./a//b/", "a/b"),
            ("a/./b", "a/b"),
            ("...", "..."),
            ("a b/ü", "a b/ü"),
        ] {
            assert_eq!(GuestPath::new(text).unwrap().to_string(), shown, "{text}");
        }
        for bad in [
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a/..",
            "a\0b",
            "a\nb",
            &"x".repeat(4_097),
        ] {
            assert!(GuestPath::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn commits() {
        assert!(CommitId::new(&"a1".repeat(20)).is_ok());
        assert!(CommitId::new(&"a1".repeat(32)).is_ok());
        for bad in [
            "",
            "main",
            &"0".repeat(40),
            &"A1".repeat(20),
            &"g1".repeat(20),
            "--upload-pack=x",
        ] {
            assert!(CommitId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ref_names() {
        for good in ["main", "release/1.0", "ünïcode", "a@b", "v1.0.0"] {
            assert!(RefName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=evil",
            "a..b",
            "a b",
            "a//b",
            "/a",
            "a/",
            ".a",
            "a.",
            "a.lock",
            "a/.b",
            "@",
            "a@{1}",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\nb",
            "a\u{7f}",
        ] {
            assert!(RefName::new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn guest_paths_never_lead_up(text in ".{0,60}") {
            if let Ok(path) = GuestPath::new(&text) {
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert!(path.as_str().split('/').all(|part| part != ".."));
            }
        }
    }
}
