//! From the parser's events to a tree of nodes, counted as it grows.

use std::collections::{HashMap, hash_map};
use std::sync::Arc;

use infraflow_core::limits;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use super::scalar::{self, BadScalar};
use super::{Content, Entry, Node, syntax};
use crate::diagnostic::{Problem, ProblemKind, Problems, Span, shown};

/// The tree of a text.
///
/// # Errors
/// The problem that ended the parse. Those that did not are in `problems`.
pub(super) fn tree(source: &str, problems: &mut Problems) -> Result<Node, Problem> {
    let mut builder = Builder::new(source, problems);
    for event in Parser::new_from_str(source) {
        let (event, span) = event.map_err(|error| {
            let at = builder.places.offset(*error.marker());
            syntax::explain(error.info(), source, at)
        })?;
        let span = builder.places.span(span);
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Node::null(Span::default())))
}

struct Builder<'s, 'p> {
    source: &'s str,
    places: Places<'s>,
    problems: &'p mut Problems,
    /// The lists and maps that have begun.
    open: Vec<Open>,
    /// How many of them are in brackets: there tabs may indent.
    brackets: usize,
    anchors: HashMap<usize, (Node, Weight)>,
    /// Everything so far, aliases expanded.
    total: Weight,
    documents: usize,
    root: Option<Node>,
}

/// How much there is of a node once aliases stand for what they name.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    nodes: usize,
    bytes: u64,
    /// Levels of lists and maps.
    depth: usize,
}

impl Weight {
    fn scalar(text: &str) -> Self {
        Self {
            nodes: 1,
            bytes: u64::try_from(text.len()).unwrap_or(u64::MAX),
            depth: 0,
        }
    }

    fn collection() -> Self {
        Self {
            nodes: 1,
            bytes: 0,
            depth: 1,
        }
    }

    fn count(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn contain(&mut self, child: Self) {
        self.count(child);
        self.depth = self.depth.max(child.depth + 1);
    }
}

/// A list or map that has begun.
struct Open {
    start: usize,
    anchor: usize,
    in_brackets: bool,
    weight: Weight,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Where keys stand; only of large maps, small ones are looked through.
        places: HashMap<Arc<str>, Span>,
        key: Key,
    },
}

/// Entries up to which a map is small.
const SMALL: usize = 16;

/// What a map waits for.
enum Key {
    /// A key.
    Awaited,
    /// The value of this key.
    Is(Node),
    /// The value of a key that is refused.
    Refused,
}

