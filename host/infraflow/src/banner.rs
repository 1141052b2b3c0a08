//! What `up` prints when it is ready.

use camino::Utf8PathBuf;

use crate::api::types::JailItem;
use crate::exit::Failure;
use crate::output::{BOLD, DIM, GREEN, YELLOW, line, styled};

/// What a person needs to know of a host that has just started.
pub(crate) struct Banner {
    /// Its address.
    pub(crate) http: String,
    /// NATS.
    pub(crate) nats: Nats,
    /// Its name, where others share the account.
    pub(crate) host: Option<String>,
    /// The data directory.
    pub(crate) data_dir: Utf8PathBuf,
    /// Workflows of the folder.
    pub(crate) workflows: usize,
    /// The folder.
    pub(crate) workflow_folder: Utf8PathBuf,
    /// What is wrong with its files.
    pub(crate) workflow_problems: Vec<String>,
    /// Names of the sources.
    pub(crate) sources: Vec<String>,
    /// The jail.
    pub(crate) jail: JailItem,
    /// A workflow that can be started by hand.
    pub(crate) example: Option<String>,
}

/// The server.
pub(crate) enum Nats {
    /// Ours.
    Embedded {
        /// Its address.
        url: String,
        /// When records reach the disk.
        storage: &'static str,
        /// The file with the credentials for people.
        credentials: Utf8PathBuf,
    },
    /// Somebody else's.
    External {
        /// Its address.
        url: String,
    },
}

impl Banner {
    /// Prints it.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        line(&self.text())
    }

    fn text(&self) -> String {
        let mut rows = vec![("http", self.http.clone())];
        if let Some(host) = &self.host {
            rows.push(("host", host.clone()));
        }
        rows.extend(
            self.sources
                .iter()
                .map(|source| ("webhook", format!("{}/webhooks/{source}", self.http))),
        );
        match &self.nats {
            Nats::Embedded {
                url,
                storage,
                credentials,
            } => {
                rows.push(("nats", format!("{url} (embedded; sync {storage})")));
                rows.push(("data", self.data_dir.to_string()));
                rows.push(("credentials", credentials.to_string()));
            }
            Nats::External { url } => {
                rows.push(("nats", url.clone()));
                rows.push(("data", self.data_dir.to_string()));
            }
        }
        rows.push((
            "workflows",
            format!("{} from {}", self.workflows, self.workflow_folder),
        ));
        let jail = if self.jail.ok {
            self.jail.summary.clone()
        } else {
            styled(YELLOW, &self.jail.summary)
        };
        rows.push(("jail", jail));
        let version = env!("CARGO_PKG_VERSION");
        let mut text = format!(
            "{}\n\n",
            styled(GREEN, &format!("infraflow {version} is ready"))
        );
        for (name, value) in rows {
            text.push_str(&format!(
                "  {}  {value}\n",
                styled(DIM, &format!("{name:<11}"))
            ));
        }
        for problem in &self.workflow_problems {
            text.push_str(&format!("\n{}\n", styled(YELLOW, problem)));
        }
        text.push_str(&self.next_step());
        text
    }

    fn next_step(&self) -> String {
        let (lead, commands) = match &self.example {
            Some(workflow) => {
                let run = match &self.nats {
                    Nats::Embedded { .. } => format!("infraflow run {workflow}"),
                    Nats::External { url } => format!("infraflow --nats {url} run {workflow}"),
                };
                let publish = self.publish(&format!("infraflow.trigger.{workflow}"));
                ("Start a workflow from another shell:", vec![run, publish])
            }
            None => (
                "No workflow can be started by hand yet: `infraflow init` makes one. This publishes an event:",
                vec![self.publish("infraflow.event.custom.hello")],
            ),
        };
        let commands: String = commands
            .iter()
            .map(|command| format!("  {}\n", styled(BOLD, command)))
            .collect();
        format!("\n{lead}\n\n{commands}\nCtrl-C stops the host.")
    }

    /// A line to copy that publishes a message with the NATS CLI.
    fn publish(&self, subject: &str) -> String {
        match &self.nats {
            Nats::Embedded { credentials, .. } => {
                format!("(. {credentials} && nats pub {subject} '{{}}')")
            }
            Nats::External { url } => format!("nats --server {url} pub {subject} '{{}}'"),
        }
    }
}
