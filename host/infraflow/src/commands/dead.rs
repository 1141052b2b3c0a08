//! `infraflow dead`: what could not be processed, and why.

use super::load_config;
use crate::api::client::Client;
use crate::api::types::{DeadItem, DeadPage, DeadQuery, DeadRef};
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Outcome};
use crate::output::{DIM, Format, YELLOW, ago, bytes, json, line, note, safe, styled, table};

/// Lists dead letters.
pub(crate) async fn list(global: &Global, from: u64, limit: u16) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let query = DeadQuery {
        from,
        limit: usize::from(limit),
    };
    let page: DeadPage = client.ask(verb::DEAD_LIST, &query).await?;
    if global.output == Format::Json {
        json(&page)?;
        return Ok(Exit::Success);
    }
    if page.letters.is_empty() {
        note("no dead letters");
        return Ok(Exit::Success);
    }
    let rows = page
        .letters
        .iter()
        .map(|letter| {
            vec![
                letter.id.to_string(),
                ago(letter.time),
                styled(YELLOW, &letter.reason),
                safe(&letter.subject),
                bytes(u64::try_from(letter.bytes).unwrap_or(u64::MAX)),
                safe(&letter.detail),
            ]
        })
        .collect();
    table(&["id", "time", "reason", "subject", "size", "detail"], rows)?;
    if let Some(next) = page.next {
        note(&styled(DIM, &format!("more: --from {next}")));
    }
    Ok(Exit::Success)
}

/// Shows one with its payload.
pub(crate) async fn show(global: &Global, id: u64) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let letter: DeadItem = client.ask(verb::DEAD_SHOW, &DeadRef { id }).await?;
    if global.output == Format::Json {
        json(&letter)?;
        return Ok(Exit::Success);
    }
    for (name, value) in [
        ("id", letter.id.to_string()),
        ("time", format!("{:.3}", letter.time)),
        ("reason", letter.reason.clone()),
        ("detail", letter.detail.clone()),
        ("subject", letter.subject.clone()),
    ] {
        line(&format!(
            "{}  {}",
            styled(DIM, &format!("{name:<8}")),
            safe(&value)
        ))?;
    }
    for (name, value) in &letter.headers {
        line(&format!(
            "{}  {}: {}",
            styled(DIM, "header  "),
            safe(name),
            safe(value)
        ))?;
    }
    let cut = if letter.truncated { ", cut" } else { "" };
    let size = bytes(u64::try_from(letter.bytes).unwrap_or(u64::MAX));
    line(&styled(DIM, &format!("\npayload ({size}{cut})")))?;
    for text in letter.payload.unwrap_or_default().lines() {
        line(&safe(text))?;
    }
    Ok(Exit::Success)
}
