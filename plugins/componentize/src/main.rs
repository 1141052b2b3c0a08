//! Makes components of the guests that cargo built, and writes the grants file
//! with their digests beside them.
//!
//! ```text
//! infraflow-componentize <grants.yaml> <folder> <name>=<core module>...
//! ```
//!
//! A file whose content has not changed is left alone. It never compiles and
//! never grants: what is granted stands in the grants file.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use wit_component::ComponentEncoder;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("componentize: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [grants, folder, guests @ ..] = arguments.as_slice() else {
        return Err("usage: <grants.yaml> <folder> <name>=<core module>...".to_owned());
    };
    let folder = Path::new(folder);
    fs::create_dir_all(folder).map_err(|error| format!("create {}: {error}", folder.display()))?;
    let mut text = read_text(Path::new(grants))?;
    for guest in guests {
        let (name, module) = guest
            .split_once('=')
            .ok_or_else(|| format!("`{guest}`: expected <name>=<core module>"))?;
        let component = encode(Path::new(module)).map_err(|error| format!("{module}: {error}"))?;
        let file = format!("{name}.wasm");
        write_changed(&folder.join(&file), &component)?;
        text = with_digest(&text, name, &file, &digest(&component))?;
        println!("{file}: {} bytes", component.len());
    }
    write_changed(&folder.join("grants.yaml"), text.as_bytes())
}

fn read_text(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("read {}: {error}", path.display()))
}

fn encode(module: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(module).map_err(|error| error.to_string())?;
    ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

fn digest(bytes: &[u8]) -> String {
    let digits: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{digits}")
}

/// Adds the file and its digest under a plugin's name in the grants file.
fn with_digest(text: &str, name: &str, file: &str, digest: &str) -> Result<String, String> {
    let key = format!("  {name}:\n");
    let (head, tail) = text
        .split_once(&key)
        .ok_or_else(|| format!("the grants file has no plugin `{name}`"))?;
    Ok(format!(
        "{head}{key}    file: {file}\n    digest: {digest}\n{tail}"
    ))
}

/// Writes a file whole or not at all, and only when it changes.
fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let fresh = path.with_extension("tmp");
    fs::write(&fresh, bytes)
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| format!("write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_stand_under_their_plugin() {
        let text = "plugins:\n  a:\n    grants: []\n  ab:\n    grants: []\n";
        let done = with_digest(text, "ab", "ab.wasm", "sha256:00").unwrap();
        assert_eq!(
            done,
            "plugins:\n  a:\n    grants: []\n  ab:\n    file: ab.wasm\n    digest: sha256:00\n    grants: []\n"
        );
        assert!(with_digest(text, "b", "b.wasm", "sha256:00").is_err());
    }

    #[test]
    fn digests_are_those_of_sha256sum() {
        assert_eq!(
            digest(b"abc"),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
