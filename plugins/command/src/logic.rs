//! What `command` does: asks the host to run a configured command and judges
//! its exit code. It never makes a command line: arguments are passed as they
//! are, and there is no shell.

use std::collections::BTreeMap;

use infraflow_step::command::{Output as Ran, Request};
use infraflow_step::input::{Scalar, pairs};
use infraflow_step::{Context, Description, Host, Plugin, StepError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The plugin.
#[derive(Debug)]
pub struct Command;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    run: String,
    args: Option<Vec<Scalar>>,
    dir: Option<String>,
    env: Option<BTreeMap<String, Scalar>>,
    secret_env: Option<BTreeMap<String, String>>,
    stdin: Option<String>,
    ok_exit_codes: Option<Vec<i32>>,
    parse: Option<Parse>,
}

/// What to make of the standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Parse {
    /// A JSON document.
    Json,
}

/// The step's outputs. Of a failed step without `json`.
#[derive(Debug, Serialize)]
pub struct Output {
    exit_code: Option<i32>,
    stdout: String,
    stdout_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
}

impl Plugin for Command {
    type Input = Input;
    type Output = Output;
    const DESCRIPTION: Description = Description {
        name: "command",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Runs a command that the operator has listed by name",
        input_schema: include_str!("input.schema.json"),
        output_schema: include_str!("output.schema.json"),
        capabilities: &[
            ("command:*", "to run the command that a step names"),
            ("workspace:rw", "to run it in the workspace"),
            (
                "secret:*",
                "to hand the secrets that a step names to the command",
            ),
        ],
        idempotent: false,
        writes_workspace: true,
    };

    fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
        let name = input.run.clone();
        let parse = input.parse;
        let ok_exit_codes = input.ok_exit_codes.clone().unwrap_or_else(|| vec![0]);
        let ran = host.run_command(&request(input))?;
        match ran.exit_code {
            Some(code) if ok_exit_codes.contains(&code) => conclude(&name, ran, parse),
            Some(code) => Err(failure(
                format!("`{name}` ended with exit code {code}"),
                ran,
            )),
            None => {
                let signal = ran.signal.unwrap_or_default();
                Err(failure(
                    format!("`{name}` was ended by signal {signal}"),
                    ran,
                ))
            }
        }
    }
}

fn request(input: Input) -> Request {
    let env = input.env.unwrap_or_default();
    Request {
        name: input.run,
        args: input
            .args
            .unwrap_or_default()
            .into_iter()
            .map(|arg| arg.0)
            .collect(),
        dir: input.dir.unwrap_or_default(),
        env: env
            .into_iter()
            .map(|(name, value)| (name, value.0))
            .collect(),
        secret_env: pairs(input.secret_env.unwrap_or_default()),
        stdin: input.stdin.map(String::into_bytes),
    }
}

fn conclude(name: &str, ran: Ran, parse: Option<Parse>) -> Result<Output, StepError> {
    let Some(Parse::Json) = parse else {
        return Ok(output(ran));
    };
    if ran.stdout_truncated {
        return Err(failure(
            format!("`{name}` printed more than is kept, so it cannot be read as JSON"),
            ran,
        ));
    }
    match serde_json::from_str(&ran.stdout) {
        Ok(json) => Ok(Output {
            exit_code: ran.exit_code,
            // `json` holds it.
            stdout: String::new(),
            stdout_truncated: false,
            json: Some(json),
        }),
        Err(error) => Err(failure(
            format!("what `{name}` printed is not JSON: {error}"),
            ran,
        )),
    }
}

fn output(ran: Ran) -> Output {
    Output {
        exit_code: ran.exit_code,
        stdout: ran.stdout,
        stdout_truncated: ran.stdout_truncated,
        json: None,
    }
}

