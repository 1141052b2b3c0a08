//! The tool's `-json` output: one object a line, and what it means.
//!
//! Open to message types that do not exist yet: their message is shown.

use infraflow_core::limits::{ERROR_TEXT, LOG_LINE};
use infraflow_core::line::Level;
use infraflow_core::tool::{Changes, ProcessEnd, TofuOutcome};
use infraflow_core::{Json, JsonMap};

use crate::errors::shorten;
use crate::limits::RESOURCE_CHANGES;

/// What was seen of one command.
#[derive(Debug, Default)]
pub(super) struct Seen {
    summary: Option<Changes>,
    /// What was done, resource by resource, where no summary came.
    done: Changes,
    resource_changes: Vec<Json>,
    resource_changes_bytes: usize,
    pub(super) truncated: bool,
    errors: Vec<String>,
    errors_bytes: usize,
    pub(super) outputs: JsonMap,
    pub(super) sensitive_outputs: Vec<String>,
    /// The last lines that were no JSON: a crash, or a wrong option.
    plain: Vec<String>,
}

/// What one line is for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) level: Level,
    /// Lines, with newlines between them.
    pub(super) text: String,
}

/// Plain lines that are kept.
const PLAIN_LINES: usize = 30;

impl Seen {
    /// Takes a line of standard output; `None` when there is nothing to show.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<Shown> {
        let message = match serde_json::from_slice(line) {
            Ok(Json::Object(message)) if message.contains_key("@message") => message,
            _ => return self.take_plain(line),
        };
        let text_of = |key: &str| message.get(key).and_then(Json::as_str).unwrap_or_default();
        let level = match text_of("@level") {
            "trace" | "debug" => Level::Debug,
            "warn" => Level::Warn,
            "error" => Level::Error,
            _ => Level::Info,
        };
        let mut text = text_of("@message").to_owned();
        match text_of("type") {
            "change_summary" => self.take_summary(message.get("changes")),
            "planned_change" => self.take_change(message.get("change")),
            "apply_complete" => self.take_done(message.get("hook")),
            // The values are in the result; sensitive ones nowhere.
            "outputs" => self.take_outputs(message.get("outputs")),
            "diagnostic" => {
                let diagnostic = message.get("diagnostic").unwrap_or(&Json::Null);
                if is_ours(diagnostic) {
                    return None;
                }
                text = described(diagnostic);
                self.take_error(diagnostic, &text);
            }
            _ => {}
        }
        Some(Shown { level, text })
    }

    fn take_plain(&mut self, line: &[u8]) -> Option<Shown> {
        let text = String::from_utf8_lossy(line).into_owned();
        if !text.trim().is_empty() {
            if self.plain.len() == PLAIN_LINES {
                self.plain.remove(0);
            }
            let end = text.floor_char_boundary(1_024);
            self.plain
                .push(text.get(..end).unwrap_or_default().to_owned());
        }
        Some(Shown {
            level: Level::Info,
            text,
        })
    }

    fn take_summary(&mut self, changes: Option<&Json>) {
        let count = |key: &str| {
            let number = changes.and_then(|changes| changes.get(key)?.as_u64());
            u32::try_from(number.unwrap_or_default()).unwrap_or(u32::MAX)
        };
        self.summary = Some(Changes {
            add: count("add"),
            change: count("change"),
            destroy: count("remove"),
            import: count("import"),
        });
    }

    fn take_change(&mut self, change: Option<&Json>) {
        let field = |path: &str| change.and_then(|change| change.pointer(path)?.as_str());
        let (Some(address), Some(action)) = (field("/resource/addr"), field("/action")) else {
            return;
        };
        let mut entry = JsonMap::new();
        entry.insert("address".to_owned(), address.into());
        entry.insert("action".to_owned(), action.into());
        if let Some(reason) = field("/reason") {
            entry.insert("reason".to_owned(), reason.into());
        }
        let entry = Json::Object(entry);
        // A comma, or the brackets of the list.
        let bytes = self.resource_changes_bytes + entry.to_string().len() + 1;
        if bytes + 1 > RESOURCE_CHANGES.to_usize() {
            self.truncated = true;
            return;
        }
        self.resource_changes_bytes = bytes;
        self.resource_changes.push(entry);
    }

    fn take_done(&mut self, hook: Option<&Json>) {
        let action = hook.and_then(|hook| hook.get("action")?.as_str());
        let count = match action {
            Some("create") => &mut self.done.add,
            Some("update") => &mut self.done.change,
            Some("delete") => &mut self.done.destroy,
            _ => return,
        };
        *count = count.saturating_add(1);
    }

    fn take_outputs(&mut self, outputs: Option<&Json>) {
        let Some(outputs) = outputs.and_then(Json::as_object) else {
            return;
        };
        let (open, sensitive) = split_outputs(outputs);
        self.outputs = open;
        self.sensitive_outputs = sensitive;
    }

    fn take_error(&mut self, diagnostic: &Json, text: &str) {
        let severity = diagnostic.get("severity").and_then(Json::as_str);
        if severity == Some("error") && self.errors_bytes < ERROR_TEXT.to_usize() {
            self.errors_bytes += text.len();
            self.errors.push(text.to_owned());
        }
    }

    /// The changed resources by address: the tool's own order is by chance.
    pub(super) fn sorted_changes(mut self) -> Vec<Json> {
        let address = |change: &Json| change.get("address").map(Json::to_string);
        self.resource_changes.sort_by_key(address);
        self.resource_changes
    }

    /// What was, or would be, changed.
    pub(super) fn changes(&self) -> Changes {
        self.summary.unwrap_or(self.done)
    }

    /// How the command ended; `stderr` is what it printed there, `fine` are the
    /// exit codes that mean success.
    pub(super) fn outcome(&self, end: ProcessEnd, stderr: &str, fine: &[i32]) -> TofuOutcome {
        let code_is_fine = end.exit_code().is_some_and(|code| fine.contains(&code));
        let succeeded = code_is_fine && self.errors.is_empty();
        let message = match end {
            _ if succeeded => String::new(),
            _ if !self.errors.is_empty() => self.errors.join("\n"),
            ProcessEnd::Signalled(signal) => format!("the tool was ended by signal {signal}"),
            ProcessEnd::Exited(_) if !stderr.trim().is_empty() => stderr.trim().to_owned(),
            ProcessEnd::Exited(code) if self.plain.is_empty() => {
                format!("the tool exited with {code}")
            }
            ProcessEnd::Exited(_) => self.plain.join("\n"),
        };
        TofuOutcome {
            end,
            succeeded,
            message: shorten(message, ERROR_TEXT),
        }
    }
}

