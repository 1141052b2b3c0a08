//! `infraflow doctor`: what works on this machine and on the host, and how to
//! mend what does not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::id::Digest;
use infraflow_core::ports::{BlobError, Blobs, BoxFuture, Revision};
use infraflow_sandbox::{Sandbox, SandboxConfig};
use infraflow_tools::ToolDoor;
use infraflow_tools::jail::JailStatus;
use infraflow_tools::probe::{ToolStatus, ToolsStatus};
use infraflow_tools::programs::find_program;
use serde::Serialize;

use super::load_config;
use crate::api::client::Client;
use crate::api::types::Status;
use crate::api::verb;
use crate::cli::Global;
use crate::config::{Config, NatsConfig};
use crate::data_dir::{DataDir, random_hex};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{DIM, Format, GREEN, RED, YELLOW, json, line, styled};
use crate::secrets::ConfiguredSecrets;
use crate::{install, plugins, up};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    /// Something does not work that not everybody needs.
    Limited,
    Bad,
}

fn good(what: &str, found: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        state: State::Good,
        found: found.into(),
        fix: None,
    }
}

fn limited(what: &str, found: impl Into<String>, fix: &str) -> Finding {
    let fix = Some(fix.to_owned());
    Finding {
        what: what.to_owned(),
        state: State::Limited,
        found: found.into(),
        fix,
    }
}

fn bad(what: &str, found: impl Into<String>, fix: &str) -> Finding {
    let fix = Some(fix.to_owned());
    Finding {
        what: what.to_owned(),
        state: State::Bad,
        found: found.into(),
        fix,
    }
}

/// Looks at everything.
pub(crate) async fn run(global: &Global) -> Outcome {
    let config = load_config(global)?;
    let mut findings = vec![good("configuration", "understood")];
    findings.push(nats_server(&config));
    findings.push(plugin_folder(&config));
    findings.extend(tools(&config).await);
    findings.extend(files(&config));
    findings.extend(secrets(&config));
    findings.extend(commands(&config));
    findings.extend(host(&config).await);
    match global.output {
        Format::Json => json(&findings)?,
        Format::Text => print(&findings)?,
    }
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if is_bad {
        Exit::Unhealthy
    } else {
        Exit::Success
    })
}

fn print(findings: &[Finding]) -> Result<(), Failure> {
    for finding in findings {
        let mark = match finding.state {
            State::Good => styled(GREEN, "ok     "),
            State::Limited => styled(YELLOW, "limited"),
            State::Bad => styled(RED, "bad    "),
        };
        line(&format!("{mark}  {:<14}  {}", finding.what, finding.found))?;
        if let Some(fix) = &finding.fix {
            line(&format!("         {:<14}  {}", "", styled(DIM, fix)))?;
        }
    }
    Ok(())
}

// ---- this machine ------------------------------------------------------------------

fn nats_server(config: &Config) -> Finding {
    let program = match &config.nats {
        NatsConfig::External(external) => {
            return good(
                "nats-server",
                format!("somebody else's, at {}", external.url),
            );
        }
        NatsConfig::Embedded { program, .. } => program.clone(),
    };
    match program.or_else(|| find_program("nats-server", &install::search_path())) {
        Some(program) if program.is_file() => good("nats-server", program.to_string()),
        Some(program) => bad(
            "nats-server",
            format!("`{program}` is not there"),
            "mend `nats.program` in the configuration",
        ),
        None => bad(
            "nats-server",
            "not found",
            "run `deploy/setup.sh`, or put nats-server 2.14 or newer on PATH",
        ),
    }
}

