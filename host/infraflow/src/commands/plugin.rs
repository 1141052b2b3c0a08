//! `infraflow plugin list`: the plugins of the host.

use super::load_config;
use crate::api::client::Client;
use crate::api::types::PluginItem;
use crate::api::verb;
use crate::cli::Global;
use crate::exit::{Exit, Outcome};
use crate::output::{BOLD, DIM, Format, GREEN, RED, json, line, safe, styled};

/// Lists them, with what each asks for and has.
pub(crate) async fn list(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let plugins: Vec<PluginItem> = client.ask(verb::PLUGINS_LIST, &()).await?;
    if global.output == Format::Json {
        json(&plugins)?;
        return Ok(Exit::Success);
    }
    for plugin in &plugins {
        line(&format!(
            "{}  {}",
            styled(BOLD, &format!("{}@{}", plugin.name, plugin.version)),
            safe(&plugin.summary)
        ))?;
        line(&styled(
            DIM,
            &format!("  {}  {}", plugin.digest, plugin.origin),
        ))?;
        for capability in &plugin.capabilities {
            let granted = if capability.granted {
                styled(GREEN, "granted")
            } else {
                styled(RED, "refused")
            };
            line(&format!(
                "  {granted}  {:<18}  {}",
                capability.capability,
                safe(&capability.reason)
            ))?;
        }
        line("")?;
    }
    Ok(Exit::Success)
}
