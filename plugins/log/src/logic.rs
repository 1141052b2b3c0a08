//! What `log` does: one message, at one level. It asks for no capability, which
//! makes it the smallest step there is.

use infraflow_step::log::Level;
use infraflow_step::{Context, Description, Host, Plugin, StepError};
use serde::{Deserialize, Serialize};

/// The plugin.
#[derive(Debug)]
pub struct Log;

/// The step's `with`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    message: String,
    level: Option<LevelName>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LevelName {
    Debug,
    Info,
    Warn,
    Error,
}

/// The step's outputs: none.
#[derive(Debug, Serialize)]
pub struct Output {}

impl Plugin for Log {
    type Input = Input;
    type Output = Output;
    const DESCRIPTION: Description = Description {
        name: "log",
        version: env!("CARGO_PKG_VERSION"),
        summary: "Writes a message to the run's log",
        input_schema: include_str!("input.schema.json"),
        output_schema: include_str!("output.schema.json"),
        capabilities: &[],
        idempotent: true,
        writes_workspace: false,
    };

    fn run(host: &dyn Host, _: &Context, input: Input) -> Result<Output, StepError> {
        let level = match input.level.unwrap_or(LevelName::Info) {
            LevelName::Debug => Level::Debug,
            LevelName::Info => Level::Info,
            LevelName::Warn => Level::Warn,
            LevelName::Error => Level::Error,
        };
        host.log(level, &input.message);
        Ok(Output {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_step::testing::{Call, FakeHost, run};
    use serde_json::json;

    #[test]
    fn a_message_is_written_at_its_level() {
        for (level, expected) in [
            (json!(null), Level::Info),
            (json!("debug"), Level::Debug),
            (json!("info"), Level::Info),
            (json!("warn"), Level::Warn),
            (json!("error"), Level::Error),
        ] {
            let host = FakeHost::new();
            let with = json!({ "message": "a\nb", "level": level });
            assert_eq!(run::<Log>(&host, &with).unwrap(), json!({}));
            assert_eq!(host.all_calls(), [Call::Log(expected, "a\nb".into())]);
        }
    }

    #[test]
    fn bad_inputs_write_nothing() {
        for (with, expected) in [
            (json!({}), "missing field `message`"),
            (json!({ "message": 1 }), "`with.message`: invalid type"),
            (
                json!({ "message": "a", "level": "loud" }),
                "`with.level`: unknown variant `loud`",
            ),
            (json!({ "message": "a", "msg": "b" }), "unknown field `msg`"),
        ] {
            infraflow_step::testing::check_refused::<Log>(&with, expected);
        }
    }

    #[test]
    fn the_schemas_name_every_field() {
        infraflow_step::testing::check_schemas::<Log>();
    }
}
