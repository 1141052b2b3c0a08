//! What the configuration says of sources and tools, as their crates take it.

use infraflow_core::ports::Secrets as _;
use infraflow_sources::source::{WebhookSettings, WebhookSource};
use infraflow_tools::jail::{JailConfig, JailMode, JailStatus};
use infraflow_tools::{CommandSpec, SourceRepo, ToolsConfig};

use camino::Utf8PathBuf;

use crate::api::types::{JailItem, SourceItem};
use crate::config::{Config, JailChoice};
use crate::data_dir::DataDir;
use crate::exit::{Exit, Failure};
use crate::install;
use crate::secrets::ConfiguredSecrets;

pub(super) fn webhook_sources(
    config: &Config,
    secrets: &ConfiguredSecrets,
) -> Result<Vec<WebhookSource>, Failure> {
    let invalid = |error: &dyn std::fmt::Display| Failure::new(Exit::Invalid, error.to_string());
    config
        .sources
        .iter()
        .map(|(name, source)| {
            let values = source
                .webhook_secrets
                .iter()
                .map(|secret| secrets.read(secret))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| invalid(&error))?;
            WebhookSource::new(WebhookSettings {
                name: name.clone(),
                provider: source.provider,
                secrets: values,
                insecure: source.is_insecure,
            })
            .map_err(|error| invalid(&error))
        })
        .collect()
}

/// How tools are jailed, as the configuration says.
pub(crate) fn jail_config(config: &Config, program: Utf8PathBuf) -> JailConfig {
    JailConfig {
        mode: match config.tools.jail {
            JailChoice::Required => JailMode::Required,
            JailChoice::Off => JailMode::Off,
        },
        uid: config.tools.uid,
        gid: config.tools.uid,
        read_only: config.tools.read_only.clone(),
        search_path: install::search_path(),
        ..JailConfig::new(program)
    }
}

/// The tools, as the configuration says.
pub(crate) fn tools_config(config: &Config, data: &DataDir, jail: JailConfig) -> ToolsConfig {
    let sources = config
        .sources
        .iter()
        .map(|(name, source)| {
            let repo = SourceRepo {
                url: source.url.clone(),
                private_key: source.private_key.clone(),
                known_hosts: source.known_hosts.clone(),
                user: source.user.clone(),
                password: source.password.clone(),
                trusted: source.is_trusted,
            };
            (name.clone(), repo)
        })
        .collect();
    let commands = config
        .commands
        .iter()
        .map(|(name, command)| {
            let spec = CommandSpec {
                network: command.has_network,
                ..CommandSpec::new(command.program.clone())
            };
            (name.clone(), spec)
        })
        .collect();
    ToolsConfig {
        search_path: install::search_path(),
        sources,
        commands,
        ansible: config.tools.ansible.clone(),
        tofu: config.tools.tofu.clone(),
        git: config.tools.git.clone(),
        active: config.limits.tools_active,
        ..ToolsConfig::new(data.path().to_owned(), jail)
    }
}

/// What a jail is, for people.
pub(crate) fn jail_item(status: &JailStatus) -> JailItem {
    match status {
        JailStatus::Holds(view) => JailItem {
            ok: true,
            summary: format!("bubblewrap; tools run as uid {}", view.uid),
        },
        JailStatus::Off => JailItem {
            ok: false,
            summary: "off: tools run as this host's own user and see what it sees".to_owned(),
        },
        JailStatus::Missing { reason, mend } => JailItem {
            ok: false,
            summary: format!("none: {reason}; only trusted code runs. {mend}"),
        },
    }
}

/// The sources, for people.
pub(super) fn source_items(config: &Config, base: &str) -> Vec<SourceItem> {
    config
        .sources
        .iter()
        .map(|(name, source)| SourceItem {
            name: name.to_string(),
            provider: source.provider.to_string(),
            webhook: format!("{base}/webhooks/{name}"),
            url: source.url.clone(),
            trusted: source.is_trusted,
            insecure: source.is_insecure,
        })
        .collect()
}
