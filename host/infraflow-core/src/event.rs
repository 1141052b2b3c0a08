//! What happened: the event, and the fields of each kind.
//!
//! The names of the fields are the same in every provider, on the wire, in
//! templates (`event.data.branch`) and in the docs (`docs/events.md`).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{EventId, EventSource, EventType, InvalidName, RunId, UserName, WorkflowName};
use crate::{Json, JsonMap, Timestamp};

/// The type of a push to a branch.
pub const GIT_PUSH: &str = "git.push";
/// The type of a pushed tag.
pub const GIT_TAG: &str = "git.tag";
/// The type of a message on `infraflow.trigger.<workflow>`.
pub const TRIGGER: &str = "infraflow.trigger";

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its id, unique within its source.
    pub id: EventId,
    /// What produced it.
    pub source: EventSource,
    /// What kind of event it is.
    pub kind: EventType,
    /// When it happened.
    pub time: Timestamp,
    /// What it is about, for example `shop/infra@main`. Unset: nothing to add.
    pub subject: Option<String>,
    /// Who caused it.
    pub actor: Actor,
    /// What the host knows about its kind.
    pub data: EventData,
    /// The same as a document, as templates see it in `event.data`.
    pub json: Arc<Json>,
}

/// What the host knows about an event's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum EventData {
    /// A push to a branch.
    GitPush(Box<GitPush>),
    /// A pushed tag.
    GitTag(Box<GitTag>),
    /// Somebody asked for a workflow by name; the document is its inputs.
    Trigger {
        /// The workflow that was asked for.
        workflow: WorkflowName,
    },
    /// Anything else.
    Other,
}

/// Who caused an event or an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A NATS user, bound by its permissions.
    User(UserName),
    /// The account that a git provider authenticated for a push; never the
    /// author of a commit.
    Git {
        /// The provider, for example `forgejo`.
        provider: Provider,
        /// The account's name there.
        login: String,
    },
    /// Somebody who may publish on the subject; NATS does not say who.
    Publisher,
    /// The host itself.
    Host,
    /// A run, of a newer event, that takes the place of an older one.
    Run(RunId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Git { provider, login } => write!(f, "{provider}:{login}"),
            Self::Publisher => f.write_str("publisher"),
            Self::Host => f.write_str("host"),
            Self::Run(run) => write!(f, "run:{run}"),
        }
    }
}

impl std::str::FromStr for Actor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("user", name)) => UserName::new(name)
                .map(Self::User)
                .map_err(|error| error.to_string()),
            Some(("run", run)) => run
                .parse()
                .map(Self::Run)
                .map_err(|error: InvalidName| error.to_string()),
            Some((provider, login)) => {
                let provider = Provider::from_name(provider)
                    .ok_or_else(|| format!("`{provider}` is not a git provider"))?;
                Ok(Self::Git {
                    provider,
                    login: login.to_owned(),
                })
            }
            None if text == "publisher" => Ok(Self::Publisher),
            None if text == "host" => Ok(Self::Host),
            None => Err(format!("`{text}` is not an actor")),
        }
    }
}

/// A git provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Forgejo.
    Forgejo,
    /// Gitea.
    Gitea,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 2] = [Self::Forgejo, Self::Gitea];

    /// Its name in the configuration, in subjects and in `event.data.provider`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forgejo => "forgejo",
            Self::Gitea => "gitea",
        }
    }

    /// The provider of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A repository at a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Owner and name, for example `shop/infra`.
    pub full_name: String,
    /// The owner: a person, an organization or a group path.
    pub owner: String,
    /// The name without the owner.
    pub name: String,
    /// Its page for people. Empty when the provider sends none.
    pub url: String,
    /// Its default branch. Empty when the provider sends none.
    pub default_branch: String,
}

/// An account or an author.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// The account's login. Empty when there is none (a commit's author).
    pub login: String,
    /// The name for people. May be empty.
    pub name: String,
    /// The address. May be empty.
    pub email: String,
}

