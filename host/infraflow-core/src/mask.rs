//! Masking of secrets in a stream of bytes, before anything is published.
//!
//! A value is masked in the form it was given and in its base64, URL-encoded
//! and JSON-escaped forms, also when it is spread over pieces of the stream.
//! Parts, hashes and other transformations are not: a granted secret is in the
//! hands of the code that has it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::limits::SECRET_MIN;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// The values that are masked. Cloning is cheap.
#[derive(Clone, Default)]
pub struct MaskSet {
    matcher: Option<Arc<Matcher>>,
}

struct Matcher {
    patterns: BTreeSet<Vec<u8>>,
    automaton: AhoCorasick,
    pattern_bytes_max: usize,
}

impl fmt::Debug for MaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaskSet(<redacted>)")
    }
}

impl MaskSet {
    /// A set that masks these values. Lines of a value are masked one by one
    /// too; lines and forms under [`SECRET_MIN`] bytes are left alone.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        Self::default().with(values)
    }

    /// This set and these values too, by the same rules.
    pub fn with<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut patterns: BTreeSet<Vec<u8>> = self
            .matcher
            .as_ref()
            .map(|matcher| matcher.patterns.clone())
            .unwrap_or_default();
        for value in values {
            add_forms(value, &mut patterns);
            for line in value.lines().filter(|line| *line != value) {
                add_forms(line, &mut patterns);
            }
        }
        let long_enough = |pattern: &Vec<u8>| pattern.len() >= SECRET_MIN.to_usize();
        // A pattern never spans lines: the stream is flushed at each newline.
        patterns.retain(|p| long_enough(p) && !p.contains(&b'\n'));
        let Some(pattern_bytes_max) = patterns.iter().map(Vec::len).max() else {
            return Self { matcher: None };
        };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&patterns)
            .expect("secrets are bounded, so their automaton fits 32 bit states");
        Self {
            matcher: Some(Arc::new(Matcher {
                patterns,
                automaton,
                pattern_bytes_max,
            })),
        }
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_none()
    }

    /// Masks a whole text.
    pub fn mask(&self, text: &str) -> String {
        if self.is_empty() {
            return text.to_owned();
        }
        let mut out = Vec::with_capacity(text.len());
        let mut masker = self.masker();
        masker.push(text.as_bytes(), &mut out);
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether a text holds a masked value.
    pub fn occurs_in(&self, text: &str) -> bool {
        self.matcher
            .as_ref()
            .is_some_and(|matcher| matcher.automaton.is_match(text))
    }

    /// Starts masking a stream.
    pub fn masker(&self) -> Masker {
        Masker {
            matcher: self.matcher.clone(),
            held: Vec::new(),
        }
    }
}

fn add_forms(value: &str, patterns: &mut BTreeSet<Vec<u8>>) {
    let value = value.trim_end_matches(['\r', '\n']);
    if value.len() < SECRET_MIN.to_usize() {
        return;
    }
    patterns.insert(value.as_bytes().to_vec());
    patterns.insert(url_encoded(value, UrlSpace::Percent).into_bytes());
    patterns.insert(url_encoded(value, UrlSpace::Plus).into_bytes());
    let quoted = serde_json::Value::from(value).to_string();
    patterns.insert(quoted.trim_matches('"').as_bytes().to_vec());
    patterns.insert(quoted.trim_matches('"').replace('/', "\\/").into_bytes());
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for offset in 0..3 {
            patterns.extend(base64_inner(engine, value, offset));
        }
    }
}

/// The characters of a base64 text that depend on the value alone, when the
/// value starts `offset` bytes into a group of three (as in `user:secret`).
fn base64_inner(
    engine: &base64::engine::GeneralPurpose,
    value: &str,
    offset: usize,
) -> Option<Vec<u8>> {
    let mut bytes = vec![0_u8; offset];
    bytes.extend_from_slice(value.as_bytes());
    let text = engine.encode(&bytes);
    let from = [0, 2, 3].get(offset).copied()?;
    // The last character mixes with what follows unless the group is full.
    let to = if bytes.len().is_multiple_of(3) {
        text.len()
    } else {
        text.len().checked_sub(1)?
    };
    text.get(from..to).map(|inner| inner.as_bytes().to_vec())
}

#[derive(Clone, Copy)]
enum UrlSpace {
    Percent,
    Plus,
}

fn url_encoded(value: &str, space: UrlSpace) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' if matches!(space, UrlSpace::Plus) => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Masks a stream piece by piece.
///
/// Holds back only what may be the start of a secret, and nothing after a
/// newline.
pub struct Masker {
    matcher: Option<Arc<Matcher>>,
    held: Vec<u8>,
}

