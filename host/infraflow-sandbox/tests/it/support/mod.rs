//! What the tests share: guests, fakes behind the ports, and calls.

pub(crate) mod fakes;
pub(crate) mod guest;

use std::sync::Arc;

use infraflow_core::Json;
use infraflow_core::grant::{Capability, Permissions};
use infraflow_core::id::{
    Digest, EnvironmentName, EventId, EventSource, ProjectName, RunId, StepId, WorkflowName,
};
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::{
    PluginCall, PluginLimits, PluginReport, Plugins, ToolFacts, ToolScope, Trust,
};
use infraflow_sandbox::{Sandbox, SandboxConfig};

use fakes::{FakeSecrets, FakeStop, FakeTools, Lines};

/// A sandbox without a cache.
pub(crate) fn sandbox() -> Sandbox {
    sandbox_with_places(16)
}

/// A sandbox for so many plugins at the same time.
pub(crate) fn sandbox_with_places(places: u32) -> Sandbox {
    let cache_dir = None;
    Sandbox::new(SandboxConfig { cache_dir, places }).unwrap()
}

/// Everything behind one attempt.
pub(crate) struct Bench {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) tools: Arc<FakeTools>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) stop: Arc<FakeStop>,
    pub(crate) limits: PluginLimits,
    pub(crate) grants: Arc<[Capability]>,
    pub(crate) input: Json,
}

impl Bench {
    /// Everything is granted, and the tools do what they are asked for.
    pub(crate) fn new() -> Self {
        Self {
            sandbox: Arc::new(sandbox()),
            tools: Arc::default(),
            lines: Arc::default(),
            stop: Arc::default(),
            limits: PluginLimits::default(),
            grants: capabilities(&ALL),
            input: serde_json::json!({}),
        }
    }

    /// Prepares a component; it must be a plugin.
    pub(crate) fn prepare(&self, component: &[u8]) -> Digest {
        match self.sandbox.prepare(component) {
            Ok(prepared) => prepared.digest,
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }

    /// The call of one attempt.
    pub(crate) fn call(&self, component: Digest) -> PluginCall {
        let grants = Arc::clone(&self.grants);
        PluginCall {
            component,
            input: self.input.clone(),
            event: r#"{"id":"1","type":"infraflow.trigger"}"#.into(),
            limits: self.limits,
            scope: ToolScope {
                run: run_id(),
                workflow: WorkflowName::new("deploy").unwrap(),
                project: ProjectName::default_project(),
                environment: EnvironmentName::default_environment(),
                step: StepId::new("step").unwrap(),
                attempt: 1,
                event_source: None,
                event_commit: None,
                trust: Trust::Untrusted,
                permissions: Permissions::new(Arc::clone(&grants), grants),
                lines: self.lines.clone(),
                mask: MaskSet::new(["masked-secret-value"]),
                stop: self.stop.clone(),
                facts: Arc::new(ToolFacts::default()),
            },
            tools: self.tools.clone(),
            secrets: Arc::new(FakeSecrets),
        }
    }

    /// Runs one attempt of a prepared component.
    pub(crate) async fn run(&self, component: Digest) -> PluginReport {
        self.sandbox.run(self.call(component)).await
    }

    /// Prepares and runs.
    pub(crate) async fn try_out(&self, component: &[u8]) -> PluginReport {
        self.run(self.prepare(component)).await
    }
}

fn run_id() -> RunId {
    RunId::derive(
        &ProjectName::default_project(),
        &EventSource::new("test").unwrap(),
        &EventId::new("1").unwrap(),
        &WorkflowName::new("deploy").unwrap(),
    )
}

/// One of every capability.
pub(crate) const ALL: [&str; 13] = [
    "git",
    "ansible",
    "opentofu:plan",
    "opentofu:apply",
    "opentofu:destroy",
    "command:*",
    "workspace:rw",
    "secret:*",
    "network",
    "http:x:1",
    "state",
    "artifacts",
    "events:x",
];

/// Capabilities from their texts.
pub(crate) fn capabilities(texts: &[&str]) -> Arc<[Capability]> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// The outcome and the message of a report, as one line.
pub(crate) fn shown(report: &PluginReport) -> String {
    match &report.message {
        Some(message) => format!("{}: {message}", report.outcome),
        None => report.outcome.to_string(),
    }
}
