//! What `ansible-playbook` prints by itself, where ansible-runner is missing:
//! the recap, custom stats and failures, read line by line.

use infraflow_core::Json;
use infraflow_core::tool::HostStats;

use super::events::reason;
use super::observed::{Failure, Observed};

/// Where in the output we are.
#[derive(Debug, Default)]
pub(super) struct Recap {
    section: Section,
    task: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    /// Before the first play.
    #[default]
    Before,
    Plays,
    Recap,
    CustomStats,
}

impl Recap {
    /// Takes a line of standard output.
    pub(super) fn take(&mut self, line: &[u8], observed: &mut Observed) {
        let line = String::from_utf8_lossy(line);
        if let Some(section) = heading(&line) {
            if section == Section::Recap {
                observed.stats.get_or_insert_default();
            }
            self.section = section;
        }
        match self.section {
            Section::Before => observed.line(&line),
            Section::Plays => self.take_play(&line, observed),
            Section::Recap => {
                if let Some(host) = host_line(&line) {
                    let stats = observed.stats.get_or_insert_default();
                    stats.insert(host.host.clone(), host);
                }
            }
            Section::CustomStats => {
                let run = line.trim_start().strip_prefix("RUN: ");
                if let Some(Ok(Json::Object(stats))) = run.map(serde_json::from_str) {
                    observed.custom_stats = stats;
                }
            }
        }
    }

    fn take_play(&mut self, line: &str, observed: &mut Observed) {
        if let Some(task) =
            bracketed(line, "TASK [").or_else(|| bracketed(line, "RUNNING HANDLER ["))
        {
            self.task = task.to_owned();
            observed.tasks_started = true;
        } else if line.starts_with("skipping: no hosts matched") {
            observed.no_hosts_matched = true;
        } else if let Some((host, text)) = fatal_line(line) {
            observed.failed(Failure {
                host: host.to_owned(),
                task: self.task.clone(),
                text,
            });
        }
    }
}

fn heading(line: &str) -> Option<Section> {
    let stars = line.ends_with("***");
    if stars && line.starts_with("PLAY RECAP *") {
        Some(Section::Recap)
    } else if stars && line.starts_with("CUSTOM STATS: *") {
        Some(Section::CustomStats)
    } else if stars && line.starts_with("PLAY [") {
        Some(Section::Plays)
    } else {
        None
    }
}

/// `TASK [name] ****` gives `name`, which may hold brackets itself.
fn bracketed<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(start)?.trim_end_matches('*').trim_end();
    rest.strip_suffix(']')
}

/// `web1 : ok=2 changed=1 unreachable=0 failed=0 skipped=0 rescued=0 ignored=0`
fn host_line(line: &str) -> Option<HostStats> {
    let (name, counts) = line.rsplit_once(": ok=")?;
    let counts = format!("ok={counts}");
    let count = |key: &str| {
        let mut words = counts.split_whitespace();
        words.find_map(|word| {
            word.strip_prefix(key)?
                .strip_prefix('=')?
                .parse::<u32>()
                .ok()
        })
    };
    let host = name.trim();
    if host.is_empty() {
        return None;
    }
    Some(HostStats {
        host: host.to_owned(),
        ok: count("ok")?,
        changed: count("changed")?,
        unreachable: count("unreachable")?,
        failures: count("failed")?,
        skipped: count("skipped").unwrap_or_default(),
        rescued: count("rescued").unwrap_or_default(),
        ignored: count("ignored").unwrap_or_default(),
    })
}

/// `fatal: [web1]: FAILED! => {...}`, and with `UNREACHABLE!`.
fn fatal_line(line: &str) -> Option<(&str, String)> {
    let rest = line.strip_prefix("fatal: [")?;
    let (host, rest) = rest.split_once("]: ")?;
    let (_, result) = rest.split_once("! => ")?;
    let text = match serde_json::from_str::<Json>(result) {
        Ok(result) => reason(&result),
        Err(_) => result.chars().take(500).collect(),
    };
    // A delegated task shows `host -> other`.
    let host = host.split(" -> ").next().unwrap_or(host);
    Some((host, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use infraflow_core::tool::{PlaybookEnding, ProcessEnd};
    use proptest::prelude::*;

    fn observed(text: &str) -> Observed {
        let mut recap = Recap::default();
        let mut observed = Observed::default();
        for line in text.lines() {
            recap.take(line.as_bytes(), &mut observed);
        }
        observed
    }

    const OUTPUT: &str = r#"
PLAY [all] *********************************************************************

TASK [install [x]] *************************************************************
changed: [web1]
fatal: [web2]: FAILED! => {"changed": false, "msg": "no package", "rc": 1}
fatal: [db -> localhost]: UNREACHABLE! => {"changed": false, "msg": "timed out", "unreachable": true}
ok: [web1] => {
    "msg": "PLAY RECAP"
}

PLAY RECAP *********************************************************************
db                         : ok=0    changed=0    unreachable=1    failed=0    skipped=0    rescued=0    ignored=0   
web1                       : ok=2    changed=1    unreachable=0    failed=0    skipped=3    rescued=1    ignored=2   
web2                       : ok=0    changed=0    unreachable=0    failed=1    skipped=0    rescued=0    ignored=0   

CUSTOM STATS: ******************************************************************
	web1: { "x": 1}
	RUN: { "version": "1.2"}
"#;

    #[test]
    fn a_recap_is_read() {
        let result = observed(OUTPUT).result(ProcessEnd::Exited(2));
        assert_eq!(result.ending, PlaybookEnding::HostsFailed);
        let names: Vec<&str> = result.hosts.iter().map(|host| host.host.as_str()).collect();
        assert_eq!(names, ["db", "web1", "web2"]);
        assert_eq!(
            result.hosts[1],
            HostStats {
                host: "web1".to_owned(),
                ok: 2,
                changed: 1,
                failures: 0,
                unreachable: 0,
                skipped: 3,
                rescued: 1,
                ignored: 2,
            }
        );
        assert_eq!(result.custom_stats["version"], "1.2");
        assert_eq!(
            result.message,
            "web2: task `install [x]`: no package (exit code 1)\ndb: task `install [x]`: timed out"
        );
    }

    #[test]
    fn lines_that_are_no_hosts() {
        for line in [
            "",
            "a",
            ": ok=1 changed=0 unreachable=0 failed=0",
            "a : ok=x changed=0 unreachable=0 failed=0",
            "a : ok=1",
        ] {
            assert_eq!(host_line(line), None, "{line}");
        }
        let odd = "a: ok=1 b : ok=1 changed=0 unreachable=0 failed=0";
        assert_eq!(host_line(odd).unwrap().host, "a: ok=1 b");
    }

    #[test]
    fn an_error_before_any_play_is_the_message() {
        let result = observed("[ERROR]: the playbook: x.yml could not be found\n")
            .result(ProcessEnd::Exited(1));
        assert_eq!(result.ending, PlaybookEnding::NotRun);
        assert_eq!(
            result.message,
            "[ERROR]: the playbook: x.yml could not be found"
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "(PLAY RECAP \\*\\*\\*\n|PLAY \\[x\\] \\*\\*\\*\n|CUSTOM STATS: \\*\\*\\*\n)?(.{0,80}\n){0,5}") {
            let _ = observed(&text).result(ProcessEnd::Exited(0));
        }

        #[test]
        fn host_lines_never_panic(line in "[a-z:= 0-9]{0,60}") {
            let _ = host_line(&line);
        }
    }
}
