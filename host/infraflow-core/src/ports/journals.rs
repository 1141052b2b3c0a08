//! The journals of runs.

use super::BoxFuture;
use crate::id::RunId;
use crate::run::RecordEnvelope;

/// A position in the stream of journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first record.
    pub const NONE: Self = Self(0);
}

/// Why a record was not appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The journal has moved on: somebody else appended. Read it again.
    #[error("the journal has moved on")]
    Conflict,
    /// The store is full, and said so. Nothing was appended.
    #[error("the journal store is full")]
    Full,
    /// The store did not answer; whether the record is there is unknown. Append
    /// the same record again.
    #[error("the journal store did not answer: {0}")]
    Unavailable(String),
    /// The record is larger than [`crate::limits::RECORD`]. Nothing was
    /// appended.
    #[error("the record has {0} bytes, more than a journal record may have")]
    TooLarge(u64),
}

/// Why a journal could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The store did not answer.
    #[error("the journal store did not answer: {0}")]
    Unavailable(String),
    /// A record cannot be understood: a newer infraflow wrote it, or it is
    /// damaged. The run is left alone.
    #[error("record {sequence} of the journal cannot be read: {reason}", sequence = sequence.0)]
    Unreadable {
        /// The record.
        sequence: Sequence,
        /// Why.
        reason: String,
    },
}

/// Records of a journal with their positions, in order.
pub type StoredRecords = Vec<(Sequence, RecordEnvelope)>;

/// The journals of runs.
pub trait Journals: Send + Sync {
    /// Appends a record when the journal's last record still is `after`
    /// ([`Sequence::NONE`]: when it is empty), and returns its position once it
    /// is durable. Appending the very same record again after
    /// [`AppendError::Unavailable`] does no harm: it is recognized.
    fn append<'a>(
        &'a self,
        record: &'a RecordEnvelope,
        after: Sequence,
    ) -> BoxFuture<'a, Result<Sequence, AppendError>>;

    /// Reads records of a journal at known positions, in that order: what costs
    /// least in a large store. `None` when one of them is not there.
    fn read_at<'a>(
        &'a self,
        run: RunId,
        positions: &'a [Sequence],
    ) -> BoxFuture<'a, Result<Option<StoredRecords>, ReadError>>;

    /// Reads the records of a journal after a position, in order.
    fn read(
        &self,
        run: RunId,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<(Sequence, RecordEnvelope)>, ReadError>>;
}
