//! What a plugin may ask the host for.
//!
//! Two closed lists: the capabilities, and the host calls. One exhaustive match
//! without a wildcard arm says which capability a call needs ([`HostCall::needs`]),
//! so that a new call that nobody classified does not compile.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::id::{CommandName, SecretName};

/// A named thing that a plugin may ask the host for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// `git`: check out from configured sources.
    Git,
    /// `ansible`: run Ansible in the jail.
    Ansible,
    /// `opentofu:<action>`: run OpenTofu in the jail.
    OpenTofu(TofuAction),
    /// `command:<name>`: run a configured command in the jail.
    Command(Scope<CommandName>),
    /// `workspace:ro|rw`: the files of the run.
    Workspace(Access),
    /// `secret:<name>`: read a secret, or hand it to a tool.
    Secret(Scope<SecretName>),
    /// `network`: the network, for the tools that the plugin runs.
    Network,
    /// `http:<host>:<port>`: HTTP requests to one host.
    Http {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// `state`: small values over runs.
    State,
    /// `artifacts`: files kept with the run.
    Artifacts,
    /// `events:<type prefix>`: publish events whose type starts with it.
    Events {
        /// The prefix; it ends at a `.` of the type.
        prefix: String,
    },
}

/// What OpenTofu may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TofuAction {
    /// Initialize, plan, show and read outputs.
    Plan,
    /// Apply a stored plan.
    Apply,
    /// Destroy what the state holds.
    Destroy,
}

/// All names, or one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope<Name> {
    /// `*`: every name, also those that are configured later.
    Any,
    /// One name.
    Only(Name),
}

/// How a plugin may use the workspace. `Write` includes `Read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// `ro`.
    Read,
    /// `rw`.
    Write,
}

impl<Name: PartialEq> Scope<Name> {
    fn covers(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) => true,
            (Self::Only(mine), Self::Only(theirs)) => mine == theirs,
            (Self::Only(_), Self::Any) => false,
        }
    }
}

impl Capability {
    /// Whether having this one is enough where `wanted` is needed.
    pub fn covers(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Command(mine), Self::Command(theirs)) => mine.covers(theirs),
            (Self::Secret(mine), Self::Secret(theirs)) => mine.covers(theirs),
            (Self::Workspace(mine), Self::Workspace(theirs)) => mine >= theirs,
            (Self::Events { prefix: mine }, Self::Events { prefix: theirs }) => {
                theirs == mine
                    || theirs
                        .strip_prefix(mine.as_str())
                        .is_some_and(|rest| rest.starts_with('.'))
            }
            (mine, theirs) => mine == theirs,
        }
    }

    /// Whether this host has anything behind it yet. A grant of one that it has
    /// not is refused by name, so that nobody relies on it.
    pub fn is_supported(&self) -> bool {
        match self {
            Self::Git
            | Self::Ansible
            | Self::OpenTofu(_)
            | Self::Command(_)
            | Self::Workspace(_)
            | Self::Secret(_)
            | Self::Network => true,
            Self::Http { .. } | Self::State | Self::Artifacts | Self::Events { .. } => false,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn scoped<N: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            what: &str,
            scope: &Scope<N>,
        ) -> fmt::Result {
            match scope {
                Scope::Any => write!(f, "{what}:*"),
                Scope::Only(name) => write!(f, "{what}:{name}"),
            }
        }
        match self {
            Self::Git => f.write_str("git"),
            Self::Ansible => f.write_str("ansible"),
            Self::OpenTofu(action) => write!(f, "opentofu:{}", action.name()),
            Self::Command(scope) => scoped(f, "command", scope),
            Self::Workspace(Access::Read) => f.write_str("workspace:ro"),
            Self::Workspace(Access::Write) => f.write_str("workspace:rw"),
            Self::Secret(scope) => scoped(f, "secret", scope),
            Self::Network => f.write_str("network"),
            Self::Http { host, port } => write!(f, "http:{host}:{port}"),
            Self::State => f.write_str("state"),
            Self::Artifacts => f.write_str("artifacts"),
            Self::Events { prefix } => write!(f, "events:{prefix}"),
        }
    }
}

