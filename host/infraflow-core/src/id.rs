//! Names and identities.
//!
//! Every name here is one NATS subject token, one file name and one word on a
//! terminal at once, so that no place needs to escape it again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// A text that is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {kind}: expected {rule}")]
pub struct InvalidName {
    /// What it should have been, for example `workflow name`.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub value: String,
    /// What is allowed.
    pub rule: &'static str,
}

impl InvalidName {
    fn new(kind: &'static str, value: &str, rule: &'static str) -> Self {
        let value = value.chars().take(80).collect();
        Self { kind, value, rule }
    }
}

const NAME_RULE: &str = "1 to 63 letters, digits, `-` or `_`, starting with a letter or a digit";
const IDENTIFIER_RULE: &str = "1 to 63 letters, digits or `_`, starting with a letter or `_`";
const NAME_BYTES_MAX: usize = 63;

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_identifier(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// [`InvalidName`] when the text breaks the rule that it names.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName::new($kind, text, $rule))
                }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// A workflow's name.
    WorkflowName, "workflow name", is_name, NAME_RULE;
    /// A stage's name; unique in its workflow.
    StageName, "stage name", is_name, NAME_RULE;
    /// A step's id; unique in its workflow and usable in an expression
    /// (`steps.<id>.outputs`).
    StepId, "step id", is_identifier, IDENTIFIER_RULE;
    /// A configured source's name.
    SourceName, "source name", is_name, NAME_RULE;
    /// A plugin's name.
    PluginName, "plugin name", is_name, NAME_RULE;
    /// A project's name.
    ProjectName, "project name", is_name, NAME_RULE;
    /// An environment's name.
    EnvironmentName, "environment name", is_name, NAME_RULE;
    /// The label of hosts that may execute a run.
    PoolName, "pool name", is_name, NAME_RULE;
    /// A NATS user's name.
    UserName, "user name", is_name, NAME_RULE;
    /// A configured secret's name.
    SecretName, "secret name", is_name, NAME_RULE;
    /// A configured command's name.
    CommandName, "command name", is_name, NAME_RULE;
    /// A host's name; the same over restarts on one data directory.
    HostName, "host name", is_name, NAME_RULE;
}

impl ProjectName {
    /// The project of everything that names none.
    pub fn default_project() -> Self {
        Self("default".into())
    }
}

impl EnvironmentName {
    /// The environment of everything that names none.
    pub fn default_environment() -> Self {
        Self("default".into())
    }
}

impl PoolName {
    /// The pool of everything that names none.
    pub fn default_pool() -> Self {
        Self("default".into())
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a text.
            ///
            /// # Errors
            /// [`InvalidName`] when it is empty, too long or holds control
            /// characters.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                if text.is_empty() || text.len() > $max || text.chars().any(char::is_control) {
                    Err(InvalidName::new($kind, text, $rule))
                } else {
                    Ok(Self(text.into()))
                }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    )*};
}

texts! {
    /// An event's id, unique within its source (CloudEvents 1.0 `id`).
    EventId, "event id", 256, "1 to 256 bytes without control characters";
    /// What produced an event (CloudEvents 1.0 `source`). For a configured
    /// source it is `source:<name>`.
    EventSource, "event source", 512, "1 to 512 bytes without control characters";
    /// What kind of event it is (CloudEvents 1.0 `type`), for example
    /// `git.push`.
    EventType, "event type", 256, "1 to 256 bytes without control characters";
    /// A lock's name: what a workflow's `lock` renders to, or
    /// `workflow:<name>` for its `concurrency`.
    LockName, "lock name", 200, "1 to 200 bytes without control characters";
}

impl LockName {
    /// How the names of locks behind `concurrency` begin, and no others.
    pub const OF_WORKFLOW: &'static str = "workflow:";

    /// The lock behind a workflow's own `concurrency`.
    pub fn of_workflow(workflow: &WorkflowName) -> Self {
        Self(format!("{}{workflow}", Self::OF_WORKFLOW).into())
    }
}

/// A run's identity: a hash of project, source, event and workflow.
///
/// Printed as 26 lower-case characters of Crockford's base 32, so that it is
/// one subject token, one file name and one double click.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RUN_ID_CHARS: usize = 26;

