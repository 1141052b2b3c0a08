//! What becomes of what a process prints.

use infraflow_core::limits::ByteCount;
use infraflow_core::line::{Level, LineSplitter, Stream};
use infraflow_core::ports::{BoxFuture, LineSink, ToolScope};

/// Takes what a process prints on one of its streams.
pub(crate) trait Sink: Send {
    /// Waits a bounded time until there is room for another piece. Cancel-safe.
    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// A piece, cut anywhere.
    fn push(&mut self, piece: &[u8]);
    /// There is no more.
    fn finish(&mut self);
}

/// Keeps the first part of a stream.
pub(crate) struct Capture {
    bytes: Vec<u8>,
    limit: usize,
    truncated: bool,
}

impl Capture {
    pub(crate) fn new(limit: ByteCount) -> Self {
        Self {
            bytes: Vec::new(),
            limit: limit.to_usize(),
            truncated: false,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Sink for Capture {
    fn push(&mut self, piece: &[u8]) {
        let room = self.limit.saturating_sub(self.bytes.len());
        self.truncated |= piece.len() > room;
        let taken = piece.get(..room).unwrap_or(piece);
        self.bytes.extend_from_slice(taken);
    }

    fn finish(&mut self) {}
}

/// Makes every line a log line of the attempt.
pub(crate) struct LogLines<'a> {
    splitter: LineSplitter,
    lines: &'a dyn LineSink,
}

impl<'a> LogLines<'a> {
    pub(crate) fn new(scope: &'a ToolScope, stream: Stream, level: Level) -> Self {
        Self {
            splitter: LineSplitter::new(stream, level, &scope.mask),
            lines: &*scope.lines,
        }
    }
}

impl Sink for LogLines<'_> {
    fn room(&self) -> BoxFuture<'_, ()> {
        self.lines.room()
    }

    fn push(&mut self, piece: &[u8]) {
        self.splitter.push(piece, |line| self.lines.line(line));
    }

    fn finish(&mut self) {
        self.splitter.finish(|line| self.lines.line(line));
    }
}

/// Hands a stream to two sinks.
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B);

impl<A: Sink + Sync, B: Sink + Sync> Sink for Both<A, B> {
    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.room().await;
            self.1.room().await;
        })
    }

    fn push(&mut self, piece: &[u8]) {
        self.0.push(piece);
        self.1.push(piece);
    }

    fn finish(&mut self) {
        self.0.finish();
        self.1.finish();
    }
}

impl<S: Sink + ?Sized> Sink for &mut S {
    fn room(&self) -> BoxFuture<'_, ()> {
        (**self).room()
    }

    fn push(&mut self, piece: &[u8]) {
        (**self).push(piece);
    }

    fn finish(&mut self) {
        (**self).finish();
    }
}

/// Log lines of different levels on one stream, taken line by line.
pub(crate) struct LevelLines<'a> {
    splitters: [(Level, LineSplitter); 4],
    lines: &'a dyn LineSink,
}

impl<'a> LevelLines<'a> {
    pub(crate) fn new(scope: &'a ToolScope, stream: Stream) -> Self {
        let levels = [Level::Info, Level::Warn, Level::Error, Level::Debug];
        let splitter = |level| (level, LineSplitter::new(stream, level, &scope.mask));
        Self {
            splitters: levels.map(splitter),
            lines: &*scope.lines,
        }
    }

    /// Waits a bounded time until there is room for more lines.
    pub(crate) fn room(&self) -> BoxFuture<'a, ()> {
        self.lines.room()
    }

    /// Takes whole lines, without the last one's end.
    pub(crate) fn text(&mut self, level: Level, text: &str) {
        let splitter = self.splitters.iter_mut().find(|(of, _)| *of == level);
        if let Some((_, splitter)) = splitter {
            splitter.push(text.as_bytes(), |line| self.lines.line(line));
            splitter.push(b"\n", |line| self.lines.line(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_the_first_part() {
        for (pieces, kept, truncated) in [
            (&["abc"][..], "abc", false),
            (&["ab", "cd"], "abcd", false),
            (&["abcd", ""], "abcd", false),
            (&["abc", "de"], "abcd", true),
            (&["abcde"], "abcd", true),
        ] {
            let mut capture = Capture::new(ByteCount(4));
            for piece in pieces {
                capture.push(piece.as_bytes());
            }
            assert_eq!(capture.text(), kept, "{pieces:?}");
            assert_eq!(capture.is_truncated(), truncated, "{pieces:?}");
        }
    }
}
