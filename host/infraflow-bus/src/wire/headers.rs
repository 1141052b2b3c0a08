//! Names of headers.

/// CloudEvents 1.0, NATS binding, binary mode: `ce-` and the attribute's name.
pub(crate) const CE_ID: &str = "ce-id";
pub(crate) const CE_SOURCE: &str = "ce-source";
pub(crate) const CE_TYPE: &str = "ce-type";
pub(crate) const CE_TIME: &str = "ce-time";
pub(crate) const CE_SUBJECT: &str = "ce-subject";
pub(crate) const CE_SPECVERSION: &str = "ce-specversion";
/// Our extension attribute: who caused the event. True on subjects where only
/// hosts publish.
pub(crate) const CE_ACTOR: &str = "ce-actor";
pub(crate) const CONTENT_TYPE: &str = "content-type";

/// JetStream's own.
pub(crate) const MSG_ID: &str = "Nats-Msg-Id";
pub(crate) const EXPECTED_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
pub(crate) const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
pub(crate) const SEQUENCE: &str = "Nats-Sequence";
pub(crate) const SUBJECT: &str = "Nats-Subject";
pub(crate) const TIMESTAMP: &str = "Nats-Time-Stamp";
pub(crate) const PENDING: &str = "Nats-Num-Pending";
pub(crate) const PENDING_MESSAGES: &str = "Nats-Pending-Messages";
/// How long the server keeps a message.
pub(crate) const TTL: &str = "Nats-TTL";
/// Says why a marker stands in a key's place: the server's own.
pub(crate) const MARKER: &str = "Nats-Marker-Reason";
/// Says that a key of a bucket was removed.
pub(crate) const KV_OPERATION: &str = "KV-Operation";

/// Message schedules (ADR-51).
pub(crate) const SCHEDULE: &str = "Nats-Schedule";
pub(crate) const SCHEDULE_TARGET: &str = "Nats-Schedule-Target";
pub(crate) const SCHEDULE_TTL: &str = "Nats-Schedule-TTL";

/// Of a log line.
pub(crate) const LINE_TIME: &str = "Infraflow-Time";
pub(crate) const LINE_RUN: &str = "Infraflow-Run";
pub(crate) const LINE_STEP: &str = "Infraflow-Step";
pub(crate) const LINE_ATTEMPT: &str = "Infraflow-Attempt";
pub(crate) const LINE_STREAM: &str = "Infraflow-Stream";
pub(crate) const LINE_LEVEL: &str = "Infraflow-Level";
pub(crate) const LINE_SEQUENCE: &str = "Infraflow-Sequence";
pub(crate) const LINE_EPOCH: &str = "Infraflow-Epoch";
/// Present and `true` when the line goes on in the next one.
pub(crate) const LINE_CONTINUES: &str = "Infraflow-Continues";

/// Of a dead letter.
pub(crate) const DEAD_REASON: &str = "Infraflow-Dead-Reason";
pub(crate) const DEAD_DETAIL: &str = "Infraflow-Dead-Detail";
pub(crate) const DEAD_SUBJECT: &str = "Infraflow-Dead-Subject";
pub(crate) const DEAD_SEQUENCE: &str = "Infraflow-Dead-Sequence";
pub(crate) const DEAD_TRUNCATED: &str = "Infraflow-Dead-Truncated";
/// In front of the original's own headers.
pub(crate) const DEAD_ORIGINAL: &str = "Original-";
