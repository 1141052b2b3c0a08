//! `{{ }}` and `when`: compiled, and checked as far as that goes before they
//! run: their form, their filters, their names.

use std::cell::RefCell;
use std::collections::HashMap;

use infraflow_core::template::{Expr, Scope, Template};
use infraflow_core::{Json, JsonMap};

use crate::diagnostic::{Problem, ProblemKind, shown};
use crate::document::Content;
use crate::names::{Names, Place, span_of};
use crate::read::{Read, Value, all};

/// Compiles the expressions of one workflow.
pub(crate) struct Expressions<'n, 'd> {
    names: &'n Names<'d>,
    /// What is known of filters (`|`) and tests (`is`) by now.
    words: RefCell<HashMap<(&'static str, String), bool>>,
}

impl<'n, 'd> Expressions<'n, 'd> {
    pub(crate) fn new(names: &'n Names<'d>) -> Self {
        Self {
            names,
            words: RefCell::default(),
        }
    }

    /// A document with templates in it.
    pub(crate) fn template(&self, place: Place, value: Value<'_>) -> Read<Template> {
        match value.node().content() {
            Content::Text(text) => self.text(place, value, text),
            Content::List(_) => self.list(place, value),
            Content::Map(_) => self.map(place, value),
            Content::Null | Content::Bool(_) | Content::Number(_) => {
                Ok(Template::Literal(value.json()))
            }
        }
    }

    /// A map with templates in it; nothing at all is an empty one.
    pub(crate) fn map_template(&self, place: Place, value: Option<Value<'_>>) -> Read<Template> {
        match value {
            Some(value) if value.node().as_map().is_some() => self.template(place, value),
            Some(value) if !value.is_null() => Err(value.wrong_type("a map")),
            _ => Ok(Template::Literal(Json::Object(JsonMap::new()))),
        }
    }

    /// An expression, as in `when`.
    pub(crate) fn expression(&self, place: Place, value: Value<'_>) -> Read<Expr> {
        let text = match value.node().content() {
            Content::Bool(true) => "true",
            Content::Bool(false) => "false",
            _ => value.text()?,
        };
        let expr = Expr::compile(text).map_err(|error| refuse(value, &error.reason))?;
        self.check(
            place,
            value,
            expr.source(),
            expr.paths(),
            expr.tolerates_missing(),
        )?;
        Ok(expr)
    }

    fn text(&self, place: Place, value: Value<'_>, text: &str) -> Read<Template> {
        let template =
            Template::compile_text(text).map_err(|error| refuse(value, &error.reason))?;
        let mut outcome = Ok(());
        template.visit_paths(&mut |source, paths, tolerates| {
            let checked = self.check(place, value, source, paths, tolerates);
            if checked.is_err() {
                outcome = checked;
            }
        });
        outcome.map(|()| template)
    }

    fn list(&self, place: Place, value: Value<'_>) -> Read<Template> {
        let items = value.items()?;
        let items = all(items.into_iter().map(|item| self.template(place, item)))?;
        if !items.iter().all(Template::is_literal) {
            return Ok(Template::List(items));
        }
        Ok(Template::Literal(
            items.into_iter().filter_map(literal).collect(),
        ))
    }

    fn map(&self, place: Place, value: Value<'_>) -> Read<Template> {
        let entries = value.entries(|key, value| {
            let name = key.node().as_text().unwrap_or_default();
            if name.contains("{{") || name.contains("{%") {
                let problem = key.problem(ProblemKind::Template, "a key holds a template");
                key.report(problem.hint("keys are taken as they are; only values are computed"));
            }
            Ok((name.to_owned(), self.template(place, value)?))
        })?;
        if !entries.iter().all(|(_, value)| value.is_literal()) {
            return Ok(Template::Map(entries));
        }
        let map = entries
            .into_iter()
            .filter_map(|(name, value)| Some((name, literal(value)?)));
        Ok(Template::Literal(Json::Object(map.collect())))
    }

    fn check(
        &self,
        place: Place,
        value: Value<'_>,
        source: &str,
        paths: &[String],
        tolerates_missing: bool,
    ) -> Read<()> {
        let names = self.names.check(place, value, paths, tolerates_missing);
        let words = self.check_words(value, source);
        names.and(words)
    }

    /// Filters and tests are looked up when an expression runs; here they are
    /// tried out on nothing.
    fn check_words(&self, value: Value<'_>, source: &str) -> Read<()> {
        let mut outcome = Ok(());
        for (kind, word) in words(source) {
            if !self.is_word(kind, word) {
                let message = format!("there is no {kind} `{}`", shown(word));
                let span = span_of(word, value);
                let problem = Problem::new(ProblemKind::Template, span, message);
                outcome = Err(value.report(problem));
            }
        }
        outcome
    }

