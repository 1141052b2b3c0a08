//! Reading a document into types, collecting every problem on the way.
//!
//! A reader is a function from a [`Value`] (a node and its place) to
//! [`Read<T>`]: a `T`, or [`Refused`], which can be had only by reporting a
//! problem. So a function that fails has always said why, and one that goes on
//! after a refused part finds the other problems too. The rule is: read every
//! part first, use `?` last.
//!
//! The keys of a map are a [`Keys`] table: keys that it does not name are
//! reported with the nearest one that it does, those of a later version by name
//! as not supported yet.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use infraflow_core::id::SourceName;
//! use infraflow_workflow::read::{Keys, Read, Value, read_document};
//!
//! #[derive(Debug)]
//! struct Config {
//!     port: u16,
//!     sources: Vec<Source>,
//! }
//!
//! #[derive(Debug, Clone, Copy, PartialEq)]
//! enum Kind {
//!     Forgejo,
//!     Gitea,
//! }
//!
//! #[derive(Debug)]
//! struct Source {
//!     name: SourceName,
//!     kind: Kind,
//!     timeout: Duration,
//!     owners: Vec<String>,
//! }
//!
//! const CONFIG: Keys = Keys::new(&["port", "sources"]).later(&["people"]);
//! const SOURCE: Keys = Keys::new(&["type", "timeout", "owners"]);
//!
//! fn read_config(value: Value<'_>) -> Read<Config> {
//!     let fields = value.fields(&CONFIG)?;
//!     // Both are read, and both report, before either is asked for.
//!     let port = fields.or("port", 8080, |port| port.whole(1..=65_535));
//!     let sources = fields.or("sources", vec![], |sources| sources.entries(read_source));
//!     Ok(Config {
//!         port: port?,
//!         sources: sources?,
//!     })
//! }
//!
//! fn read_source(name: Value<'_>, value: Value<'_>) -> Read<Source> {
//!     let name = name.parse();
//!     let fields = value.fields(&SOURCE)?;
//!     let kind = fields.required("type", |kind| {
//!         kind.choice(&[("forgejo", Kind::Forgejo), ("gitea", Kind::Gitea)])
//!     });
//!     let timeout = fields.or("timeout", Duration::from_secs(10), |timeout| {
//!         timeout.duration(Duration::from_secs(1)..=Duration::from_secs(60))
//!     });
//!     let owners = fields.or("owners", vec![], |owners| {
//!         owners.one_or_each(Value::owned_text)
//!     });
//!     Ok(Source {
//!         name: name?,
//!         kind: kind?,
//!         timeout: timeout?,
//!         owners: owners?,
//!     })
//! }
//!
//! let good = "port: 9000\nsources:\n  shop: { type: forgejo, owners: ann }\n";
//! let config = read_document("infraflow.yaml", good, read_config).unwrap();
//! assert_eq!(config.port, 9000);
//! assert_eq!(config.sources[0].kind, Kind::Forgejo);
//! assert_eq!(config.sources[0].owners, ["ann"]);
//!
//! let bad = "port: 99000\npeople: {}\nsources:\n  shop: { typ: forgejo, timeout: 10 }\n";
//! let report = read_document("infraflow.yaml", bad, read_config).unwrap_err();
//! let messages: Vec<&str> = report.problems().iter().map(|p| p.message.as_str()).collect();
//! assert_eq!(messages, [
//!     "`port` is the number 99000",
//!     "`people` is not supported yet",
//!     "`type` is missing",
//!     "unknown key `typ`",
//!     "`timeout` is the number 10",
//! ]);
//! ```

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use infraflow_core::limits::ByteCount;
use infraflow_core::nearest::nearest;
use infraflow_core::{Json, duration};

use crate::diagnostic::{Problem, ProblemKind, Problems, Report, Span, listed, shown, text_of};
use crate::document::{Content, Document, Entry, Node};

