//! What holds for every decision.

use proptest::prelude::*;

use super::*;
use crate::limits::PARK_AFTER;

type Verdict = Result<(), TestCaseError>;

/// Checks all of it.
pub(super) fn check_decision(
    before: &Run,
    told: &Told,
    decision: &Decision,
    now: Timestamp,
) -> Verdict {
    check_entries(before, decision, now)?;
    check_steps(before, &decision.next)?;
    check_work(told, decision)?;
    check_clock(before, decision, now)
}

/// Entries follow each other, lead to the state, and keep the order of things.
fn check_entries(before: &Run, decision: &Decision, now: Timestamp) -> Verdict {
    let mut run = before.clone();
    for entry in &decision.entries {
        prop_assert!(!is_ended(&run), "{entry:?} follows the end");
        if let Entry::AttemptStarted { .. } = entry {
            prop_assert!(run.missing_lock().is_none(), "it runs without its locks");
        }
        if let Entry::Claimed(claim) = entry {
            prop_assert_eq!(claim.epoch, run.epoch() + 1);
        }
        run.fold(entry, now)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
    let claims = decision
        .entries
        .iter()
        .filter(|entry| matches!(entry, Entry::Claimed(_)));
    prop_assert_eq!(
        run.epoch() - before.epoch(),
        u32::try_from(claims.count()).unwrap()
    );
    prop_assert_eq!(essence(&run), essence(&decision.next));
    Ok(())
}

/// What a journal changes of a run: cheaper to compare than all of it.
fn essence(run: &Run) -> impl PartialEq + std::fmt::Debug {
    (
        (run.phase(), run.steps(), run.epoch(), run.stop()),
        (run.deadline(), run.is_due(), run.missing_lock()),
        (run.workspace(), run.claims_without_progress()),
    )
}

/// A step that is over stays as it is.
pub(super) fn check_steps(before: &Run, next: &Run) -> Verdict {
    let running = next
        .steps()
        .iter()
        .filter(|s| s.status == StepStatus::Running);
    prop_assert!(running.count() <= 1, "one attempt at a time");
    for (was, is) in before.steps().iter().zip(next.steps()) {
        if let StepStatus::Ended { .. } = was.status {
            prop_assert_eq!(was, is);
        }
        prop_assert!(is.attempts >= was.attempts);
    }
    Ok(())
}

/// Whoever is to act next knows of it: a runnable run is a work item, the host
/// of a claimed one has something to do, one that waits has a time.
fn check_work(told: &Told, decision: &Decision) -> Verdict {
    let next = &decision.next;
    let is_runnable = matches!(next.phase(), Phase::Runnable);
    if !decision.entries.is_empty() {
        prop_assert_eq!(decision.wakes.is_some(), is_runnable, "{:?}", next.phase());
    }
    if matches!(next.phase(), Phase::Claimed(_)) && matches!(told, Told::Input(_)) {
        prop_assert!(
            next.is_running() || !decision.effects.is_empty(),
            "it sticks"
        );
    }
    let is_waiting = matches!(next.phase(), Phase::Waiting { .. });
    prop_assert_eq!(next.wake_at().is_some(), is_waiting);
    let starts = |effect: &&Effect| matches!(effect, Effect::Start(_));
    let started = |entry: &&Entry| matches!(entry, Entry::AttemptStarted { .. });
    prop_assert_eq!(
        decision.effects.iter().filter(starts).count(),
        decision.entries.iter().filter(started).count(),
        "an attempt is recorded, then run"
    );
    Ok(())
}

/// The timeout stands still during what others make a run wait for, and only
/// then; a host that has a run looks again soon.
fn check_clock(before: &Run, decision: &Decision, now: Timestamp) -> Verdict {
    let stood_still = match before.phase() {
        Phase::Waiting { parked, since } if parked.parking.stops_the_clock() => {
            Duration::try_from(now.duration_since(*since)).unwrap_or_default()
        }
        _ => Duration::ZERO,
    };
    let moved = decision.next.deadline().duration_since(before.deadline());
    if matches!(decision.next.phase(), Phase::Runnable) {
        prop_assert_eq!(Duration::try_from(moved).unwrap(), stood_still);
    } else {
        prop_assert!(moved.is_zero());
    }
    for effect in &decision.effects {
        if let Effect::LookAt(due) = effect {
            prop_assert!(now < *due && *due <= now + PARK_AFTER);
        }
    }
    for entry in &decision.entries {
        if let Entry::Parked(parked) = entry {
            prop_assert!(parked.until > now);
        }
    }
    Ok(())
}
