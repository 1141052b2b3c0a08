//! Every limit: its name, its unit, its default, the reason for the number and
//! what happens when it is hit.
//!
//! Limits that an operator may change carry a default here and are set in the
//! configuration's `limits`; the others are part of the contract.

use std::fmt;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteCount(pub u64);

impl ByteCount {
    /// So many KiB.
    pub const fn kib(count: u64) -> Self {
        Self(count * 1024)
    }

    /// So many MiB.
    pub const fn mib(count: u64) -> Self {
        Self(count * 1024 * 1024)
    }

    /// As a length in memory; saturates on hosts with small addresses.
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: u64 = 1024;
        const MIB: u64 = 1024 * 1024;
        match self.0 {
            n if n >= MIB && n.is_multiple_of(MIB) => write!(f, "{} MiB", n / MIB),
            n if n >= KIB && n.is_multiple_of(KIB) => write!(f, "{} KiB", n / KIB),
            n => write!(f, "{n} bytes"),
        }
    }
}

// ---- events -----------------------------------------------------------------

/// Largest webhook body accepted.
///
/// GitHub caps its bodies at 25 MiB; Forgejo and Gitea send at most 50 commits
/// and stay far below. A larger body is answered 413 and nothing is stored.
pub const WEBHOOK_BODY: ByteCount = ByteCount::mib(25);

/// How long the body of a webhook may take to arrive. Providers give up after
/// 5 to 10 s themselves; a slower body is answered 408 and nothing is stored.
pub const WEBHOOK_READ: Duration = Duration::from_secs(10);

/// How long storing the events of a webhook may take. Providers wait 5 to 10 s
/// for the answer; after this it is 503, and the provider or a person delivers
/// again, which does no harm.
pub const WEBHOOK_STORE: Duration = Duration::from_secs(5);

/// Memory for the bodies of all webhooks that are being received; a request
/// that does not fit in any more is answered 503. Room for ten of the largest
/// bodies, or for thousands of usual ones.
pub const WEBHOOK_MEMORY: ByteCount = ByteCount::mib(256);

/// Largest data of one event, as JSON.
///
/// The data is kept in the run's first record, which must fit the server's
/// `max_payload` (1 MiB by default) beside the inputs. A larger event becomes a
/// dead letter with the reason `too_large`.
pub const EVENT_DATA: ByteCount = ByteCount::kib(512);

/// Most commits kept of one push; the newest. `commits_total` says how many
/// there were. People read a few; filters use the paths, not the commits.
pub const EVENT_COMMITS: usize = 50;

/// Most changed paths kept of one push; `paths_complete` is false when there
/// were more.
pub const EVENT_PATHS: usize = 2_000;

/// Longest free text kept from a provider (a commit message, a title); the
/// rest is cut.
pub const EVENT_TEXT: ByteCount = ByteCount::kib(2);

// ---- workflows and configuration --------------------------------------------

/// Largest workflow or configuration file. A workflow of 1,000 steps has about
/// 200 KiB; a larger file is refused before it is parsed.
pub const DOCUMENT: ByteCount = ByteCount::mib(1);

/// Deepest nesting of a YAML document; deeper is refused.
pub const DOCUMENT_DEPTH: usize = 64;

/// Most nodes of a YAML document after its aliases are expanded: an alias bomb
/// is refused here, before it takes memory.
pub const DOCUMENT_NODES: usize = 200_000;

/// Most text of a YAML document after its aliases are expanded: a long text
/// that is named a thousand times is refused here.
pub const DOCUMENT_EXPANDED: ByteCount = ByteCount::mib(4);

/// Most problems reported for one document; the rest is counted.
pub const DOCUMENT_PROBLEMS: usize = 100;

/// Most steps of one workflow.
pub const WORKFLOW_STEPS: usize = 2_000;

/// Longest result of one rendered template; a longer one fails the step.
pub const TEMPLATE_OUTPUT: ByteCount = ByteCount::kib(256);

/// Most instructions that one expression may take; more fails the step. A loop
/// over 10,000 items takes about 100,000.
pub const TEMPLATE_FUEL: u64 = 1_000_000;

/// Largest inputs of a run, as JSON.
pub const INPUTS: ByteCount = ByteCount::kib(256);

// ---- runs -------------------------------------------------------------------

/// Longest time a run may take unless the workflow says otherwise.
pub const RUN_TIMEOUT: Duration = Duration::from_secs(6 * 3_600);

/// Longest time an attempt may take unless the workflow says otherwise.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Longest `timeout` a workflow may ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Most attempts that `retry` may ask for.
pub const RETRY_ATTEMPTS: u32 = 100;

/// Longest delay between attempts.
pub const RETRY_DELAY: Duration = Duration::from_secs(86_400);

/// A delay up to this is waited for by the host that has the run; during a
/// longer one the run holds nothing. Waking a run costs two records and a trip
/// through the work queue, about a millisecond.
pub const PARK_AFTER: Duration = Duration::from_secs(5);

