//! The command line.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand};

use crate::output::Format;

/// Event-driven automation for infrastructure: git pushes and messages start
/// workflows, whose steps are sandboxed WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(
    name = "infraflow",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The configuration; `infraflow.yaml` in this folder when not given
    #[arg(long, global = true, env = "INFRAFLOW_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<Utf8PathBuf>,
    /// Use this NATS server instead of a private one
    #[arg(long, global = true, env = "INFRAFLOW_NATS", value_name = "URL")]
    pub(crate) nats: Option<String>,
    /// The data directory, instead of the configured one
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<Utf8PathBuf>,
    /// How data is printed
    #[arg(long, short, global = true, value_enum, default_value = "text")]
    pub(crate) output: Format,
    /// Say more
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a configuration, a `hello` workflow, a playbook and an inventory that work
    Init(InitArgs),
    /// Start everything: NATS, the host, HTTP
    Up(UpArgs),
    /// Start a workflow or a playbook and follow it to its end
    Run(RunArgs),
    /// Start a workflow and return
    Trigger(TriggerArgs),
    /// Look at runs, cancel them, answer them
    #[command(subcommand)]
    Runs(RunsCommand),
    /// Print a run's log lines
    Logs(LogsArgs),
    /// Look at locks, take them away
    #[command(subcommand)]
    Locks(LocksCommand),
    /// Start a host on a NATS server of one's own; or list hosts, drain them
    Host(HostArgs),
    /// Who did what, newest first
    Audit(AuditArgs),
    /// Check, list, show and store workflows
    #[command(subcommand)]
    Workflow(WorkflowCommand),
    /// Look at events
    #[command(subcommand)]
    Events(EventsCommand),
    /// Look at what could not be processed
    #[command(subcommand)]
    Dead(DeadCommand),
    /// Set up and try webhooks
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// List the configured sources
    Sources,
    /// Look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Check this machine and the host, and say how to mend what is wrong
    Doctor,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder to make it in
    #[arg(default_value = ".")]
    pub(crate) folder: Utf8PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Listen for HTTP here; port 0: any that is free
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// The port of the private NATS server; 0: any that is free
    #[arg(long, value_name = "PORT")]
    pub(crate) nats_port: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The workflow
    #[arg(required_unless_present = "playbook", conflicts_with = "playbook")]
    pub(crate) workflow: Option<String>,
    /// A playbook to run, without any workflow of one's own
    #[arg(long, value_name = "FILE")]
    pub(crate) playbook: Option<Utf8PathBuf>,
    /// An input, `name=value`; with `--playbook` an inventory file, folder or host list
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) input: Vec<String>,
    /// Limit the playbook to these hosts
    #[arg(long, requires = "playbook", value_name = "PATTERN")]
    pub(crate) limit: Vec<String>,
    /// An extra variable of the playbook, `name=value`
    #[arg(long, short, requires = "playbook", value_name = "NAME=VALUE")]
    pub(crate) extra_var: Vec<String>,
    /// Say what the playbook would change, change nothing
    #[arg(long, requires = "playbook")]
    pub(crate) check: bool,
    /// The secret that holds the private key for ssh
    #[arg(long, requires = "playbook", value_name = "SECRET")]
    pub(crate) private_key: Option<String>,
    /// The secret that holds the known hosts for ssh
    #[arg(long, requires = "playbook", value_name = "SECRET")]
    pub(crate) known_hosts: Option<String>,
    /// The user for ssh
    #[arg(long, requires = "playbook", value_name = "USER")]
    pub(crate) user: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The workflow
    pub(crate) workflow: String,
    /// An input, `name=value`
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) input: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, newest first
    List(RunsListArgs),
    /// Show one run: its steps, outputs and journal
    Show {
        /// The run, or the beginning of its id
        run: String,
    },
    /// Print a run's log lines
    Logs(LogsArgs),
    /// Cancel a run, whatever it does
    Cancel {
        /// The run, or the beginning of its id
        run: String,
    },
    /// Answer a run that asks, or go on with one that failed, from the failed step
    Resume(ResumeArgs),
    /// Run one that is over again, as a new run
    Rerun(RerunArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The run, or the beginning of its id
    pub(crate) run: String,
    /// To a run that asks: `retry`: try the step again; `done`: it has done its work; `fail`: it has failed
    #[arg(long, value_parser = ["retry", "done", "fail"], conflicts_with_all = ["input", "latest"])]
    pub(crate) answer: Option<String>,
    /// An input that replaces the run's, `name=value`
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) input: Vec<String>,
    /// With the newest version of the workflow, not the run's
    #[arg(long)]
    pub(crate) latest: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RerunArgs {
    /// The run, or the beginning of its id
    pub(crate) run: String,
    /// An input that replaces the run's, `name=value`
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) input: Vec<String>,
    /// With the newest version of the workflow, not the run's
    #[arg(long)]
    pub(crate) latest: bool,
    /// Only on from the step that failed, and there only the hosts that failed or were not reached
    #[arg(long)]
    pub(crate) failed_hosts: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LocksCommand {
    /// List locks with the runs that have them and those that wait
    List,
    /// Take a lock away from the run that has it; the run goes on without it
    Release {
        /// The lock
        lock: String,
        /// From this run only, where several have it
        #[arg(long)]
        run: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct HostArgs {
    #[command(subcommand)]
    pub(crate) command: Option<HostCommand>,
    #[command(flatten)]
    pub(crate) start: HostStartArgs,
}

#[derive(Debug, Args)]
pub(crate) struct HostStartArgs {
    /// Listen for HTTP here; port 0: any that is free
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List hosts
    List,
    /// Let a host take no new runs, and give back those that it has when their attempts end
    Drain {
        /// The host; not needed when there is one only
        host: Option<String>,
    },
    /// Let a host take runs again
    Undrain {
        /// The host; not needed when there is one only
        host: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// How many
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    pub(crate) limit: u16,
    /// Older than the entry at this position
    #[arg(long)]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RunsListArgs {
    /// Of this workflow
    #[arg(long, short)]
    pub(crate) workflow: Option<String>,
    /// In this state: queued, running, retrying, waiting, blocked, succeeded, failed, cancelled, interrupted, skipped
    #[arg(long, short)]
    pub(crate) state: Vec<String>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) limit: u16,
    /// Older than the run at this position (`next` of the page before)
    #[arg(long)]
    pub(crate) before: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The run, or the beginning of its id
    pub(crate) run: String,
    /// Go on with live lines until the run ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Of this step only
    #[arg(long)]
    pub(crate) step: Option<String>,
    /// With the time of each line
    #[arg(long, short)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Check files, without a host; exit code 3 when one has problems
    Validate {
        /// Files, or folders of them; the configured folder when not given
        paths: Vec<Utf8PathBuf>,
    },
    /// List the workflows of the host
    List,
    /// Show a workflow: its text and inputs
    Show {
        /// The workflow
        name: String,
    },
    /// Store a workflow for all hosts
    Apply {
        /// The file
        file: Utf8PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventsCommand {
    /// Print events as they come
    Tail,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List dead letters, oldest first
    List {
        /// How many
        #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        /// From this one on
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Show one with its payload
    Show {
        /// Its number
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Add a source: makes a secret, writes the configuration, prints the clicks at the provider
    Add(WebhookAddArgs),
    /// Send a signed sample push to the running host
    Test(WebhookTestArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WebhookAddArgs {
    /// The source's name
    pub(crate) source: String,
    /// The provider: forgejo or gitea
    #[arg(long = "type", value_name = "PROVIDER")]
    pub(crate) provider: String,
    /// The repository's address for checkouts
    #[arg(long)]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WebhookTestArgs {
    /// The source
    pub(crate) source: String,
    /// The repository, owner and name
    #[arg(long, default_value = "example/sample")]
    pub(crate) repository: String,
    /// The branch
    #[arg(long, default_value = "main")]
    pub(crate) branch: String,
    /// The commit after the push
    #[arg(long, default_value = "1111111111111111111111111111111111111111")]
    pub(crate) commit: String,
    /// A changed path
    #[arg(long = "path", default_value = "README.md")]
    pub(crate) paths: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PluginCommand {
    /// List the plugins of the host, with what they ask for and have
    List,
}
