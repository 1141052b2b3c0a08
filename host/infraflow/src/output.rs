//! What people see: aligned tables, colour on a terminal only, JSON on request.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table};
use infraflow_core::duration;
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one document, or one line for each item of a stream.
    Json,
}

pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const BLUE: Style = AnsiColor::Blue.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const BOLD: Style = Style::new().bold();

/// Prints a line. A reader that has gone away ends the program quietly.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}").map_err(|error| broken(&error))
}

fn broken(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::silent(Exit::Success);
    }
    Failure::internal("print", error)
}

/// How reports look on standard error.
pub(crate) fn report_style() -> infraflow_workflow::diagnostic::Style {
    use std::io::IsTerminal as _;
    if io::stderr().is_terminal() {
        infraflow_workflow::diagnostic::Style::Colour
    } else {
        infraflow_workflow::diagnostic::Style::Plain
    }
}

/// Prints a message beside the data: on standard error.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{text}");
}

/// Prints a document as JSON.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::internal("write JSON", &error))?;
    line(&text)
}

/// Prints a document as one line of JSON.
pub(crate) fn json_line(document: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(document).map_err(|error| Failure::internal("write JSON", &error))?;
    line(&text)
}

/// Prints rows under headers, aligned.
pub(crate) fn table(headers: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    line(&table_text(headers, rows))
}

/// Rows under headers, aligned.
pub(crate) fn table_text(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(
        headers
            .iter()
            .map(|header| styled(BOLD, &header.to_uppercase())),
    );
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A text in a style; `anstream` takes the style out where there is no terminal.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A state or outcome in its colour.
pub(crate) fn state(text: &str) -> String {
    let style = match text.split([' ', '(']).next().unwrap_or_default() {
        "succeeded" | "alive" | "done" => GREEN,
        "queued" | "skipped" | "not" | "intent" => DIM,
        "running" | "retrying" | "sleeping" => BLUE,
        "waiting" | "asked" | "cancelled" | "blocked" | "draining" => YELLOW,
        _ => RED,
    };
    styled(style, text)
}

/// A text of somebody else, safe for a terminal: without control characters but
/// tabs.
pub(crate) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\t' => out.push(c),
            // Colours of tools are taken out whole; other escapes become visible.
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next_if(|c| c.is_ascii_digit() || *c == ';').is_some() {}
                rest.next_if(|c| *c == 'm' || *c == 'K');
            }
            c if c.is_control() || is_bidi(c) => {
                // Writing to a string does not fail.
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Characters that turn the direction of text around: they make one thing look
/// like another.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How long something took, for people: three digits at most.
pub(crate) fn took(time: Duration) -> String {
    let millis = time.as_millis();
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => format!("{:.1}s", time.as_secs_f64()),
        _ => duration::display(Duration::from_secs(time.as_secs())),
    }
}

/// The time between two moments.
pub(crate) fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// How long ago something was, for people.
pub(crate) fn ago(moment: jiff::Timestamp) -> String {
    let passed = between(moment, jiff::Timestamp::now());
    let seconds = passed.as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// How long until a moment, for people.
pub(crate) fn until(moment: jiff::Timestamp) -> String {
    let left = between(jiff::Timestamp::now(), moment);
    match left.as_secs() {
        0 => "now".to_owned(),
        seconds @ 0..60 => format!("in {seconds}s"),
        seconds @ 60..3_600 => format!("in {}m", seconds / 60),
        seconds @ 3_600..86_400 => format!("in {}h", seconds / 3_600),
        seconds => format!("in {}d", seconds / 86_400),
    }
}

/// A size, for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = count.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("TiB");
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_steer_the_terminal() {
        for (text, expected) in [
            ("plain\ttext ü", "plain\ttext ü"),
            ("\u{1b}[1;31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{1b}[2Jx", "Jx"),
            ("a\rb", "a\\u{d}b"),
            ("\u{202e}gnp.exe", "\\u{202e}gnp.exe"),
        ] {
            assert_eq!(safe(text), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(took(Duration::from_millis(12)), "12ms");
        assert_eq!(took(Duration::from_millis(1_250)), "1.2s");
        assert_eq!(took(Duration::from_secs(3_725)), "1h2m5s");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(3 * 1024 * 1024), "3.0 MiB");
    }

    #[test]
    fn tables_are_aligned() {
        let text = table_text(
            &["a", "bb"],
            vec![vec!["xxx".into(), "y".into()], vec!["z".into(), "w".into()]],
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "A    BB\nxxx  y\nz    w");
    }
}
