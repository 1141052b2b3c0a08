//! Forgejo and Gitea: one format, two sets of header names.
//!
//! Only `push` makes events: of a branch `git.push`, of a tag `git.tag`. A new
//! ref is announced twice, as `push` and as `create`; taking only the first
//! makes it one event. Everything else is ignored by name, `delete` too: a
//! deleted tag comes as a push as well, a deleted branch does not, and nothing
//! starts from either.
//!
//! The provider is the one that the source is configured for. Forgejo sends
//! Gitea's and GitHub's headers beside its own, so no header can tell who
//! sends; they can only disagree.

use std::sync::Arc;

use axum::http::HeaderMap;
use infraflow_core::event::{
    Actor, Event, EventData, GIT_PUSH, GIT_TAG, GitPush, GitTag, Provider, Repository,
};
use infraflow_core::id::{EventId, EventSource, EventType};
use infraflow_core::{Timestamp, limits};
use serde::de::IgnoredAny;

use crate::body::{self, Commits, Push, User, or_empty};
use crate::receive::{Decoded, Malformed, event_id};
use crate::source::WebhookSource;
use crate::text;

/// Makes events of a request. `json` is the body, or what a form had in
/// `payload`; whether its signature is right was checked before. `now` becomes
/// the events' time: providers do not say when a push happened.
///
/// # Errors
/// [`Malformed`] names what is wrong and where.
pub fn decode(
    source: &WebhookSource,
    headers: &HeaderMap,
    json: &[u8],
    now: Timestamp,
) -> Result<Decoded, Malformed> {
    let kind = event_kind(source, headers)?;
    // A list would be read as an object by position.
    if !matches!(json.trim_ascii_start().first(), Some(b'{') | None) {
        serde_json::from_slice::<IgnoredAny>(json).map_err(Malformed::json)?;
        return Err(Malformed::NotAnObject);
    }
    if kind != "push" {
        serde_json::from_slice::<IgnoredAny>(json).map_err(Malformed::json)?;
        let reason = match kind {
            "create" => "`create` is taken from the push that comes with it".to_owned(),
            "delete" => "`delete` makes no event: nothing starts from a deleted ref".to_owned(),
            kind => format!("`{}` makes no event", text::line(kind, 80)),
        };
        return Ok(Decoded::Ignored { reason });
    }
    let id = delivery(source, headers)?;
    let mut push: Push<'_> = serde_json::from_slice(json).map_err(Malformed::json)?;
    let commits = std::mem::take(&mut push.commits);
    let change = Change::read(&push)?;
    let data = if let Some(branch) = change.full_ref.strip_prefix("refs/heads/") {
        let push = git_push(source, &change, &push, commits, branch);
        Some(Normalized::Push(push))
    } else {
        let tag = change.full_ref.strip_prefix("refs/tags/");
        tag.map(|tag| Normalized::Tag(git_tag(source, &change, &push, tag)))
    };
    Ok(match data {
        Some(data) => Decoded::Events(vec![event(source, id, data, now)]),
        None => Decoded::Ignored {
            reason: format!("`{}` is neither a branch nor a tag", change.full_ref),
        },
    })
}

// ---- headers ------------------------------------------------------------------

/// Header names that all mean the event's kind, and whose they are, the most
/// particular first: Forgejo sends all of Gitea's, both send GitHub's.
const KINDS: [(&str, &str, &str); 6] = [
    ("x-forgejo-event", "Forgejo", "set its `type` to `forgejo`"),
    ("x-gitea-event", "Gitea", "set its `type` to `gitea`"),
    ("x-gogs-event", "Gogs", "Gogs is not supported"),
    ("x-github-event", "GitHub", "GitHub is not supported yet"),
    ("x-gitlab-event", "GitLab", "GitLab is not supported yet"),
    ("x-event-key", "Bitbucket", "Bitbucket is not supported yet"),
];

fn event_kind<'h>(source: &WebhookSource, headers: &'h HeaderMap) -> Result<&'h str, Malformed> {
    let (own, other) = match source.provider() {
        Provider::Forgejo => ("x-forgejo-event", "x-gitea-event"),
        Provider::Gitea => ("x-gitea-event", "x-forgejo-event"),
    };
    let Some(kind) = header(headers, own)? else {
        let sender = KINDS.iter().find(|(name, ..)| headers.contains_key(*name));
        return Err(match sender {
            None => Malformed::MissingHeader { name: own },
            Some((_, found, hint)) => Malformed::OtherProvider {
                source_name: source.name().to_string(),
                expected: source.provider(),
                found,
                hint,
            },
        });
    };
    agree(headers, own, kind, other)?;
    Ok(kind)
}

