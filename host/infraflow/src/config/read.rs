//! Reading `infraflow.yaml`.

mod hosts;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::event::Provider;
use infraflow_core::id::{SecretName, UserName};
use infraflow_core::limits::ByteCount;
use infraflow_workflow::diagnostic::{ProblemKind, Report};
use infraflow_workflow::read::{Fields, Keys, Read, Value, all, read_document};

use super::{
    CommandConfig, Config, ExternalNats, JailChoice, LimitsConfig, NatsConfig, PluginsConfig,
    RetentionConfig, SecretPlace, SourceConfig, Sync, ToolsConfig,
};

pub(super) const ROOT: Keys = Keys::new(&[
    "data_dir",
    "http",
    "nats",
    "sole_host",
    "lease",
    "pools",
    "workspace_grace",
    "workflows",
    "sources",
    "secrets",
    "tools",
    "commands",
    "plugins",
    "limits",
    "retention",
    "shutdown_grace",
])
.later(&["people", "functions"]);
pub(super) const HTTP: Keys = Keys::new(&["listen"]).later(&["tls"]);
pub(super) const NATS: Keys = Keys::new(&[
    "port",
    "sync",
    "program",
    "url",
    "user",
    "password",
    "credentials",
    "replicas",
]);
pub(super) const SOURCE: Keys = Keys::new(&[
    "type",
    "url",
    "secret",
    "insecure",
    "trusted",
    "private_key",
    "known_hosts",
    "user",
    "password",
])
.later(&["poll", "allow_from", "branches", "playbooks"]);
pub(super) const SECRET: Keys = Keys::new(&["file", "env"]).later(&["command", "store"]);
pub(super) const TOOLS: Keys = Keys::new(&["jail", "uid", "read_only", "git", "ansible", "tofu"]);
pub(super) const COMMAND: Keys = Keys::new(&["program", "network"]);
pub(super) const PLUGINS: Keys = Keys::new(&["dir"]).later(&["grants", "trusted_keys"]);
pub(super) const LIMITS: Keys = Keys::new(&["runs_active", "tools_active"]);
pub(super) const RETENTION: Keys = Keys::new(&[
    "workspaces",
    "workspaces_size",
    "events",
    "events_age",
    "runs",
    "runs_age",
    "logs",
    "logs_age",
    "artifacts",
    "artifacts_age",
    "dead",
    "dead_age",
]);

/// Longest age that anything is kept for by its age: ten years.
const AGE_MAX: Duration = Duration::from_secs(3_650 * 86_400);

/// Shortest age: below it what is looked at would go meanwhile.
const AGE_MIN: Duration = Duration::from_secs(1);

/// Shortest age of events: beyond the time in which JetStream recognizes an
/// event that is published again.
const EVENTS_AGE_MIN: Duration = Duration::from_secs(600);

/// Reads a configuration. Paths in it are relative to `folder`.
pub(crate) fn parse(name: &str, text: &str, folder: &Utf8Path) -> Result<Config, Report> {
    read_document(name, text, |root| {
        let defaults = Config::defaults(folder);
        if root.is_null() {
            return Ok(defaults);
        }
        let fields = root.fields(&ROOT)?;
        let path = |value: Value<'_>| path_in(folder, value);
        let data_dir = fields.or("data_dir", defaults.data_dir, path);
        let http_listen = fields.or("http", defaults.http_listen, http);
        let nats = fields.or("nats", defaults.nats, |value| nats(folder, value));
        let hosts = hosts::hosts(&fields, nats.as_ref().ok());
        let workflows = fields.or("workflows", defaults.workflows, path);
        let sources = fields.or("sources", vec![], |value| value.entries(source));
        let secrets = fields.or("secrets", vec![], |value| {
            value.entries(|name, place| secret(folder, name, place))
        });
        let tools = fields.or("tools", defaults.tools.clone(), |value| {
            tools(folder, &defaults.tools, value)
        });
        let commands = fields.or("commands", vec![], |value| value.entries(command));
        let plugins = fields.or("plugins", defaults.plugins, |value| plugins(folder, value));
        let limits = fields.or("limits", defaults.limits.clone(), |value| {
            limits(&defaults.limits, value)
        });
        let retention = fields.or("retention", defaults.retention.clone(), |value| {
            retention(&defaults.retention, value)
        });
        let shutdown_grace = fields.or("shutdown_grace", defaults.shutdown_grace, |value| {
            value.duration(Duration::ZERO..=Duration::from_secs(3_600))
        });
        let hosts = hosts?;
        let config = Config {
            data_dir: data_dir?,
            http_listen: http_listen?,
            nats: nats?,
            sole_host: hosts.sole_host,
            sole_host_said: hosts.sole_host_said,
            lease: hosts.lease,
            pools: hosts.pools,
            workspace_grace: hosts.workspace_grace,
            workflows: workflows?,
            sources: sources?.into_iter().collect(),
            secrets: secrets?.into_iter().collect(),
            tools: tools?,
            commands: commands?.into_iter().collect(),
            plugins: plugins?,
            limits: limits?,
            retention: retention?,
            shutdown_grace: shutdown_grace?,
        };
        check_secrets(&fields, &config)?;
        Ok(config)
    })
}

