//! Which workspaces are removed: by age, and by the room they take together.
//!
//! Pure: looks at no disk and no clock. A workspace of a run that has not ended
//! is never named.

use std::cmp::Reverse;
use std::time::Duration;

use infraflow_core::id::RunId;
use infraflow_core::limits::ByteCount;

/// How long and how much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long after its run's end a workspace is kept.
    pub ended: Duration,
    /// How long a workspace is kept whose run nobody knows.
    pub unknown: Duration,
    /// How much all workspaces may have together; above that those go first
    /// whose runs ended first.
    pub bytes: ByteCount,
}

/// A workspace that may be removed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its run.
    pub run: RunId,
    /// What it takes of the disk.
    pub bytes: u64,
    /// What is known of its run.
    pub state: RunState,
}

/// What is known of a workspace's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It has not ended: it works, waits, or is to be taken over.
    Open,
    /// It has ended.
    Ended {
        /// How long ago.
        ago: Duration,
    },
    /// There is no journal of it: removed already, or not seen yet.
    Unknown {
        /// How long ago its workspace was changed.
        changed_ago: Duration,
    },
}

impl Retention {
    /// The runs whose workspaces go: first those that are too old, then as many
    /// as it takes to make room, the oldest first.
    ///
    /// Open and unknown runs take room and never make any, so what is left may
    /// be more than [`Retention::bytes`].
    pub fn to_remove(&self, workspaces: &[Candidate]) -> Vec<RunId> {
        let (old, mut kept): (Vec<&Candidate>, Vec<&Candidate>) = workspaces
            .iter()
            .partition(|workspace| self.is_too_old(workspace.state));
        let total = |list: &[&Candidate]| {
            list.iter()
                .fold(0, |sum: u64, w| sum.saturating_add(w.bytes))
        };
        let mut bytes = total(&kept);
        let mut removed: Vec<RunId> = old.into_iter().map(|workspace| workspace.run).collect();
        kept.sort_by_key(|workspace| (Reverse(ended_ago(workspace.state)), workspace.run));
        for workspace in kept {
            let has_ended = ended_ago(workspace.state).is_some();
            if bytes > self.bytes.0 && has_ended {
                bytes = bytes.saturating_sub(workspace.bytes);
                removed.push(workspace.run);
            }
        }
        removed
    }

    fn is_too_old(&self, state: RunState) -> bool {
        match state {
            RunState::Open => false,
            RunState::Ended { ago } => ago >= self.ended,
            RunState::Unknown { changed_ago } => changed_ago >= self.unknown,
        }
    }
}

fn ended_ago(state: RunState) -> Option<Duration> {
    match state {
        RunState::Ended { ago } => Some(ago),
        RunState::Open | RunState::Unknown { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::id::{EventId, EventSource, ProjectName, WorkflowName};
    use proptest::prelude::*;

    fn run(name: &str) -> RunId {
        RunId::derive(
            &ProjectName::default_project(),
            &EventSource::new("source:x").unwrap(),
            &EventId::new(name).unwrap(),
            &WorkflowName::new("w").unwrap(),
        )
    }

    const RULES: Retention = Retention {
        ended: Duration::from_secs(100),
        unknown: Duration::from_secs(1_000),
        bytes: ByteCount(10),
    };

    fn ended(seconds: u64) -> RunState {
        let ago = Duration::from_secs(seconds);
        RunState::Ended { ago }
    }

    fn unknown(seconds: u64) -> RunState {
        let changed_ago = Duration::from_secs(seconds);
        RunState::Unknown { changed_ago }
    }

    #[test]
    fn what_goes() {
        use RunState::Open;
        type Case = (
            &'static str,
            &'static [(&'static str, u64)],
            &'static [&'static str],
        );
        let state = |name: &str| match name {
            "open" | "also-open" => Open,
            "new" => ended(0),
            "young" => ended(10),
            "older" => ended(50),
            "almost" => ended(99),
            "old" => ended(100),
            "ancient" => ended(5_000),
            "seen" => unknown(999),
            "lost" => unknown(1_000),
            _ => panic!("no such run"),
        };
        let cases: &[Case] = &[
            ("nothing", &[], &[]),
            ("young and small", &[("young", 5), ("open", 5)], &[]),
            (
                "at and past the age",
                &[("almost", 1), ("old", 1), ("ancient", 1)],
                &["old", "ancient"],
            ),
            (
                "unknown ones by their own age",
                &[("seen", 1), ("lost", 1)],
                &["lost"],
            ),
            (
                "one byte too much",
                &[("young", 5), ("older", 6)],
                &["older"],
            ),
            (
                "no more than it takes",
                &[("new", 4), ("young", 4), ("older", 4), ("almost", 4)],
                &["almost", "older"],
            ),
            (
                "what is too old makes room first",
                &[("young", 10), ("old", 9)],
                &["old"],
            ),
            (
                "open ones stay however large",
                &[("open", 90), ("also-open", 90)],
                &[],
            ),
            (
                "open ones push others out",
                &[("open", 90), ("new", 1)],
                &["new"],
            ),
            (
                "unknown ones stay until their time",
                &[("seen", 90), ("young", 1)],
                &["young"],
            ),
            (
                "an empty one goes with its turn",
                &[("almost", 0), ("older", 11)],
                &["almost", "older"],
            ),
            (
                "sizes beyond counting",
                &[("young", u64::MAX), ("open", u64::MAX)],
                &["young"],
            ),
        ];
        for (name, workspaces, expected) in cases {
            let candidates: Vec<Candidate> = workspaces
                .iter()
                .map(|&(name, bytes)| Candidate {
                    run: run(name),
                    bytes,
                    state: state(name),
                })
                .collect();
            let expected: Vec<RunId> = expected.iter().map(|name| run(name)).collect();
            assert_eq!(RULES.to_remove(&candidates), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn only_ended_and_lost_runs_go_and_there_is_room_if_there_can_be(
            list in prop::collection::vec((0_u8..3, 0_u64..2_000, 0_u64..8), 0..20)
        ) {
            let candidates: Vec<Candidate> = list
                .iter()
                .enumerate()
                .map(|(number, &(kind, seconds, bytes))| Candidate {
                    run: run(&number.to_string()),
                    bytes,
                    state: match kind {
                        0 => RunState::Open,
                        1 => ended(seconds),
                        _ => unknown(seconds),
                    },
                })
                .collect();
            let removed = RULES.to_remove(&candidates);
            let (gone, kept): (Vec<&Candidate>, Vec<&Candidate>) =
                candidates.iter().partition(|w| removed.contains(&w.run));
            prop_assert_eq!(gone.len(), removed.len());
            for workspace in gone {
                match workspace.state {
                    RunState::Open => prop_assert!(false, "an open run"),
                    RunState::Ended { .. } => {}
                    RunState::Unknown { changed_ago } => prop_assert!(changed_ago >= RULES.unknown),
                }
            }
            let bytes: u64 = kept.iter().map(|workspace| workspace.bytes).sum();
            let none_ended = kept.iter().all(|workspace| ended_ago(workspace.state).is_none());
            prop_assert!(bytes <= RULES.bytes.0 || none_ended);
        }
    }
}
