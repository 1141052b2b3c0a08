//! Ansible: playbooks, requirements and ping.
//!
//! Runs `ansible-runner` where it is installed, for its events, else
//! `ansible-playbook` itself. Both run in the jail; nothing of a run is kept but
//! its result. This module decides no trust and no grant but `network`.

mod arguments;
mod events;
mod observed;
mod recap;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::JsonMap;
use infraflow_core::grant::{Capability, NotGranted};
use infraflow_core::limits::ERROR_TEXT;
use infraflow_core::line::{Level, Stream};
use infraflow_core::ports::{BoxFuture, Secrets, ToolScope};
use infraflow_core::tool::{
    CallError, Connection, Diff, GuestPath, PingRequest, PlaybookEnding, PlaybookMode,
    PlaybookRequest, PlaybookResult, ProcessEnd,
};

pub(crate) use self::arguments::shell_quoted;
use self::arguments::{
    ConnectionSecrets, INSTALLED, Installed, Prepared, check_length, for_runner, prepare, private,
};
use self::observed::Observed;
use self::recap::Recap;
use crate::context::Context;
use crate::errors::shorten;
use crate::jail::{Network, Room};
use crate::limits::{EVENT_LINE, GIT_OUTPUT};
use crate::process::{Launch, Stand};
use crate::programs::{find_program, is_executable, needed_by};
use crate::raw_lines::{RawLine, RawLines};
use crate::sinks::{Both, Capture, LevelLines, LogLines, Sink};
use crate::tasks::blocking;
use crate::variables::secret_error;
use crate::workspace::Expected;

/// Runs a playbook.
pub(crate) async fn run_playbook(
    context: &Context,
    scope: &ToolScope,
    request: PlaybookRequest,
) -> Result<PlaybookResult, CallError> {
    arguments::check(&request)?;
    let workspaces = &context.workspaces;
    let playbook = &request.playbook;
    workspaces
        .expect(scope.run, playbook, Expected::File)
        .await?;
    expect_inventory(context, scope, &request.inventory).await?;
    let run = Run::new(context, scope).await?;
    let places = run.stand.places();
    let file = places.of(playbook);
    // What lies beside the playbook counts: its `ansible.cfg`, its roles.
    let directory = file.parent().unwrap_or(&places.workspace).to_owned();
    run.playbook(&request, &file, &directory, Vec::new()).await
}

/// Connects to every host of an inventory.
pub(crate) async fn ping(
    context: &Context,
    scope: &ToolScope,
    request: PingRequest,
) -> Result<PlaybookResult, CallError> {
    let request = PlaybookRequest {
        playbook: GuestPath::root(),
        inventory: request.inventory,
        limit: request.limit,
        tags: Vec::new(),
        skip_tags: Vec::new(),
        extra_vars: JsonMap::new(),
        mode: PlaybookMode::Apply,
        diff: Diff::Hide,
        forks: None,
        verbosity: 0,
        connection: request.connection,
    };
    arguments::check(&request)?;
    expect_inventory(context, scope, &request.inventory).await?;
    let run = Run::new(context, scope).await?;
    let places = run.stand.places();
    let file = places.private.join("ping.yml");
    let directory = places.workspace.clone();
    let playbook = private(file.clone(), PING.to_owned());
    run.playbook(&request, &file, &directory, vec![playbook])
        .await
}

const PING: &str = "\
- name: ping
  hosts: all
  gather_facts: false
  tasks:
    - name: ping
      ansible.builtin.ping:
";

/// Installs what a `requirements.yml` names.
pub(crate) async fn install_requirements(
    context: &Context,
    scope: &ToolScope,
    path: GuestPath,
) -> Result<PlaybookResult, CallError> {
    if !scope.permissions.allow(&Capability::Network) {
        let capability = Capability::Network;
        return Err(NotGranted { capability }.into());
    }
    let workspaces = &context.workspaces;
    workspaces.expect(scope.run, &path, Expected::File).await?;
    let run = Run::new(context, scope).await?;
    let galaxy = run.program("ansible-galaxy")?;
    let places = run.stand.places();
    let file = places.of(&path);
    let nothing = PlaybookRequest {
        playbook: path,
        ..ping_of_nobody()
    };
    let prepared = prepare(
        &nothing,
        ConnectionSecrets::default(),
        places,
        Installed::InWorkspace,
    );
    let launch = Launch {
        program: galaxy.clone(),
        arguments: ["install", "-r", file.as_str()].map(str::to_owned).into(),
        environment: run.environment(prepared.environment, &galaxy),
        directory: places.workspace.clone(),
        files: prepared.files,
        stdin: None,
    };
    let mut out = LogLines::new(scope, Stream::Stdout, Level::Info);
    let words = Capture::new(GIT_OUTPUT);
    let mut err = Both(LogLines::new(scope, Stream::Stderr, Level::Warn), words);
    let end = run.stand.run(launch, &mut out, &mut err).await?;
    let (ending, message) = match end {
        ProcessEnd::Exited(0) => (PlaybookEnding::Succeeded, String::new()),
        ProcessEnd::Exited(_) => (PlaybookEnding::NotRun, err.1.text()),
        ProcessEnd::Signalled(signal) => {
            let text = format!("ansible-galaxy was ended by signal {signal}");
            (PlaybookEnding::Signalled, text)
        }
    };
    Ok(PlaybookResult {
        end,
        ending,
        hosts: Vec::new(),
        custom_stats: JsonMap::new(),
        message: shorten(scope.mask.mask(message.trim()), ERROR_TEXT),
    })
}