fn path_in(folder: &Utf8Path, value: Value<'_>) -> Read<Utf8PathBuf> {
    match value.text()? {
        "" => Err(value.refuse("the path is empty")),
        text => Ok(folder.join(text)),
    }
}

fn absolute_path(value: Value<'_>) -> Read<Utf8PathBuf> {
    let path = Utf8PathBuf::from(value.text()?);
    if path.is_absolute() {
        return Ok(path);
    }
    let problem = value
        .problem(
            ProblemKind::Invalid,
            format!("`{path}` is not an absolute path"),
        )
        .hint("write the whole path: programs are not looked up where people can put files");
    Err(value.report(problem))
}

fn http(value: Value<'_>) -> Read<String> {
    let fields = value.fields(&HTTP)?;
    fields.or("listen", "127.0.0.1:8080".to_owned(), |value| {
        let text = value.text()?;
        value.accept(text.parse::<std::net::SocketAddr>().map_err(|_| {
            format!("`{text}` is not an address: expected an address and a port, like `127.0.0.1:8080` or `[::]:8080`")
        }))?;
        Ok(text.to_owned())
    })
}

const EMBEDDED_KEYS: [&str; 3] = ["port", "sync", "program"];
const EXTERNAL_KEYS: [&str; 4] = ["user", "password", "credentials", "replicas"];

