//! `infraflow audit`: who did what, to what.

use super::load_config;
use crate::api::client::Client;
use crate::api::types::{AuditItem, AuditPage, AuditQuery};
use crate::api::verb;
use crate::cli::{AuditArgs, Global};
use crate::exit::{Exit, Outcome};
use crate::output::{DIM, Format, json, note, safe, state, styled, table};

/// Lists audit entries, newest first.
pub(crate) async fn list(global: &Global, args: AuditArgs) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let query = AuditQuery {
        before: args.before,
        limit: usize::from(args.limit),
    };
    let page: AuditPage = client.ask(verb::AUDIT_LIST, &query).await?;
    if global.output == Format::Json {
        json(&page)?;
        return Ok(Exit::Success);
    }
    if page.entries.is_empty() {
        note("nothing was done yet");
        return Ok(Exit::Success);
    }
    table(
        &["time", "who", "what", "to", "result", "detail"],
        page.entries.iter().map(row).collect(),
    )?;
    if let Some(next) = page.next {
        note(&styled(DIM, &format!("older ones: --before {next}")));
    }
    Ok(Exit::Success)
}

fn row(entry: &AuditItem) -> Vec<String> {
    let detail = match (&entry.detail, entry.reason.as_str()) {
        (_, reason) if !reason.is_empty() => safe(reason),
        (serde_json::Value::Null, _) => String::new(),
        (detail, _) => safe(&detail.to_string()),
    };
    vec![
        entry.at.map(|at| format!("{at:.3}")).unwrap_or_default(),
        safe(&entry.actor),
        entry.action.clone(),
        safe(&entry.object),
        state(&entry.phase),
        detail,
    ]
}