/// One commit of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id, as hexadecimal digits.
    pub id: String,
    /// Its message, at most [`crate::limits::EVENT_TEXT`].
    pub message: String,
    /// Its page for people. May be empty.
    pub url: String,
    /// Its author. Anyone can write anything here.
    pub author: Person,
    /// Its time as the provider sent it. May be empty.
    pub timestamp: String,
}

/// A push to a branch (`git.push`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitPush {
    /// The provider.
    pub provider: Provider,
    /// The configured source that received it.
    pub source: String,
    /// The repository.
    pub repository: Repository,
    /// The full ref, `refs/heads/<branch>`.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The branch's short name.
    pub branch: String,
    /// The commit before the push; all zeros when the branch is new.
    pub before: String,
    /// The commit after the push; all zeros when the branch was deleted.
    pub after: String,
    /// The commit to work with: `after`, or empty when the branch was deleted.
    pub commit: String,
    /// Whether the push created the branch.
    pub created: bool,
    /// Whether the push deleted the branch.
    pub deleted: bool,
    /// Whether history was rewritten. Unset when the provider does not say.
    pub forced: Option<bool>,
    /// Who pushed, as the provider authenticated it.
    pub pusher: Person,
    /// The message of the newest commit. May be empty.
    pub message: String,
    /// The commits, oldest first, at most [`crate::limits::EVENT_COMMITS`].
    pub commits: Vec<Commit>,
    /// How many commits there were.
    pub commits_total: u64,
    /// Changed paths of the commits, sorted, at most
    /// [`crate::limits::EVENT_PATHS`].
    pub paths: Vec<String>,
    /// Whether `paths` holds every changed path of the push.
    pub paths_complete: bool,
    /// A page that shows the change. May be empty.
    pub compare_url: String,
}

/// A pushed tag (`git.tag`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitTag {
    /// The provider.
    pub provider: Provider,
    /// The configured source that received it.
    pub source: String,
    /// The repository.
    pub repository: Repository,
    /// The full ref, `refs/tags/<tag>`.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The tag's short name.
    pub tag: String,
    /// What the tag pointed at before; all zeros when it is new.
    pub before: String,
    /// What it points at now; all zeros when it was deleted.
    pub after: String,
    /// The commit to work with, or empty when the tag was deleted. For an
    /// annotated tag providers may send the tag object's id: checking it out
    /// gives the commit.
    pub commit: String,
    /// Whether the push created the tag.
    pub created: bool,
    /// Whether the push deleted the tag.
    pub deleted: bool,
    /// Who pushed, as the provider authenticated it.
    pub pusher: Person,
    /// The message of the tagged commit. May be empty.
    pub message: String,
}

impl Event {
    /// The name of the configured source it came through, when it did.
    pub fn source_name(&self) -> Option<&str> {
        match &self.data {
            EventData::GitPush(push) => Some(&push.source),
            EventData::GitTag(tag) => Some(&tag.source),
            EventData::Trigger { .. } | EventData::Other => None,
        }
    }

    /// The commit that it points at, when it points at one.
    pub fn commit(&self) -> Option<&str> {
        let commit = match &self.data {
            EventData::GitPush(push) => &push.commit,
            EventData::GitTag(tag) => &tag.commit,
            EventData::Trigger { .. } | EventData::Other => return None,
        };
        (!commit.is_empty()).then_some(commit)
    }

    /// The document that templates see as `event` and that guests get in
    /// `context.event`.
    pub fn to_document(&self) -> Json {
        let mut event = JsonMap::new();
        event.insert("id".into(), self.id.as_str().into());
        event.insert("source".into(), self.source.as_str().into());
        event.insert("type".into(), self.kind.as_str().into());
        event.insert("time".into(), self.time.to_string().into());
        event.insert(
            "subject".into(),
            self.subject.clone().map_or(Json::Null, Json::from),
        );
        event.insert("actor".into(), self.actor.to_string().into());
        event.insert("data".into(), (*self.json).clone());
        Json::Object(event)
    }
}

