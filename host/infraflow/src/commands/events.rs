//! `infraflow events tail`: events as they come.

use infraflow_bus::EventTail;

use super::load_config;
use crate::api::client::Client;
use crate::cli::Global;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{BOLD, DIM, Format, RED, json_line, line, note, safe, styled};

/// Longest data shown on a line.
const DATA_CHARS: usize = 200;

/// Prints events until it is interrupted.
pub(crate) async fn tail(global: &Global) -> Outcome {
    let client = Client::connect(&load_config(global)?).await?;
    let mut events = EventTail::open(client.bus())
        .await
        .map_err(|error| Failure::new(Exit::Unreachable, error))?;
    if global.output == Format::Text {
        note(&styled(DIM, "waiting for events; Ctrl-C ends"));
    }
    while let Some((subject, event)) = events.next().await {
        if global.output == Format::Json {
            json_line(&match &event {
                Ok(event) => {
                    serde_json::json!({ "address": subject, "event": event.to_document() })
                }
                Err(problem) => serde_json::json!({ "address": subject, "problem": problem }),
            })?;
            continue;
        }
        match event {
            Ok(event) => {
                let data: String = event.json.to_string().chars().take(DATA_CHARS).collect();
                let about = event.subject.as_deref().map(safe).unwrap_or_default();
                line(&format!(
                    "{} {} {about} {} {}",
                    styled(DIM, &format!("{:.3}", event.time)),
                    styled(BOLD, &safe(event.kind.as_str())),
                    styled(DIM, &format!("by {}", safe(&event.actor.to_string()))),
                    safe(&data),
                ))?;
            }
            Err(problem) => {
                line(&format!(
                    "{} {}",
                    styled(RED, &safe(&subject)),
                    safe(&problem)
                ))?;
            }
        }
    }
    Ok(Exit::Success)
}
