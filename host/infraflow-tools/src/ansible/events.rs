//! ansible-runner's event stream: one JSON object a line, between lines that
//! Ansible printed outside of any event.

use infraflow_core::Json;
use infraflow_core::line::Level;
use infraflow_core::tool::HostStats;

use super::observed::{Failure, Observed};

/// What one line of the stream is for the log: its text and how much it
/// matters. The text holds newlines; it is empty for events that show nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) level: Level,
    pub(super) text: String,
}

/// Takes a line of the stream.
pub(super) fn take(line: &[u8], observed: &mut Observed) -> Shown {
    match event(line) {
        Some((name, event)) => take_event(&name, &event, observed),
        None => {
            let text = String::from_utf8_lossy(line).into_owned();
            let level = level_of_text(&text);
            observed.line(&text);
            Shown { level, text }
        }
    }
}

/// What a playbook prints may look like JSON too: an event has these fields.
fn event(line: &[u8]) -> Option<(String, Json)> {
    if !line.starts_with(b"{") {
        return None;
    }
    let event: Json = serde_json::from_slice(line).ok()?;
    event.get("counter")?;
    event.get("runner_ident")?;
    let name = event.get("event")?.as_str()?.to_owned();
    Some((name, event))
}

fn take_event(name: &str, event: &Json, observed: &mut Observed) -> Shown {
    let text = event.get("stdout").and_then(Json::as_str);
    let text = text.unwrap_or_default().replace("\r\n", "\n");
    let data = event.get("event_data").unwrap_or(&Json::Null);
    let mut level = Level::Info;
    match name {
        "runner_on_start" | "playbook_on_task_start" => observed.tasks_started = true,
        "runner_on_failed" | "runner_on_async_failed" => {
            let ignored = data.get("ignore_errors").and_then(Json::as_bool);
            if ignored == Some(true) {
                level = Level::Warn;
            } else {
                level = Level::Error;
                observed.failed(failure(data));
            }
        }
        "runner_on_unreachable" => {
            level = Level::Error;
            observed.failed(failure(data));
        }
        "playbook_on_no_hosts_matched" => observed.no_hosts_matched = true,
        "playbook_on_stats" => take_stats(data, observed),
        "error" => {
            level = Level::Error;
            text.lines().for_each(|line| observed.line(line));
        }
        "warning" | "system_warning" | "deprecated" => level = Level::Warn,
        "debug" => level = Level::Debug,
        _ => {}
    }
    Shown { level, text }
}

fn failure(data: &Json) -> Failure {
    let text_of = |key: &str| {
        let text = data.get(key).and_then(Json::as_str);
        text.unwrap_or_default().to_owned()
    };
    Failure {
        host: text_of("host"),
        task: text_of("task"),
        text: reason(data.get("res").unwrap_or(&Json::Null)),
    }
}

/// Why a task failed, from its result.
pub(super) fn reason(result: &Json) -> String {
    let text = |key: &str| {
        let text = result.get(key).and_then(Json::as_str);
        text.map(str::trim).filter(|text| !text.is_empty())
    };
    let message = text("msg").unwrap_or("it gave no message");
    let mut reason = message.to_owned();
    if let Some(code) = result.get("rc").and_then(Json::as_i64) {
        reason = format!("{reason} (exit code {code})");
    }
    // A command's own words say more than "non-zero return code".
    if let Some(last) = text("stderr").and_then(|text| text.lines().next_back()) {
        reason = format!("{reason}: {}", last.trim());
    }
    reason
}

fn take_stats(data: &Json, observed: &mut Observed) {
    let mut stats = std::collections::BTreeMap::<String, HostStats>::new();
    type Count = fn(&mut HostStats) -> &mut u32;
    let counts: [(&str, Count); 7] = [
        ("ok", |host| &mut host.ok),
        ("changed", |host| &mut host.changed),
        ("failures", |host| &mut host.failures),
        ("dark", |host| &mut host.unreachable),
        ("skipped", |host| &mut host.skipped),
        ("rescued", |host| &mut host.rescued),
        ("ignored", |host| &mut host.ignored),
    ];
    let hosts_of = |key: &str| {
        let hosts = data.get(key).and_then(Json::as_object);
        hosts.into_iter().flatten()
    };
    for (name, _) in hosts_of("processed") {
        stats.entry(name.clone()).or_default();
    }
    for (key, count) in counts {
        for (name, number) in hosts_of(key) {
            let number = number.as_u64().and_then(|n| u32::try_from(n).ok());
            let host = stats.entry(name.clone()).or_default();
            *count(host) = number.unwrap_or_default();
        }
    }
    for (name, host) in &mut stats {
        host.host.clone_from(name);
    }
    observed.stats = Some(stats);
    if let Some(custom) = data.get("artifact_data").and_then(Json::as_object) {
        observed.custom_stats = custom.clone();
    }
}

