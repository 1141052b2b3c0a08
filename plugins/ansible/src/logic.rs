//! What `ansible` does: turns `with` into a typed request, and what came of it
//! into outputs that a workflow can decide on. It never sees a key, a password
//! or the command line.

use std::collections::BTreeMap;

use infraflow_step::ansible::{Connection, Ending, HostStats, PlaybookRequest, PlaybookResult};
use infraflow_step::input::OneOrMany;
use infraflow_step::log::Level;
use infraflow_step::{Context, Description, Error, Host, Plugin, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The plugin.
#[derive(Debug)]
pub struct Ansible;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    #[serde(default)]
    action: Action,
    playbook: Option<String>,
    #[serde(default)]
    inventory: OneOrMany,
    #[serde(default)]
    limit: OneOrMany,
    #[serde(default)]
    tags: OneOrMany,
    #[serde(default)]
    skip_tags: OneOrMany,
    extra_vars: Option<Map<String, Value>>,
    check: Option<bool>,
    diff: Option<bool>,
    forks: Option<u32>,
    verbosity: Option<u8>,
    requirements: Option<Requirements>,
    user: Option<String>,
    private_key: Option<String>,
    known_hosts: Option<String>,
    vault_password: Option<String>,
    #[serde(rename = "become")]
    becomes: Option<bool>,
    become_user: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    /// Run a playbook.
    #[default]
    Playbook,
    /// Connect to every host and run nothing.
    Ping,
}

/// Which `requirements.yml` to install first.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "true, false or a path")]
enum Requirements {
    /// `true`: the one beside the playbook, when there is one. `false`: none.
    Beside(bool),
    /// The one at this path.
    Path(String),
}

/// The step's outputs, also of a failed step.
#[derive(Debug, Serialize)]
pub struct Output {
    hosts: BTreeMap<String, Stats>,
    ok: u64,
    changed: u64,
    failures: u64,
    unreachable: u64,
    failed_hosts: Vec<String>,
    unreachable_hosts: Vec<String>,
    custom_stats: Value,
}

/// How one host fared.
#[derive(Debug, Serialize)]
struct Stats {
    ok: u32,
    changed: u32,
    failures: u32,
    unreachable: u32,
    skipped: u32,
    rescued: u32,
    ignored: u32,
}

impl Plugin for Ansible {
    type Input = Input;
    type Output = Output;
    const DESCRIPTION: Description = Description {
        name: "ansible",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Runs an Ansible playbook, or pings the hosts of an inventory",
        input_schema: include_str!("input.schema.json"),
        output_schema: include_str!("output.schema.json"),
        capabilities: &[
            ("ansible", "to run the playbook"),
            (
                "workspace:rw",
                "to read the playbook and to install roles and collections",
            ),
            (
                "network",
                "to reach hosts by ssh and to fetch roles and collections",
            ),
            (
                "secret:*",
                "to hand the keys and vault passwords that a step names to Ansible",
            ),
        ],
        idempotent: false,
        writes_workspace: true,
    };

    fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
        let result = match input.action {
            Action::Playbook => run_playbook(host, input)?,
            Action::Ping => ping(host, input)?,
        };
        conclude(&result)
    }
}

fn run_playbook(host: &dyn Host, input: Input) -> Result<PlaybookResult, StepError> {
    let connection = connection(&input);
    let Some(playbook) = input.playbook else {
        return Err(StepError::new(
            "`with.playbook` is missing: give the playbook's path, or `action: ping`",
        ));
    };
    if let Some(requirements) = &input.requirements {
        install(host, requirements, &playbook)?;
    }
    Ok(host.run_playbook(&PlaybookRequest {
        playbook,
        inventory: input.inventory.0,
        limit: input.limit.0,
        tags: input.tags.0,
        skip_tags: input.skip_tags.0,
        extra_vars: Value::Object(input.extra_vars.unwrap_or_default()).to_string(),
        check: input.check.unwrap_or(false),
        diff: input.diff.unwrap_or(false),
        forks: input.forks,
        verbosity: input.verbosity.unwrap_or(0),
        connection,
    })?)
}

