//! Every subject that infraflow uses: the only place that builds or parses one.
//!
//! Mirrors `nats/subjects.md`. Whatever comes from outside becomes a token by
//! [`token`], so that no name of a repository or a container can add a token,
//! a wildcard or a space.

use infraflow_core::event::{Event, EventData};
use infraflow_core::id::{PoolName, RunId, StepId, UserName, WorkflowName};
use infraflow_core::run::RecordKind;

/// Subjects of events that hosts publish.
pub const EVENT: &str = "infraflow.event";
/// Subjects of events that anybody with the permission publishes.
pub const CUSTOM: &str = "infraflow.event.custom";
/// Subjects that start a workflow by name.
pub const TRIGGER: &str = "infraflow.trigger";
/// Subjects of journals.
pub const RUN: &str = "infraflow.run";
/// Subjects of log lines.
pub const LOG: &str = "infraflow.log";
/// Subjects of dead letters.
pub const DEAD: &str = "infraflow.dead";
/// Subjects of audit entries.
pub const AUDIT: &str = "infraflow.audit";
/// Subjects of requests to the hosts.
pub const RPC: &str = "infraflow.rpc";
/// Subjects of timers.
pub const TIMER: &str = "infraflow.timer";
/// Subjects of notices.
pub const NOTICE: &str = "infraflow.notice";

/// One subject token for any text: every byte outside `[A-Za-z0-9_-]` becomes
/// `%XX`, an empty text becomes `%`.
pub fn token(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("%{byte:02X}"));
        }
    }
    token
}

/// The text that a token stands for; `None` when [`token`] makes no such token.
pub fn untoken(token: &str) -> Option<String> {
    if token == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            plain => bytes.push(plain),
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (self::token(&text) == token).then_some(text)
}

/// Longest token of a name from outside, in bytes before escaping. Longer names
/// are cut: the subject is for filters, the event's data has the whole name.
const NAME_BYTES_MAX: usize = 200;

fn name_token(text: &str) -> String {
    token(
        text.get(..text.floor_char_boundary(NAME_BYTES_MAX))
            .unwrap_or_default(),
    )
}

/// The subject that a host publishes an event on.
pub fn event(event: &Event) -> String {
    match &event.data {
        EventData::GitPush(push) => format!(
            "{EVENT}.git.push.{}.{}.{}",
            push.provider,
            name_token(&push.repository.owner),
            name_token(&push.repository.name)
        ),
        EventData::GitTag(tag) => format!(
            "{EVENT}.git.tag.{}.{}.{}",
            tag.provider,
            name_token(&tag.repository.owner),
            name_token(&tag.repository.name)
        ),
        EventData::Trigger { workflow } => format!("{EVENT}.manual.{workflow}"),
        EventData::Other => {
            let tokens: Vec<String> = event.kind.as_str().split('.').map(name_token).collect();
            format!("{CUSTOM}.{}", tokens.join("."))
        }
    }
}

