//! The JSON of a push, as Forgejo and Gitea send it.
//!
//! Borrows what it can, and keeps of lists only what an event has room for:
//! a body of 25 MiB with millions of tiny commits takes no more memory than the
//! body itself.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use infraflow_core::limits;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::text;

/// Most text of all commits of an event, in bytes. With the paths it leaves
/// room in [`limits::EVENT_DATA`] for quotes that JSON doubles; older commits
/// beyond it are left out.
const COMMITS_BYTES: usize = 96 * 1024;

/// Most text of all changed paths of an event, in bytes; beyond it the list is
/// not complete.
const PATHS_BYTES: usize = 96 * 1024;

/// Longest changed path: what Linux takes.
const PATH_BYTES: usize = 4_096;

/// A push.
#[derive(Debug, Deserialize)]
pub(crate) struct Push<'a> {
    #[serde(borrow, default, rename = "ref")]
    pub(crate) git_ref: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) before: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) after: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) compare_url: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) commits: Commits,
    #[serde(default)]
    pub(crate) total_commits: Option<u64>,
    #[serde(borrow, default)]
    pub(crate) head_commit: Option<Head<'a>>,
    #[serde(borrow, default)]
    pub(crate) repository: Option<Repository<'a>>,
    #[serde(borrow, default)]
    pub(crate) pusher: Option<User<'a>>,
    #[serde(borrow, default)]
    pub(crate) sender: Option<User<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Repository<'a> {
    #[serde(borrow, default)]
    pub(crate) owner: Option<User<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) full_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) html_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) default_branch: Option<Text<'a>>,
}

/// An account; of a commit's author, what the commit says.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct User<'a> {
    #[serde(borrow, default)]
    pub(crate) login: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) username: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) full_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) email: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow, default)]
    pub(crate) message: Option<Text<'a>>,
}

/// A commit without its paths.
#[derive(Debug, Default)]
struct CommitBody<'a> {
    id: Option<Text<'a>>,
    message: Option<Text<'a>>,
    url: Option<Text<'a>>,
    author: Option<User<'a>>,
    timestamp: Option<Text<'a>>,
}

/// A text that is borrowed from the body unless it has escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text, or an empty one.
pub(crate) fn or_empty<'t>(text: Option<&'t Text<'_>>) -> &'t str {
    text.map(Text::as_str).unwrap_or_default()
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// The commits of a push, newest first as they are sent.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// How many the body lists.
    pub(crate) listed: u64,
    /// The newest of them.
    pub(crate) kept: Vec<infraflow_core::event::Commit>,
    /// Bytes of text in `kept`.
    bytes: usize,
    /// Whether one was left out: then all older ones are, too.
    is_full: bool,
    /// The paths that they change.
    pub(crate) paths: Paths,
}

/// The paths that the commits of a push change.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    pub(crate) all: BTreeSet<String>,
    bytes: usize,
    /// Whether there are, or may be, more.
    pub(crate) is_cut: bool,
}

impl Paths {
    fn add(&mut self, path: &str) {
        let path = text::line(path, PATH_BYTES + 1);
        if self.all.contains(&path) {
            return;
        }
        let bytes = self.bytes + path.len();
        let fits = path.len() <= PATH_BYTES
            && bytes <= PATHS_BYTES
            && self.all.len() < limits::EVENT_PATHS;
        if fits {
            self.bytes = bytes;
            self.all.insert(path);
        } else {
            self.is_cut = true;
        }
    }
}

impl Commits {
    fn add(&mut self, commit: CommitBody<'_>) {
        if self.is_full {
            return;
        }
        let author = commit.author.unwrap_or_default();
        let commit = infraflow_core::event::Commit {
            id: text::line(or_empty(commit.id.as_ref()), 64),
            message: text::lines(
                or_empty(commit.message.as_ref()),
                limits::EVENT_TEXT.to_usize(),
            ),
            url: text::line(or_empty(commit.url.as_ref()), text::SHORT),
            author: author.person(),
            timestamp: text::line(or_empty(commit.timestamp.as_ref()), 64),
        };
        self.bytes += commit.message.len()
            + commit.url.len()
            + commit.author.login.len()
            + commit.author.name.len()
            + commit.author.email.len();
        self.is_full |= self.kept.len() >= limits::EVENT_COMMITS || self.bytes > COMMITS_BYTES;
        if !self.is_full {
            self.kept.push(commit);
        }
    }
}

impl User<'_> {
    /// The account's name for programs.
    pub(crate) fn account(&self) -> &str {
        match or_empty(self.login.as_ref()) {
            "" => or_empty(self.username.as_ref()),
            login => login,
        }
    }

    pub(crate) fn person(&self) -> infraflow_core::event::Person {
        let name = match or_empty(self.full_name.as_ref()) {
            "" => or_empty(self.name.as_ref()),
            name => name,
        };
        infraflow_core::event::Person {
            login: text::line(self.account(), text::SHORT),
            name: text::line(name, text::SHORT),
            email: text::line(or_empty(self.email.as_ref()), text::SHORT),
        }
    }
}

// ---- lists, one element at a time ---------------------------------------------

impl<'de> Deserialize<'de> for Commits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommitsVisitor;

        impl<'de> Visitor<'de> for CommitsVisitor {
            type Value = Commits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of commits")
            }

            fn visit_unit<E>(self) -> Result<Commits, E> {
                Ok(Commits::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Commits, A::Error> {
                let mut commits = Commits::default();
                while let Some(commit) = list.next_element_seed(CommitSeed(&mut commits.paths))? {
                    commits.listed += 1;
                    commits.add(commit);
                }
                Ok(commits)
            }
        }

        deserializer.deserialize_any(CommitsVisitor)
    }
}

/// Reads one commit; its paths go into the set.
struct CommitSeed<'p>(&'p mut Paths);

impl<'de> DeserializeSeed<'de> for CommitSeed<'_> {
    type Value = CommitBody<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CommitSeed<'_> {
    type Value = CommitBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a commit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut commit = CommitBody::default();
        let mut lists_paths = false;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match key.as_str() {
                "id" => commit.id = map.next_value()?,
                "message" => commit.message = map.next_value()?,
                "url" => commit.url = map.next_value()?,
                "author" => commit.author = map.next_value()?,
                "timestamp" => commit.timestamp = map.next_value()?,
                "added" | "removed" | "modified" => {
                    lists_paths |= map.next_value_seed(PathsSeed(&mut *self.0))?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        // A commit without any list says nothing about its paths.
        self.0.is_cut |= !lists_paths;
        Ok(commit)
    }
}

/// Reads one list of paths; says whether there was one.
struct PathsSeed<'p>(&'p mut Paths);

impl<'de> DeserializeSeed<'de> for PathsSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathsSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        while let Some(path) = list.next_element::<Text<'de>>()? {
            self.0.add(path.as_str());
        }
        Ok(true)
    }
}
