//! `infraflow init`: a folder to start from.

use std::fs;
use std::io::Write as _;

use camino::Utf8Path;

use crate::cli::InitArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{BOLD, line, styled};

const FILES: [(&str, &str); 6] = [
    ("infraflow.yaml", include_str!("../../init/infraflow.yaml")),
    (
        "workflows/hello.yaml",
        include_str!("../../init/hello.yaml"),
    ),
    ("workflows/site.yaml", include_str!("../../init/site.yaml")),
    ("site.yml", include_str!("../../init/site.yml")),
    ("inventory/hosts.ini", include_str!("../../init/hosts.ini")),
    (".gitignore", include_str!("../../init/gitignore")),
];

/// Makes the files; refuses to change one that is there.
pub(crate) fn run(args: &InitArgs) -> Outcome {
    let folder = &args.folder;
    if let Some((name, _)) = FILES.iter().find(|(name, _)| folder.join(name).exists()) {
        return Err(Failure::new(
            Exit::Conflict,
            format!(
                "`{}` exists: `init` changes nothing that is there; choose another folder",
                folder.join(name)
            ),
        ));
    }
    for (name, text) in FILES {
        write(&folder.join(name), text)?;
    }
    let mut text = String::new();
    for (name, _) in FILES {
        text.push_str(&format!("  {}\n", folder.join(name)));
    }
    line(&format!("made\n{text}"))?;
    let go = if folder == "." {
        String::new()
    } else {
        format!("cd {folder} && ")
    };
    line(&format!(
        "next:\n  {}   in one shell\n  {}   in another",
        styled(BOLD, &format!("{go}infraflow up")),
        styled(BOLD, &format!("{go}infraflow run hello")),
    ))?;
    Ok(Exit::Success)
}

fn write(path: &Utf8Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::new(Exit::Failure, format!("write `{path}`: {error}"));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}
