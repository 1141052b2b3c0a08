//! What a plugin says of itself, and how a workflow names one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Json;
use crate::grant::{Capability, Permissions};
use crate::id::{Digest, PluginName};

/// What a plugin says of itself; stored with its digest when it is installed,
/// and the truth from then on.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Its name.
    pub name: PluginName,
    /// Its version.
    pub version: Version,
    /// What it does, in one line.
    pub summary: String,
    /// JSON Schema of its input.
    pub input_schema: Json,
    /// JSON Schema of its output.
    pub output_schema: Json,
    /// What it asks for, with the reasons.
    pub capabilities: Vec<CapabilityRequest>,
    /// Whether a second attempt after an unknown end does no harm.
    pub idempotent: bool,
    /// Whether it may change files of the workspace.
    pub writes_workspace: bool,
}

impl Manifest {
    /// The capabilities without their reasons.
    pub fn capability_list(&self) -> Arc<[Capability]> {
        self.capabilities
            .iter()
            .map(|request| request.capability.clone())
            .collect()
    }
}

/// One capability that a plugin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapabilityRequest {
    /// The capability.
    pub capability: Capability,
    /// Why, in one line.
    pub reason: String,
}

/// A semantic version without pre-release and build parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes when old workflows may break.
    pub major: u32,
    /// Changes when something is added.
    pub minor: u32,
    /// Changes when something is mended.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is not a version: expected three numbers, like `1.4.2`");
        let mut parts = text.split('.').map(|part| {
            let plain =
                part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            part.parse::<u32>().ok().filter(|_| plain)
        });
        let mut next = || parts.next().flatten().ok_or_else(invalid);
        let version = Self {
            major: next()?,
            minor: next()?,
            patch: next()?,
        };
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(version)
        }
    }
}

/// How a workflow names a plugin: `ansible@1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginRef {
    /// The plugin's name.
    pub name: PluginName,
    /// The major version; the highest installed version of it is taken.
    pub major: u32,
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.major)
    }
}

impl FromStr for PluginRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (name, major) = text.split_once('@')?;
            let plain = major.bytes().all(|b| b.is_ascii_digit());
            let major = major.parse().ok().filter(|_| plain)?;
            Some(Self {
                name: PluginName::new(name).ok()?,
                major,
            })
        };
        parse().ok_or_else(|| {
            format!("`{text}` does not name a plugin: expected a name and a major version, like `ansible@1`")
        })
    }
}

/// A plugin as a run uses it: resolved once, when the run is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPlugin {
    /// The component.
    pub digest: Digest,
    /// Its full version, for people.
    pub version: Version,
    /// From its manifest: decides the default of `on_interrupt`.
    pub idempotent: bool,
}

/// A plugin that this host can run.
#[derive(Debug, Clone)]
pub struct InstalledPlugin {
    /// The component.
    pub digest: Digest,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What the operator granted to that digest.
    pub grants: Arc<[Capability]>,
    /// Where it came from, for people.
    pub origin: String,
}

impl InstalledPlugin {
    /// What it may do.
    pub fn permissions(&self) -> Permissions {
        Permissions::new(self.manifest.capability_list(), self.grants.clone())
    }
}

/// The plugins that this host can run.
#[derive(Debug, Clone, Default)]
pub struct PluginCatalog {
    plugins: Vec<InstalledPlugin>,
}

impl PluginCatalog {
    /// A catalog of these plugins.
    pub fn new(plugins: Vec<InstalledPlugin>) -> Self {
        Self { plugins }
    }

    /// The plugins.
    pub fn plugins(&self) -> &[InstalledPlugin] {
        &self.plugins
    }

    /// The plugin that a workflow's `uses` means now: the highest version of
    /// that major version.
    pub fn resolve(&self, wanted: &PluginRef) -> Option<ResolvedPlugin> {
        self.plugins
            .iter()
            .filter(|plugin| {
                plugin.manifest.name == wanted.name && plugin.manifest.version.major == wanted.major
            })
            .max_by_key(|plugin| plugin.manifest.version)
            .map(|plugin| ResolvedPlugin {
                digest: plugin.digest,
                version: plugin.manifest.version,
                idempotent: plugin.manifest.idempotent,
            })
    }

    /// The plugin with that digest.
    pub fn get(&self, digest: Digest) -> Option<&InstalledPlugin> {
        self.plugins.iter().find(|plugin| plugin.digest == digest)
    }

    /// What there is, for a message about what there is not.
    pub fn names(&self) -> String {
        let mut names: Vec<String> = self
            .plugins
            .iter()
            .map(|plugin| {
                format!(
                    "`{}@{}`",
                    plugin.manifest.name, plugin.manifest.version.major
                )
            })
            .collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_refs() {
        assert_eq!("1.4.2".parse::<Version>().unwrap().to_string(), "1.4.2");
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "1.2.x",
            "1.2.-3",
            "01.2.3",
            "1.2.3-rc1",
            "+1.2.3",
        ] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
        assert_eq!(
            "ansible@1".parse::<PluginRef>().unwrap().to_string(),
            "ansible@1"
        );
        for bad in [
            "",
            "ansible",
            "ansible@",
            "@1",
            "ansible@1.2",
            "ansible@v1",
            "a b@1",
            "a@+1",
        ] {
            assert!(bad.parse::<PluginRef>().is_err(), "{bad}");
        }
    }
}
