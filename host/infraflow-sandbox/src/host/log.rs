//! `log`: lines of the plugin itself. Always granted, never fails, never waits.
//!
//! Writing a line is the guest's own work: it is bounded by the rate below and
//! counted as computing, not as a host call.

use infraflow_core::limits::{LOG_BYTES, LOG_LINE, LOG_LINES_PER_SECOND};
use infraflow_core::line::{self, Line, LineSplitter, Stream};
use infraflow_core::mask::MaskSet;
use infraflow_core::ports::LineSink;

use crate::bindings::infraflow::step::log::{Host, Level};
use crate::limits::TICKS_PER_SECOND;
use crate::meter::Ended;
use crate::state::State;

impl Host for State {
    fn write(&mut self, level: Level, message: String) -> wasmtime::Result<()> {
        if self.look().is_err() {
            return Err(wasmtime::Error::new(Ended));
        }
        if let Some(attempt) = &self.attempt {
            let now = self.meter.clock().now();
            let scope = &attempt.scope;
            self.log
                .write(now, level_of(level), message, &scope.mask, &*scope.lines);
        }
        Ok(())
    }
}

fn level_of(level: Level) -> line::Level {
    match level {
        Level::Debug => line::Level::Debug,
        Level::Info => line::Level::Info,
        Level::Warn => line::Level::Warn,
        Level::Error => line::Level::Error,
    }
}

/// Lets lines through up to a rate and a sum, and says what it kept back.
#[derive(Debug)]
pub(crate) struct LogGate {
    second_began: u64,
    lines: u64,
    bytes: u64,
    lost: u64,
}

impl LogGate {
    /// A gate that nothing has passed.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            second_began: now,
            lines: 0,
            bytes: 0,
            lost: 0,
        }
    }

    /// Takes one message: masks it, cuts it into lines, passes on those that
    /// the limits allow.
    fn write(
        &mut self,
        now: u64,
        level: line::Level,
        message: String,
        mask: &MaskSet,
        sink: &dyn LineSink,
    ) {
        if now.saturating_sub(self.second_began) >= TICKS_PER_SECOND {
            self.second_began = now;
            self.lines = 0;
            self.report(sink);
        }
        let is_plain = message.len() <= LOG_LINE.to_usize() && !message.contains(['\n', '\r']);
        if is_plain && mask.is_empty() {
            let line = Line {
                stream: Stream::Plugin,
                level,
                text: message,
                continues: false,
            };
            return self.pass(line, sink);
        }
        let mut splitter = LineSplitter::new(Stream::Plugin, level, mask);
        splitter.push(message.as_bytes(), |line| self.pass(line, sink));
        splitter.finish(|line| self.pass(line, sink));
    }

    fn pass(&mut self, line: Line, sink: &dyn LineSink) {
        let bytes = u64::try_from(line.text.len() + 1).unwrap_or(u64::MAX);
        if self.lines >= LOG_LINES_PER_SECOND || self.bytes.saturating_add(bytes) > LOG_BYTES.0 {
            self.lost += 1;
            return;
        }
        self.lines += 1;
        self.bytes += bytes;
        sink.line(line);
    }

    /// Says in the log how many lines were kept back, when some were. Called
    /// once a second while lines come, and at the end of the attempt.
    pub(crate) fn report(&mut self, sink: &dyn LineSink) {
        let lost = std::mem::take(&mut self.lost);
        if lost == 0 {
            return;
        }
        sink.lost(lost);
        sink.line(Line {
            stream: Stream::Host,
            level: line::Level::Warn,
            text: format!(
                "{lost} lines of the plugin are lost: it may log {LOG_LINES_PER_SECOND} lines a second and {LOG_BYTES} an attempt"
            ),
            continues: false,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Sink {
        lines: Mutex<Vec<Line>>,
        lost: Mutex<u64>,
    }

    impl LineSink for Sink {
        fn line(&self, line: Line) {
            self.lines.lock().unwrap().push(line);
        }

        fn lost(&self, lines: u64) {
            *self.lost.lock().unwrap() += lines;
        }
    }

    impl Sink {
        fn texts(&self) -> Vec<String> {
            let lines = self.lines.lock().unwrap();
            lines.iter().map(|line| line.text.clone()).collect()
        }
    }

    fn write(gate: &mut LogGate, now: u64, message: &str, mask: &MaskSet, sink: &Sink) {
        gate.write(now, line::Level::Info, message.to_owned(), mask, sink);
    }

    #[test]
    fn messages_become_lines() {
        for (message, expected) in [
            ("", &[""][..]),
            ("a", &["a"]),
            ("a\nb", &["a", "b"]),
            ("a\r\nb\n", &["a", "b"]),
            ("a\n\nb", &["a", "", "b"]),
        ] {
            let sink = Sink::default();
            write(&mut LogGate::new(0), 0, message, &MaskSet::default(), &sink);
            assert_eq!(sink.texts(), expected, "{message:?}");
        }
    }

    #[test]
    fn promise_08_secrets_are_masked() {
        let sink = Sink::default();
        let mask = MaskSet::new(["very-secret-value"]);
        write(
            &mut LogGate::new(0),
            0,
            "a very-secret-value b",
            &mask,
            &sink,
        );
        assert_eq!(sink.texts(), ["a *** b"]);
    }

    #[test]
    fn promise_09_lines_over_the_rate_are_counted_and_shown() {
        let sink = Sink::default();
        let mut gate = LogGate::new(0);
        let mask = MaskSet::default();
        for _ in 0..LOG_LINES_PER_SECOND + 5 {
            write(&mut gate, 0, "x", &mask, &sink);
        }
        let passed = || u64::try_from(sink.lines.lock().unwrap().len()).unwrap();
        assert_eq!(passed(), LOG_LINES_PER_SECOND);
        write(&mut gate, TICKS_PER_SECOND, "y", &mask, &sink);
        assert_eq!(passed(), LOG_LINES_PER_SECOND + 2, "a marker and the line");
        assert_eq!(*sink.lost.lock().unwrap(), 5);
        assert!(
            sink.texts()
                .iter()
                .any(|text| text.starts_with("5 lines of"))
        );
        gate.report(&sink);
        assert_eq!(*sink.lost.lock().unwrap(), 5, "each line is counted once");
    }

    #[test]
    fn promise_09_lines_over_the_sum_are_counted_and_shown() {
        let sink = Sink::default();
        let mut gate = LogGate::new(0);
        gate.bytes = LOG_BYTES.0 - 2;
        let mask = MaskSet::default();
        write(&mut gate, 0, "x", &mask, &sink);
        write(&mut gate, 500, "y", &mask, &sink);
        gate.report(&sink);
        assert_eq!(*sink.lost.lock().unwrap(), 1);
        assert_eq!(sink.texts().first().unwrap(), "x");
    }
}