/// The event's id: that of the delivery, the same when it is delivered again.
fn delivery(source: &WebhookSource, headers: &HeaderMap) -> Result<EventId, Malformed> {
    let (own, other) = match source.provider() {
        Provider::Forgejo => ("x-forgejo-delivery", "x-gitea-delivery"),
        Provider::Gitea => ("x-gitea-delivery", "x-forgejo-delivery"),
    };
    let id = header(headers, own)?.ok_or(Malformed::MissingHeader { name: own })?;
    agree(headers, own, id, other)?;
    // A request of this family reports one change.
    event_id(id, None).map_err(|_| Malformed::InvalidHeader { name: own })
}

fn header<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<Option<&'h str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let invalid = || Malformed::InvalidHeader { name };
    let text = value.to_str().map_err(|_| invalid())?;
    if text.is_empty() || values.next().is_some() {
        return Err(invalid());
    }
    Ok(Some(text))
}

/// Checks that another header that means the same says the same, if it is there.
fn agree(
    headers: &HeaderMap,
    one: &'static str,
    value: &str,
    other: &'static str,
) -> Result<(), Malformed> {
    match header(headers, other)? {
        Some(said) if said != value => Err(Malformed::HeadersDisagree { one, other }),
        _ => Ok(()),
    }
}

// ---- the body -----------------------------------------------------------------

/// Longest name of a ref, in bytes. Git takes about 250.
const REF_BYTES: usize = 1_024;

/// What pushes of branches and of tags share, checked.
struct Change<'b> {
    full_ref: &'b str,
    before: &'b str,
    after: &'b str,
    repository: Repository,
    pusher: &'b User<'b>,
}

impl<'b> Change<'b> {
    fn read(push: &'b Push<'b>) -> Result<Self, Malformed> {
        let before = commit_id("before", or_empty(push.before.as_ref()))?;
        let after = commit_id("after", or_empty(push.after.as_ref()))?;
        if is_zero(before) && is_zero(after) {
            return Err(field("after", "is zero, and so is `before`"));
        }
        let has_account = |user: &&User<'_>| !user.account().is_empty();
        let pusher = push.pusher.as_ref().filter(has_account);
        let pusher = pusher.or(push.sender.as_ref().filter(has_account));
        Ok(Self {
            full_ref: full_ref(or_empty(push.git_ref.as_ref()))?,
            before,
            after,
            repository: repository(push.repository.as_ref())?,
            pusher: pusher.ok_or_else(|| field("pusher.login", "is missing"))?,
        })
    }

    fn created(&self) -> bool {
        is_zero(self.before)
    }

    fn deleted(&self) -> bool {
        is_zero(self.after)
    }

    /// The commit to work with.
    fn commit(&self) -> String {
        match self.deleted() {
            true => String::new(),
            false => self.after.to_owned(),
        }
    }
}

fn field(field: &'static str, problem: &'static str) -> Malformed {
    Malformed::Field { field, problem }
}

fn full_ref(name: &str) -> Result<&str, Malformed> {
    let problem = if name.is_empty() {
        "is missing"
    } else if name.len() > REF_BYTES {
        "is longer than a ref can be"
    } else if name.contains(char::is_control) {
        "holds a control character"
    } else if matches!(name, "refs/heads/" | "refs/tags/") {
        "names nothing"
    } else {
        return Ok(name);
    };
    Err(field("ref", problem))
}

fn commit_id<'b>(name: &'static str, id: &'b str) -> Result<&'b str, Malformed> {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if id.is_empty() {
        Err(field(name, "is missing"))
    } else if matches!(id.len(), 40 | 64) && id.bytes().all(is_digit) {
        Ok(id)
    } else {
        Err(field(name, "is not a commit id"))
    }
}

fn is_zero(id: &str) -> bool {
    id.bytes().all(|b| b == b'0')
}

fn repository(body: Option<&body::Repository<'_>>) -> Result<Repository, Malformed> {
    let body = body.ok_or_else(|| field("repository", "is missing"))?;
    let owner = body.owner.as_ref().map(User::account).unwrap_or_default();
    let name = or_empty(body.name.as_ref());
    if owner.is_empty() {
        return Err(field("repository.owner.login", "is missing"));
    }
    if name.is_empty() {
        return Err(field("repository.name", "is missing"));
    }
    let line = |text: &str| text::line(text, text::SHORT);
    let (owner, name) = (line(owner), line(name));
    Ok(Repository {
        full_name: match or_empty(body.full_name.as_ref()) {
            "" => format!("{owner}/{name}"),
            full_name => line(full_name),
        },
        owner,
        name,
        url: line(or_empty(body.html_url.as_ref())),
        default_branch: line(or_empty(body.default_branch.as_ref())),
    })
}

