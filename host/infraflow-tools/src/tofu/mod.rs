//! OpenTofu, or a compatible program: init, plan, apply, destroy, outputs, show.
//!
//! Runs in the jail, with `-json` where there is a human to tell; what is in
//! the module runs too, in every one of these commands. Plans and states hold
//! secrets: they are stored encrypted, a plan under a name of its run, and
//! nothing of them but counts, addresses and open outputs leaves this module.

mod lines;
mod plan;
mod redact;
mod state;

use camino::Utf8PathBuf;
use infraflow_core::grant::Capability;
use infraflow_core::id::Digest;
use infraflow_core::limits::{ByteCount, ERROR_TEXT};
use infraflow_core::line::{Level, Stream};
use infraflow_core::ports::{BlobError, BoxFuture, ToolScope};
use infraflow_core::tool::{
    ApplyResult, CallError, Changes, PlanKind, PlanResult, ProcessEnd, TofuModule, TofuOutcome,
};
use infraflow_core::{Json, JsonMap};
use serde::{Deserialize, Serialize};

use self::lines::{Seen, split_outputs};
use self::state::HeldState;
pub(crate) use self::state::StateLocks;
use crate::context::Context;
use crate::errors::{shorten, system, too_large, too_many};
use crate::jail::{Access, Bind, Network, Places, Room};
use crate::limits::{
    EVENT_LINE, GIT_OUTPUT, TOFU_OUTPUTS, TOFU_PLAN, TOFU_SHOW, TOFU_SHOW_RAW, VAR_FILES, VARS,
    WORKSPACE_LIST,
};
use crate::process::{Launch, Stand};
use crate::programs::{find_program, is_executable, needed_by};
use crate::raw_lines::{RawLine, RawLines};
use crate::shim::PrivateFile;
use crate::sinks::{Both, Capture, LevelLines, LogLines, Sink};
use crate::tasks::blocking;
use crate::variables::secret_variables;
use crate::workspace::{Expected, Folder, PathError, blame};

/// Names of binds.
const DATA: &str = "tofu-data";
const STATE: &str = "tofu-state";
const MIRROR: &str = "tofu-mirror";

/// Prepares a module's folder.
pub(crate) async fn init(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
) -> Result<TofuOutcome, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    tofu.init().await
}

/// Computes what would change, and stores the plan.
pub(crate) async fn plan(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
    kind: PlanKind,
) -> Result<PlanResult, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    let work = async |state: Option<&HeldState<'_>>| tofu.plan(state, kind).await;
    tofu.with_state(plan_that_failed, work).await
}

/// Applies a stored plan of this run.
pub(crate) async fn apply(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
    plan: Digest,
) -> Result<ApplyResult, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    let file = tofu.stored_plan(plan).await?;
    let work = async |state: Option<&HeldState<'_>>| tofu.apply(state, file).await;
    tofu.with_state(apply_that_failed, work).await
}

/// Destroys everything that the module's state holds.
pub(crate) async fn destroy(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
) -> Result<ApplyResult, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    let work = async |state: Option<&HeldState<'_>>| tofu.destroy(state).await;
    tofu.with_state(apply_that_failed, work).await
}

/// Reads the outputs of the last apply.
pub(crate) async fn output(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
) -> Result<ApplyResult, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    let work = async |state: Option<&HeldState<'_>>| tofu.output(state).await;
    tofu.with_state(apply_that_failed, work).await
}

/// Reads a stored plan of this run as JSON, without sensitive values.
pub(crate) async fn show(
    context: &Context,
    scope: &ToolScope,
    module: TofuModule,
    plan: Digest,
) -> Result<String, CallError> {
    let tofu = Tofu::new(context, scope, module).await?;
    let file = tofu.stored_plan(plan).await?;
    match tofu.ready().await? {
        Ready::Yes(_) => tofu.show(file).await,
        Ready::No(outcome) => Err(CallError::Unavailable(outcome.message)),
    }
}

/// `tofu`, or a compatible program, where there is one.
pub(crate) fn find_tofu(context: &Context) -> Option<Utf8PathBuf> {
    match &context.config.tofu {
        Some(path) => Some(path.clone()).filter(|path| is_executable(path)),
        None => ["tofu", "terraform"]
            .into_iter()
            .find_map(|name| find_program(name, &context.config.search_path)),
    }
}