/// How much a line matters that Ansible printed outside of any event.
pub(super) fn level_of_text(text: &str) -> Level {
    if text.starts_with("[ERROR]") || text.starts_with("ERROR!") || text.starts_with("fatal:") {
        Level::Error
    } else if text.starts_with("[WARNING]") || text.starts_with("[DEPRECATION WARNING]") {
        Level::Warn
    } else {
        Level::Info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::tool::{PlaybookEnding, ProcessEnd};
    use proptest::prelude::*;

    fn event_line(name: &str, stdout: &str, data: &str) -> Vec<u8> {
        let stdout = Json::from(stdout);
        format!(
            r#"{{"uuid":"u","counter":1,"stdout":{stdout},"runner_ident":"run","event":"{name}","event_data":{data}}}"#
        )
        .into_bytes()
    }

    #[test]
    fn events_are_shown_by_what_they_mean() {
        for (name, data, level) in [
            ("runner_on_ok", r#"{"host":"a"}"#, Level::Info),
            (
                "runner_on_failed",
                r#"{"host":"a","task":"t"}"#,
                Level::Error,
            ),
            (
                "runner_on_failed",
                r#"{"host":"a","ignore_errors":true}"#,
                Level::Warn,
            ),
            ("runner_on_unreachable", r#"{"host":"a"}"#, Level::Error),
            ("warning", "{}", Level::Warn),
            ("error", "{}", Level::Error),
            ("something_new", "[]", Level::Info),
        ] {
            let mut observed = Observed::default();
            let shown = take(&event_line(name, "a\r\nb", data), &mut observed);
            assert_eq!(
                (shown.level, shown.text.as_str()),
                (level, "a\nb"),
                "{name}"
            );
        }
    }

    #[test]
    fn the_counts_and_custom_stats_are_taken() {
        let data = r#"{"changed":{"a":1},"dark":{"c":1},"failures":{"b":2},"ignored":{"b":1},
            "ok":{"a":3,"b":1},"processed":{"a":1,"b":1,"c":1},"rescued":{},"skipped":{"a":4},
            "artifact_data":{"version":"1.2"}}"#
            .replace('\n', "");
        let mut observed = Observed::default();
        take(&event_line("playbook_on_stats", "", &data), &mut observed);
        let result = observed.result(ProcessEnd::Exited(2));
        assert_eq!(result.ending, PlaybookEnding::HostsFailed);
        let shown: Vec<String> = result
            .hosts
            .iter()
            .map(|h| {
                format!(
                    "{} {} {} {} {} {} {} {}",
                    h.host,
                    h.ok,
                    h.changed,
                    h.failures,
                    h.unreachable,
                    h.skipped,
                    h.rescued,
                    h.ignored
                )
            })
            .collect();
        assert_eq!(
            shown,
            ["a 3 1 0 0 4 0 0", "b 1 0 2 0 0 0 1", "c 0 0 0 1 0 0 0"]
        );
        assert_eq!(result.custom_stats["version"], "1.2");
    }

    #[test]
    fn what_a_playbook_prints_is_no_event() {
        for line in [
            &b"{\"event\": \"playbook_on_stats\"}"[..],
            b"{}",
            b"5",
            b"\"text\"",
            b"{\"event\": 1, \"counter\": 1, \"runner_ident\": 1}",
            b"{ not json",
            b"\xff\xfe",
        ] {
            let mut observed = Observed::default();
            let shown = take(line, &mut observed);
            assert_eq!(shown.text, String::from_utf8_lossy(line));
            assert!(observed.stats.is_none());
        }
    }

    #[test]
    fn reasons_say_what_the_command_said() {
        for (result, expected) in [
            (r#"{"msg":"no"}"#, "no"),
            (
                r#"{"msg":"non-zero return code","rc":3,"stderr":"a\nboom\n"}"#,
                "non-zero return code (exit code 3): boom",
            ),
            (r#"{"rc":1}"#, "it gave no message (exit code 1)"),
            ("null", "it gave no message"),
            (r#"{"msg":["x"]}"#, "it gave no message"),
        ] {
            let result: Json = serde_json::from_str(result).unwrap();
            assert_eq!(reason(&result), expected);
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = take(&line, &mut Observed::default());
        }

        #[test]
        fn events_with_any_data_never_panic(
            name in "(playbook_on_stats|runner_on_failed|runner_on_unreachable|error|x)",
            data in "(\\{\"(ok|host|res|dark|processed|artifact_data|ignore_errors)\":(1|\"a\"|\\[1\\]|\\{\"a\":(-1|\"x\"|1e99)\\}|null)\\}|3|null|\\[\\])",
        ) {
            let _ = take(&event_line(&name, "x", &data), &mut Observed::default());
        }
    }
}