// ---- events -------------------------------------------------------------------

enum Normalized {
    Push(GitPush),
    Tag(GitTag),
}

fn git_push(
    source: &WebhookSource,
    change: &Change<'_>,
    push: &Push<'_>,
    commits: Commits,
    branch: &str,
) -> GitPush {
    let paths_complete = lists_every_path(change, push, &commits);
    let Commits {
        listed,
        mut kept,
        paths,
        ..
    } = commits;
    let newest = kept.iter().find(|commit| commit.id == change.after);
    let newest = newest.or(kept.first());
    let message = match head_message(push) {
        message if message.is_empty() => newest.map(|c| c.message.clone()).unwrap_or_default(),
        message => message,
    };
    kept.reverse();
    GitPush {
        provider: source.provider(),
        source: source.name().to_string(),
        repository: change.repository.clone(),
        git_ref: change.full_ref.to_owned(),
        branch: branch.to_owned(),
        before: change.before.to_owned(),
        after: change.after.to_owned(),
        commit: change.commit(),
        created: change.created(),
        deleted: change.deleted(),
        forced: None,
        pusher: change.pusher.person(),
        message,
        commits: kept,
        commits_total: push.total_commits.unwrap_or(listed).max(listed),
        paths: paths.all.into_iter().collect(),
        paths_complete,
        compare_url: text::line(or_empty(push.compare_url.as_ref()), text::SHORT),
    }
}

fn git_tag(source: &WebhookSource, change: &Change<'_>, push: &Push<'_>, tag: &str) -> GitTag {
    GitTag {
        provider: source.provider(),
        source: source.name().to_string(),
        repository: change.repository.clone(),
        git_ref: change.full_ref.to_owned(),
        tag: tag.to_owned(),
        before: change.before.to_owned(),
        after: change.after.to_owned(),
        commit: change.commit(),
        created: change.created(),
        deleted: change.deleted(),
        pusher: change.pusher.person(),
        message: head_message(push),
    }
}

fn head_message(push: &Push<'_>) -> String {
    let head = push.head_commit.as_ref();
    let message = head.map(|head| or_empty(head.message.as_ref()));
    text::lines(message.unwrap_or_default(), limits::EVENT_TEXT.to_usize())
}

/// Gitea's `FEED_MAX_COMMIT_NUM` unless somebody set it: how many commits a
/// push lists.
const LISTED_COMMITS: u64 = 5;

/// Whether the paths in the body are all that the push changed.
///
/// They are not when the body lists fewer commits than there were, or a commit
/// without its paths, when more were listed than are kept, when the branch is
/// new or gone (there is nothing to compare with), and when the branch went back
/// to an older commit (then no commit is listed that leads there).
fn lists_every_path(change: &Change<'_>, push: &Push<'_>, commits: &Commits) -> bool {
    let lists_all = match push.total_commits {
        Some(total) => total <= commits.listed,
        // Older versions do not say how many there were.
        None => commits.listed < LISTED_COMMITS,
    };
    let leads_there = commits.kept.iter().any(|commit| commit.id == change.after);
    let is_compared = !change.created() && !change.deleted();
    lists_all && leads_there && is_compared && !commits.paths.is_cut
}

fn event(source: &WebhookSource, id: EventId, data: Normalized, now: Timestamp) -> Event {
    let (kind, full_name, name, login, json) = match &data {
        Normalized::Push(push) => (
            GIT_PUSH,
            &push.repository.full_name,
            &push.branch,
            &push.pusher.login,
            push.to_document(),
        ),
        Normalized::Tag(tag) => (
            GIT_TAG,
            &tag.repository.full_name,
            &tag.tag,
            &tag.pusher.login,
            tag.to_document(),
        ),
    };
    let from = EventSource::new(&format!("source:{}", source.name()));
    Event {
        id,
        source: from.expect("a source's name is short and plain"),
        kind: EventType::new(kind).expect("the types of git events are short and plain"),
        time: now,
        subject: Some(format!("{full_name}@{name}")),
        actor: Actor::Git {
            provider: source.provider(),
            login: login.clone(),
        },
        data: match data {
            Normalized::Push(push) => EventData::GitPush(Box::new(push)),
            Normalized::Tag(tag) => EventData::GitTag(Box::new(tag)),
        },
        json: Arc::new(json),
    }
}