impl TofuAction {
    /// Its name in a capability.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Destroy => "destroy",
        }
    }
}

/// A text that is not a capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a capability: expected {EXPECTED}")]
pub struct InvalidCapability {
    /// The text, cut to 80 characters.
    pub text: String,
}

const EXPECTED: &str = "`git`, `ansible`, `opentofu:plan|apply|destroy`, `command:<name>`, \
    `workspace:ro|rw`, `secret:<name>`, `network`, `http:<host>:<port>`, `state`, `artifacts` or \
    `events:<type prefix>`";

impl FromStr for Capability {
    type Err = InvalidCapability;

    fn from_str(text: &str) -> Result<Self, InvalidCapability> {
        parse_capability(text).ok_or_else(|| InvalidCapability {
            text: text.chars().take(80).collect(),
        })
    }
}

fn parse_capability(text: &str) -> Option<Capability> {
    fn scope<N>(text: &str, parse: impl Fn(&str) -> Option<N>) -> Option<Scope<N>> {
        if text == "*" {
            Some(Scope::Any)
        } else {
            parse(text).map(Scope::Only)
        }
    }
    let (head, tail) = match text.split_once(':') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    };
    Some(match (head, tail) {
        ("git", None) => Capability::Git,
        ("ansible", None) => Capability::Ansible,
        ("network", None) => Capability::Network,
        ("state", None) => Capability::State,
        ("artifacts", None) => Capability::Artifacts,
        ("opentofu", Some("plan")) => Capability::OpenTofu(TofuAction::Plan),
        ("opentofu", Some("apply")) => Capability::OpenTofu(TofuAction::Apply),
        ("opentofu", Some("destroy")) => Capability::OpenTofu(TofuAction::Destroy),
        ("workspace", Some("ro")) => Capability::Workspace(Access::Read),
        ("workspace", Some("rw")) => Capability::Workspace(Access::Write),
        ("command", Some(name)) => Capability::Command(scope(name, |n| CommandName::new(n).ok())?),
        ("secret", Some(name)) => Capability::Secret(scope(name, |n| SecretName::new(n).ok())?),
        ("http", Some(target)) => {
            let (host, port) = target.rsplit_once(':')?;
            let valid = !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".-[]:".contains(&b));
            valid.then_some(())?;
            Capability::Http {
                host: host.to_ascii_lowercase(),
                port: port.parse().ok()?,
            }
        }
        ("events", Some(prefix)) => {
            let valid = prefix.split('.').all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
            valid.then_some(())?;
            Capability::Events {
                prefix: prefix.to_owned(),
            }
        }
        _ => return None,
    })
}

