//! Fakes behind the ports. The tools write down every call that reaches them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use infraflow_core::id::{Digest, SecretName, SourceName};
use infraflow_core::line::{Line, Stream};
use infraflow_core::ports::{
    BoxFuture, LineSink, Secret, SecretError, Secrets, StopReason, StopSignal, ToolScope, Tools,
};
use infraflow_core::tool::{
    ApplyResult, CallError, Changes, Checkout, CheckoutRequest, CommandOutput, CommandRequest,
    Entry, EntryKind, GuestPath, HostStats, PingRequest, PlanKind, PlanResult, PlaybookEnding,
    PlaybookRequest, PlaybookResult, ProcessEnd, TofuModule, TofuOutcome,
};
use serde_json::json;
use tokio::sync::watch;

/// Log lines that reached the sink.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<Line>>,
    lost: AtomicU64,
}

impl LineSink for Lines {
    fn line(&self, line: Line) {
        self.lines.lock().unwrap().push(line);
    }

    fn lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Lines {
    /// How many were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The texts of a stream.
    pub(crate) fn texts(&self, stream: Stream) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.stream == stream)
            .map(|line| line.text.clone())
            .collect()
    }
}

/// A stop signal that a test gives.
pub(crate) struct FakeStop {
    reason: watch::Sender<Option<StopReason>>,
}

impl Default for FakeStop {
    fn default() -> Self {
        let (reason, _) = watch::channel(None);
        Self { reason }
    }
}

impl FakeStop {
    /// Gives it.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.send_replace(Some(reason));
    }
}

impl StopSignal for FakeStop {
    fn reason(&self) -> Option<StopReason> {
        *self.reason.borrow()
    }

    fn stopped(&self) -> BoxFuture<'_, StopReason> {
        let mut reason = self.reason.subscribe();
        Box::pin(async move {
            let given = reason.wait_for(Option::is_some).await.unwrap();
            given.unwrap()
        })
    }
}

/// One secret: `token`.
pub(crate) struct FakeSecrets;

/// Its value.
pub(crate) const TOKEN: &str = "token-secret-value";

impl Secrets for FakeSecrets {
    fn read(&self, name: &SecretName) -> Result<Secret, SecretError> {
        match name.as_str() {
            "token" => Ok(Secret::new(TOKEN)),
            _ => Err(SecretError::Unknown(name.clone())),
        }
    }
}

/// How the fake tools behave.
#[derive(Debug, Clone, Default)]
pub(crate) enum Behaviour {
    /// They do what they are asked for.
    #[default]
    Fine,
    /// Every call has this error.
    Fail(CallError),
    /// Every process ends like this.
    End(ProcessEnd),
    /// Every call takes this long.
    Take(Duration),
    /// Every call lasts until the attempt is stopped.
    WaitForStop,
    /// Every call lasts until the attempt is dropped.
    Never,
}

/// Tools that write down what they are asked for.
#[derive(Default)]
pub(crate) struct FakeTools {
    calls: Mutex<Vec<String>>,
    behaviour: Mutex<Behaviour>,
}

impl FakeTools {
    /// Changes how they behave.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// What they were asked for: the call, and its arguments as they arrived.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        scope: &'a ToolScope,
        call: String,
        fine: impl FnOnce(ProcessEnd) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, CallError>> {
        self.calls.lock().unwrap().push(call);
        let behaviour = self.behaviour.lock().unwrap().clone();
        Box::pin(async move {
            match behaviour {
                Behaviour::Fine => Ok(fine(ProcessEnd::Exited(0))),
                Behaviour::Fail(error) => Err(error),
                Behaviour::End(end) => Ok(fine(end)),
                Behaviour::Take(duration) => {
                    let start = Instant::now();
                    while start.elapsed() < duration {
                        tokio::task::yield_now().await;
                    }
                    Ok(fine(ProcessEnd::Exited(0)))
                }
                Behaviour::WaitForStop => {
                    scope.stop.stopped().await;
                    Ok(fine(ProcessEnd::Signalled(15)))
                }
                Behaviour::Never => std::future::pending().await,
            }
        })
    }
}

fn outcome(end: ProcessEnd) -> TofuOutcome {
    TofuOutcome {
        end,
        succeeded: end == ProcessEnd::Exited(0),
        message: String::new(),
    }
}

fn applied(end: ProcessEnd) -> ApplyResult {
    ApplyResult {
        outcome: outcome(end),
        changes: Changes {
            add: 2,
            ..Changes::default()
        },
        outputs: [("address".to_owned(), json!("10.0.0.1"))]
            .into_iter()
            .collect(),
        sensitive_outputs: vec!["password".to_owned()],
    }
}

