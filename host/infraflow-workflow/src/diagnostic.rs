//! What is wrong with a document, and where: problems, and the report that
//! shows them like a compiler does.
//!
//! A report owns a copy of the document's text, so that it outlives the parse.
//! It never shows a text that was read as a secret
//! ([`Value::secret_text`](crate::read::Value::secret_text)), cuts long lines,
//! and writes control characters as escapes: documents come from anybody.

mod render;

use std::fmt;
use std::sync::Arc;

use infraflow_core::{Json, JsonMap, limits};
use serde_json::json;

/// A range of bytes in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The bytes from `start` up to, but not including, `end`. An `end` before
    /// `start` gives an empty span; documents are far below 4 GiB
    /// ([`limits::DOCUMENT`]), larger offsets saturate.
    pub fn new(start: usize, end: usize) -> Self {
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(start),
            end: offset(end.max(start)),
        }
    }

    /// The first byte.
    pub fn start(self) -> usize {
        usize::try_from(self.start).unwrap_or(usize::MAX)
    }

    /// The byte after the last one.
    pub fn end(self) -> usize {
        usize::try_from(self.end).unwrap_or(usize::MAX)
    }

    /// Whether it covers no byte. Its position still means something.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A line and a column, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What sort of problem it is: for programs that read reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemKind {
    /// The text is not YAML, or not YAML that is taken here.
    Syntax,
    /// The document is larger, deeper or has more parts than it may have.
    TooLarge,
    /// A key stands twice in one map, or a name is used twice.
    Duplicate,
    /// A key that does not exist.
    UnknownKey,
    /// A key or a word that exists, but is not built yet.
    NotSupportedYet,
    /// A key that has to be there is not.
    Missing,
    /// A list where a text is wanted, and the like.
    WrongType,
    /// The right type, but not a value that is taken.
    Invalid,
    /// A number, a size or a duration outside its range.
    OutOfRange,
    /// A `{{ }}` or a `when` that is not an expression.
    Template,
    /// An expression uses a name that does not exist where it stands.
    UnknownName,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Syntax,
        Self::TooLarge,
        Self::Duplicate,
        Self::UnknownKey,
        Self::NotSupportedYet,
        Self::Missing,
        Self::WrongType,
        Self::Invalid,
        Self::OutOfRange,
        Self::Template,
        Self::UnknownName,
    ];

    /// Its name in the JSON form. Stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::TooLarge => "too_large",
            Self::Duplicate => "duplicate",
            Self::UnknownKey => "unknown_key",
            Self::NotSupportedYet => "not_supported_yet",
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::Invalid => "invalid",
            Self::OutOfRange => "out_of_range",
            Self::Template => "template",
            Self::UnknownName => "unknown_name",
        }
    }
}

/// One problem of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What sort of problem.
    pub kind: ProblemKind,
    /// Where.
    pub span: Span,
    /// What is wrong, for example ``unknown key `stpes` ``.
    pub message: String,
    /// What was expected there instead, beginning with `expected` where that
    /// reads well. Shown at the caret.
    pub expected: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Other places that explain it.
    pub related: Vec<Related>,
}

/// Another place that explains a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub span: Span,
    /// What is there, for example ``first defined here``.
    pub message: String,
}

impl Problem {
    /// A problem of which no more is known than what is wrong and where.
    pub fn new(kind: ProblemKind, span: Span, message: impl Into<String>) -> Self {
        Self {
            kind,
            span,
            message: message.into(),
            expected: None,
            hint: None,
            related: vec![],
        }
    }

    /// Says what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what to do, when there is something to say.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<impl Into<String>>) -> Self {
        if let Some(hint) = hint {
            self.hint = Some(hint.into());
        }
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push(Related {
            span,
            message: message.into(),
        });
        self
    }
}

/// Every problem of one document, in the order of the document: at most
/// [`limits::DOCUMENT_PROBLEMS`], the others are counted.
///
/// `Display` gives the plain text; [`Report::render`] has colours, too.
#[derive(Debug, Clone)]
pub struct Report {
    name: Arc<str>,
    source: Arc<str>,
    problems: Vec<Problem>,
    more: usize,
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone: for files, pipes and logs.
    Plain,
    /// With ANSI escapes: for terminals.
    Colour,
}