impl Masker {
    /// Takes a piece of the stream and appends what is safe to show.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let Some(matcher) = self.matcher.clone() else {
            out.extend_from_slice(piece);
            return;
        };
        self.held.extend_from_slice(piece);
        let line_end = self
            .held
            .iter()
            .rposition(|&b| b == b'\n')
            .map_or(0, |at| at + 1);
        // A match that starts before this point is wholly in memory.
        let certain = (self.held.len() + 1).saturating_sub(matcher.pattern_bytes_max);
        self.release(&matcher, line_end.max(certain), out);
    }

    /// Ends the stream and appends the rest.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(matcher) = self.matcher.clone() {
            self.release(&matcher, self.held.len(), out);
        }
    }

    /// Shows everything that starts before `until`.
    fn release(&mut self, matcher: &Matcher, until: usize, out: &mut Vec<u8>) {
        let mut shown = 0;
        for found in matcher.automaton.find_iter(&self.held) {
            if found.start() >= until {
                break;
            }
            out.extend(self.held.get(shown..found.start()).unwrap_or_default());
            out.extend_from_slice(MASK.as_bytes());
            shown = found.end();
        }
        if shown < until {
            out.extend(self.held.get(shown..until).unwrap_or_default());
            shown = until;
        }
        self.held.drain(..shown.min(self.held.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    const SECRET: &str = "s3cr3t/+pass word\"é";

    fn masked_in_pieces(set: &MaskSet, text: &[u8], piece: usize) -> String {
        let mut masker = set.masker();
        let mut out = Vec::new();
        for part in text.chunks(piece.max(1)) {
            masker.push(part, &mut out);
        }
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn promise_08_every_form_is_masked() {
        let set = MaskSet::new([SECRET]);
        let json = serde_json::Value::from(SECRET).to_string();
        for form in [
            SECRET.to_owned(),
            json,
            url_encoded(SECRET, UrlSpace::Percent),
            url_encoded(SECRET, UrlSpace::Plus),
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("u:{SECRET}")),
            STANDARD.encode(format!("us:{SECRET}")),
            STANDARD.encode(format!("use:{SECRET}:x")),
            URL_SAFE_NO_PAD.encode(SECRET),
        ] {
            let text = format!("before {form} after");
            for piece in [1, 2, 3, 7, 1_000] {
                let shown = masked_in_pieces(&set, text.as_bytes(), piece);
                assert!(shown.contains(MASK), "{form} in pieces of {piece}: {shown}");
                assert!(
                    shown.starts_with("before ") && shown.ends_with(" after"),
                    "{shown}"
                );
                let core: String = form.chars().skip(4).take(8).collect();
                assert!(
                    !shown.contains(&core),
                    "{form} in pieces of {piece}: {shown}"
                );
            }
        }
    }

    #[test]
    fn promise_08_a_value_that_is_learned_later_is_masked_beside_the_others() {
        let first = MaskSet::new(["first-secret"]);
        let both = first.with(["second-secret"]);
        assert_eq!(both.mask("first-secret second-secret"), "*** ***");
        assert_eq!(
            first.mask("first-secret second-secret"),
            "*** second-secret"
        );
        assert!(MaskSet::default().with([]).is_empty());
    }

    #[test]
    fn lines_of_a_key_are_masked_one_by_one() {
        let key = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\nshort\n-----END KEY-----\n";
        let set = MaskSet::new([key]);
        assert_eq!(set.mask("x AAAAB3NzaC1yc2E y"), "x *** y");
        assert_eq!(set.mask("short"), "short");
    }

    #[test]
    fn short_values_do_not_blacken_the_log() {
        assert!(MaskSet::new(["", "a", "1234567"]).is_empty());
        assert_eq!(MaskSet::new(["12345678"]).mask("a12345678b"), "a***b");
    }

    #[test]
    fn a_line_is_shown_at_its_end() {
        let set = MaskSet::new(["abcdefghij"]);
        let mut masker = set.masker();
        let mut out = Vec::new();
        masker.push(b"hello abcdef\n", &mut out);
        assert_eq!(out, b"hello abcdef\n");
    }

    #[test]
    fn longest_of_overlapping_secrets_wins() {
        let set = MaskSet::new(["password", "password-of-root"]);
        assert_eq!(set.mask("password-of-root password"), "*** ***");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(
            format!("{:?}", MaskSet::new(["12345678"])),
            "MaskSet(<redacted>)"
        );
    }

    proptest! {
        /// However the stream is cut, the result is the same, and no secret is in it.
        #[test]
        fn cutting_makes_no_difference(
            parts in prop::collection::vec("[a-c\n]{0,6}", 0..12),
            secret in "[a-c]{8,12}",
            piece in 1_usize..20,
        ) {
            let text = parts.join(&secret);
            let set = MaskSet::new([secret.as_str()]);
            let whole = masked_in_pieces(&set, text.as_bytes(), usize::MAX);
            prop_assert_eq!(&masked_in_pieces(&set, text.as_bytes(), piece), &whole);
            prop_assert!(!whole.contains(&secret));
        }
    }
}