/// Reads a document: parses it, gives its root to `read`, and reports the
/// problems of both.
///
/// A document whose text is not YAML is not given to `read`; one whose text is
/// YAML with refused parts (a duplicate key, a tag) is, without those parts, so
/// that all problems of a file come at once.
///
/// # Errors
/// Every problem of the document, never none.
pub fn read_document<T>(
    name: &str,
    text: &str,
    read: impl FnOnce(Value<'_>) -> Read<T>,
) -> Result<T, Report> {
    let (document, problems) = Document::parse_leniently(name, text);
    if !problems.is_empty() && document.is_empty() {
        return Err(problems.report(name, document.source(), &[]));
    }
    let notes = Notes {
        document: &document,
        problems: RefCell::new(problems),
        secrets: RefCell::new(vec![]),
    };
    let outcome = read(Value {
        node: document.root(),
        called: "",
        is_item: false,
        notes: &notes,
    });
    let Notes {
        problems, secrets, ..
    } = notes;
    let mut problems = problems.into_inner();
    match outcome {
        Ok(value) if problems.is_empty() => return Ok(value),
        Err(Refused(())) if problems.is_empty() => {
            // `Refused` of another document's reader: say at least something.
            let message = "the document was refused";
            problems.push(Problem::new(ProblemKind::Invalid, Span::default(), message));
        }
        _ => {}
    }
    Err(problems.report(name, document.source(), &secrets.into_inner()))
}

/// A value that was read, or the proof that a problem was reported.
pub type Read<T> = Result<T, Refused>;

/// A problem was reported. Only reporting one gives this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(());

/// What is noted while a document is read.
struct Notes<'d> {
    document: &'d Document,
    problems: RefCell<Problems>,
    secrets: RefCell<Vec<Span>>,
}

/// The keys that a map may have.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    known: &'static [&'static str],
    later: &'static [&'static str],
    hints: &'static [(&'static str, &'static str)],
}

impl Keys {
    /// These keys, in the order in which messages list them.
    pub const fn new(known: &'static [&'static str]) -> Self {
        Self {
            known,
            later: &[],
            hints: &[],
        }
    }

    /// Keys that belong there but are not built: each is refused with
    /// "`<key>` is not supported yet".
    #[must_use]
    pub const fn later(self, later: &'static [&'static str]) -> Self {
        Self { later, ..self }
    }

    /// What to say about keys that do not belong there, but that people try.
    #[must_use]
    pub const fn hints(self, hints: &'static [(&'static str, &'static str)]) -> Self {
        Self { hints, ..self }
    }

    /// The keys that are taken.
    pub const fn known(&self) -> &'static [&'static str] {
        self.known
    }

    /// The keys that are refused as not supported yet.
    pub const fn not_supported_yet(&self) -> &'static [&'static str] {
        self.later
    }

    fn check(&self, key: Value<'_>, text: &str) {
        if self.known.contains(&text) || self.refuse_later(key).is_err() {
            return;
        }
        let known_mistake = self.hints.iter().find(|(mistake, _)| *mistake == text);
        let hint = match known_mistake {
            Some((_, hint)) => Some((*hint).to_owned()),
            None => nearest(text, self.known.iter().chain(self.later).copied())
                .map(|near| format!("did you mean `{near}`?")),
        };
        let known = listed(self.known.iter().copied());
        let problem = key
            .problem(
                ProblemKind::UnknownKey,
                format!("unknown key `{}`", shown(text)),
            )
            .expected(format!("expected one of {known}"))
            .maybe_hint(hint);
        key.report(problem);
    }

    /// Refuses a text that is one of the words that are not supported yet.
    ///
    /// # Errors
    /// When it is one of them.
    pub fn refuse_later(&self, word: Value<'_>) -> Read<()> {
        match word.node().as_text() {
            Some(text) if self.later.contains(&text) => {
                let message = format!("`{text}` is not supported yet");
                Err(word.report(word.problem(ProblemKind::NotSupportedYet, message)))
            }
            _ => Ok(()),
        }
    }
}

