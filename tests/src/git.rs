//! Real git repositories.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::host::command;

/// A bare repository and a working copy to push from.
#[derive(Debug)]
pub struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    /// An empty repository with one commit on `main`.
    ///
    /// # Panics
    /// When git fails.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("infraflow-repository-")
            .tempdir()
            .expect("a folder for the repository");
        let repository = Self { folder };
        repository.git(
            Path::new("/"),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                &repository.bare(),
            ],
        );
        let work = repository.work();
        let work_text = work.display().to_string();
        repository.git(
            Path::new("/"),
            &["init", "--quiet", "--initial-branch=main", &work_text],
        );
        repository.commit(&[("README.md", "# A repository\n")]);
        repository
    }

    fn bare(&self) -> String {
        self.folder.path().join("bare.git").display().to_string()
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare())
    }

    /// Writes files, commits, pushes to `main`, and returns the commit.
    ///
    /// # Panics
    /// When git fails.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let work = self.work();
        for (name, text) in files {
            let path = work.join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).expect("a folder for the file");
            }
            fs::write(path, text).expect("the file is written");
        }
        self.push("A change")
    }

    /// Adds a symbolic link, commits and pushes.
    ///
    /// # Panics
    /// When git fails.
    pub fn link(&self, name: &str, target: &str) -> String {
        std::os::unix::fs::symlink(target, self.work().join(name)).expect("a link");
        self.push("A link")
    }

    fn push(&self, message: &str) -> String {
        let work = self.work();
        self.git(&work, &["add", "--all"]);
        self.git(
            &work,
            &["commit", "--quiet", "--allow-empty", "-m", message],
        );
        self.git(&work, &["push", "--quiet", &self.bare(), "main"]);
        self.git(&work, &["rev-parse", "HEAD"])
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> String {
        let output = command(Path::new("/usr/bin/env"))
            .arg("git")
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.com"])
            .args(arguments)
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::null())
            .output()
            .expect("git runs");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Default for Repository {
    fn default() -> Self {
        Self::new()
    }
}
