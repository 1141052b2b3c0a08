//! `infraflow sources`: the configured sources.

use super::load_config;
use crate::api::client::Client;
use crate::api::types::SourceItem;
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, YELLOW, json, note, styled, table};

/// Lists them.
pub(crate) async fn list(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let sources: Vec<SourceItem> = client.ask(verb::SOURCES_LIST, &()).await?;
    if global.output == Format::Json {
        json(&sources)?;
        return Ok(Exit::Success);
    }
    if sources.is_empty() {
        note("no sources: add one with `infraflow webhook add`");
        return Ok(Exit::Success);
    }
    let rows = sources
        .into_iter()
        .map(|source| {
            let signed = if source.insecure {
                styled(YELLOW, "no")
            } else {
                "yes".to_owned()
            };
            let code = if source.trusted {
                "trusted"
            } else {
                "untrusted"
            };
            vec![
                source.name,
                source.provider,
                source.webhook,
                signed,
                code.to_owned(),
                source.url.unwrap_or_default(),
            ]
        })
        .collect();
    table(
        &[
            "source",
            "provider",
            "webhook",
            "signed",
            "code",
            "repository",
        ],
        rows,
    )?;
    Ok(Exit::Success)
}
