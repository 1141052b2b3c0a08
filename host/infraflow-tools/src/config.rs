//! What the operator says about tools.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_core::id::{CommandName, SecretName, SourceName};
use infraflow_core::limits::{LEAKED_HANDLES, STOP_GRACE, TOOLS_ACTIVE};

use crate::jail::JailConfig;
use crate::programs::standard_search_path;

/// The configuration of the tool door.
#[derive(Debug, Clone)]
pub struct ToolsConfig {
    /// The data directory, absolute. Workspaces are in `work/`, private folders
    /// of runs in `private/`, state of OpenTofu during a call in `tofu/`.
    pub data_dir: Utf8PathBuf,
    /// How tools are jailed (`tools.jail`).
    pub jail: JailConfig,
    /// Folders to look for programs in, in order; see
    /// [`crate::programs::search_path`] for those of a `PATH`.
    pub search_path: Vec<Utf8PathBuf>,
    /// Variables that every tool gets beside the common ones, for example `TZ`
    /// or `https_proxy`. Nothing else of the host's environment reaches a tool.
    pub environment: Vec<(String, String)>,
    /// The repositories that may be checked out (`sources`).
    pub sources: BTreeMap<SourceName, SourceRepo>,
    /// The executables that `command` may run (`commands`).
    pub commands: BTreeMap<CommandName, CommandSpec>,
    /// The folder with `ansible-playbook`, and `ansible-runner` when that is to
    /// be used. Unset: found in `search_path`.
    pub ansible: Option<Utf8PathBuf>,
    /// OpenTofu or a compatible program. Unset: `tofu`, else `terraform`, of
    /// `search_path`.
    pub tofu: Option<Utf8PathBuf>,
    /// A folder with provider packages that modules may use without the network
    /// (a filesystem mirror, `tofu providers mirror`). Read-only for tools; there
    /// is no shared plugin cache, because one run could poison another's
    /// providers with it. Unset: none.
    pub provider_mirror: Option<Utf8PathBuf>,
    /// `git`. Unset: found in `search_path`.
    pub git: Option<Utf8PathBuf>,
    /// Tools that run at the same time; more wait, in order.
    pub active: usize,
    /// How long a tool may take to end after TERM before it is killed.
    pub grace: Duration,
    /// How long to wait for pipes that others keep open after a tool ended.
    pub leaked_handles: Duration,
}

impl ToolsConfig {
    /// A configuration with defaults and without sources and commands.
    pub fn new(data_dir: Utf8PathBuf, jail: JailConfig) -> Self {
        Self {
            data_dir,
            jail,
            search_path: standard_search_path(),
            environment: Vec::new(),
            sources: BTreeMap::new(),
            commands: BTreeMap::new(),
            ansible: None,
            tofu: None,
            provider_mirror: None,
            git: None,
            active: TOOLS_ACTIVE,
            grace: STOP_GRACE,
            leaked_handles: LEAKED_HANDLES,
        }
    }
}

/// A repository that may be checked out.
#[derive(Debug, Clone, Default)]
pub struct SourceRepo {
    /// Its address: an absolute path or `file://`, `https://`, `http://`,
    /// `ssh://` or `user@host:path`. No password in it. Unset: the source has
    /// no repository, and checking it out is `invalid`.
    pub url: Option<String>,
    /// For `ssh`: the secret that holds the private key.
    pub private_key: Option<SecretName>,
    /// For `ssh`: the secret that holds the known hosts. Unset: no host is
    /// known, and nothing is fetched.
    pub known_hosts: Option<SecretName>,
    /// For `http` and `https`: the user that goes with `password`. Unset:
    /// `x-access-token`, which every provider takes with a token.
    pub user: Option<String>,
    /// For `http` and `https`: the secret that holds a password or a token.
    /// Unset: no authentication.
    pub password: Option<SecretName>,
    /// Whether its code may run without a jail where none can be made. A
    /// workspace that holds a checkout of a source that is not trusted is not
    /// trusted any more.
    pub trusted: bool,
}

/// An executable that `command` may run.
#[derive(Debug, Clone)]
pub struct CommandSpec {
    /// The executable, absolute.
    pub program: Utf8PathBuf,
    /// Whether it has the host's network.
    pub network: bool,
    /// Variables that a plugin may set although they are refused otherwise
    /// (`PYTHONPATH`, say).
    pub environment: Vec<String>,
    /// More files and folders that it may read, at their own paths.
    pub read_only: Vec<Utf8PathBuf>,
}

impl CommandSpec {
    /// A command without network and without anything beside itself.
    pub fn new(program: Utf8PathBuf) -> Self {
        Self {
            program,
            network: false,
            environment: Vec::new(),
            read_only: Vec::new(),
        }
    }
}
