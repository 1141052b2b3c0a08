//! What was seen of an Ansible run, and what it means.
//!
//! Both ways of running a playbook, ansible-runner's events and the plain
//! output, fill the same [`Observed`]; one table makes the result of it.

use std::collections::BTreeMap;

use infraflow_core::limits::ERROR_TEXT;
use infraflow_core::tool::{HostStats, PlaybookEnding, PlaybookResult, ProcessEnd};
use infraflow_core::{Json, JsonMap};

use crate::errors::shorten;
use crate::limits::{CUSTOM_STATS, HOST_STATS, MESSAGE_FAILURES};

/// What was seen of an Ansible run.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Per host, once the run has counted them; `None` before.
    pub(super) stats: Option<BTreeMap<String, HostStats>>,
    pub(super) custom_stats: JsonMap,
    failures: Vec<Failure>,
    failures_total: usize,
    /// Lines that may say why nothing ran.
    lines: Vec<String>,
    /// Whether an error has begun in `lines`.
    error_begun: bool,
    pub(super) no_hosts_matched: bool,
    pub(super) tasks_started: bool,
}

/// A task that failed on a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) host: String,
    pub(super) task: String,
    pub(super) text: String,
}

/// Lines kept of an error, and longest line kept.
const ERROR_LINES: usize = 20;
const ERROR_LINE_BYTES: usize = 1_024;

impl Observed {
    pub(super) fn failed(&mut self, failure: Failure) {
        self.failures_total += 1;
        if self.failures.len() < MESSAGE_FAILURES {
            self.failures.push(failure);
        }
    }

    /// A line outside of any task: before the first play, mostly an error.
    pub(super) fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let begins = ["[ERROR]", "ERROR!", "error:"];
        if !self.error_begun && begins.iter().any(|mark| line.contains(mark)) {
            self.error_begun = true;
            self.lines.clear();
        }
        if self.lines.len() == ERROR_LINES {
            if self.error_begun {
                return;
            }
            self.lines.remove(0);
        }
        let end = line.floor_char_boundary(ERROR_LINE_BYTES);
        let kept = line.get(..end).unwrap_or_default();
        self.lines.push(kept.to_owned());
    }

    /// What was printed on standard error; counts when nothing ran.
    pub(super) fn errors(&mut self, text: &str) {
        text.lines().for_each(|line| self.line(line));
    }

    /// What it all means, now that it has ended.
    pub(super) fn result(self, end: ProcessEnd) -> PlaybookResult {
        let ending = self.ending(end);
        let end = match (ending, end) {
            // ansible-runner says 0 when Ansible was killed below it.
            (PlaybookEnding::Signalled, ProcessEnd::Exited(_)) => ProcessEnd::Signalled(9),
            _ => end,
        };
        let message = shorten(self.message(ending), ERROR_TEXT);
        let mut hosts: Vec<HostStats> = self.stats.unwrap_or_default().into_values().collect();
        if hosts.len() > HOST_STATS {
            // Those that need attention are kept.
            hosts.sort_by_key(|host| {
                (
                    host.failures == 0 && host.unreachable == 0,
                    host.host.clone(),
                )
            });
            hosts.truncate(HOST_STATS);
            hosts.sort_by(|a, b| a.host.cmp(&b.host));
        }
        PlaybookResult {
            end,
            ending,
            hosts,
            custom_stats: bounded(self.custom_stats),
            message,
        }
    }

    fn ending(&self, end: ProcessEnd) -> PlaybookEnding {
        let ProcessEnd::Exited(code) = end else {
            return PlaybookEnding::Signalled;
        };
        let Some(stats) = &self.stats else {
            // No count: it never came to a play, or was killed in one.
            return if self.tasks_started {
                PlaybookEnding::Signalled
            } else {
                PlaybookEnding::NotRun
            };
        };
        if code == 0 {
            return if stats.is_empty() && self.no_hosts_matched {
                PlaybookEnding::NotRun
            } else {
                PlaybookEnding::Succeeded
            };
        }
        if stats.values().any(|host| host.failures > 0) {
            PlaybookEnding::HostsFailed
        } else if stats.values().any(|host| host.unreachable > 0) {
            PlaybookEnding::HostsUnreachable
        } else if stats.is_empty() {
            PlaybookEnding::NotRun
        } else {
            // An error that is nobody's task: a missing handler, say.
            PlaybookEnding::HostsFailed
        }
    }

    fn message(&self, ending: PlaybookEnding) -> String {
        match ending {
            PlaybookEnding::Succeeded => String::new(),
            PlaybookEnding::Signalled => {
                "ansible-playbook was ended by a signal before it was done".to_owned()
            }
            PlaybookEnding::NotRun if self.no_hosts_matched => "no hosts matched".to_owned(),
            PlaybookEnding::NotRun => self.said(),
            PlaybookEnding::HostsFailed | PlaybookEnding::HostsUnreachable => {
                if self.failures.is_empty() {
                    return self.said();
                }
                let mut text: Vec<String> = self.failures.iter().map(Failure::shown).collect();
                let more = self.failures_total.saturating_sub(text.len());
                if more > 0 {
                    text.push(format!("and {more} more"));
                }
                text.join("\n")
            }
        }
    }

    fn said(&self) -> String {
        if self.lines.is_empty() {
            "ansible-playbook ended without saying why".to_owned()
        } else {
            self.lines.join("\n")
        }
    }
}

impl Failure {
    fn shown(&self) -> String {
        let Self { host, task, text } = self;
        if task.is_empty() {
            format!("{host}: {text}")
        } else {
            format!("{host}: task `{task}`: {text}")
        }
    }
}

