//! `command`: executables that the operator has listed by name.

use infraflow_core::grant::HostCall;
use infraflow_core::id::CommandName;
use infraflow_core::tool::{self, CommandRequest};

use super::arguments::{at_most, bytes_at_most, env, names_of, path, secret_env};
use super::{Answer, Failure, invalid};
use crate::bindings::infraflow::step::command::{Host, Output, Request};
use crate::limits::{ARGUMENT_BYTES, ARGUMENTS, STDIN};
use crate::state::State;

impl Host for State {
    async fn run(&mut self, request: Request) -> Result<Output, Failure> {
        // The name is part of the capability, so it is read first.
        let name = CommandName::new(&request.name).map_err(|error| invalid(error.to_string()))?;
        self.admit(HostCall::CommandRun {
            name: &name,
            secrets: &[],
        })?;
        let request = command_request(name, request)?;
        let secrets = names_of(&request.secret_env);
        self.check(HostCall::CommandRun {
            name: &request.name,
            secrets: &secrets,
        })?;
        let attempt = self.attempt()?;
        let answer = attempt.tools.run_command(&attempt.scope, request).await;
        self.settle(answer)
    }
}

fn command_request(name: CommandName, request: Request) -> Result<CommandRequest, Failure> {
    at_most("args", request.args.len(), ARGUMENTS)?;
    let bytes = request.args.iter().map(String::len).sum();
    bytes_at_most("args", bytes, ARGUMENT_BYTES)?;
    if request.args.iter().any(|arg| arg.contains('\0')) {
        return Err(invalid("`args` holds a NUL"));
    }
    if let Some(stdin) = &request.stdin {
        bytes_at_most("stdin", stdin.len(), STDIN)?;
    }
    Ok(CommandRequest {
        name,
        args: request.args,
        dir: path(&request.dir)?,
        env: env(request.env)?,
        secret_env: secret_env(request.secret_env)?,
        stdin: request.stdin,
    })
}

impl Answer for tool::CommandOutput {
    type Wit = Output;

    fn signal(&self) -> Option<i32> {
        self.end.signal()
    }

    fn bytes(wit: &Output) -> usize {
        wit.stdout.len()
    }

    fn into_wit(self) -> Output {
        Output {
            exit_code: self.end.exit_code(),
            signal: self.end.signal(),
            stdout: self.stdout,
            stdout_truncated: self.stdout_truncated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn check(request: Request) -> Result<CommandRequest, Failure> {
        command_request(CommandName::new("ls").unwrap(), request)
    }

    #[test]
    fn limits_at_and_one_past() {
        for (count, fits) in [(256, true), (257, false)] {
            let args = vec![String::new(); count];
            assert_eq!(check(Request { args, ..request() }).is_ok(), fits);
        }
        for (bytes, fits) in [(128 * 1024, true), (128 * 1024 + 1, false)] {
            let args = vec!["x".repeat(bytes)];
            assert_eq!(check(Request { args, ..request() }).is_ok(), fits);
        }
        for (bytes, fits) in [(1024 * 1024, true), (1024 * 1024 + 1, false)] {
            let stdin = Some(vec![0; bytes]);
            assert_eq!(check(Request { stdin, ..request() }).is_ok(), fits);
        }
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for bad in [
            Request {
                args: vec!["a\0b".into()],
                ..request()
            },
            Request {
                dir: "..".into(),
                ..request()
            },
            Request {
                env: vec![("PATH".into(), "/tmp".into())],
                ..request()
            },
            Request {
                secret_env: vec![("A".into(), "/".into())],
                ..request()
            },
        ] {
            let shown = format!("{bad:?}");
            assert!(matches!(check(bad), Err(Failure::Refused(_))), "{shown}");
        }
    }
}
