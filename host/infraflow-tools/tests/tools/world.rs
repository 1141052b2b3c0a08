//! A door with everything around it, in a folder of its own.

use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::ports::{Blobs, Secrets, Tools as _};
use infraflow_core::tool::{CallError, CommandOutput, CommandRequest, GuestPath};
use infraflow_tools::jail::{JailConfig, JailMode};
use infraflow_tools::watchdog::{Watchdog, WatchdogConfig};
use infraflow_tools::{CommandSpec, ToolDoor, ToolsConfig};

use crate::support::{FolderBlobs, Lines, MapSecrets, Stop, run_of, scope_of};

/// The stand-in for our own program.
pub(crate) fn program() -> Utf8PathBuf {
    env!("CARGO_BIN_EXE_infraflow-tools-stand-in").into()
}

/// Long enough for anything that works, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come"),
    }
}

/// Asks again until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let asked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while !is_so() {
            looks.tick().await;
        }
    };
    soon(what, asked).await;
}

/// Where the venv with Ansible is.
pub(crate) fn tools_bin() -> Utf8PathBuf {
    if let Ok(folder) = std::env::var("INFRAFLOW_TOOLS_BIN") {
        return folder.into();
    }
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/venv/bin");
    root.canonicalize_utf8().unwrap_or(root)
}

/// Everything that a test needs.
pub(crate) struct World {
    pub(crate) data_dir: Utf8PathBuf,
    pub(crate) config: ToolsConfig,
    pub(crate) watchdog: Watchdog,
    pub(crate) door: ToolDoor,
    pub(crate) blobs: Arc<FolderBlobs>,
    /// A folder beside the data directory, open to the tools' user.
    pub(crate) outside: Utf8PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl World {
    /// A world with a jail and a few commands.
    pub(crate) async fn new() -> Self {
        Self::with(&[], |_| {}).await
    }

    /// A world whose tools run without a jail.
    pub(crate) async fn without_jail() -> Self {
        Self::with(&[], |config| config.jail.mode = JailMode::Off).await
    }

    /// A world on the data directory that a killed host has left.
    pub(crate) async fn in_folder(root: &Utf8Path) -> Self {
        Self::make(None, root.to_owned(), &[], |_| {}).await
    }

    /// A world with secrets and a configuration of its own.
    pub(crate) async fn with(
        secrets: &[(&str, &str)],
        configure: impl FnOnce(&mut ToolsConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A path with everything that has to be quoted somewhere.
        let root = Utf8Path::from_path(folder.path()).unwrap().join("a b'c");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        Self::make(Some(folder), root, secrets, configure).await
    }

    async fn make(
        folder: Option<tempfile::TempDir>,
        root: Utf8PathBuf,
        secrets: &[(&str, &str)],
        configure: impl FnOnce(&mut ToolsConfig),
    ) -> Self {
        std::fs::create_dir_all(root.join("outside")).unwrap();
        let data_dir = root.join("data");
        let mut config = ToolsConfig::new(data_dir.clone(), JailConfig::new(program()));
        for name in ["sh", "true", "cat"] {
            let spec = CommandSpec::new(Utf8Path::new("/bin").join(name));
            config.commands.insert(name.parse().unwrap(), spec);
        }
        config.ansible = Some(tools_bin());
        config.grace = Duration::from_millis(500);
        config.leaked_handles = Duration::from_millis(500);
        configure(&mut config);
        let watchdog = Watchdog::start(WatchdogConfig {
            program: program(),
            arguments: vec!["watchdog".to_owned()],
            data_dir: data_dir.clone(),
        });
        let watchdog = watchdog.await.unwrap();
        let secrets = secrets
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let secrets = Arc::new(MapSecrets(secrets.collect()));
        let blobs = Arc::new(FolderBlobs::new(root.join("store").into()));
        let (shared_secrets, shared_blobs): (Arc<dyn Secrets>, Arc<dyn Blobs>) =
            (secrets, blobs.clone());
        let door = ToolDoor::new(
            config.clone(),
            watchdog.clone(),
            shared_secrets,
            shared_blobs,
        );
        Self {
            data_dir,
            config,
            watchdog,
            door,
            blobs,
            outside: root.join("outside"),
            _folder: folder,
        }
    }

    /// A scope of a run without any grant.
    pub(crate) fn attempt(&self, run: &str) -> Attempt {
        self.attempt_with(run, &[])
    }

    /// A scope of a run with grants.
    pub(crate) fn attempt_with(&self, run: &str, capabilities: &[&str]) -> Attempt {
        let (scope, lines, stop) = scope_of(run, capabilities);
        Attempt { scope, lines, stop }
    }

    /// Where a run's workspace is.
    pub(crate) fn workspace(&self, run: &str) -> Utf8PathBuf {
        self.door.workspaces().path(run_of(run))
    }

    /// Puts a file into a run's workspace.
    pub(crate) async fn write(&self, run: &str, path: &str, text: &str) {
        let attempt = self.attempt(run);
        let written = self
            .door
            .write_file(&attempt.scope, guest(path), text.as_bytes().to_vec());
        written.await.unwrap();
    }

    /// Runs a shell script as the command `sh`.
    pub(crate) async fn sh(
        &self,
        attempt: &Attempt,
        script: &str,
    ) -> Result<CommandOutput, CallError> {
        let request = command("sh", &["-c", script]);
        soon(script, self.door.run_command(&attempt.scope, request)).await
    }
}

/// What one attempt is called with, and what it writes to.
pub(crate) struct Attempt {
    pub(crate) scope: infraflow_core::ports::ToolScope,
    pub(crate) lines: Arc<Lines>,
    pub(crate) stop: Arc<Stop>,
}

/// A path of a guest.
pub(crate) fn guest(path: &str) -> GuestPath {
    GuestPath::new(path).unwrap()
}

/// A command with arguments.
pub(crate) fn command(name: &str, args: &[&str]) -> CommandRequest {
    CommandRequest {
        name: name.parse().unwrap(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        dir: GuestPath::root(),
        env: vec![],
        secret_env: vec![],
        stdin: None,
    }
}

/// The ids of processes whose command line holds a text.
pub(crate) fn processes_with(text: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(text) {
            found.push(pid);
        }
    }
    found
}

/// A text that no other test has.
pub(crate) fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{number:03}", std::process::id())
}

/// Whether we are root, who can make jails of another user.
pub(crate) fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