fn played(end: ProcessEnd) -> PlaybookResult {
    PlaybookResult {
        end,
        ending: match end {
            ProcessEnd::Exited(0) => PlaybookEnding::Succeeded,
            ProcessEnd::Exited(4) => PlaybookEnding::HostsUnreachable,
            ProcessEnd::Exited(_) => PlaybookEnding::HostsFailed,
            ProcessEnd::Signalled(_) => PlaybookEnding::Signalled,
        },
        hosts: vec![HostStats {
            host: "web1".to_owned(),
            ok: 3,
            changed: 1,
            ..HostStats::default()
        }],
        custom_stats: serde_json::Map::new(),
        message: String::new(),
    }
}

/// The digest of the plan that the fake tools make.
pub(crate) fn plan_digest() -> Digest {
    Digest::of(b"plan")
}

impl Tools for FakeTools {
    fn checkout<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CheckoutRequest,
    ) -> BoxFuture<'a, Result<Checkout, CallError>> {
        self.answer(scope, format!("checkout {request:?}"), move |_| Checkout {
            source: SourceName::new("shop-repo").unwrap(),
            commit: "2".repeat(40),
            subject: "change the web server".to_owned(),
            path: request.path,
        })
    }

    fn run_playbook<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PlaybookRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        self.answer(scope, format!("run_playbook {request:?}"), played)
    }

    fn install_requirements<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        self.answer(scope, format!("install_requirements {path}"), played)
    }

    fn ping<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: PingRequest,
    ) -> BoxFuture<'a, Result<PlaybookResult, CallError>> {
        self.answer(scope, format!("ping {request:?}"), played)
    }

    fn tofu_init<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<TofuOutcome, CallError>> {
        self.answer(scope, format!("tofu_init {module:?}"), outcome)
    }

    fn tofu_plan<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        kind: PlanKind,
    ) -> BoxFuture<'a, Result<PlanResult, CallError>> {
        self.answer(scope, format!("tofu_plan {kind:?} {module:?}"), |end| {
            PlanResult {
                outcome: outcome(end),
                has_changes: true,
                changes: Changes {
                    add: 2,
                    ..Changes::default()
                },
                resource_changes: vec![json!({ "address": "a.b", "action": "create" })],
                truncated: false,
                plan: Some(plan_digest()),
            }
        })
    }

    fn tofu_apply<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        self.answer(scope, format!("tofu_apply {plan} {module:?}"), applied)
    }

    fn tofu_destroy<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        self.answer(scope, format!("tofu_destroy {module:?}"), applied)
    }

    fn tofu_output<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> BoxFuture<'a, Result<ApplyResult, CallError>> {
        self.answer(scope, format!("tofu_output {module:?}"), applied)
    }

    fn tofu_show<'a>(
        &'a self,
        scope: &'a ToolScope,
        module: TofuModule,
        plan: Digest,
    ) -> BoxFuture<'a, Result<String, CallError>> {
        self.answer(scope, format!("tofu_show {plan} {module:?}"), |_| {
            "{}".to_owned()
        })
    }

    fn run_command<'a>(
        &'a self,
        scope: &'a ToolScope,
        request: CommandRequest,
    ) -> BoxFuture<'a, Result<CommandOutput, CallError>> {
        self.answer(scope, format!("run_command {request:?}"), |end| {
            CommandOutput {
                end,
                stdout: "{\"a\":1}\n".to_owned(),
                stdout_truncated: false,
            }
        })
    }

    fn read_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>> {
        self.answer(scope, format!("read_file {path}"), |_| b"content".to_vec())
    }

    fn write_file<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
        data: Vec<u8>,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        let call = format!("write_file {path} {} bytes", data.len());
        self.answer(scope, call, |_| ())
    }

    fn list_folder<'a>(
        &'a self,
        scope: &'a ToolScope,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<Vec<Entry>, CallError>> {
        self.answer(scope, format!("list_folder {path}"), |_| {
            vec![Entry {
                name: "site.yml".to_owned(),
                kind: EntryKind::File,
                size: 7,
            }]
        })
    }

    fn unpack_upload<'a>(
        &'a self,
        scope: &'a ToolScope,
        upload: Digest,
        path: GuestPath,
    ) -> BoxFuture<'a, Result<(), CallError>> {
        self.answer(scope, format!("unpack_upload {upload} {path}"), |_| ())
    }
}
