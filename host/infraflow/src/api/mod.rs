//! The requests that a host answers, and their documents.
//!
//! The command line is a client of these; an HTTP API can serve the same.

pub(crate) mod client;
mod operate;
pub(crate) mod server;
pub(crate) mod types;
pub(crate) mod view;

/// The verbs; the last part of a request's subject.
pub(crate) mod verb {
    pub(crate) const STATUS: &str = "status";
    pub(crate) const RUNS_LIST: &str = "runs.list";
    pub(crate) const RUNS_SHOW: &str = "runs.show";
    pub(crate) const RUNS_START: &str = "runs.start";
    pub(crate) const RUNS_CANCEL: &str = "runs.cancel";
    pub(crate) const RUNS_ANSWER: &str = "runs.answer";
    pub(crate) const RUNS_REPEAT: &str = "runs.repeat";
    pub(crate) const LOCKS_LIST: &str = "locks.list";
    pub(crate) const LOCKS_RELEASE: &str = "locks.release";
    pub(crate) const HOSTS_LIST: &str = "hosts.list";
    pub(crate) const HOSTS_DRAIN: &str = "hosts.drain";
    pub(crate) const AUDIT_LIST: &str = "audit.list";
    pub(crate) const LOGS_READ: &str = "logs.read";
    pub(crate) const WORKFLOWS_LIST: &str = "workflows.list";
    pub(crate) const WORKFLOWS_SHOW: &str = "workflows.show";
    pub(crate) const WORKFLOWS_APPLY: &str = "workflows.apply";
    pub(crate) const PLUGINS_LIST: &str = "plugins.list";
    pub(crate) const DEAD_LIST: &str = "dead.list";
    pub(crate) const DEAD_SHOW: &str = "dead.show";
    pub(crate) const UPLOAD: &str = "upload";
    pub(crate) const UPLOAD_JOIN: &str = "upload.join";
    pub(crate) const SOURCES_LIST: &str = "sources.list";
}