fn ping_of_nobody() -> PlaybookRequest {
    PlaybookRequest {
        playbook: GuestPath::root(),
        inventory: Vec::new(),
        limit: Vec::new(),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        extra_vars: JsonMap::new(),
        mode: PlaybookMode::Apply,
        diff: Diff::Hide,
        forks: None,
        verbosity: 0,
        connection: Connection::default(),
    }
}

async fn expect_inventory(
    context: &Context,
    scope: &ToolScope,
    inventory: &[GuestPath],
) -> Result<(), CallError> {
    for path in inventory {
        let expected = Expected::FileOrFolder;
        context.workspaces.expect(scope.run, path, expected).await?;
    }
    Ok(())
}

/// One Ansible command of one call.
struct Run<'a> {
    context: &'a Context,
    scope: &'a ToolScope,
    stand: Stand<'a>,
    playbook: Utf8PathBuf,
    runner: Option<Utf8PathBuf>,
    installed: Installed,
}

impl<'a> Run<'a> {
    async fn new(context: &'a Context, scope: &'a ToolScope) -> Result<Self, CallError> {
        let missing = || {
            CallError::Unavailable(
                "ansible-playbook is not installed: install `ansible-core`, or set `tools.ansible`"
                    .to_owned(),
            )
        };
        let playbook = find_playbook(context).ok_or_else(missing)?;
        let runner = find_runner(context, &playbook);
        let mut read_only = needed_by(&playbook);
        read_only.extend(runner.iter().flat_map(|runner| needed_by(runner)));
        let network = if scope.permissions.allow(&Capability::Network) {
            Network::Host
        } else {
            Network::None
        };
        let workspace = context.workspaces.open(scope.run).await?;
        let installed = blocking(move || workspace.folder(INSTALLED).is_ok()).await;
        let room = Room {
            workspace: Some(context.workspaces.path(scope.run)),
            network,
            read_only,
            binds: Vec::new(),
        };
        let stand = context.prepare(scope, room).await?;
        Ok(Self {
            context,
            scope,
            stand,
            playbook,
            runner,
            installed: if installed {
                Installed::InWorkspace
            } else {
                Installed::Nowhere
            },
        })
    }

    fn program(&self, name: &str) -> Result<Utf8PathBuf, CallError> {
        let path = self.playbook.with_file_name(name);
        if is_executable(&path) {
            Ok(path)
        } else {
            Err(CallError::Unavailable(format!("`{path}` is not there")))
        }
    }

    /// Ansible looks for its own programs and its interpreter on `PATH`.
    fn environment(
        &self,
        mut own: Vec<(String, String)>,
        program: &Utf8Path,
    ) -> Vec<(String, String)> {
        let folders = [Some(program), Some(self.playbook.as_path())];
        let mut path: Vec<String> = Vec::new();
        for folder in folders.into_iter().flatten().filter_map(Utf8Path::parent) {
            if !path.iter().any(|known| known == folder.as_str()) {
                path.push(folder.to_string());
            }
        }
        let standard = crate::programs::standard_search_path();
        path.extend(standard.into_iter().map(Utf8PathBuf::into_string));
        own.push(("PATH".to_owned(), path.join(":")));
        own
    }

    async fn playbook(
        &self,
        request: &PlaybookRequest,
        file: &Utf8Path,
        directory: &Utf8Path,
        more: Vec<crate::shim::PrivateFile>,
    ) -> Result<PlaybookResult, CallError> {
        let secrets = read_secrets(&*self.context.secrets, &request.connection)?;
        let mut prepared = prepare(request, secrets, self.stand.places(), self.installed);
        prepared.files.extend(more);
        check_length(&prepared.arguments)?;
        let (observed, end) = match &self.runner {
            Some(runner) => self.by_runner(runner, prepared, file, directory).await?,
            None => self.plain(prepared, file, directory).await?,
        };
        let mut result = observed.result(end);
        result.message = self.scope.mask.mask(&result.message);
        Ok(result)
    }

    async fn by_runner(
        &self,
        runner: &Utf8Path,
        mut prepared: Prepared,
        file: &Utf8Path,
        directory: &Utf8Path,
    ) -> Result<(Observed, ProcessEnd), CallError> {
        let arguments = for_runner(&mut prepared, file, directory, self.stand.places());
        let launch = Launch {
            program: runner.to_owned(),
            arguments,
            environment: self.environment(prepared.environment, runner),
            directory: directory.to_owned(),
            files: prepared.files,
            stdin: None,
        };
        let mut out = EventLines::new(self.scope);
        let words = Capture::new(GIT_OUTPUT);
        let mut err = Both(
            LogLines::new(self.scope, Stream::Stderr, Level::Warn),
            words,
        );
        let end = self.stand.run(launch, &mut out, &mut err).await?;
        let mut observed = out.observed;
        observed.errors(&err.1.text());
        Ok((observed, end))
    }

