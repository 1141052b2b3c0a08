//! What the YAML parser complains about, in words that help.

use crate::diagnostic::{Problem, ProblemKind, Span, shown};

/// The problem behind a complaint of the parser at a byte offset.
pub(super) fn explain(info: &str, source: &str, at: usize) -> Problem {
    let here = |message: String| Problem::new(ProblemKind::Syntax, one_char(source, at), message);
    if let Some(problem) = tab(info, source, at) {
        return problem;
    }
    let rest = source.get(at..).unwrap_or_default();
    let has = |part: &str| info.contains(part);
    if has("unknown anchor") {
        let alias: String = rest.chars().take_while(|c| !ends_alias(*c)).collect();
        let span = Span::new(at, at + alias.len());
        return Problem::new(
            ProblemKind::Syntax,
            span,
            format!("the alias `{}` has no anchor", shown(&alias)),
        )
        .hint("a text that starts with `*` needs quotes");
    }
    if has("mapping values are not allowed") || has("':' must be") || has("':' indicator") {
        return here("a `:` cannot stand here".to_owned())
            .hint("check the indentation and the brackets; a text with `: ` in it needs quotes");
    }
    if has("did not find expected key") || has("expected '-' indicator") || has("indentation") {
        return here("this line fits no line above it".to_owned())
            .hint("lines of one map or list start in the same column");
    }
    if has("quoted scalar") && has("end of stream") {
        return here("the quotes that open here are never closed".to_owned());
    }
    if has("escape") {
        return here("a text in double quotes holds an escape that does not exist".to_owned())
            .hint("write `\\\\` for a backslash, or use single quotes");
    }
    if has("flow mapping") || has("flow sequence") || has("bracket") {
        return here("the brackets do not fit".to_owned())
            .hint("parts are separated by `,`, and each `[` and `{` has its `]` and `}`");
    }
    if has("expected node content") {
        return here("a value is missing here".to_owned());
    }
    if has("unexpected character") {
        let first: String = rest.chars().take(1).collect();
        return here(format!("a text cannot start with `{first}`")).hint("put it in quotes");
    }
    if has("comment intercepting") {
        return here("a text cannot go on after a comment".to_owned());
    }
    here(format!("this is not YAML: {}", shown(info)))
}

/// Tabs that stand where YAML wants spaces; the parser notices them late.
fn tab(info: &str, source: &str, at: usize) -> Option<Problem> {
    let before = source.get(..at)?;
    if info.contains("':' must be followed") && before.ends_with('\t') {
        let problem = Problem::new(
            ProblemKind::Syntax,
            Span::new(at - 1, at),
            "a tab follows the `:`",
        );
        return Some(problem.hint("use a space"));
    }
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    // The complaint is about this line, or about the next one that it expects
    // to go on.
    let mut start = line_start;
    for line in source.get(line_start..)?.split_inclusive('\n').take(2) {
        if let Some(problem) = tab_in_indentation(line, start) {
            return Some(problem);
        }
        start += line.len();
    }
    None
}

/// The problem when a line is indented with a tab.
fn tab_in_indentation(line: &str, line_start: usize) -> Option<Problem> {
    let indentation = line.len() - line.trim_start_matches([' ', '\t']).len();
    let tab = line.get(..indentation)?.find('\t')?;
    Some(tab_used(line_start + tab))
}

/// The problem of a tab in the indentation.
pub(super) fn tab_used(at: usize) -> Problem {
    let message = "a tab is used for indentation";
    Problem::new(ProblemKind::Syntax, Span::new(at, at + 1), message)
        .hint("YAML is indented with spaces")
}

fn one_char(source: &str, at: usize) -> Span {
    let length = source
        .get(at..)
        .and_then(|rest| rest.chars().next())
        .filter(|c| !c.is_whitespace())
        .map_or(0, char::len_utf8);
    Span::new(at, at + length)
}

fn ends_alias(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}')
}