/// Longest time that a run waits for a person or a lock; then it ends `failed`.
pub const PARKED_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Longest `wait` of a step.
pub const WAIT_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Most locks of one workflow, its `concurrency` included.
pub const LOCKS: usize = 16;

/// Most runs at once that a workflow's `concurrency` may allow. Who has a lock
/// stands in one value in NATS, beside the runs that wait for it.
pub const CONCURRENCY: u32 = 1_000;

/// Most runs that wait for one lock; the next one ends `failed`. The queue of a
/// lock is one value in NATS, which holds at most 1 MiB.
pub const LOCK_WAITERS: usize = 10_000;

/// How long a host's lease lasts unless the configuration says otherwise: how
/// long a dead host's runs wait until another host takes them over.
pub const LEASE: Duration = Duration::from_secs(15);

/// How long a run whose files lie on a host that is gone waits for that host;
/// then it ends `interrupted`.
pub const WORKSPACE_GRACE: Duration = Duration::from_secs(3_600);

/// Most claims of a run in a row without a finished attempt between them; one
/// more ends the run as poisoned: something in it kills its hosts.
pub const CLAIMS_WITHOUT_PROGRESS: u32 = 5;

/// Runs that one host works on at the same time; more wait as work items.
pub const RUNS_ACTIVE: usize = 512;

/// Tool processes that one host runs at the same time; more wait for a free
/// place, in order. Playbooks are what uses a machine up.
pub const TOOLS_ACTIVE: usize = 16;

/// Largest record of a journal. Below NATS' `max_payload` of 1 MiB, with room
/// for headers.
pub const RECORD: ByteCount = ByteCount::kib(960);

/// Longest error text kept in a record; the rest is in the log.
pub const ERROR_TEXT: ByteCount = ByteCount::kib(8);

// ---- plugins ----------------------------------------------------------------

/// Largest component file.
pub const COMPONENT: ByteCount = ByteCount::mib(64);

/// Memory of one plugin instance.
pub const GUEST_MEMORY: ByteCount = ByteCount::mib(256);

/// Time that a guest may compute, host calls not counted.
pub const GUEST_CPU: Duration = Duration::from_secs(30);

/// Host calls of one attempt.
pub const GUEST_CALLS: u64 = 100_000;

/// Table elements of one plugin instance.
pub const GUEST_TABLE_ELEMENTS: usize = 100_000;

/// Largest argument or answer of one host call.
pub const GUEST_CALL_BYTES: ByteCount = ByteCount::mib(8);

/// Largest input of a step, as JSON.
pub const STEP_INPUT: ByteCount = ByteCount::mib(1);

/// Largest output of a step, as JSON; more ends the attempt with
/// `limit_exceeded`. Large things are artifacts.
pub const STEP_OUTPUT: ByteCount = ByteCount::kib(256);

/// Largest manifest text (schemas included).
pub const MANIFEST: ByteCount = ByteCount::kib(256);

// ---- logs -------------------------------------------------------------------

/// Longest log line; a longer one is split and marked, not dropped: the tail of
/// a plan's error is the part that people need.
pub const LOG_LINE: ByteCount = ByteCount::kib(64);

/// Log lines of one attempt in one second; its output is read no faster, so
/// that one flood does not stand in front of everybody else's lines. Ten times
/// what Ansible prints at its busiest.
pub const LOG_LINES_PER_SECOND: u64 = 20_000;

/// Log bytes of one attempt; more are dropped and counted.
pub const LOG_BYTES: ByteCount = ByteCount::mib(256);

/// Log lines that wait in memory for NATS; more are dropped and counted, so
/// that a slow server never slows a step.
pub const LOG_QUEUE: usize = 32_768;

/// Bytes of log lines on their way to NATS, of all attempts together.
pub const LOG_QUEUE_BYTES: usize = 32 * 1024 * 1024;

// ---- tools ------------------------------------------------------------------

/// How long a tool may take to end after TERM before it is killed.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// How long to wait for pipes that grandchildren keep open after the tool has
/// ended.
pub const LEAKED_HANDLES: Duration = Duration::from_secs(2);

/// Standard output of a command that is kept for `outputs`; the log has all.
pub const COMMAND_STDOUT: ByteCount = ByteCount::kib(128);

/// Files of an upload (`run --playbook`), compressed.
pub const UPLOAD: ByteCount = ByteCount::mib(64);

/// Largest secret. Keys and certificates are a few KiB.
pub const SECRET: ByteCount = ByteCount::kib(64);

/// Shortest secret: a shorter one cannot be masked without blackening the log.
pub const SECRET_MIN: ByteCount = ByteCount(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_counts_read_well() {
        for (count, text) in [
            (ByteCount::mib(25), "25 MiB"),
            (ByteCount::kib(64), "64 KiB"),
            (ByteCount(1_500), "1500 bytes"),
            (ByteCount(0), "0 bytes"),
        ] {
            assert_eq!(count.to_string(), text);
        }
    }
}
