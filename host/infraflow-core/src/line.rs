//! From bytes to log lines: bounded, valid UTF-8, split where too long.

use std::fmt;
use std::str::FromStr;

use crate::limits::LOG_LINE;
use crate::mask::{MaskSet, Masker};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// A tool's standard output.
    Stdout,
    /// A tool's standard error.
    Stderr,
    /// The plugin itself (`log.write`).
    Plugin,
    /// The host: markers such as "12 lines lost".
    Host,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For those who look for a fault.
    Debug,
    /// The ordinary case.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
}

macro_rules! named {
    ($name:ident { $($variant:ident => $text:literal),* $(,)? }) => {
        impl $name {
            /// Its name, in the header of a log line and in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    other => Err(format!("`{other}` is not a {}", stringify!($name).to_lowercase())),
                }
            }
        }
    };
}

named!(Stream { Stdout => "stdout", Stderr => "stderr", Plugin => "plugin", Host => "host" });
named!(Level { Debug => "debug", Info => "info", Warn => "warn", Error => "error" });

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub stream: Stream,
    /// How much it matters.
    pub level: Level,
    /// The text, without its newline, at most [`LOG_LINE`] bytes.
    pub text: String,
    /// Whether the line goes on in the next one, because it was too long.
    pub continues: bool,
}

/// Cuts a stream of bytes into masked lines.
pub struct LineSplitter {
    stream: Stream,
    level: Level,
    masker: Masker,
    clean: Vec<u8>,
    /// Whether the open line's beginning was emitted already.
    open: bool,
}

impl LineSplitter {
    /// Starts a stream whose lines all have the same level.
    pub fn new(stream: Stream, level: Level, mask: &MaskSet) -> Self {
        Self {
            stream,
            level,
            masker: mask.masker(),
            clean: Vec::new(),
            open: false,
        }
    }

    /// Takes a piece of the stream and hands every finished line on.
    pub fn push(&mut self, piece: &[u8], mut emit: impl FnMut(Line)) {
        self.masker.push(piece, &mut self.clean);
        self.emit_finished(&mut emit);
    }

    /// Ends the stream; what has no newline at its end becomes a line too.
    pub fn finish(&mut self, mut emit: impl FnMut(Line)) {
        self.masker.finish(&mut self.clean);
        self.emit_finished(&mut emit);
        let rest = std::mem::take(&mut self.clean);
        if !rest.is_empty() || self.open {
            emit(self.line(&rest, false));
            self.open = false;
        }
    }

    fn emit_finished(&mut self, emit: &mut impl FnMut(Line)) {
        let clean = std::mem::take(&mut self.clean);
        let mut rest = clean.as_slice();
        loop {
            let newline = rest.iter().position(|&b| b == b'\n');
            let line_length = newline.unwrap_or(rest.len());
            if line_length > LOG_LINE.to_usize() {
                let (head, tail) = rest.split_at(cut_position(rest));
                emit(self.line(head, true));
                self.open = true;
                rest = tail;
            } else if newline.is_some() {
                let (head, tail) = rest.split_at(line_length);
                emit(self.line(head, false));
                self.open = false;
                rest = tail.get(1..).unwrap_or_default();
            } else {
                break;
            }
        }
        self.clean = rest.to_vec();
    }

    fn line(&self, bytes: &[u8], continues: bool) -> Line {
        let bytes = if continues {
            bytes
        } else {
            bytes.strip_suffix(b"\r").unwrap_or(bytes)
        };
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        // Replacement characters are longer than what they replace.
        if text.len() > LOG_LINE.to_usize() {
            let end = text.floor_char_boundary(LOG_LINE.to_usize());
            text.truncate(end);
        }
        Line {
            stream: self.stream,
            level: self.level,
            text,
            continues,
        }
    }
}

