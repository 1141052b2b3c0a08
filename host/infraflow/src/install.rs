//! Where the parts of an installation are: beside the program, where set-up put
//! them, or on `PATH`.

use camino::{Utf8Path, Utf8PathBuf};

/// Overrides where programs that set-up installs are looked for.
const TOOLS_VARIABLE: &str = "INFRAFLOW_TOOLS_BIN";

/// Overrides where the plugins that ship with the program are.
const PLUGINS_VARIABLE: &str = "INFRAFLOW_PLUGINS";

/// This program.
pub(crate) fn program() -> Result<Utf8PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    Utf8PathBuf::from_path_buf(path)
        .map_err(|path| format!("the path of this program is not UTF-8: {}", path.display()))
}

/// Folders in which programs are looked for, in order.
pub(crate) fn search_path() -> Vec<Utf8PathBuf> {
    let mut folders = Vec::new();
    if let Ok(named) = std::env::var(TOOLS_VARIABLE) {
        folders.push(Utf8PathBuf::from(named));
    }
    folders.extend(from_ancestors(".tools/venv/bin"));
    if let Ok(path) = std::env::var("PATH") {
        folders.extend(infraflow_tools::programs::search_path(&path));
    }
    folders.extend(beside_program(&["", "../lib/infraflow"]));
    folders.extend(infraflow_tools::programs::standard_search_path());
    folders
}

/// The folder of the plugins that ship with the program.
pub(crate) fn plugins() -> Option<Utf8PathBuf> {
    let named = std::env::var(PLUGINS_VARIABLE).ok().map(Utf8PathBuf::from);
    named
        .into_iter()
        .chain(beside_program(&["plugins", "../lib/infraflow/plugins"]))
        .chain(from_ancestors("plugins/dist"))
        .find(|folder| folder.join("grants.yaml").is_file())
}

fn beside_program(places: &[&str]) -> Vec<Utf8PathBuf> {
    let folder = program()
        .ok()
        .and_then(|program| program.parent().map(Utf8Path::to_owned));
    places
        .iter()
        .filter_map(|place| Some(folder.as_ref()?.join(place)))
        .collect()
}

/// In a checkout the program lies in `target/<profile>/`, and what set-up and
/// builds make lies at the top.
fn from_ancestors(place: &str) -> Vec<Utf8PathBuf> {
    let Ok(program) = program() else {
        return vec![];
    };
    program
        .ancestors()
        .skip(1)
        .take(4)
        .filter(|folder| folder.join("plugins/grants.yaml").is_file())
        .map(|folder| folder.join(place))
        .collect()
}