/// A call of a guest to the host, with what its arguments name.
///
/// One variant for every function of every interface that the world imports.
#[derive(Debug, Clone, Copy)]
pub enum HostCall<'a> {
    /// `log.write`
    LogWrite,
    /// `git.checkout`
    GitCheckout,
    /// `ansible.run-playbook`
    AnsibleRunPlaybook {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `ansible.install-requirements`
    AnsibleInstallRequirements,
    /// `ansible.ping`
    AnsiblePing {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.init`
    TofuInit {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.plan`
    TofuPlan {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.apply`
    TofuApply {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.destroy`
    TofuDestroy {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.output`
    TofuOutput {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `opentofu.show`
    TofuShow {
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `command.run`
    CommandRun {
        /// The command.
        name: &'a CommandName,
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `workspace.read`
    WorkspaceRead,
    /// `workspace.write`
    WorkspaceWrite,
    /// `workspace.list`
    WorkspaceList,
    /// `workspace.unpack-upload`
    WorkspaceUnpackUpload,
    /// `http.send`
    HttpSend {
        /// The host of the address.
        host: &'a str,
        /// The port of the address.
        port: u16,
        /// Secrets that the request names.
        secrets: &'a [SecretName],
    },
    /// `secrets.get`
    SecretsGet {
        /// The secret.
        name: &'a SecretName,
    },
    /// `state.get`
    StateGet,
    /// `state.set`
    StateSet,
    /// `state.remove`
    StateRemove,
    /// `artifacts.create`
    ArtifactsCreate,
    /// `artifacts.finish`
    ArtifactsFinish,
    /// `events.emit`
    EventsEmit {
        /// The type of the event.
        kind: &'a str,
    },
}

impl HostCall<'_> {
    /// Every capability that the call needs; none means that every plugin may
    /// make it. `network` is not in here: whether a call needs it depends on
    /// the configuration (a source's address), so the tool door asks for it.
    pub fn needs(self) -> Vec<Capability> {
        use Capability as C;
        let with = |mut own: Vec<C>, secrets: &[SecretName]| {
            own.extend(
                secrets
                    .iter()
                    .cloned()
                    .map(|name| C::Secret(Scope::Only(name))),
            );
            own
        };
        let tofu = |action, secrets| {
            with(
                vec![C::OpenTofu(action), C::Workspace(Access::Write)],
                secrets,
            )
        };
        match self {
            Self::LogWrite => vec![],
            Self::GitCheckout => vec![C::Git, C::Workspace(Access::Write)],
            Self::AnsibleRunPlaybook { secrets } | Self::AnsiblePing { secrets } => {
                with(vec![C::Ansible, C::Workspace(Access::Write)], secrets)
            }
            Self::AnsibleInstallRequirements => {
                vec![C::Ansible, C::Workspace(Access::Write), C::Network]
            }
            Self::TofuInit { secrets }
            | Self::TofuPlan { secrets }
            | Self::TofuOutput { secrets }
            | Self::TofuShow { secrets } => tofu(TofuAction::Plan, secrets),
            Self::TofuApply { secrets } => tofu(TofuAction::Apply, secrets),
            Self::TofuDestroy { secrets } => tofu(TofuAction::Destroy, secrets),
            Self::CommandRun { name, secrets } => with(
                vec![
                    C::Command(Scope::Only(name.clone())),
                    C::Workspace(Access::Write),
                ],
                secrets,
            ),
            Self::WorkspaceRead | Self::WorkspaceList => vec![C::Workspace(Access::Read)],
            Self::WorkspaceWrite | Self::WorkspaceUnpackUpload => {
                vec![C::Workspace(Access::Write)]
            }
            Self::HttpSend {
                host,
                port,
                secrets,
            } => with(
                vec![C::Http {
                    host: host.to_ascii_lowercase(),
                    port,
                }],
                secrets,
            ),
            Self::SecretsGet { name } => vec![C::Secret(Scope::Only(name.clone()))],
            Self::StateGet | Self::StateSet | Self::StateRemove => vec![C::State],
            Self::ArtifactsCreate | Self::ArtifactsFinish => vec![C::Artifacts],
            Self::EventsEmit { kind } => vec![C::Events {
                prefix: kind.to_owned(),
            }],
        }
    }
}

/// What a plugin may do in a step: what its manifest asks for **and** the
/// operator granted for its digest.
#[derive(Debug, Clone)]
pub struct Permissions {
    manifest: Arc<[Capability]>,
    grants: Arc<[Capability]>,
}

impl Permissions {
    /// The permissions of a plugin with this manifest and these grants.
    pub fn new(manifest: Arc<[Capability]>, grants: Arc<[Capability]>) -> Self {
        Self { manifest, grants }
    }

    /// Permissions under which every call but `log` is refused.
    pub fn none() -> Self {
        Self::new(Arc::new([]), Arc::new([]))
    }

    /// Whether the capability is both in the manifest and granted.
    pub fn allow(&self, wanted: &Capability) -> bool {
        let covered = |list: &[Capability]| list.iter().any(|have| have.covers(wanted));
        covered(&self.manifest) && covered(&self.grants)
    }

    /// Checks a call.
    ///
    /// # Errors
    /// The first capability that is missing.
    pub fn check(&self, call: HostCall<'_>) -> Result<(), NotGranted> {
        match call.needs().into_iter().find(|needed| !self.allow(needed)) {
            None => Ok(()),
            Some(capability) => Err(NotGranted { capability }),
        }
    }
}

/// A capability that was needed and is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{capability}` is not granted to this plugin")]
pub struct NotGranted {
    /// The capability.
    pub capability: Capability,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(texts: &[&str]) -> Arc<[Capability]> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn capabilities_round_trip() {
        for text in [
            "git",
            "ansible",
            "opentofu:plan",
            "opentofu:apply",
            "opentofu:destroy",
            "command:*",
            "command:ls",
            "workspace:ro",
            "workspace:rw",
            "secret:*",
            "secret:key",
            "network",
            "http:api.example:443",
            "state",
            "artifacts",
            "events:shop.web",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "Git",
            "git:",
            "git:*",
            "opentofu",
            "opentofu:*",
            "command",
            "command:a b",
            "workspace",
            "secret:",
            "http:host",
            "http::80",
            "http:host:99999",
            "events:",
            "events:a..b",
            "*",
            "root",
        ] {
            assert!(bad.parse::<Capability>().is_err(), "{bad}");
        }
    }

    #[test]
    fn covering() {
        for (have, wanted, expected) in [
            ("command:*", "command:ls", true),
            ("command:ls", "command:rm", false),
            ("command:ls", "command:*", false),
            ("workspace:rw", "workspace:ro", true),
            ("workspace:ro", "workspace:rw", false),
            ("events:shop", "events:shop.web", true),
            ("events:shop", "events:shopping", false),
            ("opentofu:apply", "opentofu:destroy", false),
            ("git", "ansible", false),
        ] {
            let have: Capability = have.parse().unwrap();
            assert_eq!(
                have.covers(&wanted.parse().unwrap()),
                expected,
                "{have} {wanted}"
            );
        }
    }

    #[test]
    fn a_capability_needs_manifest_and_grant() {
        let both = capabilities(&["ansible", "workspace:rw"]);
        let one = capabilities(&["workspace:rw"]);
        let call = HostCall::AnsibleRunPlaybook { secrets: &[] };
        assert!(
            Permissions::new(both.clone(), both.clone())
                .check(call)
                .is_ok()
        );
        for (manifest, grants) in [(both.clone(), one.clone()), (one, both)] {
            let missing = Permissions::new(manifest, grants).check(call).unwrap_err();
            assert_eq!(missing.capability, Capability::Ansible);
        }
    }

    #[test]
    fn named_secrets_are_needed_too() {
        let secrets = [SecretName::new("ssh-key").unwrap()];
        let list = capabilities(&["ansible", "workspace:rw", "secret:other"]);
        let missing = Permissions::new(list.clone(), list)
            .check(HostCall::AnsibleRunPlaybook { secrets: &secrets })
            .unwrap_err();
        assert_eq!(
            missing.to_string(),
            "`secret:ssh-key` is not granted to this plugin"
        );
    }

    /// Without any grant nothing but the log is reached.
    #[test]
    fn promise_06_nothing_is_allowed_without_a_grant() {
        let name = CommandName::new("ls").unwrap();
        let secret = SecretName::new("key").unwrap();
        let calls = [
            HostCall::GitCheckout,
            HostCall::AnsibleRunPlaybook { secrets: &[] },
            HostCall::AnsibleInstallRequirements,
            HostCall::AnsiblePing { secrets: &[] },
            HostCall::TofuInit { secrets: &[] },
            HostCall::TofuPlan { secrets: &[] },
            HostCall::TofuApply { secrets: &[] },
            HostCall::TofuDestroy { secrets: &[] },
            HostCall::TofuOutput { secrets: &[] },
            HostCall::TofuShow { secrets: &[] },
            HostCall::CommandRun {
                name: &name,
                secrets: &[],
            },
            HostCall::WorkspaceRead,
            HostCall::WorkspaceWrite,
            HostCall::WorkspaceList,
            HostCall::WorkspaceUnpackUpload,
            HostCall::HttpSend {
                host: "example",
                port: 443,
                secrets: &[],
            },
            HostCall::SecretsGet { name: &secret },
            HostCall::StateGet,
            HostCall::StateSet,
            HostCall::StateRemove,
            HostCall::ArtifactsCreate,
            HostCall::ArtifactsFinish,
            HostCall::EventsEmit { kind: "a.b" },
        ];
        for call in calls {
            assert!(Permissions::none().check(call).is_err(), "{call:?}");
        }
        assert!(Permissions::none().check(HostCall::LogWrite).is_ok());
    }
}
