//! `lock` and `concurrency`.

use std::num::NonZeroU32;

use infraflow_core::limits;
use infraflow_core::workflow::OnConflict;

use crate::diagnostic::ProblemKind;
use crate::keys;
use crate::read::{Read, Value};

/// A workflow's `concurrency`.
#[derive(Default)]
pub(crate) struct RawConcurrency<'d> {
    pub(crate) max: Option<NonZeroU32>,
    /// With what stands there, for problems that only the whole shows.
    pub(crate) on_conflict: Option<(Value<'d>, OnConflict)>,
}

pub(super) fn concurrency(value: Value<'_>) -> Read<RawConcurrency<'_>> {
    let fields = value.fields(&keys::CONCURRENCY)?;
    let max = fields.optional("max", |max| max.whole(1..=limits::CONCURRENCY));
    let on_conflict = fields.optional("on_conflict", |value| {
        let policies = OnConflict::ALL.map(|policy| (policy.name(), policy));
        Ok((value, value.choice(&policies)?))
    });
    let (max, on_conflict) = (max?, on_conflict?);
    if max.is_none() && on_conflict.is_none() {
        let problem = value
            .problem(ProblemKind::Missing, "`concurrency` says nothing")
            .expected("expected `max`, `on_conflict` or both")
            .hint("`concurrency: { max: 1 }` is one run of the workflow at a time");
        return Err(value.report(problem));
    }
    Ok(RawConcurrency {
        max: max.and_then(NonZeroU32::new),
        on_conflict,
    })
}