fn failure(message: String, ran: Ran) -> StepError {
    StepError::new(message)
        .exit_code(ran.exit_code)
        .outputs(&output(ran))
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_step::Error;
    use infraflow_step::testing::{Call, FakeHost, run};
    use serde_json::json;

    fn exited(code: i32, stdout: &str) -> Ran {
        Ran {
            exit_code: Some(code),
            signal: None,
            stdout: stdout.into(),
            stdout_truncated: false,
        }
    }

    fn request() -> Request {
        Request {
            name: "ls".into(),
            args: vec![],
            dir: String::new(),
            env: vec![],
            secret_env: vec![],
            stdin: None,
        }
    }

    #[test]
    fn good_inputs_become_requests() {
        for (with, expected) in [
            (json!({ "run": "ls" }), request()),
            (
                json!({
                    "run": "ls", "args": ["-n", 3, true], "dir": "src",
                    "env": { "B": 1, "A": "x" }, "secret_env": { "TOKEN": "token" },
                    "stdin": "hello",
                }),
                Request {
                    args: vec!["-n".into(), "3".into(), "true".into()],
                    dir: "src".into(),
                    env: vec![("A".into(), "x".into()), ("B".into(), "1".into())],
                    secret_env: vec![("TOKEN".into(), "token".into())],
                    stdin: Some(b"hello".to_vec()),
                    ..request()
                },
            ),
        ] {
            let host = FakeHost::new().answers(exited(0, "a\nb\n"));
            let outputs = run::<Command>(&host, &with).unwrap();
            assert_eq!(host.calls(), [Call::RunCommand(expected)], "{with}");
            assert_eq!(
                outputs,
                json!({ "exit_code": 0, "stdout": "a\nb\n", "stdout_truncated": false })
            );
        }
    }

    #[test]
    fn exit_codes_are_judged_by_the_step() {
        for (codes, code, succeeds) in [
            (json!(null), 0, true),
            (json!(null), 1, false),
            (json!([0, 2]), 2, true),
            (json!([2]), 0, false),
            (json!([]), 0, false),
        ] {
            let host = FakeHost::new().answers(exited(code, "out"));
            let with = json!({ "run": "ls", "ok_exit_codes": codes });
            match run::<Command>(&host, &with) {
                Ok(outputs) => assert!(succeeds && outputs["exit_code"] == code, "{with}"),
                Err(error) => {
                    assert!(!succeeds && !error.transient, "{with}");
                    assert_eq!(error.exit_code, Some(code));
                    assert_eq!(error.message, format!("`ls` ended with exit code {code}"));
                    let outputs: Value = serde_json::from_str(&error.outputs.unwrap()).unwrap();
                    assert_eq!(outputs["stdout"], "out");
                }
            }
        }
    }

    #[test]
    fn a_signal_is_a_failure() {
        let host = FakeHost::new().answers(Ran {
            exit_code: None,
            signal: Some(9),
            ..exited(0, "")
        });
        let error = run::<Command>(&host, &json!({ "run": "ls" })).unwrap_err();
        assert_eq!(error.message, "`ls` was ended by signal 9");
        assert_eq!(error.exit_code, None);
    }

    #[test]
    fn json_is_parsed_when_asked_for() {
        let with = json!({ "run": "ls", "parse": "json" });
        let host = FakeHost::new().answers(exited(0, " {\"a\": [1]} \n"));
        assert_eq!(
            run::<Command>(&host, &with).unwrap(),
            json!({ "exit_code": 0, "stdout": "", "stdout_truncated": false, "json": { "a": [1] } })
        );
        let cut = Ran {
            stdout_truncated: true,
            ..exited(0, "[1,")
        };
        for (ran, expected) in [
            (exited(0, "no"), "what `ls` printed is not JSON"),
            (exited(0, ""), "what `ls` printed is not JSON"),
            (cut, "printed more than is kept"),
            (exited(3, "{}"), "ended with exit code 3"),
        ] {
            let host = FakeHost::new().answers(ran);
            let error = run::<Command>(&host, &with).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
            assert!(error.outputs.is_some());
        }
    }

    #[test]
    fn bad_inputs_ask_the_host_for_nothing() {
        for (with, expected) in [
            (json!({}), "missing field `run`"),
            (json!({ "run": ["ls"] }), "`with.run`: invalid type"),
            (
                json!({ "run": "ls", "args": "-l" }),
                "`with.args`: invalid type",
            ),
            (
                json!({ "run": "ls", "args": [{}] }),
                "`with.args[0]`: invalid type: map",
            ),
            (
                json!({ "run": "ls", "env": ["A=1"] }),
                "`with.env`: invalid type",
            ),
            (
                json!({ "run": "ls", "secret_env": { "A": 1 } }),
                "`with.secret_env.A`: invalid type",
            ),
            (
                json!({ "run": "ls", "stdin": 1 }),
                "`with.stdin`: invalid type",
            ),
            (
                json!({ "run": "ls", "ok_exit_codes": 0 }),
                "`with.ok_exit_codes`: invalid type",
            ),
            (
                json!({ "run": "ls", "parse": "yaml" }),
                "`with.parse`: unknown variant `yaml`",
            ),
            (
                json!({ "run": "ls", "shell": true }),
                "unknown field `shell`",
            ),
        ] {
            infraflow_step::testing::check_refused::<Command>(&with, expected);
        }
    }

    #[test]
    fn host_errors_are_passed_on() {
        for (error, transient) in [
            (Error::NotGranted("command:ls".into()), false),
            (Error::NotFound("command `ls`".into()), false),
            (Error::Invalid("`env` holds PATH".into()), false),
            (Error::Unavailable("no jail".into()), true),
        ] {
            let host = FakeHost::new().refuses(error.clone());
            let failed = run::<Command>(&host, &json!({ "run": "ls" })).unwrap_err();
            assert_eq!(failed.message, error.text());
            assert_eq!(failed.transient, transient);
        }
    }

    #[test]
    fn the_schemas_name_every_field() {
        infraflow_step::testing::check_schemas::<Command>();
    }
}