fn plan_that_failed(outcome: TofuOutcome) -> PlanResult {
    PlanResult {
        outcome,
        has_changes: false,
        changes: Changes::default(),
        resource_changes: Vec::new(),
        truncated: false,
        plan: None,
    }
}

fn apply_that_failed(outcome: TofuOutcome) -> ApplyResult {
    ApplyResult {
        outcome,
        changes: Changes::default(),
        outputs: JsonMap::new(),
        sensitive_outputs: Vec::new(),
    }
}

/// Whether a module is initialized.
enum Ready {
    Yes(Backend),
    /// It cannot be.
    No(TofuOutcome),
}

/// Who keeps a module's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Backend {
    /// The module says where.
    Own,
    /// The host.
    Host,
}

/// What is remembered of an initialization, where no tool can change it.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
struct Initialized {
    fingerprint: String,
    backend: Backend,
}

/// One call.
struct Tofu<'a> {
    context: &'a Context,
    scope: &'a ToolScope,
    module: TofuModule,
    program: Utf8PathBuf,
    secret_env: Vec<(String, String)>,
    /// Ours: `data` in it is the tool's.
    private: Utf8PathBuf,
}

impl<'a> Tofu<'a> {
    async fn new(
        context: &'a Context,
        scope: &'a ToolScope,
        module: TofuModule,
    ) -> Result<Self, CallError> {
        let vars = serde_json::to_vec(&module.vars).map_or(usize::MAX, |json| json.len());
        if vars > VARS.to_usize() {
            return Err(too_large("vars_bytes", VARS));
        }
        if module.var_files.len() > VAR_FILES {
            return Err(too_many("var_files", VAR_FILES));
        }
        let workspaces = &context.workspaces;
        workspaces
            .expect(scope.run, &module.dir, Expected::Folder)
            .await?;
        for file in &module.var_files {
            workspaces.expect(scope.run, file, Expected::File).await?;
        }
        let program = find_tofu(context).ok_or_else(|| {
            CallError::Unavailable(
                "neither `tofu` nor `terraform` is installed: install OpenTofu, or set `tools.tofu`"
                    .to_owned(),
            )
        })?;
        let secret_env = secret_variables(&*context.secrets, &module.secret_env, &[])?;
        let name = Digest::of(module.dir.as_str().as_bytes()).to_hex();
        let private = workspaces.private(scope.run).join(format!("tofu-{name}"));
        workspaces.make_bound(private.join("data")).await?;
        Ok(Self {
            context,
            scope,
            module,
            program,
            secret_env,
            private,
        })
    }

    async fn stand(&self, state: Option<&HeldState<'_>>) -> Result<Stand<'a>, CallError> {
        let bind = |host, name, access| Bind { host, name, access };
        let mut binds = vec![bind(self.private.join("data"), DATA, Access::Write)];
        if let Some(state) = state {
            binds.push(bind(state.folder(), STATE, Access::Write));
        }
        if let Some(mirror) = &self.context.config.provider_mirror {
            binds.push(bind(mirror.clone(), MIRROR, Access::Read));
        }
        let network = if self.scope.permissions.allow(&Capability::Network) {
            Network::Host
        } else {
            Network::None
        };
        let room = Room {
            workspace: Some(self.context.workspaces.path(self.scope.run)),
            network,
            read_only: needed_by(&self.program),
            binds,
        };
        self.context.prepare(self.scope, room).await
    }

    /// Works with the module's state once the folder is ready, and gives the state
    /// back whatever came of it. A new state that cannot be stored counts more than
    /// any result.
    async fn with_state<T>(
        &self,
        not_ready: fn(TofuOutcome) -> T,
        work: impl AsyncFnOnce(Option<&HeldState<'_>>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let backend = match self.ready().await? {
            Ready::Yes(backend) => backend,
            Ready::No(outcome) => return Ok(not_ready(outcome)),
        };
        let state = self.state(backend).await?;
        let result = work(state.as_ref()).await;
        match state {
            Some(state) => state.give_back().await.and(result),
            None => result,
        }
    }

    async fn state(&self, backend: Backend) -> Result<Option<HeldState<'a>>, CallError> {
        match backend {
            Backend::Own => Ok(None),
            Backend::Host => {
                let state = HeldState::take(self.context, self.scope, &self.module.dir).await?;
                Ok(Some(state))
            }
        }
    }