fn ping(host: &dyn Host, input: Input) -> Result<PlaybookResult, StepError> {
    let playbook_only = [
        ("playbook", input.playbook.is_some()),
        ("tags", !input.tags.0.is_empty()),
        ("skip_tags", !input.skip_tags.0.is_empty()),
        ("extra_vars", input.extra_vars.is_some()),
        ("check", input.check.is_some()),
        ("diff", input.diff.is_some()),
        ("forks", input.forks.is_some()),
        ("verbosity", input.verbosity.is_some()),
        ("requirements", input.requirements.is_some()),
    ];
    if let Some((name, _)) = playbook_only.into_iter().find(|(_, given)| *given) {
        return Err(StepError::new(format!(
            "`with.{name}` has no meaning with `action: ping`: take it out"
        )));
    }
    Ok(host.ping(&input.inventory.0, &input.limit.0, &connection(&input))?)
}

fn connection(input: &Input) -> Connection {
    Connection {
        user: input.user.clone(),
        private_key: input.private_key.clone(),
        known_hosts: input.known_hosts.clone(),
        vault_password: input.vault_password.clone(),
        become_: input.becomes,
        become_user: input.become_user.clone(),
    }
}

/// Installs roles and collections.
fn install(host: &dyn Host, requirements: &Requirements, playbook: &str) -> Result<(), StepError> {
    let path = match requirements {
        Requirements::Beside(false) => return Ok(()),
        Requirements::Beside(true) => match playbook.rsplit_once('/') {
            Some((folder, _)) => format!("{folder}/requirements.yml"),
            None => "requirements.yml".to_owned(),
        },
        Requirements::Path(path) => path.clone(),
    };
    let result = match (host.install_requirements(&path), requirements) {
        (Err(Error::NotFound(_)), Requirements::Beside(_)) => {
            host.log(
                Level::Info,
                &format!("{path} does not exist: nothing to install"),
            );
            return Ok(());
        }
        (result, _) => result?,
    };
    if result.ending == Ending::Succeeded {
        return Ok(());
    }
    // Most often a server that did not answer; a wrong name costs one more try,
    // and only where the workflow asks for retries.
    Err(StepError::new(with_reason(
        &format!("cannot install what {path} names"),
        &result.message,
    ))
    .transient(result.ending != Ending::Signalled)
    .exit_code(result.exit_code))
}

/// The outputs, or the failure with them.
fn conclude(result: &PlaybookResult) -> Result<Output, StepError> {
    let output = output(result)?;
    let (message, transient) = match result.ending {
        Ending::Succeeded => return Ok(output),
        Ending::HostsFailed => (
            format!("tasks failed on {}", listed(&output.failed_hosts)),
            false,
        ),
        Ending::HostsUnreachable => (
            format!("cannot reach {}", listed(&output.unreachable_hosts)),
            true,
        ),
        Ending::NotRun => ("nothing was run".to_owned(), false),
        Ending::Signalled => ("Ansible was ended by a signal".to_owned(), false),
    };
    Err(StepError::new(with_reason(&message, &result.message))
        .transient(transient)
        .exit_code(result.exit_code)
        .outputs(&output))
}

fn output(result: &PlaybookResult) -> Result<Output, StepError> {
    let custom_stats = serde_json::from_str(&result.custom_stats).map_err(|error| {
        StepError::new(format!("the host's `custom-stats` is no JSON: {error}"))
    })?;
    let total = |count: fn(&HostStats) -> u32| -> u64 {
        result.hosts.iter().map(|host| u64::from(count(host))).sum()
    };
    let named = |count: fn(&HostStats) -> u32| -> Vec<String> {
        let hosts = result.hosts.iter().filter(|host| count(host) > 0);
        hosts.map(|host| host.host.clone()).collect()
    };
    Ok(Output {
        ok: total(|host| host.ok),
        changed: total(|host| host.changed),
        failures: total(|host| host.failures),
        unreachable: total(|host| host.unreachable),
        failed_hosts: named(|host| host.failures),
        unreachable_hosts: named(|host| host.unreachable),
        hosts: result.hosts.iter().map(stats).collect(),
        custom_stats,
    })
}