/// What a subject of the event stream says about who may have published it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventSubject<'a> {
    /// Only hosts may publish here: its headers are true.
    Host,
    /// A person asked for this workflow through a host.
    Manual(&'a str),
    /// Anybody with the permission may publish here: asks for this workflow.
    Trigger(&'a str),
    /// Anybody with the permission may publish here; holds what follows the
    /// prefix.
    Custom(&'a str),
}

/// Parses a subject of the event stream.
pub fn parse_event(subject: &str) -> Option<EventSubject<'_>> {
    let below = |prefix: &str| subject.strip_prefix(prefix)?.strip_prefix('.');
    if let Some(workflow) = below(TRIGGER) {
        return Some(EventSubject::Trigger(workflow));
    }
    if let Some(rest) = below(CUSTOM) {
        return Some(EventSubject::Custom(rest));
    }
    let rest = below(EVENT)?;
    match rest.strip_prefix("manual.") {
        Some(workflow) => Some(EventSubject::Manual(workflow)),
        None => Some(EventSubject::Host),
    }
}

/// The subject that `nats pub` starts a workflow on.
pub fn trigger(workflow: &WorkflowName) -> String {
    format!("{TRIGGER}.{workflow}")
}

/// The subject of a record.
pub fn record(run: RunId, kind: &RecordKind) -> String {
    match kind {
        RecordKind::Created => format!("{RUN}.{run}.created"),
        RecordKind::Wake(pool) => format!("{RUN}.{run}.wake.{pool}"),
        RecordKind::Claimed => format!("{RUN}.{run}.claimed"),
        RecordKind::Step => format!("{RUN}.{run}.step"),
        RecordKind::Request => format!("{RUN}.{run}.request"),
        RecordKind::Parked => format!("{RUN}.{run}.parked"),
        RecordKind::Ended => format!("{RUN}.{run}.ended"),
    }
}

/// The subjects of the work items of a pool.
pub fn wakes(pool: &PoolName) -> String {
    format!("{RUN}.*.wake.{pool}")
}

/// Every subject of a run's journal.
pub fn journal(run: RunId) -> String {
    format!("{RUN}.{run}.>")
}

/// The run of a record's subject.
pub fn parse_record(subject: &str) -> Option<RunId> {
    let mut tokens = subject.strip_prefix(RUN)?.strip_prefix('.')?.split('.');
    tokens.next()?.parse().ok()
}

/// The subject of a step's log lines.
pub fn log(run: RunId, step: &StepId) -> String {
    format!("{LOG}.{run}.{step}")
}

/// Every subject of a run's log lines.
pub fn logs(run: RunId) -> String {
    format!("{LOG}.{run}.>")
}

/// The run and the step of a log line's subject.
pub fn parse_log(subject: &str) -> Option<(RunId, StepId)> {
    let mut tokens = subject.strip_prefix(LOG)?.strip_prefix('.')?.split('.');
    let run = tokens.next()?.parse().ok()?;
    let step = StepId::new(tokens.next()?).ok()?;
    tokens.next().is_none().then_some((run, step))
}

/// The subject of a request.
pub fn rpc(user: &UserName, verb: &str) -> String {
    format!("{RPC}.{user}.{verb}")
}

/// The user and the verb of a request's subject. The server's permissions bind
/// the user to the connection.
pub fn parse_rpc(subject: &str) -> Option<(UserName, &str)> {
    let rest = subject.strip_prefix(RPC)?.strip_prefix('.')?;
    let (user, verb) = rest.split_once('.')?;
    Some((UserName::new(user).ok()?, verb))
}

/// The subject that holds the timer of a run.
pub fn timer_set(run: RunId) -> String {
    format!("{TIMER}.set.run.{run}")
}

/// The subject that a run's timer goes to when it is due.
pub fn timer_due(run: RunId) -> String {
    format!("{TIMER}.due.run.{run}")
}

/// The run of a due timer's subject.
pub fn parse_timer_due(subject: &str) -> Option<RunId> {
    let run = subject.strip_prefix(TIMER)?.strip_prefix(".due.run.")?;
    run.parse().ok()
}

/// The subject of an audit entry. Each part of the action is a token of its
/// own, so that a filter can name `*.runs.>`.
pub fn audit(actor: &str, action: &str) -> String {
    let action: Vec<String> = action.split('.').map(name_token).collect();
    format!("{AUDIT}.{}.{}", name_token(actor), action.join("."))
}

/// One key of a bucket for any text, as [`token`]; buckets take no `%`.
pub fn key(text: &str) -> String {
    token(text).replace('%', "=")
}

/// The text that a key stands for; `None` when [`key`] makes no such key.
pub fn unkey(key: &str) -> Option<String> {
    if key.contains('%') {
        return None;
    }
    untoken(&key.replace('=', "%"))
}

/// The subject of a notice about a run.
pub fn notice(run: RunId, what: &str) -> String {
    format!("{NOTICE}.run.{run}.{what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens() {
        for (text, expected) in [
            ("infra", "infra"),
            ("", "%"),
            ("%", "%25"),
            ("a.b", "a%2Eb"),
            ("a b", "a%20b"),
            ("group/sub", "group%2Fsub"),
            ("*", "%2A"),
            (">", "%3E"),
            ("ü", "%C3%BC"),
            ("a\r\nPUB x", "a%0D%0APUB%20x"),
        ] {
            assert_eq!(token(text), expected);
            assert_eq!(untoken(expected).as_deref(), Some(text));
        }
        for bad in ["%2", "%zz", "a.b", "%41", "", "%ff"] {
            assert_eq!(untoken(bad), None, "{bad}");
        }
    }

    #[test]
    fn event_subjects_tell_who_may_publish() {
        for (subject, expected) in [
            (
                "infraflow.trigger.deploy",
                Some(EventSubject::Trigger("deploy")),
            ),
            (
                "infraflow.event.manual.deploy",
                Some(EventSubject::Manual("deploy")),
            ),
            (
                "infraflow.event.custom.shop.order",
                Some(EventSubject::Custom("shop.order")),
            ),
            (
                "infraflow.event.git.push.forgejo.a.b",
                Some(EventSubject::Host),
            ),
            ("infraflow.eventx.git", None),
            ("infraflow.run.x", None),
        ] {
            assert_eq!(parse_event(subject), expected, "{subject}");
        }
    }

    #[test]
    fn record_and_log_subjects_round_trip() {
        let run: RunId = "00000000000000000000000001".parse().unwrap();
        let step = StepId::new("plan").unwrap();
        for kind in [
            RecordKind::Created,
            RecordKind::Wake(PoolName::default_pool()),
            RecordKind::Claimed,
            RecordKind::Step,
            RecordKind::Request,
            RecordKind::Parked,
            RecordKind::Ended,
        ] {
            let subject = record(run, &kind);
            assert_eq!(parse_record(&subject), Some(run), "{subject}");
        }
        assert_eq!(parse_log(&log(run, &step)), Some((run, step)));
        assert_eq!(parse_log("infraflow.log.x.plan"), None);
        let user = UserName::new("ann").unwrap();
        assert_eq!(
            parse_rpc(&rpc(&user, "runs.list")),
            Some((user, "runs.list"))
        );
    }

    #[test]
    fn timers_and_audit_entries() {
        let run: RunId = "00000000000000000000000001".parse().unwrap();
        assert_eq!(parse_timer_due(&timer_due(run)), Some(run));
        for bad in [
            timer_set(run),
            format!("{}.more", timer_due(run)),
            "infraflow.timer.due.run.x".to_owned(),
        ] {
            assert_eq!(parse_timer_due(&bad), None, "{bad}");
        }
        assert_eq!(
            audit("user:ann", "runs.cancel"),
            "infraflow.audit.user%3Aann.runs.cancel"
        );
        assert_eq!(audit("a b", "x..>"), "infraflow.audit.a%20b.x.%.%3E");
    }

    proptest! {
        #[test]
        fn any_text_is_one_key(text in "\\PC{0,40}|[\\x00-\\x7f]{0,20}") {
            let key = key(&text);
            prop_assert!(!key.is_empty());
            prop_assert!(key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
            prop_assert_eq!(unkey(&key), Some(text));
        }

        #[test]
        fn any_text_is_one_token(text in "\\PC{0,40}|[\\x00-\\x7f]{0,20}") {
            let token = token(&text);
            prop_assert!(!token.is_empty());
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_%".contains(&b)));
            prop_assert_eq!(untoken(&token), Some(text));
        }
    }
}