fn plugin_folder(config: &Config) -> Finding {
    let cache = DataDir::at(config.data_dir.clone()).component_cache();
    let sandbox = match Sandbox::new(SandboxConfig {
        // What `up` has compiled; nothing is made for a look.
        cache_dir: cache.is_dir().then(|| cache.into_std_path_buf()),
        ..SandboxConfig::default()
    }) {
        Ok(sandbox) => sandbox,
        Err(error) => {
            return bad(
                "plugins",
                crate::exit::chain(&error),
                "this machine cannot run WebAssembly plugins",
            );
        }
    };
    let folders = plugins::folders(&config.plugins);
    match plugins::load(&folders, &sandbox) {
        Ok(catalog) => {
            let places: Vec<&str> = folders.iter().map(|folder| folder.as_str()).collect();
            good(
                "plugins",
                format!("{} in {}", catalog.names(), places.join(", ")),
            )
        }
        Err(error) => bad(
            "plugins",
            error.to_string(),
            "build them again with `plugins/build.sh`",
        ),
    }
}

fn jail(status: &JailStatus) -> Finding {
    let summary = up::jail_item(status).summary;
    match status {
        JailStatus::Holds(_) => good("jail", summary),
        JailStatus::Off => limited(
            "jail",
            summary,
            "remove `tools.jail: off` unless this host manages itself",
        ),
        JailStatus::Missing { reason, mend } => bad("jail", format!("none: {reason}"), mend),
    }
}

async fn tools(config: &Config) -> Vec<Finding> {
    let status = match probe(config).await {
        Ok(status) => status,
        Err(failure) => {
            return vec![bad(
                "tools",
                failure.message,
                "this machine cannot start tools",
            )];
        }
    };
    let found = [
        (
            "bubblewrap",
            &status.bubblewrap,
            "apt-get install bubblewrap: without it only trusted code runs",
        ),
        (
            "git",
            &status.git,
            "apt-get install git: needed by `checkout`",
        ),
        (
            "ansible",
            &status.ansible_playbook,
            "pip install ansible-core, or set `tools.ansible`: needed by `ansible`",
        ),
        (
            "ansible-runner",
            &status.ansible_runner,
            "pip install ansible-runner: gives the result of each host and task",
        ),
        (
            "opentofu",
            &status.tofu,
            "install OpenTofu, or set `tools.tofu` to a compatible program: needed by `opentofu`",
        ),
    ];
    let programs = found.into_iter().map(|(name, status, fix)| match status {
        ToolStatus::Found { path, version } => good(name, format!("{version} ({path})")),
        ToolStatus::Broken { path, reason } => limited(name, format!("{path}: {reason}"), fix),
        ToolStatus::Missing => limited(name, "not found", fix),
    });
    std::iter::once(jail(&status.jail))
        .chain(programs)
        .collect()
}

/// Looks through a door of its own: the host need not run.
async fn probe(config: &Config) -> Result<ToolsStatus, Failure> {
    let program = install::program().map_err(|error| Failure::new(Exit::Failure, error))?;
    let name = random_hex::<8>().map_err(|error| Failure::internal("draw a name", &error))?;
    let folder = std::env::temp_dir().join(format!("infraflow-doctor-{name}"));
    let folder = Utf8PathBuf::from_path_buf(folder)
        .map_err(|_| Failure::new(Exit::Failure, "the folder for temporary files is not UTF-8"))?;
    let data = DataDir::at(folder.clone());
    data.prepare()
        .map_err(|error| Failure::internal("make a folder", &error))?;
    let watchdog = up::start_watchdog(&data, &program).await?;
    let tools = up::tools_config(config, &data, up::jail_config(config, program));
    let secrets = Arc::new(ConfiguredSecrets::new(config.secrets.clone()));
    let door = ToolDoor::new(tools, watchdog.clone(), secrets, Arc::new(NoBlobs));
    let status = door.probe().await;
    watchdog.shutdown().await;
    if let Err(error) = fs::remove_dir_all(&folder) {
        tracing::debug!(%error, %folder, "folder not removed");
    }
    Ok(status)
}

/// A door that only looks needs no stored bytes.
struct NoBlobs;

