//! When a failed attempt is tried again, and after how long.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::id::{RunId, StepId};
use crate::outcome::AttemptOutcome;

/// A step's `retry`.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; 1 never tries again.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub delay: Duration,
    /// How the wait grows.
    pub backoff: Backoff,
    /// The longest wait.
    pub max_delay: Duration,
    /// How much of the wait is left to chance, 0 to 1: with 0.2 a wait of 10 s
    /// becomes 8 to 12 s.
    pub jitter: f64,
    /// Names of the outcomes to try again after. Unset: the retryable ones
    /// ([`AttemptOutcome::is_retryable`]).
    pub on: Option<Vec<String>>,
}

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// Always the same.
    Constant,
    /// Twice as long each time.
    Exponential,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 1,
            delay: Duration::from_secs(5),
            backoff: Backoff::Constant,
            max_delay: Duration::from_secs(300),
            jitter: 0.0,
            on: None,
        }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt, or `None` when there is none.
    /// `tried` counts the attempts so far that the policy counts (interrupted
    /// ones follow `on_interrupt` instead). Chance comes from the run and the
    /// attempt, so that equal runs wait equally long.
    pub fn next_delay(
        &self,
        outcome: AttemptOutcome,
        tried: u32,
        run: RunId,
        step: &StepId,
    ) -> Option<Duration> {
        (tried < self.attempts && self.covers(outcome)).then(|| self.delay_after(tried, run, step))
    }

    fn covers(&self, outcome: AttemptOutcome) -> bool {
        match &self.on {
            None => outcome.is_retryable(),
            Some(names) => names.iter().any(|name| name == outcome.name()),
        }
    }

    fn delay_after(&self, tried: u32, run: RunId, step: &StepId) -> Duration {
        let doublings = match self.backoff {
            Backoff::Constant => 0,
            Backoff::Exponential => tried.saturating_sub(1).min(31),
        };
        let delay = self
            .delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay);
        let factor = 1.0 + self.jitter * (2.0 * chance(run, step, tried) - 1.0);
        delay.mul_f64(factor.max(0.0)).min(self.max_delay)
    }
}

/// A number from 0 to 1 that depends on nothing but its arguments.
fn chance(run: RunId, step: &StepId, tried: u32) -> f64 {
    let digest: [u8; 32] = Sha256::digest(format!("{run}/{step}/{tried}")).into();
    let [a, b, c, d, ..] = digest;
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FAILED: AttemptOutcome = AttemptOutcome::Failed {
        exit_code: Some(1),
        transient: true,
    };

    fn run() -> RunId {
        "00000000000000000000000001".parse().unwrap()
    }

    fn delays(policy: &RetryPolicy) -> Vec<Option<u128>> {
        let step = StepId::new("a").unwrap();
        (1..=6)
            .map(|tried| {
                policy
                    .next_delay(FAILED, tried, run(), &step)
                    .map(|d| d.as_millis())
            })
            .collect()
    }

    #[test]
    fn delays_grow_to_their_limit() {
        let mut policy = RetryPolicy {
            attempts: 5,
            delay: Duration::from_secs(5),
            backoff: Backoff::Exponential,
            max_delay: Duration::from_secs(30),
            ..RetryPolicy::default()
        };
        assert_eq!(
            delays(&policy),
            [
                Some(5_000),
                Some(10_000),
                Some(20_000),
                Some(30_000),
                None,
                None
            ]
        );
        policy.backoff = Backoff::Constant;
        assert_eq!(
            delays(&policy),
            [
                Some(5_000),
                Some(5_000),
                Some(5_000),
                Some(5_000),
                None,
                None
            ]
        );
    }

    #[test]
    fn without_a_policy_nothing_is_tried_again() {
        assert_eq!(delays(&RetryPolicy::default()), [None; 6]);
    }

    #[test]
    fn only_covered_outcomes_are_tried_again() {
        let policy = |on: Option<Vec<String>>| RetryPolicy {
            attempts: 3,
            on,
            ..RetryPolicy::default()
        };
        let step = StepId::new("a").unwrap();
        let tried_again =
            |policy: &RetryPolicy, outcome| policy.next_delay(outcome, 1, run(), &step).is_some();
        assert!(!tried_again(&policy(None), AttemptOutcome::Trapped));
        assert!(tried_again(
            &policy(Some(vec!["trapped".into()])),
            AttemptOutcome::Trapped
        ));
        assert!(!tried_again(&policy(Some(vec!["trapped".into()])), FAILED));
    }

    proptest! {
        #[test]
        fn jitter_stays_in_its_band(tried in 1_u32..50, jitter in 0.0_f64..=1.0) {
            let policy = RetryPolicy {
                attempts: 100,
                delay: Duration::from_secs(10),
                max_delay: Duration::from_secs(3_600),
                jitter,
                ..RetryPolicy::default()
            };
            let delay = policy.next_delay(FAILED, tried, run(), &StepId::new("a").unwrap()).unwrap();
            let seconds = delay.as_secs_f64();
            prop_assert!(seconds >= 10.0 * (1.0 - jitter) - 1e-6);
            prop_assert!(seconds <= 10.0 * (1.0 + jitter) + 1e-6);
        }
    }
}
