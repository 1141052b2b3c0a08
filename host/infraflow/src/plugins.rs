//! The plugins of a folder: components, and what the operator granted to each
//! by its digest.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use infraflow_core::grant::Capability;
use infraflow_core::id::{Digest, PluginName};
use infraflow_core::plugin::{InstalledPlugin, PluginCatalog};
use infraflow_sandbox::Sandbox;
use infraflow_workflow::diagnostic::{ProblemKind, Report};
use infraflow_workflow::read::{Keys, Read, Value, read_document};

use crate::config::PluginsConfig;
use crate::install;

/// The file of grants beside the components.
pub(crate) const GRANTS_FILE: &str = "grants.yaml";

const ROOT: Keys = Keys::new(&["plugins"]);
const PLUGIN: Keys = Keys::new(&["file", "digest", "grants"]);
const GRANT: Keys = Keys::new(&["capability", "reason"]);

/// Why plugins could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginsError {
    /// There is no folder of plugins.
    #[error(
        "there are no plugins: build them with `plugins/build.sh`, or name their folder with `plugins.dir` in the configuration"
    )]
    NoFolder,
    /// A file cannot be read.
    #[error("read `{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
    /// The grants have problems.
    #[error("{0}")]
    Grants(Box<Report>),
    /// A component cannot be used.
    #[error("plugin `{path}`: {reason}")]
    Component {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        reason: String,
    },
}

/// What is granted to one component.
#[derive(Debug, Clone, PartialEq)]
struct Granted {
    digest: Digest,
    capabilities: Arc<[Capability]>,
}

/// The folders of plugins: the one that ships with the program, and the
/// operator's own.
pub(crate) fn folders(config: &PluginsConfig) -> Vec<Utf8PathBuf> {
    install::plugins()
        .into_iter()
        .chain(config.dir.clone())
        .collect()
}

/// Loads every component of the folders. One without a grant for its digest is
/// loaded with none.
pub(crate) fn load(
    folders: &[Utf8PathBuf],
    sandbox: &Sandbox,
) -> Result<PluginCatalog, PluginsError> {
    if folders.is_empty() {
        return Err(PluginsError::NoFolder);
    }
    let mut plugins: Vec<InstalledPlugin> = Vec::new();
    for folder in folders {
        for plugin in load_folder(folder, sandbox)? {
            let is_same = |known: &&InstalledPlugin| {
                (&known.manifest.name, &known.manifest.version)
                    == (&plugin.manifest.name, &plugin.manifest.version)
            };
            if let Some(known) = plugins.iter().find(is_same) {
                let (name, version) = (&known.manifest.name, &known.manifest.version);
                return Err(PluginsError::Component {
                    path: plugin.origin.into(),
                    reason: format!("it is `{name}` {version}, and so is `{}`", known.origin),
                });
            }
            plugins.push(plugin);
        }
    }
    Ok(PluginCatalog::new(plugins))
}

fn load_folder(folder: &Utf8Path, sandbox: &Sandbox) -> Result<Vec<InstalledPlugin>, PluginsError> {
    let grants = read_grants(&folder.join(GRANTS_FILE))?;
    let mut plugins = Vec::new();
    for path in components(folder)? {
        let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
        let prepared = sandbox
            .prepare(&bytes)
            .map_err(|error| PluginsError::Component {
                path: path.clone(),
                reason: crate::exit::chain(&error),
            })?;
        let granted = grants
            .values()
            .find(|granted| granted.digest == prepared.digest);
        if granted.is_none() {
            tracing::warn!(
                plugin = %prepared.manifest.name,
                digest = %prepared.digest,
                "plugin has no grants for its digest: every call but `log` is refused"
            );
        }
        plugins.push(InstalledPlugin {
            digest: prepared.digest,
            manifest: prepared.manifest,
            grants: granted.map_or_else(|| Arc::from([]), |granted| granted.capabilities.clone()),
            origin: path.to_string(),
        });
    }
    Ok(plugins)
}

fn unreadable(path: &Utf8Path, error: &std::io::Error) -> PluginsError {
    PluginsError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn components(folder: &Utf8Path) -> Result<Vec<Utf8PathBuf>, PluginsError> {
    let mut paths = Vec::new();
    for entry in folder
        .read_dir_utf8()
        .map_err(|error| unreadable(folder, &error))?
    {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        if entry.path().extension() == Some("wasm") {
            paths.push(entry.path().to_owned());
        }
    }
    paths.sort();
    Ok(paths)
}

fn read_grants(path: &Utf8Path) -> Result<BTreeMap<PluginName, Granted>, PluginsError> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    parse_grants(path.as_str(), &text).map_err(|report| PluginsError::Grants(Box::new(report)))
}

fn parse_grants(name: &str, text: &str) -> Result<BTreeMap<PluginName, Granted>, Report> {
    read_document(name, text, |root| {
        let fields = root.fields(&ROOT)?;
        let plugins = fields.required("plugins", |value| value.entries(granted))?;
        Ok(plugins.into_iter().collect())
    })
}

fn granted(name: Value<'_>, value: Value<'_>) -> Read<(PluginName, Granted)> {
    let name = name.parse();
    let fields = value.fields(&PLUGIN)?;
    let file = fields.optional("file", Value::text);
    let digest = fields.required("digest", Value::parse);
    let capabilities = fields.required("grants", |value| value.each(capability));
    file?;
    Ok((
        name?,
        Granted {
            digest: digest?,
            capabilities: capabilities?.into(),
        },
    ))
}

fn capability(value: Value<'_>) -> Read<Capability> {
    let fields = value.fields(&GRANT)?;
    let reason = fields.optional("reason", Value::text);
    let capability = fields.required("capability", |value| {
        let capability: Capability = value.parse()?;
        if capability.is_supported() {
            return Ok(capability);
        }
        let message = format!("capability `{capability}` is not supported yet");
        Err(value.report(value.problem(ProblemKind::NotSupportedYet, message)))
    });
    reason?;
    capability
}