/// A value of a document, its place, and where problems go.
#[derive(Clone, Copy)]
pub struct Value<'d> {
    node: &'d Node,
    /// The key that it stands under, for messages. Empty at the root.
    called: &'d str,
    /// Whether it is an item of the list under that key.
    is_item: bool,
    notes: &'d Notes<'d>,
}

impl<'d> Value<'d> {
    /// The node.
    pub fn node(self) -> &'d Node {
        self.node
    }

    /// Where it stands.
    pub fn span(self) -> Span {
        self.node.span()
    }

    /// How it is written in the document.
    pub fn written(self) -> &'d str {
        text_of(self.notes.document.source(), self.span())
    }

    /// The key that it, or the list that it is in, stands under; empty at the
    /// root.
    pub fn called(self) -> &'d str {
        self.called
    }

    /// Whether it is empty or `null`.
    pub fn is_null(self) -> bool {
        matches!(self.node.content(), Content::Null)
    }

    // ---- problems ---------------------------------------------------------------

    /// A problem at this value, to be reported.
    pub fn problem(self, kind: ProblemKind, message: impl Into<String>) -> Problem {
        Problem::new(kind, self.span(), message)
    }

    /// Reports a problem, of this value or of any other place of the document.
    pub fn report(self, problem: Problem) -> Refused {
        self.notes.problems.borrow_mut().push(problem);
        Refused(())
    }

    /// Refuses the value for what it says.
    pub fn refuse(self, message: impl Into<String>) -> Refused {
        self.report(self.problem(ProblemKind::Invalid, message))
    }

    /// Refuses the value for its type; `expected` is for example `a duration`.
    pub fn wrong_type(self, expected: &str) -> Refused {
        self.report(self.mismatch(ProblemKind::WrongType, expected))
    }

    /// Refuses the value because it is not what was expected; `expected` is for
    /// example `` `v1` ``.
    pub fn mismatched(self, expected: &str) -> Refused {
        self.report(self.mismatch(ProblemKind::Invalid, expected))
    }

    fn mismatch(self, kind: ProblemKind, expected: &str) -> Problem {
        let found = self.node.describe();
        let message = match self.called {
            "" if self.is_null() => "the document is empty".to_owned(),
            "" => format!("the document is {found}"),
            called if self.is_item => format!("an item of `{}` is {found}", shown(called)),
            called => format!("`{}` is {found}", shown(called)),
        };
        self.problem(kind, message)
            .expected(format!("expected {expected}"))
    }

    // ---- plain values -----------------------------------------------------------

    /// A text.
    ///
    /// # Errors
    /// When it is something else. Numbers and the like are not turned into
    /// texts: `1.10` would become `1.1`.
    pub fn text(self) -> Read<&'d str> {
        self.text_as("a text")
    }

    fn text_as(self, expected: &str) -> Read<&'d str> {
        if let Some(text) = self.node.as_text() {
            return Ok(text);
        }
        let problem = self.mismatch(ProblemKind::WrongType, expected);
        let quote = matches!(self.node.content(), Content::Number(_) | Content::Bool(_))
            .then(|| format!("put it in quotes: `\"{}\"`", shown(self.written())));
        Err(self.report(problem.maybe_hint(quote)))
    }

    /// A text of one's own.
    ///
    /// # Errors
    /// As [`Value::text`].
    pub fn owned_text(self) -> Read<String> {
        self.text().map(str::to_owned)
    }

    /// A text that no report shows: it is blackened in all excerpts.
    ///
    /// # Errors
    /// As [`Value::text`].
    pub fn secret_text(self) -> Read<&'d str> {
        self.notes.secrets.borrow_mut().push(self.span());
        match self.node.as_text() {
            Some(text) => Ok(text),
            // What it is would be said with the value.
            None => {
                let message = format!("`{}` is not a text", shown(self.called));
                let problem = self.problem(ProblemKind::WrongType, message);
                Err(self.report(problem.hint("put it in quotes")))
            }
        }
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn bool(self) -> Read<bool> {
        if let Content::Bool(value) = self.node.content() {
            return Ok(*value);
        }
        let meant = match self.node.as_text().map(str::to_ascii_lowercase).as_deref() {
            Some("yes" | "on" | "y" | "true") => Some("write `true`"),
            Some("no" | "off" | "n" | "false") => Some("write `false`"),
            _ => None,
        };
        let problem = self.mismatch(ProblemKind::WrongType, "`true` or `false`");
        Err(self.report(problem.maybe_hint(meant)))
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// When it is something else, or outside the range.
    pub fn whole<T>(self, range: RangeInclusive<T>) -> Read<T>
    where
        T: Copy + PartialOrd + Display + TryFrom<u64>,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Content::Number(number) = self.node.content() else {
            return Err(self.wrong_type(&expected));
        };
        let value = number.as_u64().and_then(|value| T::try_from(value).ok());
        match value {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(self.report(self.mismatch(ProblemKind::OutOfRange, &expected))),
        }
    }

    /// A number in a range.
    ///
    /// # Errors
    /// When it is something else, or outside the range.
    pub fn decimal(self, range: RangeInclusive<f64>) -> Read<f64> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        let Content::Number(number) = self.node.content() else {
            return Err(self.wrong_type(&expected));
        };
        match number.as_f64() {
            Some(value) if range.contains(&value) => Ok(value),
            _ => Err(self.report(self.mismatch(ProblemKind::OutOfRange, &expected))),
        }
    }

    /// A duration in a range, written with units ([`duration::parse`]).
    ///
    /// # Errors
    /// When it is something else, a number without a unit, or outside the
    /// range.
    pub fn duration(self, range: RangeInclusive<Duration>) -> Read<Duration> {
        const EXPECTED: &str = "a duration such as `500ms`, `10s`, `5m`, `1h30m` or `2d`";
        if let Content::Number(number) = self.node.content() {
            let problem = self.mismatch(ProblemKind::WrongType, EXPECTED);
            let hint = match number.is_u64() {
                true => format!("give it a unit: `{number}s`, `{number}m` or `{number}h`"),
                false => "give it a unit and whole numbers: `1m30s`".to_owned(),
            };
            return Err(self.report(problem.hint(hint)));
        }
        let text = self.text_as(EXPECTED)?;
        let Ok(value) = duration::parse(text) else {
            return Err(self.report(self.mismatch(ProblemKind::Invalid, EXPECTED)));
        };
        if range.contains(&value) {
            return Ok(value);
        }
        let (least, most) = (
            duration::display(*range.start()),
            duration::display(*range.end()),
        );
        let expected = format!("a duration from `{least}` to `{most}`");
        Err(self.report(self.mismatch(ProblemKind::OutOfRange, &expected)))
    }

    /// A size in a range, written with a unit: `1500 bytes`, `64 KiB`,
    /// `25 MiB`, `2 GiB`, with or without the space.
    ///
    /// # Errors
    /// When it is something else, a number without a unit, or outside the
    /// range.
    pub fn bytes(self, range: RangeInclusive<ByteCount>) -> Read<ByteCount> {
        const EXPECTED: &str = "a size such as `64 KiB`, `25 MiB` or `1500 bytes`";
        if let Content::Number(number) = self.node.content() {
            let problem = self.mismatch(ProblemKind::WrongType, EXPECTED);
            let hint =
                format!("give it a unit: `{number} bytes`, `{number} KiB` or `{number} MiB`");
            return Err(self.report(problem.hint(hint)));
        }
        let text = self.text_as(EXPECTED)?;
        let Some(value) = byte_count(text) else {
            return Err(self.report(self.mismatch(ProblemKind::Invalid, EXPECTED)));
        };
        if range.contains(&value) {
            return Ok(value);
        }
        let expected = format!("a size from {} to {}", range.start(), range.end());
        Err(self.report(self.mismatch(ProblemKind::OutOfRange, &expected)))
    }

    /// One of some words.
    ///
    /// # Errors
    /// When it is another text, with the nearest word, or no text.
    pub fn choice<T: Clone>(self, words: &[(&str, T)]) -> Read<T> {
        let names = || words.iter().map(|(word, _)| *word);
        let expected = format!("one of {}", listed(names()));
        let text = self.text_as(&expected)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(value.clone());
        }
        let near = nearest(text, names()).map(|near| format!("did you mean `{near}`?"));
        let problem = self.mismatch(ProblemKind::Invalid, &expected);
        Err(self.report(problem.maybe_hint(near)))
    }

    /// A text that is read by its type: a name, a plugin, an address. A message
    /// of the form `...: expected ...` is split there.
    ///
    /// # Errors
    /// When it is no text, or the type refuses it.
    pub fn parse<T>(self) -> Read<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text()?;
        self.accept(text.parse())
    }

    /// Takes a result, or reports its error at this value. A message of the
    /// form `...: expected ...` is split there.
    ///
    /// # Errors
    /// When the result is one.
    pub fn accept<T>(self, result: Result<T, impl Display>) -> Read<T> {
        result.map_err(|error| {
            let text = error.to_string();
            let problem = match text.split_once(": expected ") {
                Some((message, expected)) => self
                    .problem(ProblemKind::Invalid, message)
                    .expected(format!("expected {expected}")),
                None => self.problem(ProblemKind::Invalid, text),
            };
            self.report(problem)
        })
    }

    /// Anything, as JSON.
    pub fn json(self) -> Json {
        self.node.to_json()
    }

    // ---- lists ------------------------------------------------------------------

    /// The items of a list.
    ///
    /// # Errors
    /// When it is no list.
    pub fn items(self) -> Read<Vec<Self>> {
        match self.node.as_list() {
            Some(items) => Ok(self.children(items)),
            None => Err(self.wrong_type("a list")),
        }
    }

    /// The items of a list, or the value itself when it is no list.
    ///
    /// # Errors
    /// When it is empty (`null`).
    pub fn one_or_items(self) -> Read<Vec<Self>> {
        match self.node.content() {
            Content::List(items) => Ok(self.children(items)),
            Content::Null => Err(self.wrong_type("one, or a list")),
            _ => Ok(vec![self]),
        }
    }

    /// Reads each item of a list. All of them are read, also after a refused
    /// one.
    ///
    /// # Errors
    /// When it is no list, or an item is refused.
    pub fn each<T>(self, read: impl FnMut(Self) -> Read<T>) -> Read<Vec<T>> {
        all(self.items()?.into_iter().map(read))
    }

    /// Reads each item of a list, or the value itself when it is no list.
    ///
    /// # Errors
    /// As [`Value::each`].
    pub fn one_or_each<T>(self, read: impl FnMut(Self) -> Read<T>) -> Read<Vec<T>> {
        all(self.one_or_items()?.into_iter().map(read))
    }

    fn children(self, items: &'d [Node]) -> Vec<Self> {
        items
            .iter()
            .map(|node| Self {
                node,
                is_item: true,
                ..self
            })
            .collect()
    }

    // ---- maps -------------------------------------------------------------------

    /// The value under a key, when this is a map that has it. Checks no other
    /// key: for a look at a version or a type before the rest is read.
    pub fn get(self, key: &str) -> Option<Self> {
        let entry = self
            .node
            .as_map()?
            .iter()
            .find(|entry| entry.key() == key)?;
        Some(self.value(entry))
    }

    /// A map with known keys. Unknown ones are reported here already. An empty
    /// value (`limits:` and nothing below it) is a map without any key; an empty
    /// document is refused: where it may be one, ask [`Value::is_null`] first.
    ///
    /// # Errors
    /// When it is no map.
    pub fn fields(self, keys: &'static Keys) -> Read<Fields<'d>> {
        let entries = match self.node.content() {
            Content::Map(entries) => &**entries,
            Content::Null if !self.called.is_empty() => &[],
            _ => return Err(self.wrong_type("a map")),
        };
        for entry in entries {
            keys.check(self.key(entry), entry.key());
        }
        Ok(Fields {
            map: self,
            entries,
            keys,
        })
    }

    /// Reads each entry of a map with free keys, which are values as well: they
    /// can be parsed, and refused.
    ///
    /// # Errors
    /// When it is no map, or an entry is refused.
    pub fn entries<T>(self, mut read: impl FnMut(Self, Self) -> Read<T>) -> Read<Vec<T>> {
        let entries = match self.node.content() {
            Content::Map(entries) => &**entries,
            Content::Null => &[],
            _ => return Err(self.wrong_type("a map")),
        };
        all(entries
            .iter()
            .map(|entry| read(self.key(entry), self.value(entry))))
    }

    fn key(self, entry: &'d Entry) -> Self {
        Self {
            node: entry.key_node(),
            ..self
        }
    }

    fn value(self, entry: &'d Entry) -> Self {
        Self {
            node: entry.value(),
            called: entry.key(),
            is_item: false,
            ..self
        }
    }
}