/// Where to cut a line that is too long: at the limit, but not within a
/// character.
fn cut_position(bytes: &[u8]) -> usize {
    let limit = LOG_LINE.to_usize();
    let is_continuation = |at: usize| bytes.get(at).is_some_and(|b| b & 0xC0 == 0x80);
    (limit - 3..=limit)
        .rev()
        .find(|&at| !is_continuation(at))
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(text: &[u8], piece: usize, mask: &MaskSet) -> Vec<(String, bool)> {
        let mut splitter = LineSplitter::new(Stream::Stdout, Level::Info, mask);
        let mut lines = Vec::new();
        for part in text.chunks(piece) {
            splitter.push(part, |line| lines.push((line.text, line.continues)));
        }
        splitter.finish(|line| lines.push((line.text, line.continues)));
        lines
    }

    fn texts(text: &[u8]) -> Vec<String> {
        lines_of(text, 3, &MaskSet::default())
            .into_iter()
            .map(|(text, _)| text)
            .collect()
    }

    #[test]
    fn lines() {
        for (text, expected) in [
            (&b""[..], &[][..]),
            (b"\n", &[""]),
            (b"a", &["a"]),
            (b"a\n", &["a"]),
            (b"a\r\nb\r\n", &["a", "b"]),
            (b"a\n\nb", &["a", "", "b"]),
            (b"\xff\xfe\n\xc3", &["\u{fffd}\u{fffd}", "\u{fffd}"]),
        ] {
            assert_eq!(texts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_split_and_marked() {
        let limit = LOG_LINE.to_usize();
        let text = "é".repeat(limit);
        let lines = lines_of(text.as_bytes(), 4_096, &MaskSet::default());
        assert_eq!(
            lines
                .iter()
                .map(|(text, _)| text.as_str())
                .collect::<String>(),
            text
        );
        assert!(lines.iter().all(|(text, _)| text.len() <= limit));
        let marks: Vec<bool> = lines.iter().map(|(_, continues)| *continues).collect();
        assert_eq!(marks, [true, false]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_whole_and_one_more_is_not() {
        let limit = LOG_LINE.to_usize();
        let exact = [vec![b'x'; limit], vec![b'\n']].concat();
        assert_eq!(lines_of(&exact, 1_000, &MaskSet::default()).len(), 1);
        let over = [vec![b'x'; limit + 1], vec![b'\n']].concat();
        let lines = lines_of(&over, 1_000, &MaskSet::default());
        assert_eq!(
            lines.iter().map(|(text, _)| text.len()).collect::<Vec<_>>(),
            [limit, 1]
        );
    }

    #[test]
    fn promise_08_a_secret_across_the_cut_of_a_long_line_is_masked() {
        let secret = "very-secret-value";
        let mask = MaskSet::new([secret]);
        let text = format!(
            "{}{secret}{}",
            "x".repeat(LOG_LINE.to_usize() - 5),
            "y".repeat(100)
        );
        let all: String = lines_of(text.as_bytes(), 1_000, &mask)
            .into_iter()
            .map(|(text, _)| text)
            .collect();
        assert!(
            all.contains("x***y"),
            "the secret is masked before the line is cut"
        );
    }

    #[test]
    fn names_round_trip() {
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Plugin, Stream::Host] {
            assert_eq!(stream.name().parse::<Stream>(), Ok(stream));
        }
        for level in [Level::Debug, Level::Info, Level::Warn, Level::Error] {
            assert_eq!(level.name().parse::<Level>(), Ok(level));
        }
        assert!("x".parse::<Level>().is_err());
    }

    proptest! {
        #[test]
        fn cutting_makes_no_difference(text in "[a\nb\r]{0,60}", piece in 1_usize..20) {
            let whole = lines_of(text.as_bytes(), 1_000, &MaskSet::default());
            prop_assert_eq!(lines_of(text.as_bytes(), piece, &MaskSet::default()), whole);
        }

        #[test]
        fn never_panics_and_stays_bounded(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            for (text, _) in lines_of(&bytes, 7, &MaskSet::new(["abcdefgh"])) {
                prop_assert!(text.len() <= LOG_LINE.to_usize());
            }
        }
    }
}
