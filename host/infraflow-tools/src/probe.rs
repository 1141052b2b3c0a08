//! What is installed on this host, for `doctor`.

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::limits::ByteCount;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::ansible::{find_playbook, find_runner};
use crate::context::Context;
use crate::git::find_git;
use crate::jail::JailStatus;
use crate::limits::PROBE;
use crate::tofu::find_tofu;

/// What is installed on this host.
#[derive(Debug, Clone)]
pub struct ToolsStatus {
    /// Whether the jail holds.
    pub jail: JailStatus,
    /// Bubblewrap.
    pub bubblewrap: ToolStatus,
    /// `git`.
    pub git: ToolStatus,
    /// `ansible-playbook`.
    pub ansible_playbook: ToolStatus,
    /// `ansible-runner`; without it Ansible's own output is read.
    pub ansible_runner: ToolStatus,
    /// `tofu`, or a compatible program.
    pub tofu: ToolStatus,
}

/// Whether a program is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolStatus {
    /// It is, and runs.
    Found {
        /// Where.
        path: Utf8PathBuf,
        /// The first line of what it says about its version.
        version: String,
    },
    /// It is there and does not run.
    Broken {
        /// Where.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
    /// It is not there.
    Missing,
}

/// Looks at everything. At most 20 s a program.
pub(crate) async fn tools(context: &Context) -> ToolsStatus {
    let playbook = find_playbook(context);
    let runner = playbook
        .as_deref()
        .and_then(|path| find_runner(context, path));
    let jail = context.processes.jail();
    let (jail_status, bubblewrap, git, ansible_playbook, ansible_runner, tofu) = tokio::join!(
        context.processes.jail_status(),
        status(jail.bubblewrap(), &["--version"]),
        status(find_git(context), &["--version"]),
        status(playbook, &["--version"]),
        status(runner, &["--version"]),
        status(find_tofu(context), &["version"]),
    );
    ToolsStatus {
        jail: jail_status,
        bubblewrap,
        git,
        ansible_playbook,
        ansible_runner,
        tofu,
    }
}

async fn status(path: Option<Utf8PathBuf>, arguments: &[&str]) -> ToolStatus {
    let Some(path) = path else {
        return ToolStatus::Missing;
    };
    match timeout(PROBE, first_line(&path, arguments)).await {
        Ok(Ok(version)) => ToolStatus::Found { path, version },
        Ok(Err(reason)) => ToolStatus::Broken { path, reason },
        Err(_) => ToolStatus::Broken {
            path,
            reason: format!("it did not answer within {} s", PROBE.as_secs()),
        },
    }
}

/// Runs one of the operator's own programs, as the host's own user and without
/// any of the host's environment.
async fn first_line(path: &Utf8Path, arguments: &[&str]) -> Result<String, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a question to an installed program, for `doctor`: no code of a run is in it"
    )]
    let mut command = tokio::process::Command::new(path);
    let folder = path.parent().map_or("/", Utf8Path::as_str);
    let mut process = command
        .args(arguments)
        .env_clear()
        .env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"))
        .env("LANG", "C.UTF-8")
        .env("HOME", "/nonexistent")
        .env("CHECKPOINT_DISABLE", "1")
        .env("TF_CLI_CONFIG_FILE", "/dev/null")
        .current_dir("/")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    if let Some(stdout) = process.stdout.take() {
        let mut limited = stdout.take(ByteCount::kib(16).0);
        let read = limited.read_to_end(&mut text).await;
        read.map_err(|error| error.to_string())?;
    }
    let status = process.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    Ok(line.unwrap_or_default().to_owned())
}