    fn launch(&self, places: &Places, arguments: Vec<String>) -> Launch {
        let mirror = self.context.config.provider_mirror.as_ref();
        let mirror = mirror.map(|_| places.bound(MIRROR));
        let config = places.private.join("cli.tfrc");
        let mut environment: Vec<(String, String)> = [
            ("TF_DATA_DIR", places.bound(DATA).into_string()),
            ("TF_CLI_CONFIG_FILE", config.to_string()),
            ("TF_IN_AUTOMATION", "1".to_owned()),
            ("TF_INPUT", "0".to_owned()),
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(self.secret_env.iter().cloned());
        let file = |path, text| PrivateFile {
            path,
            mode: 0o600,
            text,
        };
        let vars = Json::Object(self.module.vars.clone()).to_string();
        Launch {
            program: self.program.clone(),
            arguments,
            environment,
            directory: places.of(&self.module.dir),
            files: vec![
                file(config, cli_config(mirror.as_ref())),
                file(vars_path(places), vars),
            ],
            stdin: None,
        }
    }

    /// Runs a command whose output is `-json` lines.
    async fn json_lines(
        &self,
        stand: &Stand<'_>,
        arguments: Vec<String>,
        fine: &[i32],
    ) -> Result<(Seen, TofuOutcome), CallError> {
        let launch = self.launch(stand.places(), arguments);
        let mut out = MessageLines::new(self.scope);
        let log = LogLines::new(self.scope, Stream::Stderr, Level::Warn);
        let mut err = Both(log, Capture::new(GIT_OUTPUT));
        let end = stand.run(launch, &mut out, &mut err).await?;
        let mut outcome = out.seen.outcome(end, &err.1.text(), fine);
        outcome.message = self.masked(&outcome.message);
        Ok((out.seen, outcome))
    }

    fn masked(&self, text: &str) -> String {
        shorten(self.scope.mask.mask(text), ERROR_TEXT)
    }

    // ---- init -------------------------------------------------------------------

    async fn init(&self) -> Result<TofuOutcome, CallError> {
        let stand = self.stand(None).await?;
        let arguments = words(&["init", "-input=false", "-no-color"]);
        let launch = self.launch(stand.places(), arguments);
        // Not `-json`: not every version has it for this command.
        let mut out = LogLines::new(self.scope, Stream::Stdout, Level::Info);
        let log = LogLines::new(self.scope, Stream::Stderr, Level::Error);
        let mut err = Both(log, Capture::new(GIT_OUTPUT));
        let end = stand.run(launch, &mut out, &mut err).await?;
        let mut outcome = Seen::default().outcome(end, &err.1.text(), &[0]);
        outcome.message = self.masked(&outcome.message);
        if outcome.succeeded {
            self.remember().await?;
        }
        Ok(outcome)
    }

    /// Initializes the module if that has not been done for what it is now.
    async fn ready(&self) -> Result<Ready, CallError> {
        let fingerprint = self.fingerprint().await?;
        if let Some(known) = self.remembered().await
            && known.fingerprint == fingerprint
        {
            return Ok(Ready::Yes(known.backend));
        }
        let outcome = self.init().await?;
        if !outcome.succeeded {
            return Ok(Ready::No(outcome));
        }
        match self.remembered().await {
            Some(known) => Ok(Ready::Yes(known.backend)),
            None => Err(CallError::Internal(
                "an initialization was not remembered".to_owned(),
            )),
        }
    }

    fn memory(&self) -> Utf8PathBuf {
        self.private.join("initialized.json")
    }

    async fn remembered(&self) -> Option<Initialized> {
        let path = self.memory();
        let bytes = blocking(move || std::fs::read(path)).await.ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    async fn remember(&self) -> Result<(), CallError> {
        let known = Initialized {
            fingerprint: self.fingerprint().await?,
            backend: self.backend().await?,
        };
        let path = self.memory();
        blocking(move || std::fs::write(path, serde_json::to_vec(&known)?))
            .await
            .map_err(|error| system("remember an initialization", &error))
    }

    /// The tool itself says who keeps the state: it writes down a backend that
    /// the module declares, and nothing otherwise.
    async fn backend(&self) -> Result<Backend, CallError> {
        let folder = self.private.join("data");
        let written = blocking(move || {
            let folder = Folder::open(&folder, None)?;
            Ok::<_, std::io::Error>(folder.read("terraform.tfstate", VARS.0).ok())
        });
        let written = written
            .await
            .map_err(|error| system("read the tool's folder", &error))?;
        let document = written.and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
        let kind = document.and_then(|json| Some(json.pointer("/backend/type")?.is_string()));
        Ok(if kind == Some(true) {
            Backend::Own
        } else {
            Backend::Host
        })
    }

    /// Changes when a file of the module's folder does.
    async fn fingerprint(&self) -> Result<String, CallError> {
        let workspace = self.context.workspaces.open(self.scope.run).await?;
        let dir = self.module.dir.clone();
        let listed = blocking(move || workspace.folder(dir.as_str())?.list(WORKSPACE_LIST));
        let listed = listed
            .await
            .map_err(|error| blame(&self.module.dir, &error))?;
        let counts = [".tf", ".tofu", ".tf.json", ".tofu.json", ".lock.hcl"];
        let mut text = self.program.to_string();
        for file in listed {
            let name = file.name.to_string_lossy();
            if counts.iter().any(|end| name.ends_with(end)) {
                text.push_str(&format!("\n{name} {} {}", file.size, file.modified));
            }
        }
        Ok(Digest::of(text.as_bytes()).to_hex())
    }

    // ---- plans ------------------------------------------------------------------

    async fn plan(
        &self,
        state: Option<&HeldState<'_>>,
        kind: PlanKind,
    ) -> Result<PlanResult, CallError> {
        let stand = self.stand(state).await?;
        let places = stand.places();
        let mut arguments = words(&["plan", "-json", "-input=false", "-detailed-exitcode"]);
        arguments.push(format!("-out={}", places.bound(DATA).join(PLAN_OUT)));
        if kind == PlanKind::Destroy {
            arguments.push("-destroy".to_owned());
        }
        arguments.extend(state_options(state, places));
        arguments.extend(self.var_options(places));
        self.remove_data(PLAN_OUT).await?;
        let (seen, outcome) = self.json_lines(&stand, arguments, &[0, 2]).await?;
        if !outcome.succeeded {
            return Ok(plan_that_failed(outcome));
        }
        let changes = seen.changes();
        let truncated = seen.truncated;
        Ok(PlanResult {
            has_changes: outcome.end == ProcessEnd::Exited(2),
            outcome,
            changes,
            resource_changes: seen.sorted_changes(),
            truncated,
            plan: Some(self.store_plan().await?),
        })
    }

    async fn store_plan(&self) -> Result<Digest, CallError> {
        let folder = self.private.join("data");
        let file = blocking(move || Folder::open(&folder, None)?.read(PLAN_OUT, TOFU_PLAN.0)).await;
        let file = file.map_err(|error| match error {
            PathError::TooLarge => too_large("tofu_plan_bytes", TOFU_PLAN),
            other => CallError::Internal(format!("the tool's plan cannot be read: {other}")),
        })?;
        self.remove_data(PLAN_OUT).await?;
        let bytes = plan::encode(&self.module.dir, &file);
        let stored = async {
            let digest = self.context.blobs.put(bytes).await?;
            let name = plan::pointer(self.scope.run, digest);
            match self.context.blobs.set_pointer(&name, digest, None).await {
                // The same plan was stored before.
                Ok(_) | Err(BlobError::Conflict(_)) => Ok(digest),
                Err(other) => Err(other),
            }
        };
        stored.await.map_err(|error: BlobError| match error {
            BlobError::Unavailable(_) => CallError::Unavailable(format!("store the plan: {error}")),
            other => CallError::Internal(format!("store the plan: {other}")),
        })
    }

    /// The tool's file of a plan that this run has made for this module.
    async fn stored_plan(&self, digest: Digest) -> Result<Vec<u8>, CallError> {
        let missing = || CallError::NotFound(format!("plan {digest} of this run"));
        let failed = |error: BlobError| match error {
            BlobError::NotFound(_) => missing(),
            BlobError::Unavailable(_) => CallError::Unavailable(format!("read the plan: {error}")),
            other => CallError::Internal(format!("read the plan: {other}")),
        };
        let name = plan::pointer(self.scope.run, digest);
        let blobs = &self.context.blobs;
        let known = blobs.pointer(&name).await.map_err(failed)?;
        if known.is_none_or(|(known, _)| known != digest) {
            return Err(missing());
        }
        let limit = TOFU_PLAN.0 + VARS.0;
        let bytes = blobs.get(digest, limit).await.map_err(failed)?;
        let plan = plan::decode(&bytes)
            .ok_or_else(|| CallError::Internal("the stored plan makes no sense".to_owned()))?;
        if plan.dir != self.module.dir.as_str() {
            return Err(CallError::Invalid(format!(
                "the plan was made for `{}`, not for `{}`",
                plan.dir, self.module.dir
            )));
        }
        Ok(plan.file)
    }

    async fn lay_plan(&self, file: Vec<u8>) -> Result<(), CallError> {
        let folder = self.private.join("data");
        let owner = self.context.processes.jail().identity();
        blocking(move || Folder::open(&folder, owner)?.write(PLAN_IN, &file))
            .await
            .map_err(|error| CallError::Internal(format!("lay out the plan: {error}")))
    }

    /// Removes a file that holds secrets from the tool's folder.
    async fn remove_data(&self, name: &'static str) -> Result<(), CallError> {
        let path = self.private.join("data").join(name);
        let removed = blocking(move || std::fs::remove_file(path)).await;
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(system("remove a plan", &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn apply(
        &self,
        state: Option<&HeldState<'_>>,
        plan: Vec<u8>,
    ) -> Result<ApplyResult, CallError> {
        let stand = self.stand(state).await?;
        self.lay_plan(plan).await?;
        let places = stand.places();
        let mut arguments = words(&["apply", "-json", "-input=false"]);
        arguments.extend(state_options(state, places));
        arguments.push(places.bound(DATA).join(PLAN_IN).into_string());
        let applied = self.json_lines(&stand, arguments, &[0]).await;
        self.remove_data(PLAN_IN).await?;
        let (seen, outcome) = applied?;
        Ok(applied_result(seen, outcome))
    }

    async fn destroy(&self, state: Option<&HeldState<'_>>) -> Result<ApplyResult, CallError> {
        let stand = self.stand(state).await?;
        let places = stand.places();
        let mut arguments = words(&[
            "apply",
            "-destroy",
            "-auto-approve",
            "-json",
            "-input=false",
        ]);
        arguments.extend(state_options(state, places));
        arguments.extend(self.var_options(places));
        let (seen, outcome) = self.json_lines(&stand, arguments, &[0]).await?;
        Ok(applied_result(seen, outcome))
    }

    async fn output(&self, state: Option<&HeldState<'_>>) -> Result<ApplyResult, CallError> {
        let stand = self.stand(state).await?;
        let places = stand.places();
        let mut arguments = words(&["output", "-json", "-no-color"]);
        // No backup: reading writes nothing.
        arguments.extend(state_options(state, places).into_iter().take(1));
        let (text, mut result) = self.document(&stand, arguments, TOFU_SHOW_RAW).await?;
        if result.outcome.succeeded {
            let outputs: JsonMap = serde_json::from_str(&text).map_err(|error| {
                CallError::Internal(format!("the tool's outputs make no sense: {error}"))
            })?;
            (result.outputs, result.sensitive_outputs) = split_outputs(&outputs);
            let bytes = Json::Object(result.outputs.clone()).to_string().len();
            if bytes > TOFU_OUTPUTS.to_usize() {
                return Err(too_large("tofu_output_bytes", TOFU_OUTPUTS));
            }
        }
        Ok(result)
    }

    async fn show(&self, plan: Vec<u8>) -> Result<String, CallError> {
        let stand = self.stand(None).await?;
        self.lay_plan(plan).await?;
        let file = stand.places().bound(DATA).join(PLAN_IN);
        let arguments = words(&["show", "-json", "-no-color", file.as_str()]);
        let shown = self.document(&stand, arguments, TOFU_SHOW_RAW).await;
        self.remove_data(PLAN_IN).await?;
        let (text, result) = shown?;
        if !result.outcome.succeeded {
            return Err(CallError::Unavailable(result.outcome.message));
        }
        let plan: Json = serde_json::from_str(&text)
            .map_err(|error| CallError::Internal(format!("the plan makes no sense: {error}")))?;
        let text = self.scope.mask.mask(&redact::redact(plan));
        if text.len() > TOFU_SHOW.to_usize() {
            return Err(too_large("tofu_show_bytes", TOFU_SHOW));
        }
        Ok(text)
    }

    /// Runs a command that prints one document, which is not logged: it holds
    /// sensitive values.
    async fn document(
        &self,
        stand: &Stand<'_>,
        arguments: Vec<String>,
        limit: ByteCount,
    ) -> Result<(String, ApplyResult), CallError> {
        let launch = self.launch(stand.places(), arguments);
        let mut out = Capture::new(limit);
        let log = LogLines::new(self.scope, Stream::Stderr, Level::Warn);
        let mut err = Both(log, Capture::new(GIT_OUTPUT));
        let end = stand.run(launch, &mut out, &mut err).await?;
        if out.is_truncated() {
            return Err(too_large("tofu_document_bytes", limit));
        }
        let mut outcome = Seen::default().outcome(end, &err.1.text(), &[0]);
        outcome.message = self.masked(&outcome.message);
        Ok((out.text(), apply_that_failed(outcome)))
    }

    fn var_options(&self, places: &Places) -> Vec<String> {
        let files = self.module.var_files.iter();
        let mut options: Vec<String> = files
            .map(|file| format!("-var-file={}", places.of(file)))
            .collect();
        // Ours is the last: it counts.
        options.push(format!("-var-file={}", vars_path(places)));
        options
    }
}

/// Files in the tool's folder.
const PLAN_OUT: &str = "plan.out";
const PLAN_IN: &str = "plan.in";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn vars_path(places: &Places) -> Utf8PathBuf {
    places.private.join("vars.tfvars.json")
}

/// Where the state is that the host keeps.
fn state_options(state: Option<&HeldState<'_>>, places: &Places) -> Vec<String> {
    match state {
        Some(_) => {
            let file = places.bound(STATE).join(state::FILE);
            vec![format!("-state={file}"), "-backup=-".to_owned()]
        }
        None => Vec::new(),
    }
}

fn cli_config(mirror: Option<&Utf8PathBuf>) -> String {
    match mirror {
        Some(path) => format!(
            "provider_installation {{\n  filesystem_mirror {{\n    path = {}\n  }}\n  direct {{}}\n}}\n",
            Json::from(path.as_str())
        ),
        None => String::new(),
    }
}

fn applied_result(seen: Seen, mut outcome: TofuOutcome) -> ApplyResult {
    let changes = seen.changes();
    let mut outputs = seen.outputs;
    if Json::Object(outputs.clone()).to_string().len() > TOFU_OUTPUTS.to_usize() {
        // It is applied: a refusal would hide that.
        outputs = JsonMap::new();
        let note = format!("the outputs are larger than {TOFU_OUTPUTS} and left out");
        outcome.message = [outcome.message, note].join("\n").trim().to_owned();
    }
    ApplyResult {
        outcome,
        changes,
        outputs,
        sensitive_outputs: seen.sensitive_outputs,
    }
}

/// Takes the tool's `-json` output.
struct MessageLines<'a> {
    raw: RawLines,
    log: LevelLines<'a>,
    seen: Seen,
}

impl<'a> MessageLines<'a> {
    fn new(scope: &'a ToolScope) -> Self {
        Self {
            raw: RawLines::new(EVENT_LINE),
            log: LevelLines::new(scope, Stream::Stdout),
            seen: Seen::default(),
        }
    }
}

fn take_message(line: &RawLine<'_>, log: &mut LevelLines<'_>, seen: &mut Seen) {
    match line {
        RawLine::Whole(line) => {
            if let Some(shown) = seen.take(line) {
                log.text(shown.level, &shown.text);
            }
        }
        RawLine::Cut(_) => log.text(
            Level::Warn,
            &format!("a message of more than {EVENT_LINE} was left out"),
        ),
    }
}

impl Sink for MessageLines<'_> {
    fn room(&self) -> BoxFuture<'_, ()> {
        self.log.room()
    }

    fn push(&mut self, piece: &[u8]) {
        let Self { raw, log, seen } = self;
        raw.push(piece, |line| take_message(&line, log, seen));
    }

    fn finish(&mut self) {
        let Self { raw, log, seen } = self;
        raw.finish(|line| take_message(&line, log, seen));
    }
}