fn stats(host: &HostStats) -> (String, Stats) {
    let stats = Stats {
        ok: host.ok,
        changed: host.changed,
        failures: host.failures,
        unreachable: host.unreachable,
        skipped: host.skipped,
        rescued: host.rescued,
        ignored: host.ignored,
    };
    (host.host.clone(), stats)
}

const HOSTS_NAMED: usize = 10;

fn listed(hosts: &[String]) -> String {
    let mut text = match hosts.get(..HOSTS_NAMED) {
        Some(first) => first.join(", "),
        None => hosts.join(", "),
    };
    if hosts.len() > HOSTS_NAMED {
        text.push_str(&format!(" and {} more", hosts.len() - HOSTS_NAMED));
    }
    if text.is_empty() {
        "some hosts".to_owned()
    } else {
        text
    }
}

fn with_reason(message: &str, reason: &str) -> String {
    if reason.is_empty() {
        message.to_owned()
    } else {
        format!("{message}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_step::testing::{Call, FakeHost, run};
    use serde_json::json;

    fn host(name: &str, ok: u32, failures: u32, unreachable: u32) -> HostStats {
        HostStats {
            host: name.into(),
            ok,
            changed: 1,
            failures,
            unreachable,
            skipped: 2,
            rescued: 0,
            ignored: 0,
        }
    }

    fn result(ending: Ending, exit_code: Option<i32>, hosts: Vec<HostStats>) -> PlaybookResult {
        PlaybookResult {
            exit_code,
            ending,
            hosts,
            custom_stats: r#"{"release":"1.2"}"#.into(),
            message: String::new(),
        }
    }

    fn fine() -> PlaybookResult {
        result(Ending::Succeeded, Some(0), vec![host("web1", 3, 0, 0)])
    }

    fn request() -> PlaybookRequest {
        PlaybookRequest {
            playbook: "site.yml".into(),
            inventory: vec![],
            limit: vec![],
            tags: vec![],
            skip_tags: vec![],
            extra_vars: "{}".into(),
            check: false,
            diff: false,
            forks: None,
            verbosity: 0,
            connection: no_connection(),
        }
    }

    fn no_connection() -> Connection {
        Connection {
            user: None,
            private_key: None,
            known_hosts: None,
            vault_password: None,
            become_: None,
            become_user: None,
        }
    }

    #[test]
    fn good_inputs_become_requests() {
        for (with, expected) in [
            (json!({ "playbook": "site.yml" }), request()),
            (
                json!({ "playbook": "site.yml", "inventory": "inventory/", "limit": null }),
                PlaybookRequest {
                    inventory: vec!["inventory/".into()],
                    ..request()
                },
            ),
            (
                json!({
                    "action": "playbook", "playbook": "p/db.yml", "inventory": ["a", "b"],
                    "limit": ["web", "!db"], "tags": "x", "skip_tags": ["y"],
                    "extra_vars": { "env": "prod", "n": 1 }, "check": true, "diff": true,
                    "forks": 20, "verbosity": 2, "user": "ops", "private_key": "key",
                    "known_hosts": "hosts", "vault_password": "vault", "become": true,
                    "become_user": "www",
                }),
                PlaybookRequest {
                    playbook: "p/db.yml".into(),
                    inventory: vec!["a".into(), "b".into()],
                    limit: vec!["web".into(), "!db".into()],
                    tags: vec!["x".into()],
                    skip_tags: vec!["y".into()],
                    extra_vars: r#"{"env":"prod","n":1}"#.into(),
                    check: true,
                    diff: true,
                    forks: Some(20),
                    verbosity: 2,
                    connection: Connection {
                        user: Some("ops".into()),
                        private_key: Some("key".into()),
                        known_hosts: Some("hosts".into()),
                        vault_password: Some("vault".into()),
                        become_: Some(true),
                        become_user: Some("www".into()),
                    },
                },
            ),
        ] {
            let host = FakeHost::new().answers(fine());
            run::<Ansible>(&host, &with).unwrap();
            assert_eq!(host.calls(), [Call::RunPlaybook(expected)], "{with}");
        }
    }

    #[test]
    fn a_ping_runs_no_playbook() {
        let host = FakeHost::new().answers(fine());
        let with = json!({ "action": "ping", "inventory": "hosts", "limit": "web", "user": "ops" });
        run::<Ansible>(&host, &with).unwrap();
        let connection = Connection {
            user: Some("ops".into()),
            ..no_connection()
        };
        let expected = Call::Ping(vec!["hosts".into()], vec!["web".into()], connection);
        assert_eq!(host.calls(), [expected]);
    }

    #[test]
    fn outputs_count_and_name_hosts() {
        let host = FakeHost::new().answers(result(
            Ending::Succeeded,
            Some(0),
            vec![host("web1", 3, 0, 0), host("web2", 4, 0, 0)],
        ));
        let stats = |ok| {
            json!({
                "ok": ok, "changed": 1, "failures": 0, "unreachable": 0,
                "skipped": 2, "rescued": 0, "ignored": 0,
            })
        };
        assert_eq!(
            run::<Ansible>(&host, &json!({ "playbook": "site.yml" })).unwrap(),
            json!({
                "hosts": { "web1": stats(3), "web2": stats(4) },
                "ok": 7, "changed": 2, "failures": 0, "unreachable": 0,
                "failed_hosts": [], "unreachable_hosts": [],
                "custom_stats": { "release": "1.2" },
            })
        );
    }

    #[test]
    fn every_ending_has_its_failure_and_keeps_the_outputs() {
        let both = vec![host("db1", 1, 0, 1), host("web1", 2, 1, 0)];
        for (ending, exit_code, reason, message, transient) in [
            (
                Ending::HostsFailed,
                Some(2),
                "",
                "tasks failed on web1",
                false,
            ),
            (
                Ending::HostsUnreachable,
                Some(4),
                "no route",
                "cannot reach db1: no route",
                true,
            ),
            (
                Ending::NotRun,
                Some(4),
                "the playbook does not parse",
                "nothing was run: the playbook does not parse",
                false,
            ),
            (
                Ending::Signalled,
                None,
                "",
                "Ansible was ended by a signal",
                false,
            ),
        ] {
            let answer = PlaybookResult {
                message: reason.into(),
                ..result(ending, exit_code, both.clone())
            };
            let host = FakeHost::new().answers(answer);
            let error = run::<Ansible>(&host, &json!({ "playbook": "site.yml" })).unwrap_err();
            assert_eq!(error.message, message);
            assert_eq!(error.exit_code, exit_code);
            assert_eq!(error.transient, transient, "{message}");
            let outputs: Value = serde_json::from_str(&error.outputs.unwrap()).unwrap();
            assert_eq!(outputs["failed_hosts"], json!(["web1"]));
            assert_eq!(outputs["unreachable_hosts"], json!(["db1"]));
            assert_eq!(outputs["ok"], 3);
        }
    }

    #[test]
    fn many_failed_hosts_are_not_all_named() {
        let hosts = (10..30)
            .map(|n| host(&format!("web{n}"), 0, 1, 0))
            .collect();
        let host = FakeHost::new().answers(result(Ending::HostsFailed, Some(2), hosts));
        let error = run::<Ansible>(&host, &json!({ "playbook": "site.yml" })).unwrap_err();
        assert!(
            error.message.ends_with("web19 and 10 more"),
            "{}",
            error.message
        );
    }

    #[test]
    fn requirements_are_installed_first_when_asked_for() {
        for (with, path) in [
            (
                json!({ "playbook": "a/b/site.yml", "requirements": true }),
                Some("a/b/requirements.yml"),
            ),
            (
                json!({ "playbook": "site.yml", "requirements": true }),
                Some("requirements.yml"),
            ),
            (
                json!({ "playbook": "site.yml", "requirements": "r.yml" }),
                Some("r.yml"),
            ),
            (
                json!({ "playbook": "site.yml", "requirements": false }),
                None,
            ),
        ] {
            let mut host = FakeHost::new();
            if path.is_some() {
                host = host.answers(result(Ending::Succeeded, Some(0), vec![]));
            }
            let host = host.answers(fine());
            run::<Ansible>(&host, &with).unwrap();
            let calls = host.calls();
            assert!(matches!(calls.last(), Some(Call::RunPlaybook(_))));
            let installed = path.map(|path| Call::InstallRequirements(path.into()));
            assert_eq!(calls.first(), installed.as_ref().or(calls.last()), "{with}");
        }
    }

    #[test]
    fn requirements_that_fail_stop_the_step() {
        let with = json!({ "playbook": "site.yml", "requirements": "r.yml" });
        let failed = PlaybookResult {
            message: "no such role".into(),
            ..result(Ending::NotRun, Some(1), vec![])
        };
        let host = FakeHost::new().answers(failed);
        let error = run::<Ansible>(&host, &with).unwrap_err();
        assert_eq!(
            error.message,
            "cannot install what r.yml names: no such role"
        );
        assert!(error.transient);
        assert_eq!(host.calls().len(), 1);

        let missing = || Error::NotFound("r.yml".into());
        let host = FakeHost::new().refuses(missing());
        assert!(run::<Ansible>(&host, &with).is_err());
        let beside = json!({ "playbook": "site.yml", "requirements": true });
        let host = FakeHost::new().refuses(missing()).answers(fine());
        run::<Ansible>(&host, &beside).unwrap();
        assert_eq!(
            host.logged(),
            ["requirements.yml does not exist: nothing to install"]
        );
    }

    #[test]
    fn bad_inputs_ask_the_host_for_nothing() {
        for (with, expected) in [
            (json!({}), "`with.playbook` is missing"),
            (
                json!({ "action": "pong" }),
                "`with.action`: unknown variant `pong`",
            ),
            (
                json!({ "action": "ping", "playbook": "x" }),
                "`with.playbook` has no meaning with `action: ping`",
            ),
            (
                json!({ "action": "ping", "check": false }),
                "`with.check` has no meaning",
            ),
            (json!({ "playbok": "x" }), "unknown field `playbok`"),
            (json!({ "playbook": 1 }), "`with.playbook`: invalid type"),
            (
                json!({ "playbook": "x", "inventory": { "a": 1 } }),
                "expected a string or a list of strings",
            ),
            (
                json!({ "playbook": "x", "extra_vars": "a=b" }),
                "`with.extra_vars`: invalid type",
            ),
            (
                json!({ "playbook": "x", "check": "yes" }),
                "`with.check`: invalid type",
            ),
            (
                json!({ "playbook": "x", "forks": -1 }),
                "`with.forks`: invalid value",
            ),
            (
                json!({ "playbook": "x", "requirements": 1 }),
                "`with.requirements`: true, false or a path",
            ),
        ] {
            infraflow_step::testing::check_refused::<Ansible>(&with, expected);
        }
    }

    #[test]
    fn host_errors_are_passed_on() {
        for (error, transient) in [
            (Error::NotGranted("secret:key".into()), false),
            (Error::Invalid("site.yml is no file".into()), false),
            (Error::NotFound("site.yml".into()), false),
            (Error::Unavailable("no jail".into()), true),
            (Error::Internal("disk".into()), false),
        ] {
            for with in [
                json!({ "playbook": "site.yml" }),
                json!({ "playbook": "site.yml", "requirements": "r.yml" }),
                json!({ "action": "ping" }),
            ] {
                let host = FakeHost::new().refuses(error.clone());
                let failed = run::<Ansible>(&host, &with).unwrap_err();
                assert_eq!(failed.message, error.text());
                assert_eq!(failed.transient, transient);
            }
        }
    }

    #[test]
    fn the_schemas_name_every_field() {
        infraflow_step::testing::check_schemas::<Ansible>();
    }
}
