//! Executables that the operator has listed by name.

use infraflow_core::limits::{ByteCount, COMMAND_STDOUT};
use infraflow_core::line::{Level, Stream};
use infraflow_core::mask::Masker;
use infraflow_core::ports::ToolScope;
use infraflow_core::tool::{CallError, CommandOutput, CommandRequest};

use crate::context::Context;
use crate::errors::{too_large, too_many};
use crate::jail::{Network, Room};
use crate::limits::{ARGUMENT_BYTES, ARGUMENTS, STDIN, VARIABLES};
use crate::process::Launch;
use crate::programs::needed_by;
use crate::sinks::{Both, Capture, LogLines, Sink};
use crate::variables::{check_name, secret_variables};
use crate::workspace::Expected;

/// Runs a command.
pub(crate) async fn run(
    context: &Context,
    scope: &ToolScope,
    request: CommandRequest,
) -> Result<CommandOutput, CallError> {
    let Some(spec) = context.config.commands.get(&request.name) else {
        let names = context.config.commands.keys();
        let known: Vec<&str> = names.map(|name| name.as_str()).collect();
        let known = if known.is_empty() {
            "none is configured".to_owned()
        } else {
            format!("configured: {}", known.join(", "))
        };
        return Err(CallError::NotFound(format!(
            "command `{}` ({known})",
            request.name
        )));
    };
    check(&request)?;
    let mut environment = Vec::new();
    for (name, value) in &request.env {
        check_name(name, &spec.environment)?;
        environment.push((name.clone(), value.clone()));
    }
    environment.extend(secret_variables(
        &*context.secrets,
        &request.secret_env,
        &spec.environment,
    )?);
    let workspaces = &context.workspaces;
    workspaces
        .expect(scope.run, &request.dir, Expected::Folder)
        .await?;
    let mut read_only = needed_by(&spec.program);
    read_only.extend(spec.read_only.iter().cloned());
    let room = Room {
        workspace: Some(workspaces.path(scope.run)),
        network: if spec.network {
            Network::Host
        } else {
            Network::None
        },
        read_only,
        binds: Vec::new(),
    };
    let stand = context.prepare(scope, room).await?;
    let launch = Launch {
        program: spec.program.clone(),
        arguments: request.args,
        environment,
        directory: stand.places().of(&request.dir),
        files: Vec::new(),
        stdin: request.stdin,
    };
    let kept = MaskedCapture::new(scope, COMMAND_STDOUT);
    let mut out = Both(LogLines::new(scope, Stream::Stdout, Level::Info), kept);
    let mut err = LogLines::new(scope, Stream::Stderr, Level::Warn);
    let end = stand.run(launch, &mut out, &mut err).await?;
    let (stdout, stdout_truncated) = out.1.text();
    Ok(CommandOutput {
        end,
        stdout,
        stdout_truncated,
    })
}

fn check(request: &CommandRequest) -> Result<(), CallError> {
    let bytes: usize = request.args.iter().map(|text| text.len() + 1).sum();
    if request.args.len() > ARGUMENTS {
        return Err(too_many("arguments", ARGUMENTS));
    }
    if bytes > ARGUMENT_BYTES.to_usize() {
        return Err(too_large("argument_bytes", ARGUMENT_BYTES));
    }
    if request.env.len() + request.secret_env.len() > VARIABLES / 2 {
        return Err(too_many("environment_variables", VARIABLES / 2));
    }
    match &request.stdin {
        Some(bytes) if bytes.len() > STDIN.to_usize() => Err(too_large("stdin_bytes", STDIN)),
        Some(_) | None => Ok(()),
    }
}

/// Keeps the first part of a stream, masked before it is cut.
struct MaskedCapture {
    masker: Masker,
    kept: Capture,
}

impl MaskedCapture {
    fn new(scope: &ToolScope, limit: ByteCount) -> Self {
        Self {
            masker: scope.mask.masker(),
            kept: Capture::new(limit),
        }
    }

    /// The text, and whether it was cut.
    fn text(&self) -> (String, bool) {
        let bytes = self.kept.bytes();
        // A character that the cut went through is left out.
        let whole = match std::str::from_utf8(bytes) {
            Err(error) if self.kept.is_truncated() && error.error_len().is_none() => {
                bytes.get(..error.valid_up_to()).unwrap_or(bytes)
            }
            Ok(_) | Err(_) => bytes,
        };
        let text = String::from_utf8_lossy(whole).into_owned();
        (text, self.kept.is_truncated())
    }
}

impl Sink for MaskedCapture {
    fn push(&mut self, piece: &[u8]) {
        if self.kept.is_truncated() {
            return;
        }
        let mut clean = Vec::new();
        self.masker.push(piece, &mut clean);
        self.kept.push(&clean);
    }

    fn finish(&mut self) {
        let mut clean = Vec::new();
        self.masker.finish(&mut clean);
        self.kept.push(&clean);
    }
}