impl<'s, 'p> Builder<'s, 'p> {
    fn new(source: &'s str, problems: &'p mut Problems) -> Self {
        Self {
            source,
            places: Places::new(source),
            problems,
            open: vec![],
            brackets: 0,
            anchors: HashMap::new(),
            total: Weight::default(),
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.start_document(span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                self.scalar(&text, style, anchor, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                self.begin(Parts::List(vec![]), anchor, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.is_some(), span);
                let parts = Parts::Map {
                    entries: vec![],
                    places: HashMap::new(),
                    key: Key::Awaited,
                };
                self.begin(parts, anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(span);
                Ok(())
            }
        }
    }

    fn start_document(&mut self, span: Span) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        let message = "a second document starts here";
        let problem = Problem::new(ProblemKind::Syntax, span, message);
        Err(problem.hint("one file holds one document"))
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), Problem> {
        let weight = Weight::scalar(text);
        self.count(weight, span)?;
        if self.brackets == 0 {
            self.check_tab(span, &[' ', '\t'])?;
        }
        let is_plain = style == ScalarStyle::Plain;
        if is_plain && text == "<<" && self.awaits_key() {
            let message = "merge keys (`<<`) are not supported";
            let problem = Problem::new(ProblemKind::NotSupportedYet, span, message);
            self.problems.push(problem.hint("write the keys out"));
            self.set_key(Key::Refused);
            return Ok(());
        }
        let content = if is_plain {
            scalar::plain(text).unwrap_or_else(|bad| {
                self.problems.push(bad_scalar(bad, text, span));
                // Read on as what was probably meant.
                Content::Text(text.into())
            })
        } else {
            Content::Text(text.into())
        };
        self.add(Node::new(span, content), weight, anchor);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let Some((node, weight)) = self.anchors.get(&anchor) else {
            let text = shown(crate::diagnostic::text_of(self.source, span));
            let message = format!("the alias `{text}` stands inside what it names");
            let problem = Problem::new(ProblemKind::Syntax, span, message);
            self.problems.push(problem);
            self.add(Node::null(span), Weight::default(), 0);
            return Ok(());
        };
        // The value itself stands here; what is in it keeps its place.
        let (node, weight) = (Node::new(span, node.content.clone()), *weight);
        self.count(weight, span)?;
        self.check_depth(self.open.len() + weight.depth, span)?;
        self.add(node, weight, 0);
        Ok(())
    }

    fn begin(&mut self, parts: Parts, anchor: usize, span: Span) -> Result<(), Problem> {
        let weight = Weight::collection();
        self.count(weight, span)?;
        self.check_depth(self.open.len() + 1, span)?;
        let text = crate::diagnostic::text_of(self.source, span);
        let in_brackets = text.ends_with(['[', '{']);
        if in_brackets {
            self.brackets += 1;
        } else if self.brackets == 0 {
            self.check_tab(span, &[' ', '\t', '-', '?', ':'])?;
        }
        self.open.push(Open {
            start: span.start(),
            anchor,
            in_brackets,
            weight,
            parts,
        });
        Ok(())
    }

    fn end(&mut self, span: Span) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let end = if open.in_brackets {
            self.brackets -= 1;
            span.end()
        } else {
            // A block ends where the next thing starts.
            let block = Span::new(open.start, span.start());
            let text = crate::diagnostic::text_of(self.source, block);
            open.start + text.trim_end().len()
        };
        let content = match open.parts {
            Parts::List(items) => Content::List(items.into()),
            Parts::Map { entries, .. } => Content::Map(entries.into()),
        };
        let node = Node::new(Span::new(open.start, end), content);
        self.add(node, open.weight, open.anchor);
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, weight: Weight, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), weight));
        }
        if let Some(open) = self.open.last_mut() {
            open.weight.contain(weight);
        }
        if self.awaits_key() {
            let key = self.key(node);
            self.set_key(key);
            return;
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::List(items)) => items.push(node),
            Some(Parts::Map { entries, key, .. }) => {
                if let Key::Is(key) = std::mem::replace(key, Key::Awaited) {
                    entries.push(Entry::new(key, node));
                }
            }
        }
    }

    fn awaits_key(&self) -> bool {
        matches!(
            self.open.last().map(|open| &open.parts),
            Some(Parts::Map {
                key: Key::Awaited,
                ..
            })
        )
    }

    fn set_key(&mut self, next: Key) {
        if let Some(Parts::Map { key, .. }) = self.open.last_mut().map(|open| &mut open.parts) {
            *key = next;
        }
    }

    /// Checks a node that stands where a key does.
    fn key(&mut self, node: Node) -> Key {
        let Content::Text(text) = &node.content else {
            self.problems.push(bad_key(&node, self.source));
            return Key::Refused;
        };
        let Some(Parts::Map {
            entries, places, ..
        }) = self.open.last_mut().map(|open| &mut open.parts)
        else {
            return Key::Refused;
        };
        let Some(first) = first_place(entries, places, text, node.span) else {
            return Key::Is(node);
        };
        let message = format!("duplicate key `{}`", shown(text));
        let problem = Problem::new(ProblemKind::Duplicate, node.span, message);
        self.problems
            .push(problem.related(first, "it stands here already"));
        Key::Refused
    }

    fn check_tag(&mut self, has_tag: bool, span: Span) {
        if !has_tag {
            return;
        }
        let text = crate::diagnostic::text_of(self.source, span);
        let tag = text
            .split(char::is_whitespace)
            .find(|part| part.starts_with('!'));
        let message = format!("the tag `{}` is not supported", shown(tag.unwrap_or(text)));
        let length = text.find(char::is_whitespace).unwrap_or(text.len());
        let span = Span::new(span.start(), span.start() + length);
        let problem = Problem::new(ProblemKind::NotSupportedYet, span, message);
        self.problems
            .push(problem.hint("leave it out; a text needs quotes at most"));
    }

    /// Refuses a tab among the `prefix` characters between the start of the line
    /// and a node.
    fn check_tab(&self, span: Span, prefix: &[char]) -> Result<(), Problem> {
        let before = self.source.get(..span.start()).unwrap_or_default();
        let rest = before.trim_end_matches(prefix);
        if !(rest.is_empty() || rest.ends_with(['\n', '\r'])) {
            return Ok(());
        }
        let indentation = before.get(rest.len()..).unwrap_or_default();
        match indentation.find('\t') {
            None => Ok(()),
            Some(tab) => Err(syntax::tab_used(rest.len() + tab)),
        }
    }

    fn check_depth(&self, depth: usize, span: Span) -> Result<(), Problem> {
        if depth <= limits::DOCUMENT_DEPTH {
            return Ok(());
        }
        Err(too_much(
            span,
            "the document is nested too deeply",
            &format!("{} levels", limits::DOCUMENT_DEPTH),
        ))
    }

    fn count(&mut self, weight: Weight, span: Span) -> Result<(), Problem> {
        self.total.count(weight);
        if self.total.nodes > limits::DOCUMENT_NODES {
            return Err(too_much(
                span,
                "the document has too many parts, aliases expanded",
                &format!("{} keys, values and lists", limits::DOCUMENT_NODES),
            ));
        }
        if self.total.bytes > limits::DOCUMENT_EXPANDED.0 {
            return Err(too_much(
                span,
                "the document has too much text, aliases expanded",
                &limits::DOCUMENT_EXPANDED.to_string(),
            ));
        }
        Ok(())
    }
}

