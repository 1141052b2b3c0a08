//! One file for each command: asks a host, or does its work here, and prints.

mod audit;
mod dead;
mod doctor;
mod events;
mod host;
mod init;
mod locks;
mod logs;
mod plugin;
mod run;
mod runs;
mod sources;
mod validate;
mod webhook;
mod workflow;

use std::future::Future;

use camino::Utf8PathBuf;
use clap::CommandFactory as _;

use crate::cli::{
    Cli, Command, DeadCommand, EventsCommand, Global, HostCommand, HostStartArgs, LocksCommand,
    PluginCommand, RunsCommand, UpArgs, WebhookCommand, WorkflowCommand,
};
use crate::config::{self, Config, ConfigError, NatsConfig};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{note, report_style};
use crate::{telemetry, up};

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> Outcome {
    let Cli { global, command } = cli;
    match command {
        Command::Init(args) => init::run(&args),
        Command::Up(args) => start(&global, args),
        Command::Run(args) => block_on(run::run(&global, args)),
        Command::Trigger(args) => block_on(run::trigger(&global, args)),
        Command::Runs(RunsCommand::List(args)) => block_on(runs::list(&global, args)),
        Command::Runs(RunsCommand::Show { run }) => block_on(runs::show(&global, run)),
        Command::Runs(RunsCommand::Cancel { run }) => block_on(runs::cancel(&global, run)),
        Command::Runs(RunsCommand::Resume(args)) => block_on(runs::resume(&global, args)),
        Command::Runs(RunsCommand::Rerun(args)) => block_on(runs::rerun(&global, args)),
        Command::Locks(LocksCommand::List) => block_on(locks::list(&global)),
        Command::Locks(LocksCommand::Release { lock, run }) => {
            block_on(locks::release(&global, lock, run))
        }
        Command::Host(args) => match args.command {
            None => start_host(&global, args.start),
            Some(HostCommand::List) => block_on(host::list(&global)),
            Some(HostCommand::Drain { host }) => block_on(host::drain(&global, host, true)),
            Some(HostCommand::Undrain { host }) => block_on(host::drain(&global, host, false)),
        },
        Command::Audit(args) => block_on(audit::list(&global, args)),
        Command::Runs(RunsCommand::Logs(args)) | Command::Logs(args) => {
            block_on(logs::run(&global, args))
        }
        Command::Workflow(WorkflowCommand::Validate { paths }) => validate::run(&global, &paths),
        Command::Workflow(WorkflowCommand::List) => block_on(workflow::list(&global)),
        Command::Workflow(WorkflowCommand::Show { name }) => {
            block_on(workflow::show(&global, name))
        }
        Command::Workflow(WorkflowCommand::Apply { file }) => {
            block_on(workflow::apply(&global, file))
        }
        Command::Events(EventsCommand::Tail) => block_on(events::tail(&global)),
        Command::Dead(DeadCommand::List { limit, from }) => {
            block_on(dead::list(&global, from, limit))
        }
        Command::Dead(DeadCommand::Show { id }) => block_on(dead::show(&global, id)),
        Command::Webhook(WebhookCommand::Add(args)) => webhook::add(&global, &args),
        Command::Webhook(WebhookCommand::Test(args)) => block_on(webhook::test(&global, args)),
        Command::Sources => block_on(sources::list(&global)),
        Command::Plugin(PluginCommand::List) => block_on(plugin::list(&global)),
        Command::Doctor => block_on(doctor::run(&global)),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            clap_complete::generate(shell, &mut command, "infraflow", &mut std::io::stdout());
            Ok(Exit::Success)
        }
    }
}

/// Runs a command that waits for others.
fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal("start", &error))?;
    runtime.block_on(work)
}

fn start(global: &Global, args: UpArgs) -> Outcome {
    telemetry::start(global.verbose);
    let mut config = load_config(global)?;
    match (args.nats_port, &mut config.nats) {
        (Some(wanted), NatsConfig::Embedded { port, .. }) => *port = wanted,
        (Some(_), NatsConfig::External(_)) => {
            let problem = "`--nats-port` is for the private server, and another one is used";
            return Err(Failure::new(Exit::Usage, problem));
        }
        (None, _) => {}
    }
    if let Some(listen) = args.listen {
        config.http_listen = listen;
    }
    run_host(config)
}

/// Starts a host beside others, on a server that is not its own.
fn start_host(global: &Global, args: HostStartArgs) -> Outcome {
    telemetry::start(global.verbose);
    let mut config = load_config(global)?;
    if let NatsConfig::Embedded { .. } = config.nats {
        let problem = "`infraflow host` joins a NATS server of your own: name it with `--nats <url>` \
                       or `nats: { url: ... }`. `infraflow up` starts a private one";
        return Err(Failure::new(Exit::Usage, problem));
    }
    if let Some(listen) = args.listen {
        config.http_listen = listen;
    }
    run_host(config)
}

fn run_host(config: Config) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal("start", &error))?;
    let outcome = runtime.block_on(up::run(config));
    // What still runs belongs to a host that was told to end at once.
    runtime.shutdown_background();
    outcome
}

/// The folder that the command was called in.
pub(crate) fn here() -> Result<Utf8PathBuf, Failure> {
    let folder =
        std::env::current_dir().map_err(|error| Failure::internal("find this folder", &error))?;
    Utf8PathBuf::from_path_buf(folder).map_err(|path| {
        Failure::new(
            Exit::Invalid,
            format!("the path of this folder is not UTF-8: {}", path.display()),
        )
    })
}

/// The configuration, and what the command line says instead.
pub(crate) fn load_config(global: &Global) -> Result<Config, Failure> {
    let mut config = read_config(global)?;
    if let Some(url) = global.nats.clone() {
        config::without_credentials(&url).map_err(|problem| Failure::new(Exit::Usage, problem))?;
        config.use_nats_at(url);
    }
    if let Some(data_dir) = &global.data_dir {
        config.data_dir = here()?.join(data_dir);
    }
    Ok(config)
}

fn read_config(global: &Global) -> Result<Config, Failure> {
    config::load(global.config.as_deref(), &here()?).map_err(|error| match error {
        ConfigError::Unreadable { path, reason } => Failure::new(
            Exit::Invalid,
            format!("read the configuration `{path}`: {reason}"),
        ),
        ConfigError::Invalid(report) => {
            note(&report.render(report_style()));
            Failure::silent(Exit::Invalid)
        }
    })
}
