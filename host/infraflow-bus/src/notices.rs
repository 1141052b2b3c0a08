//! Notices: for people and tools that want to react. Nothing of ours relies on
//! them.

use futures::FutureExt as _;
use infraflow_core::Json;
use infraflow_core::id::RunId;
use infraflow_core::ports::Notices;

use crate::connect::Bus;
use crate::subject;

/// Publishes notices as plain messages.
#[derive(Debug, Clone)]
pub struct NoticeBoard {
    bus: Bus,
}

impl NoticeBoard {
    /// A board on this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }
}

impl Notices for NoticeBoard {
    fn notice(&self, run: RunId, what: &'static str, body: Json) {
        let payload = body.to_string();
        let publish = self
            .bus
            .client
            .publish(subject::notice(run, what), payload.into());
        // Ready at once unless the connection's queue is full: then it is lost,
        // as notices may be.
        drop(publish.now_or_never());
    }
}