impl Report {
    /// The name that the document was given: mostly a path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The problems. At least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more there were.
    pub fn more(&self) -> usize {
        self.more
    }

    /// The line and column of an offset; that of the end for one beyond it.
    pub fn position(&self, offset: usize) -> Position {
        let lines = render::Line::at(&self.source, offset);
        Position {
            line: lines.number,
            column: lines.column_of(offset),
        }
    }

    /// The report as text, each problem with its place, an excerpt and a hint.
    pub fn render(&self, style: Style) -> String {
        render::render(self, style)
    }

    /// The report as a document, for `--output json`: `file`, `problems` (each
    /// with `kind`, `message`, `line`, `column`, `end_line`, `end_column`,
    /// `text`, and `expected`, `hint` and `related`, which may be null or
    /// empty), and `more`, the number of problems that were left out. Ends are
    /// exclusive; `text` is the offending text, at most 120 characters.
    pub fn to_json(&self) -> Json {
        json!({
            "file": &*self.name,
            "problems": self.problems.iter().map(|problem| self.problem_to_json(problem)).collect::<Vec<_>>(),
            "more": self.more,
        })
    }

    fn problem_to_json(&self, problem: &Problem) -> Json {
        let related = problem.related.iter().map(|related| {
            let mut place = self.span_to_json(related.span);
            place.insert("message".into(), related.message.as_str().into());
            Json::Object(place)
        });
        let mut json = self.span_to_json(problem.span);
        json.insert("kind".into(), problem.kind.name().into());
        json.insert("message".into(), problem.message.as_str().into());
        json.insert("expected".into(), problem.expected.as_deref().into());
        json.insert("hint".into(), problem.hint.as_deref().into());
        json.insert("related".into(), related.collect());
        Json::Object(json)
    }

    fn span_to_json(&self, span: Span) -> JsonMap {
        let start = self.position(span.start());
        let end = self.position(span.end());
        let text: String = text_of(&self.source, span).chars().take(120).collect();
        JsonMap::from_iter([
            ("line".into(), start.line.into()),
            ("column".into(), start.column.into()),
            ("end_line".into(), end.line.into()),
            ("end_column".into(), end.column.into()),
            ("text".into(), text.into()),
        ])
    }
}

/// The text under a span; what does not fit the text is left out.
pub(crate) fn text_of(source: &str, span: Span) -> &str {
    let start = floor_char_boundary(source, span.start());
    let end = floor_char_boundary(source, span.end());
    source.get(start..end).unwrap_or_default()
}

/// The last start of a character at or before `at`.
pub(crate) fn floor_char_boundary(source: &str, at: usize) -> usize {
    let mut at = at.min(source.len());
    while !source.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The problems of one document while it is read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    kept: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Keeps a problem, or counts it.
    pub(crate) fn push(&mut self, problem: Problem) {
        if self.kept.len() < limits::DOCUMENT_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The report of these problems; texts under `secrets` are blackened.
    pub(crate) fn report(mut self, name: &str, source: &str, secrets: &[Span]) -> Report {
        self.kept.sort_by_key(|problem| problem.span.start);
        Report {
            name: name.into(),
            source: blacken(source, secrets).into(),
            problems: self.kept,
            more: self.more,
        }
    }
}

/// Writes `*` over each character under these spans, byte for byte, so that
/// positions stay.
fn blacken(source: &str, secrets: &[Span]) -> String {
    let mut text = source.to_owned();
    for span in secrets {
        let start = floor_char_boundary(&text, span.start());
        let end = floor_char_boundary(&text, span.end());
        let stars: String = text
            .get(start..end)
            .unwrap_or_default()
            .chars()
            .flat_map(|c| match c {
                '\n' | '\r' => vec![c],
                c => vec!['*'; c.len_utf8()],
            })
            .collect();
        text.replace_range(start..end, &stars);
    }
    text
}

/// A text of a document as a message may show it: at most 80 characters,
/// control characters as escapes.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(escape_control).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

fn escape_control(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

/// Names in backticks with commas between, at most 24.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut texts: Vec<String> = names
        .by_ref()
        .take(24)
        .map(|name| format!("`{}`", shown(name)))
        .collect();
    let rest = names.count();
    if rest > 0 {
        texts.push(format!("{rest} more"));
    }
    texts.join(", ")
}

#[cfg(test)]
mod tests;
