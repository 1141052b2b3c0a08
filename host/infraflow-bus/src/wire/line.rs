//! Log lines on the wire: the payload is the line, everything else a header, so
//! that a plain NATS subscriber reads them.

use async_nats::HeaderMap;
use infraflow_core::Timestamp;
use infraflow_core::id::{RunId, StepId};
use infraflow_core::line::{Level, Line, Stream};
use infraflow_core::ports::Sequence;

use super::headers as h;
use crate::subject;

/// A line with everything that its headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedLine {
    /// Its position in the stream of log lines.
    pub position: Sequence,
    /// When the host took it.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Its number in the attempt, from 1; a gap means lost lines.
    pub number: u64,
    /// The claim under which it was written.
    pub epoch: u32,
    /// The line.
    pub line: Line,
}

/// For which attempt lines are written.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) run: RunId,
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) epoch: u32,
}

/// The headers of a line.
pub(crate) fn headers(attempt: &Attempt, number: u64, time: Timestamp, line: &Line) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(h::LINE_TIME, time.to_string());
    headers.insert(h::LINE_RUN, attempt.run.to_string());
    headers.insert(h::LINE_STEP, attempt.step.as_str());
    headers.insert(h::LINE_ATTEMPT, attempt.attempt.to_string());
    headers.insert(h::LINE_STREAM, line.stream.name());
    headers.insert(h::LINE_LEVEL, line.level.name());
    headers.insert(h::LINE_SEQUENCE, number.to_string());
    headers.insert(h::LINE_EPOCH, attempt.epoch.to_string());
    if line.continues {
        headers.insert(h::LINE_CONTINUES, "true");
    }
    headers
}

/// Reads a stored line; `None` when somebody else put it there.
pub(crate) fn decode(
    position: Sequence,
    subject: &str,
    headers: &HeaderMap,
    payload: &[u8],
) -> Option<LoggedLine> {
    let (run, step) = subject::parse_log(subject)?;
    let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    Some(LoggedLine {
        position,
        time: text(h::LINE_TIME)?.parse().ok()?,
        run,
        step,
        attempt: text(h::LINE_ATTEMPT)?.parse().ok()?,
        number: text(h::LINE_SEQUENCE)?.parse().ok()?,
        epoch: text(h::LINE_EPOCH)?.parse().ok()?,
        line: Line {
            stream: text(h::LINE_STREAM)?.parse::<Stream>().ok()?,
            level: text(h::LINE_LEVEL)?.parse::<Level>().ok()?,
            text: String::from_utf8_lossy(payload).into_owned(),
            continues: text(h::LINE_CONTINUES) == Some("true"),
        },
    })
}