/// Outputs that may be shown, and the names of those that may not.
pub(super) fn split_outputs(outputs: &JsonMap) -> (JsonMap, Vec<String>) {
    let mut open = JsonMap::new();
    let mut sensitive = Vec::new();
    for (name, output) in outputs {
        // What does not say that it is open is not.
        if output.get("sensitive").and_then(Json::as_bool) != Some(false) {
            sensitive.push(name.clone());
        } else if let Some(value) = output.get("value") {
            open.insert(name.clone(), value.clone());
        }
    }
    sensitive.sort();
    (open, sensitive)
}

/// Terraform 1.11 warns of an option that we need and OpenTofu has.
fn is_ours(diagnostic: &Json) -> bool {
    diagnostic.get("summary").and_then(Json::as_str) == Some("Deprecated flag: -state")
}

/// A diagnostic as people read it: what, where, and the details.
fn described(diagnostic: &Json) -> String {
    let text_at = |path: &str| diagnostic.pointer(path).and_then(Json::as_str);
    let severity = match text_at("/severity") {
        Some("warning") => "Warning",
        _ => "Error",
    };
    let mut text = format!("{severity}: {}", text_at("/summary").unwrap_or_default());
    if let Some(file) = text_at("/range/filename") {
        let line = diagnostic.pointer("/range/start/line");
        let line = line.and_then(Json::as_u64).unwrap_or_default();
        text.push_str(&format!("\n  on {file}:{line}"));
        if let Some(context) = text_at("/snippet/context") {
            text.push_str(&format!(", in {context}"));
        }
    } else if let Some(address) = text_at("/address") {
        text.push_str(&format!("\n  with {address}"));
    }
    if let Some(detail) = text_at("/detail").filter(|detail| !detail.is_empty()) {
        text.push_str(&format!("\n{}", detail.trim_end()));
    }
    shorten(text, LOG_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(lines: &[&str]) -> (Seen, Vec<Shown>) {
        let mut seen = Seen::default();
        let shown = lines
            .iter()
            .filter_map(|line| seen.take(line.as_bytes()))
            .collect();
        (seen, shown)
    }

    const PLAN: [&str; 5] = [
        r#"{"@level":"info","@message":"Terraform 1.11.4","@module":"terraform.ui","terraform":"1.11.4","type":"version","ui":"1.2"}"#,
        r#"{"@level":"warn","@message":"Warning: Deprecated flag: -state","type":"diagnostic","diagnostic":{"severity":"warning","summary":"Deprecated flag: -state","detail":"x"}}"#,
        r#"{"@level":"info","@message":"terraform_data.t: Plan to replace","change":{"resource":{"addr":"terraform_data.t"},"action":"replace","reason":"cannot_update"},"type":"planned_change"}"#,
        r#"{"@level":"info","@message":"Plan: 1 to add, 0 to change, 1 to destroy.","changes":{"add":1,"change":0,"remove":1,"operation":"plan"},"type":"change_summary"}"#,
        r#"{"@level":"info","@message":"Outputs: 1","outputs":{"o":{"sensitive":false,"action":"create"}},"type":"outputs"}"#,
    ];

    #[test]
    fn a_plan_is_counted_and_listed() {
        let (seen, shown) = seen(&PLAN);
        let changes = seen.changes();
        assert_eq!(
            (changes.add, changes.change, changes.destroy, changes.import),
            (1, 0, 1, 0)
        );
        assert_eq!(
            Json::Array(seen.resource_changes.clone()).to_string(),
            r#"[{"action":"replace","address":"terraform_data.t","reason":"cannot_update"}]"#
        );
        let texts: Vec<&str> = shown.iter().map(|shown| shown.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "Terraform 1.11.4",
                "terraform_data.t: Plan to replace",
                "Plan: 1 to add, 0 to change, 1 to destroy.",
                "Outputs: 1"
            ]
        );
        assert!(seen.outcome(ProcessEnd::Exited(2), "", &[0, 2]).succeeded);
    }

    #[test]
    fn a_diagnostic_says_where() {
        let line = r#"{"@level":"error","@message":"Error: No value","diagnostic":{"severity":"error","summary":"No value for required variable","detail":"Use a -var.","range":{"filename":"main.tf","start":{"line":4}},"snippet":{"context":"variable \"x\""}},"type":"diagnostic"}"#;
        let (seen, shown) = seen(&[line]);
        let expected =
            "Error: No value for required variable\n  on main.tf:4, in variable \"x\"\nUse a -var.";
        assert_eq!(shown[0].text, expected);
        assert_eq!(shown[0].level, Level::Error);
        let outcome = seen.outcome(ProcessEnd::Exited(1), "", &[0]);
        assert!(!outcome.succeeded);
        assert_eq!(outcome.message, expected);
    }

    #[test]
    fn sensitive_outputs_are_named_and_never_shown() {
        let line = r#"{"@level":"info","@message":"Outputs: 3","outputs":{"o":{"sensitive":false,"type":"string","value":"a"},"s":{"sensitive":true,"type":"string","value":"hunter22"},"odd":{"value":"x"}},"type":"outputs"}"#;
        let (seen, shown) = seen(&[line]);
        assert_eq!(
            seen.outputs,
            JsonMap::from_iter([("o".to_owned(), "a".into())])
        );
        assert_eq!(seen.sensitive_outputs, ["odd", "s"]);
        assert_eq!(shown[0].text, "Outputs: 3");
    }

    #[test]
    fn an_apply_that_fails_half_way_counts_what_it_did() {
        let done = |action: &str| {
            format!(
                r#"{{"@level":"info","@message":"x","hook":{{"action":"{action}"}},"type":"apply_complete"}}"#
            )
        };
        let lines = [done("create"), done("create"), done("delete"), done("new")];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let changes = seen(&lines).0.changes();
        assert_eq!((changes.add, changes.change, changes.destroy), (2, 0, 1));
    }

    #[test]
    fn what_is_no_json_is_shown_and_explains_a_crash() {
        let (seen, shown) = seen(&["panic: oh no", "", r#"["x"]"#, r#"{"type":"new"}"#]);
        assert_eq!(shown.len(), 4);
        let outcome = seen.outcome(ProcessEnd::Exited(11), "", &[0]);
        assert_eq!(outcome.message, "panic: oh no\n[\"x\"]\n{\"type\":\"new\"}");
        let outcome = seen.outcome(
            ProcessEnd::Exited(1),
            "flag provided but not defined\n",
            &[0],
        );
        assert_eq!(outcome.message, "flag provided but not defined");
        let outcome = seen.outcome(ProcessEnd::Signalled(9), "", &[0]);
        assert_eq!(outcome.message, "the tool was ended by signal 9");
    }

    #[test]
    fn unknown_types_are_shown() {
        let (_, shown) = seen(&[
            r#"{"@level":"debug","@message":"ephemeral","type":"ephemeral_action_started"}"#,
        ]);
        assert_eq!(
            shown,
            [Shown {
                level: Level::Debug,
                text: "ephemeral".to_owned()
            }]
        );
    }

    #[test]
    fn the_list_of_changes_is_bounded() {
        let line = |number: usize| {
            format!(
                r#"{{"@level":"info","@message":"x","change":{{"resource":{{"addr":"a{number}"}},"action":"create"}},"type":"planned_change"}}"#
            )
        };
        let mut seen = Seen::default();
        for number in 0..10_000 {
            seen.take(line(number).as_bytes());
        }
        assert!(seen.truncated);
        let list = Json::Array(seen.resource_changes).to_string();
        assert!(list.len() <= RESOURCE_CHANGES.to_usize());
        assert!(list.len() > RESOURCE_CHANGES.to_usize() - 100);
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Seen::default().take(&line);
        }

        #[test]
        fn messages_of_any_shape_never_panic(
            kind in "(change_summary|planned_change|apply_complete|outputs|diagnostic|x)",
            body in "(1|null|\\[\\]|\\{\"(add|resource|action|severity|range|a)\":(-1|null|\"x\"|\\{\"sensitive\":1\\})\\})",
        ) {
            for key in ["changes", "change", "hook", "outputs", "diagnostic"] {
                let line = format!(r#"{{"@level":1,"@message":"m","type":"{kind}","{key}":{body}}}"#);
                let _ = Seen::default().take(line.as_bytes());
            }
        }
    }
}
