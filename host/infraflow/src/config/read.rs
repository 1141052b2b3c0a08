//! Reading `infraflow.yaml`.

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
.later(&["people", "pools", "functions"]);
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
pub(super) const RETENTION: Keys =
    Keys::new(&["workspaces", "events", "runs", "logs"]).later(&["artifacts", "dead"]);

const DAY: Duration = Duration::from_secs(86_400);

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
        let config = Config {
            data_dir: data_dir?,
            http_listen: http_listen?,
            nats: nats?,
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
    let workspaces = fields.or("workspaces", defaults.workspaces, |value| {
        value.duration(Duration::ZERO..=DAY * 365)
    });
    let events = size("events", defaults.events);
    let runs = size("runs", defaults.runs);
    let logs = size("logs", defaults.logs);
    Ok(RetentionConfig {
        workspaces: workspaces?,
        events: events?,
        runs: runs?,
        logs: logs?,
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
mod tests {
    use super::*;
    use expect_test::expect;

    fn config(text: &str) -> Result<Config, String> {
        parse("infraflow.yaml", text, Utf8Path::new("/srv/demo"))
            .map_err(|report| report.to_string())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        for text in ["", "# nothing\n", "{}"] {
            assert_eq!(
                config(text),
                Ok(Config::defaults(Utf8Path::new("/srv/demo")))
            );
        }
    }

    #[test]
    fn a_whole_configuration() {
        let config = config(
            r#"
data_dir: /var/lib/infraflow
http: { listen: "[::1]:9000" }
nats: { port: 0, sync: relaxed }
workflows: flows
sources:
  shop:
    type: forgejo
    url: ssh://git@git.example/shop/infra.git
    secret: [hook, old-hook]
    trusted: true
    private_key: deploy-key
    known_hosts: hosts
secrets:
  hook: { file: secrets/hook }
  old-hook: { env: OLD_HOOK }
  deploy-key: { file: /etc/keys/deploy }
  hosts: { file: known_hosts }
tools: { jail: off, uid: 1234, read_only: /opt/tools, tofu: /usr/local/bin/tofu }
commands:
  greet: /bin/echo
  fetch: { program: /usr/bin/curl, network: true }
plugins: { dir: plugins }
limits: { runs_active: 10, tools_active: 2 }
retention: { workspaces: 5m, logs: 2 MiB }
shutdown_grace: 1m
"#,
        )
        .unwrap();
        assert_eq!(config.data_dir, "/var/lib/infraflow");
        assert_eq!(config.workflows, "/srv/demo/flows");
        let shop = config.sources.values().next().unwrap();
        assert_eq!(shop.webhook_secrets.len(), 2);
        assert!(shop.is_trusted);
        let hook = &config.secrets[&SecretName::new("hook").unwrap()];
        assert_eq!(*hook, SecretPlace::File("/srv/demo/secrets/hook".into()));
        assert_eq!(config.tools.jail, JailChoice::Off);
        assert_eq!(config.limits.tools_active, 2);
        assert_eq!(config.retention.logs, ByteCount::mib(2));
        assert_eq!(config.shutdown_grace, Duration::from_secs(60));
    }

    #[test]
    fn every_problem_is_said_at_once() {
        let text = "\
htpp: { listen: x }
people: {}
nats: { url: nats://a, port: 1 }
sources:
  shop: { type: gitlab, secret: nope }
  open: { type: forgejo }
  good: { type: gitea, secret: missing }
commands: { ls: ls }
limits: { runs_active: 0 }
";
        expect![[r#"
            error: unknown key `htpp`
             --> infraflow.yaml:1:1
              |
            1 | htpp: { listen: x }
              | ^^^^ expected one of `data_dir`, `http`, `nats`, `workflows`, `sources`, `secrets`, `tools`, `commands`, `plugins`, `limits`, `retention`, `shutdown_grace`
              |
              = help: did you mean `http`?

            error: `people` is not supported yet
             --> infraflow.yaml:2:1
              |
            2 | people: {}
              | ^^^^^^

            error: `port` is for the embedded server; with `url` somebody else's is used
             --> infraflow.yaml:3:30
              |
            3 | nats: { url: nats://a, port: 1 }
              |                              ^

            error: `gitlab` is not supported yet
             --> infraflow.yaml:5:17
              |
            5 |   shop: { type: gitlab, secret: nope }
              |                 ^^^^^^

            error: `secret` is missing
             --> infraflow.yaml:6:9
              |
            6 |   open: { type: forgejo }
              |         ^^^^^^^^^^^^^^^
              |
              = help: name a secret that the webhooks are signed with, or say `insecure: true`

            error: `ls` is not an absolute path
             --> infraflow.yaml:8:17
              |
            8 | commands: { ls: ls }
              |                 ^^
              |
              = help: write the whole path: programs are not looked up where people can put files

            error: `runs_active` is the number 0
             --> infraflow.yaml:9:24
              |
            9 | limits: { runs_active: 0 }
              |                        ^ expected a whole number from 1 to 100000
        "#]]
        .assert_eq(&config(text).unwrap_err());
    }

    /// `docs/configuration.md` has a table of exactly the keys that are taken,
    /// and its example is one.
    #[test]
    fn the_documentation_names_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let text = std::fs::read_to_string(path).unwrap();
        let sections: Vec<&str> = text.split("\n## ").collect();
        for (title, keys) in [
            ("Top level", &ROOT),
            ("http", &HTTP),
            ("nats", &NATS),
            ("sources", &SOURCE),
            ("secrets", &SECRET),
            ("tools", &TOOLS),
            ("commands", &COMMAND),
            ("plugins", &PLUGINS),
            ("limits", &LIMITS),
            ("retention", &RETENTION),
        ] {
            let section = sections
                .iter()
                .find(|section| section.lines().next() == Some(title));
            let lines = section.expect(title).lines();
            let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            assert_eq!(rows.collect::<Vec<_>>(), keys.known(), "{title}");
            let later = sections.last().unwrap();
            for key in keys.not_supported_yet() {
                assert!(later.contains(key), "{title}: {key}");
            }
        }
        let example = text
            .split("```yaml\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        let read = config(example).unwrap();
        assert_eq!(read.limits.runs_active, 200);
    }

    #[test]
    fn secrets_that_are_named_must_exist() {
        let text = "sources:\n  shop: { type: gitea, secret: hook }\n";
        let error = config(text).unwrap_err();
        assert!(error.contains("`hook` is not in `secrets`"), "{error}");
        assert!(error.contains("infraflow.yaml:2:32"), "{error}");
    }
}