impl RunId {
    /// The run of one event and one workflow. The same four values always give
    /// the same id: that is what makes a redelivered event find its run.
    pub fn derive(
        project: &ProjectName,
        source: &EventSource,
        event: &EventId,
        workflow: &WorkflowName,
    ) -> Self {
        let mut hash = Sha256::new();
        for part in [
            project.as_str(),
            source.as_str(),
            event.as_str(),
            workflow.as_str(),
        ] {
            // The length in front keeps ("ab", "c") and ("a", "bc") apart.
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut head = [0_u8; 16];
        for (to, from) in head.iter_mut().zip(digest) {
            *to = from;
        }
        Self(u128::from_be_bytes(head))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(RUN_ID_CHARS);
        for position in (0..RUN_ID_CHARS).rev() {
            let digit = usize::try_from((self.0 >> (position * 5)) & 31).unwrap_or_default();
            text.push(CROCKFORD.get(digit).copied().map_or('0', char::from));
        }
        f.pad(&text)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            InvalidName::new(
                "run id",
                text,
                "26 characters of Crockford's base 32, lower case",
            )
        };
        if text.len() != RUN_ID_CHARS {
            return Err(invalid());
        }
        let mut value: u128 = 0;
        for byte in text.bytes() {
            let digit = CROCKFORD
                .iter()
                .position(|&c| c == byte)
                .ok_or_else(invalid)?;
            let digit = u128::try_from(digit).map_err(|_| invalid())?;
            if value >> 123 != 0 {
                return Err(invalid());
            }
            value = (value << 5) | digit;
        }
        Ok(Self(value))
    }
}

/// The SHA-256 of some content, printed as `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hexadecimal digits alone: a file name and a key.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let invalid = || {
            InvalidName::new(
                "digest",
                text,
                "`sha256:` and 64 lower-case hexadecimal digits",
            )
        };
        let digits = text.strip_prefix("sha256:").ok_or_else(invalid)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let mut bytes = [0_u8; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| invalid())?;
        Ok(Self(bytes))
    }
}

/// One life of a host process: a random number drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_tokens() {
        for good in ["a", "deploy-shop", "A_1", "9lives", &"x".repeat(63)] {
            assert!(WorkflowName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a.b",
            "a b",
            "a/b",
            "a*",
            "a>",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(WorkflowName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn step_ids_are_identifiers() {
        assert!(StepId::new("_plan2").is_ok());
        for bad in ["", "2nd", "a-b", "a.b"] {
            assert!(StepId::new(bad).is_err(), "{bad}");
        }
    }

    fn run_id(project: &str, source: &str, event: &str, workflow: &str) -> RunId {
        RunId::derive(
            &ProjectName::new(project).unwrap(),
            &EventSource::new(source).unwrap(),
            &EventId::new(event).unwrap(),
            &WorkflowName::new(workflow).unwrap(),
        )
    }

    /// The ids are stored: a change of this golden orphans every journal.
    #[test]
    fn run_id_is_stable() {
        let id = run_id("default", "source:shop", "f6266f16", "deploy");
        assert_eq!(id.to_string(), "0pqs06t6xcxc4bxacpd1xwvht7");
    }

    #[test]
    fn run_id_depends_on_every_part() {
        let base = run_id("p", "s", "e", "w");
        for other in [
            run_id("q", "s", "e", "w"),
            run_id("p", "t", "e", "w"),
            run_id("p", "s", "f", "w"),
            run_id("p", "s", "e", "x"),
            run_id("ps", "e", "w", "w"),
        ] {
            assert_ne!(base, other);
        }
        assert_eq!(base, run_id("p", "s", "e", "w"));
    }

    #[test]
    fn run_id_round_trips_and_refuses_the_rest() {
        let id = run_id("a", "b", "c", "d");
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
        for bad in [
            "",
            "x",
            &"z".repeat(26),
            &"i".repeat(26),
            &"0".repeat(27),
            "É",
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_round_trips_and_refuses_the_rest() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let upper = digest.to_string().to_uppercase();
        for bad in ["", "sha256:", "sha256:00", upper.as_str(), "md5:00"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
