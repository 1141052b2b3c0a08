//! Lines of a tool's own output format, before anything is masked or shown.

use infraflow_core::limits::ByteCount;

/// Cuts a stream of bytes into lines of bounded length.
pub(crate) struct RawLines {
    open: Vec<u8>,
    limit: usize,
    /// Whether the open line is too long already; its rest is left out.
    overlong: bool,
}

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawLine<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It was longer than the limit; its beginning.
    Cut(&'a [u8]),
}

impl RawLines {
    pub(crate) fn new(limit: ByteCount) -> Self {
        Self {
            open: Vec::new(),
            limit: limit.to_usize(),
            overlong: false,
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8], mut emit: impl FnMut(RawLine<'_>)) {
        for part in piece.split_inclusive(|&b| b == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = self.limit.saturating_sub(self.open.len());
            self.overlong |= text.len() > room;
            self.open
                .extend_from_slice(text.get(..room).unwrap_or(text));
            if ends {
                self.emit(&mut emit);
            }
        }
    }

    pub(crate) fn finish(&mut self, mut emit: impl FnMut(RawLine<'_>)) {
        if !self.open.is_empty() || self.overlong {
            self.emit(&mut emit);
        }
    }

    fn emit(&mut self, emit: &mut impl FnMut(RawLine<'_>)) {
        let line = self.open.strip_suffix(b"\r").unwrap_or(&self.open);
        emit(if self.overlong {
            RawLine::Cut(line)
        } else {
            RawLine::Whole(line)
        });
        self.open.clear();
        self.overlong = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &[u8], piece: usize) -> Vec<(String, bool)> {
        let mut lines = RawLines::new(ByteCount(4));
        let mut found = Vec::new();
        let mut take = |line: RawLine<'_>| {
            let (bytes, cut) = match line {
                RawLine::Whole(bytes) => (bytes, false),
                RawLine::Cut(bytes) => (bytes, true),
            };
            found.push((String::from_utf8_lossy(bytes).into_owned(), cut));
        };
        for part in text.chunks(piece) {
            lines.push(part, &mut take);
        }
        lines.finish(&mut take);
        found
    }

    #[test]
    fn lines_at_and_past_the_limit() {
        let line = |text: &str, cut| (text.to_owned(), cut);
        assert_eq!(
            lines(b"abcd\nabcde\n\nx\r\nabcdefghijk", 3),
            [
                line("abcd", false),
                line("abcd", true),
                line("", false),
                line("x", false),
                line("abcd", true)
            ]
        );
        assert_eq!(lines(b"", 1), []);
    }

    proptest! {
        #[test]
        fn cutting_makes_no_difference(text in "[a\n\r]{0,40}", piece in 1_usize..9) {
            prop_assert_eq!(lines(text.as_bytes(), piece), lines(text.as_bytes(), 100));
        }
    }
}
