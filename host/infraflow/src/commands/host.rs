//! `infraflow host`: the hosts of one NATS account, and draining them.

use std::time::Duration;

use super::load_config;
use crate::api::client::Client;
use crate::api::types::{DrainRequest, HostItem};
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, ago, json, note, state, table};

/// Lists hosts.
pub(crate) async fn list(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let hosts: Vec<HostItem> = client.ask(verb::HOSTS_LIST, &()).await?;
    if global.output == Format::Json {
        json(&hosts)?;
        return Ok(Exit::Success);
    }
    let rows = hosts.iter().map(row).collect();
    table(
        &[
            "host", "state", "pools", "runs", "lease", "started", "version",
        ],
        rows,
    )?;
    Ok(Exit::Success)
}

fn row(host: &HostItem) -> Vec<String> {
    let lease = match host.lease_ms {
        0 => "none needed".to_owned(),
        millis => infraflow_core::duration::display(Duration::from_millis(millis)),
    };
    vec![
        host.name.clone(),
        state(&host.state),
        host.pools.join(", "),
        host.runs_active.to_string(),
        lease,
        ago(host.started_at),
        host.version.clone(),
    ]
}

/// Lets a host take no new runs, or take some again.
pub(crate) async fn drain(global: &Global, host: Option<String>, draining: bool) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let host: HostItem = client
        .ask(verb::HOSTS_DRAIN, &DrainRequest { host, draining })
        .await?;
    match global.output {
        Format::Json => json(&host)?,
        Format::Text if draining => note(&format!(
            "host {} takes no new runs; it gives back those that it has when their attempts end",
            host.name
        )),
        Format::Text => note(&format!("host {} takes runs", host.name)),
    }
    Ok(Exit::Success)
}
