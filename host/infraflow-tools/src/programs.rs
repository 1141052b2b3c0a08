//! Where the tools' programs are, and what they need beside themselves.
//!
//! Only looks at files; runs nothing.

use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

/// The folders where programs are when nobody says otherwise.
pub fn standard_search_path() -> Vec<Utf8PathBuf> {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .into_iter()
    .map(Utf8PathBuf::from)
    .collect()
}

/// The absolute folders of a `PATH`, in order. Relative and empty ones are left
/// out: what a program is must not depend on the working directory.
pub fn search_path(path: &str) -> Vec<Utf8PathBuf> {
    path.split(':')
        .map(Utf8PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .collect()
}

/// The first executable file of that name.
pub fn find_program(name: &str, folders: &[Utf8PathBuf]) -> Option<Utf8PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

pub(crate) fn is_executable(path: &Utf8Path) -> bool {
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The files and folders that a program outside the system needs, so that a
/// jail can show them: itself where it is linked to, and, for a program of a
/// Python virtual environment, that environment and its interpreter.
pub(crate) fn needed_by(program: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut needed = Vec::new();
    let real = program
        .canonicalize_utf8()
        .unwrap_or_else(|_| program.to_owned());
    for path in [program, real.as_path()] {
        match virtual_environment(path) {
            Some(environment) => {
                needed.extend(base_interpreter(environment));
                needed.push(environment.to_owned());
            }
            None => needed.push(path.to_owned()),
        }
    }
    needed.retain(|path| !is_too_much(path));
    needed.sort();
    needed.dedup();
    needed
}

/// The virtual environment that a program belongs to: `<it>/bin/<program>`.
fn virtual_environment(program: &Utf8Path) -> Option<&Utf8Path> {
    let environment = program.parent()?.parent()?;
    environment
        .join("pyvenv.cfg")
        .is_file()
        .then_some(environment)
}

/// The installation that a virtual environment was made from, and where its
/// interpreter really is.
fn base_interpreter(environment: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    let text = std::fs::read_to_string(environment.join("pyvenv.cfg")).unwrap_or_default();
    if let Some(home) = home_of(&text) {
        found.extend(home.parent().map(Utf8Path::to_owned));
    }
    let interpreter = environment.join("bin/python").canonicalize_utf8().ok();
    let installation = interpreter
        .as_deref()
        .and_then(|python| python.parent()?.parent());
    found.extend(installation.map(Utf8Path::to_owned));
    found.retain(|path| path.is_absolute());
    found
}

fn home_of(pyvenv: &str) -> Option<&Utf8Path> {
    pyvenv.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| Utf8Path::new(value.trim()))
    })
}

/// Folders that hold more than a program, whatever a configuration says.
fn is_too_much(path: &Utf8Path) -> bool {
    const WHOLE: [&str; 12] = [
        "/", "/root", "/home", "/etc", "/var", "/opt", "/srv", "/run", "/tmp", "/mnt", "/boot",
        "/proc",
    ];
    let is_home = path.parent().is_some_and(|parent| parent == "/home");
    is_home || WHOLE.iter().any(|whole| path == *whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_absolute_folders_are_searched() {
        assert_eq!(
            search_path("/a::b:./c:/d"),
            [Utf8PathBuf::from("/a"), Utf8PathBuf::from("/d")]
        );
    }

    #[test]
    fn the_first_executable_wins() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for (path, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("c/tool", 0o755)] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let folders = ["a", "b", "c"].map(|name| root.join(name));
        assert_eq!(find_program("tool", &folders), Some(root.join("b/tool")));
        assert_eq!(find_program("other", &folders), None);
    }

    #[test]
    fn a_virtual_environment_brings_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(folder.path().canonicalize().unwrap()).unwrap();
        fs::create_dir_all(root.join("venv/bin")).unwrap();
        fs::create_dir_all(root.join("base/bin")).unwrap();
        fs::write(root.join("base/bin/python3"), "").unwrap();
        std::os::unix::fs::symlink(root.join("base/bin/python3"), root.join("venv/bin/python"))
            .unwrap();
        let home = format!("home = {root}/base/bin\nversion = 3\n");
        fs::write(root.join("venv/pyvenv.cfg"), home).unwrap();
        fs::write(root.join("venv/bin/ansible-playbook"), "").unwrap();
        fs::create_dir_all(root.join("links")).unwrap();
        let link = root.join("links/ansible-playbook");
        std::os::unix::fs::symlink(root.join("venv/bin/ansible-playbook"), &link).unwrap();
        assert_eq!(
            needed_by(&root.join("venv/bin/ansible-playbook")),
            [root.join("base"), root.join("venv")]
        );
        assert_eq!(
            needed_by(&link),
            [root.join("base"), link, root.join("venv")]
        );
        fs::write(root.join("tofu"), "").unwrap();
        assert_eq!(needed_by(&root.join("tofu")), [root.join("tofu")]);
    }

    #[test]
    fn no_configuration_shows_a_home_or_the_root() {
        for path in ["/", "/root", "/home", "/home/ada", "/etc"] {
            assert!(is_too_much(Utf8Path::new(path)), "{path}");
        }
        let below_root = Utf8Path::new("/root").join("venv");
        for path in ["/home/ada/venv", "/opt/tofu/tofu", below_root.as_str()] {
            assert!(!is_too_much(Utf8Path::new(path)), "{path}");
        }
    }
}
