//! YAML text as a tree of nodes with their places: for workflows and for the
//! configuration.
//!
//! YAML 1.2 with the core schema (`no` is a text, `0o644` a number), less what
//! makes documents mean something else than they look like: tags, merge keys
//! (`<<`), keys that are not texts, tabs in the indentation, numbers with a
//! leading zero, more than one document. Each of these is refused by name, and
//! all of them at once.
//!
//! Everything is bounded before memory is taken: the size
//! ([`limits::DOCUMENT`]), the nesting ([`limits::DOCUMENT_DEPTH`]), the nodes
//! ([`limits::DOCUMENT_NODES`]) and the text ([`limits::DOCUMENT_EXPANDED`])
//! that there are once every alias stands for what it names. An alias shares
//! what it names, it does not copy it.
//!
//! Never reads a file, never resolves an `include` or a variable.

mod build;
mod scalar;
mod syntax;

use std::sync::Arc;

use infraflow_core::{Json, JsonMap, limits};

use crate::diagnostic::{Problem, ProblemKind, Problems, Report, Span};

/// A parsed document.
#[derive(Debug, Clone)]
pub struct Document {
    name: Arc<str>,
    source: Arc<str>,
    root: Node,
}

/// A value in a document.
#[derive(Debug, Clone)]
pub struct Node {
    span: Span,
    content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Content {
    /// Nothing, or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number that JSON has: 64 bits, not infinite.
    Number(serde_json::Number),
    /// A text.
    Text(Arc<str>),
    /// A list.
    List(Arc<[Node]>),
    /// A map, in the order of the document. Keys are different texts.
    Map(Arc<[Entry]>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    key: Node,
    value: Node,
}

impl Document {
    /// Parses a document. `name` stands for it in reports: mostly a path. A
    /// byte order mark in front is left out. A document without content is one
    /// whose root is [`Content::Null`].
    ///
    /// # Errors
    /// Every problem, also those that are refused by choice. A text that is not
    /// YAML ends the parse at the first problem of that sort.
    pub fn parse(name: &str, text: &str) -> Result<Self, Report> {
        let (document, problems) = Self::parse_leniently(name, text);
        if problems.is_empty() {
            Ok(document)
        } else {
            Err(problems.report(name, &document.source, &[]))
        }
    }

    /// Parses as far as possible; what cannot be understood is nothing
    /// ([`Content::Null`]). For readers that report more problems beside those.
    pub(crate) fn parse_leniently(name: &str, text: &str) -> (Self, Problems) {
        let source = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut problems = Problems::default();
        let root = match checked(source) {
            Ok(()) => build::tree(source, &mut problems),
            Err(problem) => Err(problem),
        };
        let root = root.unwrap_or_else(|problem| {
            problems.push(problem);
            Node::null(Span::default())
        });
        // A report shows excerpts only; one of a huge text needs only its head.
        let kept = match source.len() <= limits::DOCUMENT.to_usize() {
            true => source,
            false => source.lines().next().map_or("", head),
        };
        let document = Self {
            name: name.into(),
            source: kept.into(),
            root,
        };
        (document, problems)
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its text, without a byte order mark.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The value that it holds.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Whether it holds nothing: it is empty or has only comments.
    pub fn is_empty(&self) -> bool {
        matches!(self.root.content, Content::Null)
    }
}

impl Node {
    pub(crate) fn new(span: Span, content: Content) -> Self {
        Self { span, content }
    }

    pub(crate) fn null(span: Span) -> Self {
        Self::new(span, Content::Null)
    }

    /// Where it stands. For something that an alias names: where that stands.
    pub fn span(&self) -> Span {
        self.span
    }

    /// What it is.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// What it is, for a message: `a list`, `the number 5`.
    pub fn describe(&self) -> String {
        match &self.content {
            Content::Null => "empty".to_owned(),
            Content::Bool(value) => format!("`{value}`"),
            Content::Number(number) => format!("the number {number}"),
            Content::Text(text) if text.is_empty() => "an empty text".to_owned(),
            Content::Text(text) => format!("the text `{}`", crate::diagnostic::shown(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries, when it is a map.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, when it is a list.
    pub fn as_list(&self) -> Option<&[Self]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value under a key, when it is a map that has it. Looks at each
    /// entry: for a few lookups.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?
            .iter()
            .find(|entry| entry.key() == key)
            .map(Entry::value)
    }

    /// The same as JSON. Bounded: see [`limits::DOCUMENT_NODES`].
    pub fn to_json(&self) -> Json {
        match &self.content {
            Content::Null => Json::Null,
            Content::Bool(value) => Json::Bool(*value),
            Content::Number(number) => Json::Number(number.clone()),
            Content::Text(text) => Json::from(&**text),
            Content::List(items) => items.iter().map(Self::to_json).collect(),
            Content::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key().to_owned(), entry.value.to_json()))
                    .collect::<JsonMap>(),
            ),
        }
    }
}

impl Entry {
    /// Made of a key that is a text.
    pub(crate) fn new(key: Node, value: Node) -> Self {
        debug_assert!(key.as_text().is_some(), "keys are texts");
        Self { key, value }
    }

    /// The key.
    pub fn key(&self) -> &str {
        self.key.as_text().unwrap_or_default()
    }

    /// The key as a node: a text, and where it stands.
    pub fn key_node(&self) -> &Node {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &Node {
        &self.value
    }
}

/// The text of a file: UTF-8, and not too large. A byte order mark stays; what
/// parses the text leaves it out.
///
/// # Errors
/// One problem that says which byte is not UTF-8, or that the file is UTF-16,
/// or that it is too large.
pub fn text_of_file<'b>(name: &str, bytes: &'b [u8]) -> Result<&'b str, Report> {
    let refuse = |source: &str, problem| {
        let mut problems = Problems::default();
        problems.push(problem);
        Err(problems.report(name, source, &[]))
    };
    if bytes.len() > limits::DOCUMENT.to_usize() {
        return refuse("", too_large(bytes.len()));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let problem = Problem::new(ProblemKind::Syntax, Span::default(), "the file is UTF-16");
        return refuse("", problem.hint("save it as UTF-8"));
    }
    std::str::from_utf8(bytes).or_else(|error| {
        let (good, bad) = bytes.split_at(error.valid_up_to());
        let good = String::from_utf8_lossy(good);
        let byte = bad.first().copied().unwrap_or_default();
        let message = format!("the byte 0x{byte:02x} here is not UTF-8");
        let span = Span::new(good.len(), good.len() + 1);
        let source = format!("{good}{}", String::from_utf8_lossy(bad));
        let problem = Problem::new(ProblemKind::Syntax, span, message);
        refuse(&source, problem.hint("save the file as UTF-8"))
    })
}

/// What can be said before anything is parsed.
fn checked(source: &str) -> Result<(), Problem> {
    if source.len() > limits::DOCUMENT.to_usize() {
        return Err(too_large(source.len()));
    }
    match source.char_indices().find(|(_, c)| !is_printable(*c)) {
        None => Ok(()),
        Some((at, c)) => Err(Problem::new(
            ProblemKind::Syntax,
            Span::new(at, at + c.len_utf8()),
            format!(
                "the character U+{:04X} cannot stand in a YAML file",
                u32::from(c)
            ),
        )
        .hint("in a text in double quotes it can be written as an escape, such as `\\u0007`")),
    }
}

fn too_large(bytes: usize) -> Problem {
    Problem::new(
        ProblemKind::TooLarge,
        Span::default(),
        format!("the document has {bytes} bytes"),
    )
    .expected(format!("expected at most {}", limits::DOCUMENT))
}

/// YAML 1.2, production 1.
fn is_printable(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    }
}

/// The first part of a line.
fn head(line: &str) -> &str {
    line.get(..crate::diagnostic::floor_char_boundary(line, 120))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
