//! Whether the host can do its work: what `/readyz` and `doctor` say.

use std::sync::Arc;

use infraflow_bus::{Bus, EventInbox, Feed, InboxHealth, TimerInbox, WorkInbox};
use infraflow_engine::{Engine, Readiness};

/// What is looked at.
pub(crate) struct Health {
    /// The connection.
    pub(crate) bus: Bus,
    /// The connection for log lines.
    pub(crate) logs: Bus,
    /// Where events come from.
    pub(crate) events: Arc<EventInbox>,
    /// Where work items come from, for each pool.
    pub(crate) work: Vec<Arc<WorkInbox>>,
    /// Where due timers come from.
    pub(crate) due: Arc<TimerInbox>,
    /// Where what is known of runs comes from.
    pub(crate) feed: Arc<Feed>,
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    /// When records reach the disk, for people.
    pub(crate) storage: &'static str,
}

/// What was seen.
pub(crate) struct HealthReport {
    /// One entry for each thing that was looked at.
    pub(crate) checks: Vec<Check>,
    /// When records reach the disk, for people.
    pub(crate) storage: &'static str,
}

/// One thing that was looked at.
pub(crate) struct Check {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
}

/// Test only, promise 10: claims to be ready whatever is wrong.
#[cfg(feature = "sabotage")]
fn is_sabotaged() -> bool {
    std::env::var("INFRAFLOW_BREAK").is_ok_and(|name| name == "AlwaysReady")
}

#[cfg(not(feature = "sabotage"))]
const fn is_sabotaged() -> bool {
    false
}

impl HealthReport {
    /// Whether nothing is wrong.
    pub(crate) fn is_ready(&self) -> bool {
        is_sabotaged() || self.checks.iter().all(|check| check.problem.is_none())
    }
}

impl Health {
    /// Looks.
    pub(crate) fn look(&self) -> HealthReport {
        let connection =
            (!self.bus.is_connected()).then(|| "the connection to NATS is down".to_owned());
        let lines =
            (!self.logs.is_connected()).then(|| "the connection for log lines is down".to_owned());
        let engine = match self.engine.readiness() {
            Readiness::Ready => None,
            Readiness::CatchingUp => Some("it still reads the journals".to_owned()),
            Readiness::JournalsFull => Some(
                "the store of journals is nearly full: runs that have not ended fill it: end some, or raise `retention.runs`"
                    .to_owned(),
            ),
            Readiness::Draining => Some("the host shuts down".to_owned()),
            Readiness::Drained => {
                Some("an operator drains it: `infraflow host undrain`".to_owned())
            }
            Readiness::NoLease => Some(
                "NATS has not confirmed its lease for too long: it begins nothing".to_owned(),
            ),
        };
        let checks = vec![
            Check {
                name: "nats",
                problem: connection,
            },
            Check {
                name: "logs",
                problem: lines,
            },
            Check {
                name: "events",
                problem: problem_of(self.events.health()),
            },
            Check {
                name: "work",
                problem: self
                    .work
                    .iter()
                    .find_map(|inbox| problem_of(inbox.health())),
            },
            Check {
                name: "timers",
                problem: problem_of(self.due.health()),
            },
            Check {
                name: "runs",
                problem: problem_of(self.feed.health()),
            },
            Check {
                name: "engine",
                problem: engine,
            },
        ];
        HealthReport {
            checks,
            storage: self.storage,
        }
    }
}

fn problem_of(health: InboxHealth) -> Option<String> {
    match health {
        InboxHealth::Alive => None,
        InboxHealth::Dead { reason } => Some(format!("the consumer is dead: {reason}")),
    }
}