/// Where a key of a map stands already.
fn first_place(
    entries: &[Entry],
    places: &mut HashMap<Arc<str>, Span>,
    key: &Arc<str>,
    span: Span,
) -> Option<Span> {
    if entries.len() < SMALL {
        let entry = entries.iter().find(|entry| entry.key() == &**key)?;
        return Some(entry.key_node().span());
    }
    if places.is_empty() {
        places.extend(entries.iter().filter_map(|entry| match &entry.key.content {
            Content::Text(text) => Some((text.clone(), entry.key.span)),
            _ => None,
        }));
    }
    match places.entry(key.clone()) {
        hash_map::Entry::Occupied(first) => Some(*first.get()),
        hash_map::Entry::Vacant(place) => {
            place.insert(span);
            None
        }
    }
}

fn too_much(span: Span, message: &str, limit: &str) -> Problem {
    Problem::new(ProblemKind::TooLarge, span, message).expected(format!("expected at most {limit}"))
}

fn bad_scalar(bad: BadScalar, text: &str, span: Span) -> Problem {
    let text = shown(text);
    let invalid = |message: String| Problem::new(ProblemKind::Invalid, span, message);
    match bad {
        BadScalar::TooLarge => invalid(format!("the number {text} does not fit 64 bits"))
            .hint("if it is a text, such as a commit id, put it in quotes"),
        BadScalar::NotFinite => invalid(format!("{text} is not a number that JSON has"))
            .hint("if it is a text, put it in quotes"),
        BadScalar::LeadingZero => invalid(format!("{text} is a number with a leading zero"))
            .expected("octal for some readers, decimal for others")
            .hint("put it in quotes; an octal number is written `0o644`"),
    }
}

fn bad_key(node: &Node, source: &str) -> Problem {
    let message = match &node.content {
        Content::Null => "a key is empty".to_owned(),
        _ => format!("a key is {}", node.describe()),
    };
    let problem = Problem::new(ProblemKind::WrongType, node.span, message)
        .expected("expected a text as the key");
    let head = source.get(..node.span.start()).unwrap_or_default();
    let is_template = matches!(node.content, Content::Map(_)) && head.ends_with('{');
    let hint = match &node.content {
        Content::Map(_) if is_template => Some("a text with `{{ }}` needs quotes"),
        Content::Number(_) | Content::Bool(_) => Some("put it in quotes"),
        _ => None,
    };
    problem.maybe_hint(hint)
}

/// From the parser's positions, in characters, to offsets in bytes.
struct Places<'s> {
    source: &'s str,
    /// The offset of every [`STRIDE`]th character; empty for plain ASCII.
    marks: Vec<usize>,
}

const STRIDE: usize = 64;

impl<'s> Places<'s> {
    fn new(source: &'s str) -> Self {
        let marks = if source.is_ascii() {
            vec![]
        } else {
            source
                .char_indices()
                .step_by(STRIDE)
                .map(|(at, _)| at)
                .collect()
        };
        Self { source, marks }
    }

    fn offset(&self, marker: Marker) -> usize {
        let index = marker.index();
        if self.marks.is_empty() {
            return index.min(self.source.len());
        }
        let Some(mark) = self.marks.get(index / STRIDE) else {
            return self.source.len();
        };
        self.source
            .get(*mark..)
            .and_then(|rest| rest.char_indices().nth(index % STRIDE))
            .map_or(self.source.len(), |(at, _)| mark + at)
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span::new(self.offset(span.start), self.offset(span.end))
    }
}