fn nats(folder: &Utf8Path, value: Value<'_>) -> Read<NatsConfig> {
    let fields = value.fields(&NATS)?;
    let is_external = fields.get("url").is_some();
    let (wrong, why): (&[&'static str], _) = if is_external {
        (
            &EMBEDDED_KEYS,
            "is for the embedded server; with `url` somebody else's is used",
        )
    } else {
        (
            &EXTERNAL_KEYS,
            "is for somebody else's server, which needs a `url`",
        )
    };
    for key in wrong {
        if let Some(value) = fields.get(key) {
            value.refuse(format!("`{key}` {why}"));
        }
    }
    if is_external {
        return external_nats(folder, &fields);
    }
    let port = fields.or("port", 4222, |value| value.whole(0..=65_535));
    let sync = fields.or("sync", Sync::Always, |value| {
        value.choice(&[("always", Sync::Always), ("relaxed", Sync::Relaxed)])
    });
    let program = fields.optional("program", absolute_path);
    Ok(NatsConfig::Embedded {
        port: port?,
        sync: sync?,
        program: program?,
    })
}

/// An address is shown in logs and process lists.
pub(crate) fn without_credentials(url: &str) -> Result<(), String> {
    if url.contains('@') {
        return Err("the address of NATS holds credentials: say `user` and `password` (the name of a secret) under `nats` in the configuration instead".to_owned());
    }
    Ok(())
}

fn external_nats(folder: &Utf8Path, fields: &Fields<'_>) -> Read<NatsConfig> {
    let url = fields.required("url", |value| {
        let url = value.owned_text()?;
        value.accept(without_credentials(&url))?;
        Ok(url)
    });
    let user = fields.or(
        "user",
        UserName::new("operator").expect("a plain word is a user name"),
        Value::parse,
    );
    let password = fields.optional("password", Value::parse::<SecretName>);
    let credentials = fields.optional("credentials", |value| path_in(folder, value));
    let replicas = fields.or("replicas", 1, |value| value.whole(1..=5));
    Ok(NatsConfig::External(ExternalNats {
        url: url?,
        user: user?,
        password: password?,
        credentials: credentials?,
        replicas: replicas?,
    }))
}

fn source(
    name: Value<'_>,
    value: Value<'_>,
) -> Read<(infraflow_core::id::SourceName, SourceConfig)> {
    let name = name.parse();
    let fields = value.fields(&SOURCE)?;
    let provider = fields.required("type", provider);
    let url = fields.optional("url", repository_url);
    let webhook_secrets = fields.or("secret", vec![], |value| value.one_or_each(Value::parse));
    let is_insecure = fields.or("insecure", false, Value::bool);
    let is_trusted = fields.or("trusted", false, Value::bool);
    let private_key = fields.optional("private_key", Value::parse);
    let known_hosts = fields.optional("known_hosts", Value::parse);
    let user = fields.optional("user", Value::owned_text);
    let password = fields.optional("password", Value::parse);
    let config = SourceConfig {
        provider: provider?,
        url: url?,
        webhook_secrets: webhook_secrets?,
        is_insecure: is_insecure?,
        is_trusted: is_trusted?,
        private_key: private_key?,
        known_hosts: known_hosts?,
        user: user?,
        password: password?,
    };
    match (config.webhook_secrets.is_empty(), config.is_insecure) {
        (true, false) => Err(fields.missing(
            "secret",
            Some("name a secret that the webhooks are signed with, or say `insecure: true`"),
        )),
        (false, true) => Err(value.refuse("the source has a `secret` and says `insecure: true`")),
        _ => Ok((name?, config)),
    }
}

fn provider(value: Value<'_>) -> Read<Provider> {
    const LATER: Keys = Keys::new(&[]).later(&[
        "gitlab",
        "github",
        "bitbucket",
        "bitbucket-cloud",
        "bitbucket-dc",
        "generic",
        "docker",
        "podman",
        "portainer",
    ]);
    LATER.refuse_later(value)?;
    value.choice(&Provider::ALL.map(|provider| (provider.name(), provider)))
}

fn repository_url(value: Value<'_>) -> Read<String> {
    let text = value.text()?;
    let known = ["https://", "ssh://", "file://", "http://"]
        .iter()
        .any(|s| text.starts_with(s));
    let scp_like = text.split_once(':').is_some_and(|(host, path)| {
        host.contains('@') && !path.is_empty() && !path.starts_with("//")
    });
    if (known || scp_like || text.starts_with('/')) && !text.chars().any(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(value.mismatched("the address of a repository: `https://...`, `ssh://...`, `user@host:path`, `file://...` or an absolute path"))
}

fn secret(folder: &Utf8Path, name: Value<'_>, value: Value<'_>) -> Read<(SecretName, SecretPlace)> {
    let name = name.parse();
    let fields = value.fields(&SECRET)?;
    let file = fields.optional("file", |value| path_in(folder, value));
    let env = fields.optional("env", environment_name);
    match (file?, env?) {
        (Some(file), None) => Ok((name?, SecretPlace::File(file))),
        (None, Some(variable)) => Ok((name?, SecretPlace::Environment(variable))),
        (None, None) => {
            Err(fields.missing("file", Some("say where the secret is: `file` or `env`")))
        }
        (Some(_), Some(_)) => Err(value.refuse("the secret has a `file` and an `env`")),
    }
}

fn environment_name(value: Value<'_>) -> Read<String> {
    let text = value.text()?;
    let valid = !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if valid {
        Ok(text.to_owned())
    } else {
        Err(value.mismatched("the name of an environment variable"))
    }
}

fn tools(folder: &Utf8Path, defaults: &ToolsConfig, value: Value<'_>) -> Read<ToolsConfig> {
    let fields = value.fields(&TOOLS)?;
    let jail = fields.or("jail", defaults.jail, |value| {
        // YAML 1.2 reads `off` as a text, people write it as a word.
        value.choice(&[("required", JailChoice::Required), ("off", JailChoice::Off)])
    });
    let uid = fields.or("uid", defaults.uid, |value| value.whole(1..=2_000_000_000));
    let read_only = fields.or("read_only", vec![], |value| {
        value.one_or_each(absolute_path)
    });
    let git = fields.optional("git", absolute_path);
    let ansible = fields.optional("ansible", |value| path_in(folder, value));
    let tofu = fields.optional("tofu", absolute_path);
    Ok(ToolsConfig {
        jail: jail?,
        uid: uid?,
        read_only: read_only?,
        git: git?,
        ansible: ansible?,
        tofu: tofu?,
    })
}

fn command(
    name: Value<'_>,
    value: Value<'_>,
) -> Read<(infraflow_core::id::CommandName, CommandConfig)> {
    let name = name.parse();
    if value.node().as_text().is_some() {
        let program = absolute_path(value);
        return Ok((
            name?,
            CommandConfig {
                program: program?,
                has_network: false,
            },
        ));
    }
    let fields = value.fields(&COMMAND)?;
    let program = fields.required("program", absolute_path);
    let has_network = fields.or("network", false, Value::bool);
    Ok((
        name?,
        CommandConfig {
            program: program?,
            has_network: has_network?,
        },
    ))
}

fn plugins(folder: &Utf8Path, value: Value<'_>) -> Read<PluginsConfig> {
    let fields = value.fields(&PLUGINS)?;
    let dir = fields.optional("dir", |value| path_in(folder, value));
    Ok(PluginsConfig { dir: dir? })
}

fn limits(defaults: &LimitsConfig, value: Value<'_>) -> Read<LimitsConfig> {
    let fields = value.fields(&LIMITS)?;
    let count = |key, default: usize, max: u64| {
        fields
            .or(key, u64::try_from(default).unwrap_or(max), |value| {
                value.whole(1..=max)
            })
            .map(|count| usize::try_from(count).unwrap_or(default))
    };
    let runs_active = count("runs_active", defaults.runs_active, 100_000);
    let tools_active = count("tools_active", defaults.tools_active, 10_000);
    Ok(LimitsConfig {
        runs_active: runs_active?,
        tools_active: tools_active?,
    })
}

fn retention(defaults: &RetentionConfig, value: Value<'_>) -> Read<RetentionConfig> {
    let fields = value.fields(&RETENTION)?;
    let size = |key, default: ByteCount| {
        fields.or(key, default, |value| {
            value.bytes(ByteCount::mib(1)..=ByteCount::mib(16 * 1024 * 1024))
        })
    };
    let age = |key, least: Duration, default: Duration| {
        fields.or(key, default, |value| value.duration(least..=AGE_MAX))
    };
    let workspaces = age("workspaces", Duration::ZERO, defaults.workspaces);
    let workspaces_size = size("workspaces_size", defaults.workspaces_size);
    let events = size("events", defaults.events);
    let events_age = age("events_age", EVENTS_AGE_MIN, defaults.events_age);
    let runs = size("runs", defaults.runs);
    let runs_age = age("runs_age", AGE_MIN, defaults.runs_age);
    let logs = size("logs", defaults.logs);
    let logs_age = age("logs_age", AGE_MIN, defaults.logs_age);
    let artifacts = size("artifacts", defaults.artifacts);
    let artifacts_age = age("artifacts_age", AGE_MIN, defaults.artifacts_age);
    let dead = size("dead", defaults.dead);
    let dead_age = age("dead_age", AGE_MIN, defaults.dead_age);
    Ok(RetentionConfig {
        workspaces: workspaces?,
        workspaces_size: workspaces_size?,
        events: events?,
        events_age: events_age?,
        runs: runs?,
        runs_age: runs_age?,
        logs: logs?,
        logs_age: logs_age?,
        artifacts: artifacts?,
        artifacts_age: artifacts_age?,
        dead: dead?,
        dead_age: dead_age?,
    })
}

/// Every secret that is named somewhere must be one of `secrets`.
fn check_secrets(fields: &Fields<'_>, config: &Config) -> Read<()> {
    let known: Vec<String> = config
        .secrets
        .keys()
        .map(|name| format!("`{name}`"))
        .collect();
    let check = |value: Option<Value<'_>>, names: &[SecretName]| {
        let missing = names
            .iter()
            .find(|name| !config.secrets.contains_key(*name));
        match (value, missing) {
            (Some(value), Some(name)) => {
                let expected = if known.is_empty() {
                    "expected the name of one of `secrets`, and there are none".to_owned()
                } else {
                    format!("expected one of {}", known.join(", "))
                };
                let message = format!("`{name}` is not in `secrets`");
                Err(value.report(
                    value
                        .problem(ProblemKind::Invalid, message)
                        .expected(expected),
                ))
            }
            _ => Ok(()),
        }
    };
    let mut checks = Vec::new();
    let sources: BTreeMap<&str, &SourceConfig> = config
        .sources
        .iter()
        .map(|(name, source)| (name.as_str(), source))
        .collect();
    for (name, source) in sources {
        let of = |key: &str| fields.get("sources")?.get(name)?.get(key);
        checks.push(check(of("secret"), &source.webhook_secrets));
        for (key, secret) in [
            ("private_key", &source.private_key),
            ("known_hosts", &source.known_hosts),
            ("password", &source.password),
        ] {
            checks.push(check(of(key), secret.as_slice()));
        }
    }
    if let NatsConfig::External(nats) = &config.nats {
        let value = fields.get("nats").and_then(|nats| nats.get("password"));
        checks.push(check(value, nats.password.as_slice()));
    }
    all(checks).map(drop)
}

#[cfg(test)]
mod tests;