impl Blobs for NoBlobs {
    fn put(&self, _: Vec<u8>) -> BoxFuture<'_, Result<Digest, BlobError>> {
        Box::pin(async { Err(BlobError::Unavailable("doctor stores nothing".to_owned())) })
    }

    fn get(&self, digest: Digest, _: u64) -> BoxFuture<'_, Result<Vec<u8>, BlobError>> {
        Box::pin(async move { Err(BlobError::NotFound(digest.to_string())) })
    }

    fn pointer<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<(Digest, Revision)>, BlobError>> {
        Box::pin(async { Ok(None) })
    }

    fn set_pointer<'a>(
        &'a self,
        _: &'a str,
        _: Digest,
        _: Option<Revision>,
    ) -> BoxFuture<'a, Result<Revision, BlobError>> {
        Box::pin(async { Err(BlobError::Unavailable("doctor stores nothing".to_owned())) })
    }
}

/// Executables of `commands` that are not there.
fn commands(config: &Config) -> Vec<Finding> {
    let missing = config
        .commands
        .iter()
        .filter(|(_, command)| !command.program.is_file());
    missing
        .map(|(name, command)| {
            let found = format!(
                "`{name}` is `{}`, and there is no such file",
                command.program
            );
            bad(
                "commands",
                found,
                "install it, or change its path in `commands`",
            )
        })
        .collect()
}

fn files(config: &Config) -> Vec<Finding> {
    let data = DataDir::at(config.data_dir.clone());
    let path = data.path();
    if !path.exists() {
        return vec![good(
            "data",
            format!("{path} (made by the first `infraflow up`)"),
        )];
    }
    let mut findings = vec![good("data", path.to_string())];
    for file in [
        data.host_credentials(),
        data.operator_credentials(),
        path.join("keys/blobs.key"),
    ] {
        if let Some(mode) = mode_of(&file).filter(|mode| mode & 0o077 != 0) {
            findings.push(bad(
                "permissions",
                format!("`{file}` has mode {mode:o}: others can read it"),
                &format!("chmod 600 {file}"),
            ));
        }
    }
    findings
}

fn mode_of(path: &Utf8Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}

fn secrets(config: &Config) -> Vec<Finding> {
    use infraflow_core::ports::Secrets as _;
    let secrets = ConfiguredSecrets::new(config.secrets.clone());
    let failed = secrets.names().into_iter().filter_map(|name| {
        let error = secrets.read(&name).err()?;
        Some(bad(
            "secrets",
            error.to_string(),
            "mend its place, or remove it from `secrets`",
        ))
    });
    failed.collect()
}

// ---- the host ----------------------------------------------------------------------

async fn host(config: &Config) -> Vec<Finding> {
    let client = match Client::connect(config).await {
        Ok(client) => client,
        Err(failure) => {
            return vec![limited(
                "host",
                failure.message,
                "start it with `infraflow up`",
            )];
        }
    };
    let status: Status = match client.ask(verb::STATUS, &()).await {
        Ok(status) => status,
        Err(failure) => {
            return vec![bad(
                "host",
                failure.message,
                "look at what `infraflow up` prints",
            )];
        }
    };
    let mut findings = vec![good(
        "host",
        format!(
            "{} {} at {}, NATS {}",
            status.host, status.version, status.http, status.nats_version
        ),
    )];
    for (name, problem) in &status.checks {
        if let Some(problem) = problem {
            findings.push(bad(
                "host",
                format!("{name}: {problem}"),
                "see the host's log",
            ));
        }
    }
    findings.push(good("storage", status.storage.clone()));
    for stream in status.streams.iter().filter(|stream| stream.percent > 80) {
        findings.push(limited(
            "storage",
            format!("stream {} is {} % full", stream.name, stream.percent),
            "raise its size under `retention` in the configuration",
        ));
    }
    if status.workflow_problems > 0 {
        findings.push(limited(
            "workflows",
            format!("problems in {} of them", status.workflow_problems),
            "see `infraflow workflow list`",
        ));
    }
    findings
}