/// Custom stats that are too large are left out, and that is said.
fn bounded(stats: JsonMap) -> JsonMap {
    let stats = Json::Object(stats);
    if stats.to_string().len() > CUSTOM_STATS.to_usize() {
        let text = format!("custom stats are larger than {CUSTOM_STATS} and left out");
        return JsonMap::from_iter([("infraflow_note".to_owned(), Json::from(text))]);
    }
    match stats {
        Json::Object(stats) => stats,
        _ => JsonMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, ok: u32, failures: u32, unreachable: u32) -> HostStats {
        HostStats {
            host: name.to_owned(),
            ok,
            failures,
            unreachable,
            ..HostStats::default()
        }
    }

    fn observed(hosts: &[HostStats]) -> Observed {
        let stats = hosts.iter().map(|host| (host.host.clone(), host.clone()));
        Observed {
            stats: Some(stats.collect()),
            tasks_started: true,
            ..Observed::default()
        }
    }

    /// The exit codes of ansible-core 2.19, as they were seen.
    #[test]
    fn exit_codes_mean_what_the_counts_say() {
        use PlaybookEnding as E;
        let good = host("a", 1, 0, 0);
        let bad = host("b", 1, 1, 0);
        let away = host("c", 0, 0, 1);
        let cases: [(&[HostStats], i32, E); 9] = [
            (std::slice::from_ref(&good), 0, E::Succeeded),
            (&[], 0, E::Succeeded),
            (&[good.clone(), bad.clone()], 2, E::HostsFailed),
            (&[good.clone(), away.clone()], 4, E::HostsUnreachable),
            (&[bad.clone(), away.clone()], 2, E::HostsFailed),
            (&[bad, away], 6, E::HostsFailed),
            (&[], 1, E::NotRun),
            (std::slice::from_ref(&good), 1, E::HostsFailed),
            (std::slice::from_ref(&good), 250, E::HostsFailed),
        ];
        for (hosts, code, expected) in cases {
            let result = observed(hosts).result(ProcessEnd::Exited(code));
            assert_eq!(result.ending, expected, "{code} {hosts:?}");
            assert_eq!(result.end, ProcessEnd::Exited(code));
        }
        for code in [1, 2, 4] {
            let result = Observed::default().result(ProcessEnd::Exited(code));
            assert_eq!(result.ending, E::NotRun, "{code} without counts");
        }
    }

    #[test]
    fn killed_below_the_runner_is_never_a_success() {
        let mut seen = observed(&[]);
        seen.stats = None;
        let result = seen.result(ProcessEnd::Exited(0));
        assert_eq!(result.ending, PlaybookEnding::Signalled);
        assert_eq!(result.end, ProcessEnd::Signalled(9));
        let result = observed(&[]).result(ProcessEnd::Signalled(15));
        assert_eq!(result.ending, PlaybookEnding::Signalled);
        let result = Observed::default().result(ProcessEnd::Exited(0));
        assert_eq!(result.ending, PlaybookEnding::NotRun);
    }

    #[test]
    fn no_hosts_is_not_a_success() {
        let mut seen = observed(&[]);
        seen.no_hosts_matched = true;
        let result = seen.result(ProcessEnd::Exited(0));
        assert_eq!(result.ending, PlaybookEnding::NotRun);
        assert_eq!(result.message, "no hosts matched");
    }

    #[test]
    fn messages_name_hosts_and_tasks_and_count_the_rest() {
        let mut seen = observed(&[host("a", 0, 1, 0)]);
        for number in 0..MESSAGE_FAILURES + 2 {
            seen.failed(Failure {
                host: format!("h{number}"),
                task: "t".to_owned(),
                text: "no".to_owned(),
            });
        }
        let message = seen.result(ProcessEnd::Exited(2)).message;
        assert!(message.starts_with("h0: task `t`: no\nh1: task `t`: no\n"));
        assert!(message.ends_with("\nand 2 more"), "{message}");
    }

    #[test]
    fn the_error_is_found_among_other_lines() {
        let mut seen = Observed::default();
        for line in [
            "[WARNING]: something",
            "",
            "[ERROR]: it broke",
            "Origin: x.yml:3",
            "",
            "more",
        ] {
            seen.line(line);
        }
        let message = seen.result(ProcessEnd::Exited(4)).message;
        assert_eq!(message, "[ERROR]: it broke\nOrigin: x.yml:3\nmore");
        let mut seen = Observed::default();
        for number in 0..100 {
            seen.line(&format!("line {number}"));
        }
        let message = seen.result(ProcessEnd::Exited(1)).message;
        assert!(message.starts_with("line 80") && message.ends_with("line 99"));
    }

    #[test]
    fn custom_stats_at_and_past_the_limit() {
        let stats = |bytes: usize| {
            let mut seen = observed(&[]);
            seen.custom_stats
                .insert("k".to_owned(), "x".repeat(bytes - 8).into());
            seen.result(ProcessEnd::Exited(0)).custom_stats
        };
        assert!(stats(CUSTOM_STATS.to_usize()).contains_key("k"));
        assert!(stats(CUSTOM_STATS.to_usize() + 1).contains_key("infraflow_note"));
    }

    #[test]
    fn a_huge_inventory_keeps_the_hosts_that_failed() {
        let mut hosts: Vec<HostStats> = (0..HOST_STATS + 5)
            .map(|number| host(&format!("h{number:06}"), 1, 0, 0))
            .collect();
        hosts[HOST_STATS + 3].failures = 1;
        let result = observed(&hosts).result(ProcessEnd::Exited(2));
        assert_eq!(result.hosts.len(), HOST_STATS);
        assert!(result.hosts.iter().any(|host| host.failures == 1));
        assert!(result.hosts.is_sorted_by(|a, b| a.host < b.host));
    }
}
