//! What the configuration says about this host among others.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use infraflow_core::id::PoolName;
use infraflow_core::limits;
use infraflow_workflow::diagnostic::{ProblemKind, Span};
use infraflow_workflow::read::{Fields, Read, Value, all};

use super::super::NatsConfig;

/// How long a lease may last. It is renewed six times in that while, and its
/// host starts nothing after half of it: below 2 s a slow disk would end tools.
/// The longer it is, the longer the runs of a dead host wait.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(300);

/// The host among others.
pub(super) struct Hosts {
    pub(super) sole_host: bool,
    pub(super) sole_host_said: Option<bool>,
    pub(super) lease: Duration,
    pub(super) pools: Vec<PoolName>,
    pub(super) workspace_grace: Duration,
}

/// Reads it; `nats` is unset when it was refused.
pub(super) fn hosts(fields: &Fields<'_>, nats: Option<&NatsConfig>) -> Read<Hosts> {
    let said = fields.optional("sole_host", |value| sole_host(value, nats));
    let lease = fields.optional("lease", |value| {
        value.duration(LEASE).and_then(|lease| {
            check_lease(value, nats, said)?;
            Ok(lease)
        })
    });
    let pools = fields.or("pools", vec![PoolName::default_pool()], pools);
    let workspace_grace = fields.or("workspace_grace", limits::WORKSPACE_GRACE, |value| {
        value.duration(Duration::ZERO..=limits::PARKED_MAX)
    });
    let said = said?;
    Ok(Hosts {
        sole_host: said.unwrap_or(!matches!(nats, Some(NatsConfig::External(_)))),
        sole_host_said: said,
        lease: lease?.unwrap_or(limits::LEASE),
        pools: pools?,
        workspace_grace: workspace_grace?,
    })
}

fn sole_host(value: Value<'_>, nats: Option<&NatsConfig>) -> Read<bool> {
    let is_sole = value.bool()?;
    if is_sole || !matches!(nats, Some(NatsConfig::Embedded { .. })) {
        return Ok(is_sole);
    }
    let message = "the private NATS server has one host";
    let problem = value.problem(ProblemKind::Invalid, message);
    Err(value.report(problem.hint(NEEDS_URL)))
}

const NEEDS_URL: &str =
    "several hosts need a NATS server that all of them reach: say its `url` under `nats`";

/// A lease is for hosts that share a server.
fn check_lease(
    value: Value<'_>,
    nats: Option<&NatsConfig>,
    said_sole: Read<Option<bool>>,
) -> Read<()> {
    let (message, hint) = match (nats, said_sole) {
        (Some(NatsConfig::Embedded { .. }), _) => (
            "`lease` is for several hosts; the private NATS server has one",
            NEEDS_URL,
        ),
        (_, Ok(Some(true))) => (
            "`lease` is for several hosts; `sole_host: true` says that there is one",
            "leave one of them out",
        ),
        _ => return Ok(()),
    };
    let problem = value.problem(ProblemKind::Invalid, message);
    Err(value.report(problem.hint(hint)))
}

/// Pools: at least one, none of them twice.
fn pools(value: Value<'_>) -> Read<Vec<PoolName>> {
    let items = value.one_or_items()?;
    if items.is_empty() {
        let problem = value
            .problem(ProblemKind::Invalid, "`pools` is an empty list")
            .expected("expected at least one");
        return Err(value.report(problem));
    }
    let mut seen: HashMap<PoolName, Span> = HashMap::new();
    all(items.into_iter().map(|item| {
        let pool: PoolName = item.parse()?;
        match seen.insert(pool.clone(), item.span()) {
            None => Ok(pool),
            Some(first) => {
                let message = format!("duplicate pool `{pool}`");
                let problem = item.problem(ProblemKind::Duplicate, message);
                let stands = format!("a pool `{pool}` stands here already");
                Err(item.report(problem.related(first, stands)))
            }
        }
    }))
}
