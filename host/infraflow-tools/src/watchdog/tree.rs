//! Trees of processes, as `/proc` shows them.
//!
//! Only looks and signals; never waits and never decides whom to end.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id, in our namespace.
    pub(crate) pid: Pid,
    /// When it started, in ticks since boot: tells it from a later one with the
    /// same id.
    started: u64,
}

/// The children of a process.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    children_by_file(parent).unwrap_or_else(|| children_by_scan(parent))
}

/// Every process below `root`, parents before their children. `root` itself is
/// not in it.
pub(crate) fn descendants(root: Pid) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for pid in children(parent) {
            if let Some((_, started)) = stat(pid)
                && !found.iter().any(|known| known.pid == pid)
            {
                found.push(Process { pid, started });
                open.push(pid);
            }
        }
    }
    found
}

/// The id that a process has in a jail's namespace; `None` for one that is in
/// ours, or in one that a tool made inside its jail.
pub(crate) fn jail_pid(pid: Pid) -> Option<i32> {
    let ids = namespace_pids(pid)?;
    let own_depth = namespace_pids(getpid())?.len();
    if ids.len() == own_depth + 1 {
        ids.last().copied()
    } else {
        None
    }
}

/// The ids of a process from our namespace inwards.
fn namespace_pids(pid: Pid) -> Option<Vec<i32>> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid())).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    line.split_whitespace().map(|id| id.parse().ok()).collect()
}

/// Sends a signal, unless the process is gone and its id taken by another.
/// Whether there was somebody to take it.
pub(crate) fn signal(process: Process, signal: Signal) -> bool {
    let Ok(handle) = pidfd_open(process.pid, PidfdFlags::empty()) else {
        return false;
    };
    let same = stat(process.pid).is_some_and(|(_, started)| started == process.started);
    same && pidfd_send_signal(handle, signal).is_ok()
}

fn children_by_file(parent: Pid) -> Option<Vec<Pid>> {
    let mut found = Vec::new();
    let mut any_list = false;
    let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_pid())).ok()?;
    for task in tasks.flatten() {
        let Ok(list) = fs::read_to_string(task.path().join("children")) else {
            continue;
        };
        any_list = true;
        found.extend(list.split_whitespace().filter_map(parse_pid));
    }
    any_list.then_some(found)
}

/// For kernels without `CONFIG_PROC_CHILDREN`.
fn children_by_scan(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| parse_pid(entry.file_name().to_str()?))
        .filter(|pid| stat(*pid).is_some_and(|(of, _)| of == parent.as_raw_pid()))
        .collect()
}

fn parse_pid(text: &str) -> Option<Pid> {
    text.parse().ok().and_then(Pid::from_raw)
}

/// The parent and the start time of a process.
fn stat(pid: Pid) -> Option<(i32, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

/// Fields 4 and 22. The second field is a name in parentheses that may hold
/// anything, so what follows its last `)` counts.
fn parse_stat(text: &str) -> Option<(i32, u64)> {
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some((parent, started))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::process::getppid;

    #[test]
    fn stat_lines() {
        let tail = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1";
        for name in ["sh", "a b", "x) S 1 (y", ")"] {
            assert_eq!(parse_stat(&format!("12 ({name}) {tail}")), Some((7, 4242)));
        }
        for bad in ["", "12 (sh", "12 (sh) S", "12 (sh) S x 1"] {
            assert_eq!(parse_stat(bad), None);
        }
    }

    #[test]
    fn both_ways_find_this_process() {
        let parent = getppid().unwrap();
        assert!(children_by_scan(parent).contains(&getpid()));
        if let Some(found) = children_by_file(parent) {
            assert!(found.contains(&getpid()));
        }
        assert!(
            descendants(parent)
                .iter()
                .any(|process| process.pid == getpid())
        );
    }

    #[test]
    fn a_process_that_is_gone_takes_no_signal() {
        let gone = Process {
            pid: getpid(),
            started: 1,
        };
        assert!(!signal(gone, Signal::KILL), "the start time differs");
    }

    proptest! {
        #[test]
        fn stat_never_panics(text in ".{0,120}") {
            let _ = parse_stat(&text);
        }
    }
}