/// A map with known keys.
#[derive(Clone, Copy)]
pub struct Fields<'d> {
    map: Value<'d>,
    entries: &'d [Entry],
    keys: &'static Keys,
}

impl<'d> Fields<'d> {
    /// The value under a key, when it is there.
    pub fn get(&self, key: &'static str) -> Option<Value<'d>> {
        debug_assert!(
            self.keys.known.contains(&key) || self.keys.later.contains(&key),
            "`{key}` stands in the table of keys"
        );
        self.entries
            .iter()
            .find(|entry| entry.key() == key)
            .map(|entry| self.map.value(entry))
    }

    /// The proof that one of these keys stands there and was reported as not
    /// supported yet: what would be missing without it is not worth saying.
    pub fn refused_later(&self, keys: &[&str]) -> Option<Refused> {
        let stands = |key: &&&str| self.entries.iter().any(|entry| entry.key() == **key);
        let is_later = |key: &&&str| self.keys.later.contains(*key);
        let refused = keys.iter().filter(is_later).any(|key| stands(&key));
        refused.then_some(Refused(()))
    }

    /// The map itself.
    pub fn map(&self) -> Value<'d> {
        self.map
    }

    /// Reads a key that has to be there.
    ///
    /// # Errors
    /// When it is missing, or its value is refused.
    pub fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Value<'d>) -> Read<T>,
    ) -> Read<T> {
        match self.get(key) {
            Some(value) => read(value),
            None => Err(self.missing(key, None)),
        }
    }

    /// Reports that a key is missing, with what to do.
    pub fn missing(&self, key: &'static str, hint: Option<&str>) -> Refused {
        let message = format!("`{key}` is missing");
        let problem = self.map.problem(ProblemKind::Missing, message);
        self.map.report(problem.maybe_hint(hint))
    }

    /// Reads a key that may be there. An empty value is not "not there": the
    /// reader sees it, and mostly refuses it.
    ///
    /// # Errors
    /// When its value is refused.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(Value<'d>) -> Read<T>,
    ) -> Read<Option<T>> {
        self.get(key).map(read).transpose()
    }

    /// Reads a key that may be there, and takes `default` when it is not.
    ///
    /// # Errors
    /// When its value is refused.
    pub fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(Value<'d>) -> Read<T>,
    ) -> Read<T> {
        Ok(self.optional(key, read)?.unwrap_or(default))
    }
}

/// Every value, or the first refusal; all are computed either way.
pub fn all<T>(reads: impl IntoIterator<Item = Read<T>>) -> Read<Vec<T>> {
    let reads: Vec<Read<T>> = reads.into_iter().collect();
    reads.into_iter().collect()
}

fn byte_count(text: &str) -> Option<ByteCount> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let scale: u64 = match unit.strip_prefix(' ').unwrap_or(unit) {
        "bytes" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)
        .map(ByteCount)
}

#[cfg(test)]
mod tests;
