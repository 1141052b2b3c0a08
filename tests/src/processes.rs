//! What runs on this machine: to show that nothing is left.

use std::fs;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line, with spaces.
    pub command: String,
}

/// Processes whose command line, working directory or environment holds a text.
/// Zombies do not count: they run nothing.
pub fn mentioning(text: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return vec![];
    };
    let mut found = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let command = read("cmdline");
        let directory = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        let mentions = command.contains(text)
            || directory.to_string_lossy().contains(text)
            || read("environ").contains(text);
        if mentions && !command.is_empty() {
            found.push(Process { pid, command });
        }
    }
    found
}

/// The command line of every process, for secrets that must not be there.
pub fn command_lines() -> Vec<String> {
    mentioning("")
        .into_iter()
        .map(|process| process.command)
        .collect()
}