    async fn plain(
        &self,
        prepared: Prepared,
        file: &Utf8Path,
        directory: &Utf8Path,
    ) -> Result<(Observed, ProcessEnd), CallError> {
        let mut arguments = prepared.arguments;
        arguments.push(file.to_string());
        let mut environment = self.environment(prepared.environment, &self.playbook);
        environment.push(("ANSIBLE_SHOW_CUSTOM_STATS".to_owned(), "True".to_owned()));
        let launch = Launch {
            program: self.playbook.clone(),
            arguments,
            environment,
            directory: directory.to_owned(),
            files: prepared.files,
            stdin: None,
        };
        let log = LogLines::new(self.scope, Stream::Stdout, Level::Info);
        let mut out = Both(log, RecapLines::new());
        let words = Capture::new(GIT_OUTPUT);
        let mut err = Both(
            LogLines::new(self.scope, Stream::Stderr, Level::Warn),
            words,
        );
        let end = self.stand.run(launch, &mut out, &mut err).await?;
        let mut observed = out.1.observed;
        observed.errors(&err.1.text());
        Ok((observed, end))
    }
}

/// `ansible-playbook`, where there is one.
pub(crate) fn find_playbook(context: &Context) -> Option<Utf8PathBuf> {
    match &context.config.ansible {
        Some(folder) => Some(folder.join("ansible-playbook")).filter(|path| is_executable(path)),
        None => find_program("ansible-playbook", &context.config.search_path),
    }
}

/// `ansible-runner`, beside `ansible-playbook` or elsewhere.
pub(crate) fn find_runner(context: &Context, playbook: &Utf8Path) -> Option<Utf8PathBuf> {
    let beside = playbook.with_file_name("ansible-runner");
    if is_executable(&beside) {
        return Some(beside);
    }
    if context.config.ansible.is_some() {
        return None;
    }
    find_program("ansible-runner", &context.config.search_path)
}

fn read_secrets(
    secrets: &dyn Secrets,
    connection: &Connection,
) -> Result<ConnectionSecrets, CallError> {
    let read = |name: &Option<infraflow_core::id::SecretName>| match name {
        Some(name) => match secrets.read(name) {
            Ok(secret) => Ok(Some(secret.expose().to_owned())),
            Err(error) => Err(secret_error(&error)),
        },
        None => Ok(None),
    };
    Ok(ConnectionSecrets {
        private_key: read(&connection.private_key)?,
        known_hosts: read(&connection.known_hosts)?,
        vault_password: read(&connection.vault_password)?,
    })
}

/// Takes ansible-runner's standard output.
struct EventLines<'a> {
    raw: RawLines,
    log: LevelLines<'a>,
    observed: Observed,
}

impl<'a> EventLines<'a> {
    fn new(scope: &'a ToolScope) -> Self {
        Self {
            raw: RawLines::new(EVENT_LINE),
            log: LevelLines::new(scope, Stream::Stdout),
            observed: Observed::default(),
        }
    }
}

impl Sink for EventLines<'_> {
    fn room(&self) -> BoxFuture<'_, ()> {
        self.log.room()
    }

    fn push(&mut self, piece: &[u8]) {
        let Self { raw, log, observed } = self;
        raw.push(piece, |line| take_event(&line, log, observed));
    }

    fn finish(&mut self) {
        let Self { raw, log, observed } = self;
        raw.finish(|line| take_event(&line, log, observed));
    }
}

fn take_event(line: &RawLine<'_>, log: &mut LevelLines<'_>, observed: &mut Observed) {
    match line {
        RawLine::Whole(line) => {
            let shown = events::take(line, observed);
            // An event that shows nothing is no empty line.
            if !shown.text.is_empty() || line.is_empty() {
                log.text(shown.level, &shown.text);
            }
        }
        RawLine::Cut(_) => log.text(
            Level::Warn,
            &format!("an event of more than {EVENT_LINE} was left out"),
        ),
    }
}

/// Takes `ansible-playbook`'s standard output.
struct RecapLines {
    raw: RawLines,
    recap: Recap,
    observed: Observed,
}

impl RecapLines {
    fn new() -> Self {
        Self {
            raw: RawLines::new(infraflow_core::limits::LOG_LINE),
            recap: Recap::default(),
            observed: Observed::default(),
        }
    }

    fn take(line: &RawLine<'_>, recap: &mut Recap, observed: &mut Observed) {
        let (RawLine::Whole(line) | RawLine::Cut(line)) = line;
        recap.take(line, observed);
    }
}

impl Sink for RecapLines {
    fn push(&mut self, piece: &[u8]) {
        let Self {
            raw,
            recap,
            observed,
        } = self;
        raw.push(piece, |line| Self::take(&line, recap, observed));
    }

    fn finish(&mut self) {
        let Self {
            raw,
            recap,
            observed,
        } = self;
        raw.finish(|line| Self::take(&line, recap, observed));
    }
}
