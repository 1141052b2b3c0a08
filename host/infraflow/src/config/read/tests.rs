//! Configurations, good and bad, and the page that describes them.

use super::*;
use expect_test::expect;
use infraflow_core::id::PoolName;
use infraflow_core::limits;

fn config(text: &str) -> Result<Config, String> {
    parse("infraflow.yaml", text, Utf8Path::new("/srv/demo")).map_err(|report| report.to_string())
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
pools: [default, dmz]
sole_host: true
workspace_grace: 2h
retention: { workspaces: 5m, logs: 2 MiB, artifacts: 3GiB, dead_age: 1d }
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
    assert_eq!(config.retention.artifacts, ByteCount::mib(3 * 1_024));
    assert_eq!(config.retention.dead_age, Duration::from_secs(86_400));
    assert_eq!(
        config.retention.runs_age,
        RetentionConfig::default().runs_age
    );
    let pools: Vec<&str> = config.pools.iter().map(PoolName::as_str).collect();
    assert_eq!(pools, ["default", "dmz"]);
    assert!(config.sole_host);
    assert_eq!(config.workspace_grace, Duration::from_secs(7_200));
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
          | ^^^^ expected one of `data_dir`, `http`, `nats`, `sole_host`, `lease`, `pools`, `workspace_grace`, `workflows`, `sources`, `secrets`, `tools`, `commands`, `plugins`, `limits`, `retention`, `shutdown_grace`
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

#[test]
fn who_is_alone() {
    const URL: &str = "nats: { url: nats://a }\n";
    for (text, sole_host, lease_seconds) in [
        ("", true, 15),
        ("sole_host: true", true, 15),
        (URL, false, 15),
        (&format!("{URL}lease: 2s"), false, 2),
        (&format!("{URL}lease: 5m\nsole_host: false"), false, 300),
        (&format!("{URL}sole_host: true"), true, 15),
    ] {
        let config = config(text).unwrap();
        assert_eq!(config.sole_host, sole_host, "{text}");
        assert_eq!(config.lease.as_secs(), lease_seconds, "{text}");
    }
}

#[test]
fn another_server_may_have_other_hosts() {
    for (text, sole_host) in [
        ("", false),
        ("sole_host: true", true),
        ("nats: { url: nats://a }", false),
        ("nats: { url: nats://a }\nsole_host: true", true),
    ] {
        let mut config = config(text).unwrap();
        config.use_nats_at("nats://b".to_owned());
        assert_eq!(config.sole_host, sole_host, "{text}");
        assert!(matches!(config.nats, NatsConfig::External(nats) if nats.url == "nats://b"));
    }
}

/// The problems, each in a line.
fn briefly(text: &str) -> String {
    let report = parse("infraflow.yaml", text, Utf8Path::new("/srv/demo")).unwrap_err();
    let lines = report.problems().iter().map(|problem| {
        let position = report.position(problem.span.start());
        let more = problem.expected.iter().chain(&problem.hint);
        let more: String = more.map(|text| format!(" | {text}")).collect();
        format!("{position} {}{more}\n", problem.message)
    });
    lines.collect()
}

#[test]
fn what_is_wrong_with_hosts() {
    for (text, expected) in [
        (
            "sole_host: false\nlease: 10s",
            expect![[r#"
            1:12 the private NATS server has one host | several hosts need a NATS server that all of them reach: say its `url` under `nats`
            2:8 `lease` is for several hosts; the private NATS server has one | several hosts need a NATS server that all of them reach: say its `url` under `nats`
        "#]],
        ),
        (
            "sole_host: no\nlease: 10\npools: []\nworkspace_grace: 31d",
            expect![[r#"
                1:12 `sole_host` is the text `no` | expected `true` or `false` | write `false`
                2:8 `lease` is the number 10 | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d` | give it a unit: `10s`, `10m` or `10h`
                3:8 `pools` is an empty list | expected at least one
                4:18 `workspace_grace` is the text `31d` | expected a duration from `0s` to `30d`
            "#]],
        ),
        (
            "nats: { url: nats://a }\nlease: 1s",
            expect![[r#"
            2:8 `lease` is the text `1s` | expected a duration from `2s` to `5m`
        "#]],
        ),
        (
            "nats: { url: nats://a }\nlease: 5m1ms",
            expect![[r#"
            2:8 `lease` is the text `5m1ms` | expected a duration from `2s` to `5m`
        "#]],
        ),
        (
            "nats: { url: nats://a }\nlease: 10s\nsole_host: true",
            expect![[r#"
                2:8 `lease` is for several hosts; `sole_host: true` says that there is one | leave one of them out
            "#]],
        ),
        // It is not known what `nats` was to be.
        (
            "nats: 5\nlease: 10s\nsole_host: false",
            expect![[r#"
            1:7 `nats` is the number 5 | expected a map
        "#]],
        ),
        (
            "pools:",
            expect![[r#"
            1:6 `pools` is empty | expected one, or a list
        "#]],
        ),
        (
            "pools: [dmz, a b, 5, dmz]",
            expect![[r#"
            1:14 `a b` is not a valid pool name | expected 1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit
            1:19 an item of `pools` is the number 5 | expected a text | put it in quotes: `"5"`
            1:22 duplicate pool `dmz`
        "#]],
        ),
        (
            "pool: dmz",
            expect![[r#"
            1:1 unknown key `pool` | expected one of `data_dir`, `http`, `nats`, `sole_host`, `lease`, `pools`, `workspace_grace`, `workflows`, `sources`, `secrets`, `tools`, `commands`, `plugins`, `limits`, `retention`, `shutdown_grace` | did you mean `pools`?
        "#]],
        ),
    ] {
        expected.assert_eq(&briefly(text));
    }
}

#[test]
fn what_is_wrong_with_retention() {
    for (text, expected) in [
        (
            "retention: { events_age: 9m, runs_age: 0s, logs_age: 3651d, artifacts_age: 30, dead_age: 5MiB }",
            expect![[r#"
                1:26 `events_age` is the text `9m` | expected a duration from `10m` to `3650d`
                1:40 `runs_age` is the text `0s` | expected a duration from `1s` to `3650d`
                1:54 `logs_age` is the text `3651d` | expected a duration from `1s` to `3650d`
                1:76 `artifacts_age` is the number 30 | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d` | give it a unit: `30s`, `30m` or `30h`
                1:90 `dead_age` is the text `5MiB` | expected a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`
            "#]],
        ),
        (
            "retention: { workspaces_size: 1h, artifacts: 5, dead: 1 KiB, dead_size: 1MiB }",
            expect![[r#"
                1:31 `workspaces_size` is the text `1h` | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes`
                1:46 `artifacts` is the number 5 | expected a size such as `64 KiB`, `25 MiB` or `1500 bytes` | give it a unit: `5 bytes`, `5 KiB` or `5 MiB`
                1:55 `dead` is the text `1 KiB` | expected a size from 1 MiB to 16777216 MiB
                1:62 unknown key `dead_size` | expected one of `workspaces`, `workspaces_size`, `events`, `events_age`, `runs`, `runs_age`, `logs`, `logs_age`, `artifacts`, `artifacts_age`, `dead`, `dead_age` | did you mean `dead_age`?
            "#]],
        ),
    ] {
        expected.assert_eq(&briefly(text));
    }
}

/// The page says the defaults that there are.
#[test]
fn the_documentation_says_the_defaults() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let text = std::fs::read_to_string(path).unwrap();
    let default = |key: &str| {
        let row = text
            .lines()
            .find(|l| l.starts_with(&format!("| `{key}` |")));
        row.expect(key)
            .split('|')
            .nth(2)
            .unwrap()
            .trim()
            .trim_matches('`')
            .to_owned()
    };
    let keys = RETENTION
        .known()
        .iter()
        .chain(&["lease", "pools", "workspace_grace"]);
    for key in keys {
        let value = default(key);
        let text = match *key {
            // A lease is only for hosts that share a server.
            "lease" => format!("nats: {{ url: nats://a }}\nlease: {value}"),
            "pools" | "workspace_grace" => format!("{key}: {value}"),
            _ => format!("retention: {{ {key}: {value} }}"),
        };
        let read = config(&text).unwrap();
        let defaults = Config::defaults(Utf8Path::new("/srv/demo"));
        assert_eq!(read.retention, defaults.retention, "{key}");
        assert_eq!(
            (read.lease, &read.pools),
            (defaults.lease, &defaults.pools),
            "{key}"
        );
        assert_eq!(read.workspace_grace, limits::WORKSPACE_GRACE, "{key}");
    }
}