/// Why an event's data does not fit its type.
#[derive(Debug, thiserror::Error)]
#[error("decode the data of a `{kind}` event")]
pub struct InvalidData {
    /// The event's type.
    pub kind: EventType,
    /// What does not fit.
    #[source]
    pub source: serde_json::Error,
}

impl EventData {
    /// Reads what the host knows about a kind of event from its document.
    ///
    /// # Errors
    /// [`InvalidData`] when a document of a known git kind lacks a field or has
    /// one of another type. Documents of other kinds are taken as they are.
    pub fn from_document(kind: &EventType, document: &Json) -> Result<Self, InvalidData> {
        let invalid = |source| InvalidData {
            kind: kind.clone(),
            source,
        };
        match kind.as_str() {
            GIT_PUSH => GitPush::deserialize(document)
                .map(|push| Self::GitPush(Box::new(push)))
                .map_err(invalid),
            GIT_TAG => GitTag::deserialize(document)
                .map(|tag| Self::GitTag(Box::new(tag)))
                .map_err(invalid),
            _ => Ok(Self::Other),
        }
    }
}

impl GitPush {
    /// The document of this push.
    pub fn to_document(&self) -> Json {
        document_of(self)
    }
}

impl GitTag {
    /// The document of this tag.
    pub fn to_document(&self) -> Json {
        document_of(self)
    }
}

fn document_of(data: &impl Serialize) -> Json {
    serde_json::to_value(data).expect("plain fields and string keys always become a document")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A push to a branch of `shop/infra` that came through `shop-repo`.
    pub(crate) fn push(branch: &str) -> Event {
        let push = GitPush {
            provider: Provider::Forgejo,
            source: "shop-repo".into(),
            repository: Repository {
                full_name: "shop/infra".into(),
                owner: "shop".into(),
                name: "infra".into(),
                url: "https://git.example/shop/infra".into(),
                default_branch: "main".into(),
            },
            git_ref: format!("refs/heads/{branch}"),
            branch: branch.into(),
            before: "1".repeat(40),
            after: "2".repeat(40),
            commit: "2".repeat(40),
            created: false,
            deleted: false,
            forced: None,
            pusher: Person {
                login: "ann".into(),
                name: "Ann".into(),
                email: String::new(),
            },
            message: "change the web server".into(),
            commits: vec![],
            commits_total: 1,
            paths: vec!["infra/main.tf".into(), "README.md".into()],
            paths_complete: true,
            compare_url: String::new(),
        };
        let json = push.to_document();
        Event {
            id: EventId::new("delivery-1").unwrap(),
            source: EventSource::new("source:shop-repo").unwrap(),
            kind: EventType::new(GIT_PUSH).unwrap(),
            time: "2026-11-21T12:00:00Z".parse().unwrap(),
            subject: Some(format!("shop/infra@{branch}")),
            actor: Actor::Git {
                provider: Provider::Forgejo,
                login: "ann".into(),
            },
            data: EventData::GitPush(Box::new(push)),
            json: Arc::new(json),
        }
    }

    #[test]
    fn push_round_trips_over_its_document() {
        let event = push("main");
        let again = EventData::from_document(&event.kind, &event.json).unwrap();
        assert_eq!(again, event.data);
    }

    #[test]
    fn a_push_without_a_branch_is_refused_by_field() {
        let mut document = (*push("main").json).clone();
        document.as_object_mut().unwrap().remove("branch");
        let kind = EventType::new(GIT_PUSH).unwrap();
        let error = EventData::from_document(&kind, &document).unwrap_err();
        assert_eq!(error.source.to_string(), "missing field `branch`");
    }

    #[test]
    fn actors_round_trip() {
        for text in ["user:ann", "forgejo:ann", "gitea:a:b", "publisher", "host"] {
            assert_eq!(text.parse::<Actor>().unwrap().to_string(), text);
        }
        for bad in ["", "user:", "user:a b", "svn:ann", "nobody"] {
            assert!(bad.parse::<Actor>().is_err(), "{bad}");
        }
    }
}