    fn is_word(&self, kind: &'static str, word: &str) -> bool {
        *self
            .words
            .borrow_mut()
            .entry((kind, word.to_owned()))
            .or_insert_with(|| {
                let source = match kind {
                    FILTER => format!("0 | {word}"),
                    _ => format!("0 is {word}"),
                };
                let tried = Expr::compile(&source).and_then(|expr| expr.eval(&Scope::default()));
                let unknown = format!("unknown {kind}");
                !tried.is_err_and(|error| error.reason.starts_with(&unknown))
            })
    }
}

const FILTER: &str = "filter";
const TEST: &str = "test";

fn refuse(value: Value<'_>, reason: &str) -> crate::read::Refused {
    let reason = reason.strip_prefix("syntax error: ").unwrap_or(reason);
    let message = format!("this expression cannot be read: {reason}");
    value.report(value.problem(ProblemKind::Template, message))
}

fn literal(template: Template) -> Option<Json> {
    match template {
        Template::Literal(json) => Some(json),
        _ => None,
    }
}

/// The filters and tests that an expression, or a text with expressions, uses.
/// Texts in quotes are left out; so is a whole text with a raw block in it.
fn words(source: &str) -> Vec<(&'static str, &str)> {
    let mut words = vec![];
    let has_none = !source.contains('|') && !source.contains("is");
    let is_raw = source.contains("{%") && source.contains("raw");
    if has_none || is_raw {
        return words;
    }
    for code in code_parts(source) {
        let mut rest = code;
        while let Some(at) = rest.find(['|', '\'', '"', 'i']) {
            let (before, tail) = rest.split_at(at);
            rest = match tail.chars().next() {
                Some(quote @ ('\'' | '"')) => after_quotes(tail, quote),
                Some('|') => {
                    let tail = tail.get(1..).unwrap_or_default();
                    push_word(&mut words, FILTER, tail);
                    tail
                }
                _ => {
                    if let Some(tail) = test_after(before, tail) {
                        push_word(&mut words, TEST, tail);
                    }
                    tail.get(1..).unwrap_or_default()
                }
            };
        }
    }
    words
}

/// The parts of a text that are code: all of an expression, and what is in
/// `{{ }}` and `{% %}` of a text.
fn code_parts(source: &str) -> Vec<&str> {
    let openings = ["{{", "{%"];
    if !openings.iter().any(|opening| source.contains(opening)) {
        return vec![source];
    }
    let mut parts = vec![];
    let mut rest = source;
    while let Some(at) = openings
        .iter()
        .filter_map(|opening| rest.find(opening))
        .min()
    {
        let (_, tail) = rest.split_at(at);
        let closing = if tail.starts_with("{{") { "}}" } else { "%}" };
        let code = tail.get(2..).unwrap_or_default();
        let end = end_of_code(code, closing);
        let (code, tail) = code.split_at(end);
        parts.push(code);
        rest = tail;
    }
    parts
}

/// Where code ends: at its closing mark, unless that is in quotes.
fn end_of_code(code: &str, closing: &str) -> usize {
    let mut rest = code;
    loop {
        let close = rest.find(closing).unwrap_or(rest.len());
        match rest.find(['\'', '"']) {
            Some(quote) if quote < close => {
                let (_, tail) = rest.split_at(quote);
                rest = after_quotes(tail, if tail.starts_with('"') { '"' } else { '\'' });
            }
            _ => return code.len() - rest.len() + close,
        }
    }
}

/// What follows a text in quotes, which begins with its quote.
fn after_quotes(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

/// What follows `is` or `is not`, when `tail` begins with one.
fn test_after<'t>(before: &str, tail: &'t str) -> Option<&'t str> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    if before.ends_with(is_word) {
        return None;
    }
    let rest = tail.strip_prefix("is")?;
    let test = rest.trim_start();
    if test.len() == rest.len() {
        return None;
    }
    match test.strip_prefix("not") {
        Some(negated) if negated.starts_with(char::is_whitespace) => Some(negated),
        _ => Some(test),
    }
}

fn push_word<'t>(words: &mut Vec<(&'static str, &'t str)>, kind: &'static str, tail: &'t str) {
    let tail = tail.trim_start();
    let length = tail
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(tail.len());
    match tail.get(..length) {
        Some(word) if !word.is_empty() => words.push((kind, word)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_expressions() {
        for (source, expected) in [
            ("a | upper", "filter upper"),
            (
                "a|map(attribute='x|y')|join(', ')",
                "filter map, filter join",
            ),
            ("a is defined and b is not none", "test defined, test none"),
            ("this.is == 'is it'", ""),
            (
                "x {{ a | upper }} | no {{ '}} | no' | trim }}",
                "filter upper, filter trim",
            ),
            ("{% if a is odd %} is it {% endif %}", "test odd"),
            ("{{ a is\n odd }}", "test odd"),
            ("{{ 'a\\' | b' | c }}", "filter c"),
            ("{{ a | }}", ""),
            ("{{ 'open | x", ""),
            ("basis xis is y", "test y"),
            ("é|ü", ""),
        ] {
            let found: Vec<String> = words(source)
                .into_iter()
                .map(|(kind, word)| format!("{kind} {word}"))
                .collect();
            assert_eq!(found.join(", "), expected, "{source}");
        }
    }
}
