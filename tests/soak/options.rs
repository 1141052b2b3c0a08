//! What the suite is asked to do.

use std::time::Duration;

use crate::scenario::{Scenario, cells};
use crate::workload::Workload;

/// Scenarios that run side by side: they mostly wait.
const WORKERS: usize = 6;

/// Which scenarios are played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Each cell once, and on until the time is up.
    Long(Duration),
    /// One scenario a fault.
    Short,
    /// The scenario of a seed.
    Seed(u64),
    /// A scenario of a cell.
    Cell(usize),
}

/// Which scenarios of a cell are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The name of the workload; unset: any.
    workload: Option<String>,
    /// How many hosts; unset: any number.
    hosts: Option<usize>,
}

impl Wanted {
    /// Whether a scenario is one of them.
    pub(crate) fn includes(&self, scenario: &Scenario) -> bool {
        let is_workload = |name: &String| name == scenario.workload.name();
        let is_hosts = |hosts: usize| hosts == scenario.hosts;
        self.workload.as_ref().is_none_or(is_workload) && self.hosts.is_none_or(is_hosts)
    }
}

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which scenarios.
    pub(crate) what: What,
    /// How many side by side.
    pub(crate) workers: usize,
    /// Which scenarios of each cell.
    pub(crate) wanted: Wanted,
    /// Whether it goes on after a violation.
    pub(crate) keeps_going: bool,
}

impl Options {
    /// Reads them.
    pub(crate) fn from_arguments(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Self, String> {
        let mut options = Self {
            what: What::Long(Duration::from_secs(600)),
            workers: WORKERS,
            wanted: Wanted::default(),
            keeps_going: false,
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--short" => {
                    options.what = What::Short;
                    continue;
                }
                "--keep-going" => {
                    options.keeps_going = true;
                    continue;
                }
                _ => {}
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("`{name}` is unknown, or wants a value"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("`{name} {value}`: not a number"))
            };
            match name.as_str() {
                "--minutes" => options.what = What::Long(Duration::from_secs(number()? * 60)),
                "--seed" => options.what = What::Seed(number()?),
                "--cell" => options.what = What::Cell(cell(&value)?),
                "--workload" => {
                    if Workload::ALL.iter().all(|one| one.name() != value) {
                        return Err(format!("there is no workload `{value}`"));
                    }
                    options.wanted.workload = Some(value);
                }
                "--hosts" => options.wanted.hosts = usize::try_from(number()?).ok(),
                "--workers" => {
                    options.workers = usize::try_from(number()?).unwrap_or(WORKERS).max(1);
                }
                _ => return Err(format!("`{name}` is unknown")),
            }
        }
        Ok(options)
    }
}

fn cell(name: &str) -> Result<usize, String> {
    cells()
        .iter()
        .position(|cell| cell.to_string() == name)
        .ok_or_else(|| {
            let example = Scenario::of(0).cell;
            format!("there is no cell `{name}`; one is `{example}`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Options, String> {
        Options::from_arguments(arguments.iter().map(ToString::to_string))
    }

    #[test]
    fn options_are_read() {
        assert_eq!(
            read(&[]).unwrap().what,
            What::Long(Duration::from_secs(600))
        );
        assert_eq!(read(&["--short"]).unwrap().what, What::Short);
        assert_eq!(read(&["--seed", "7"]).unwrap().what, What::Seed(7));
        let options = read(&["--cell", "kill:before:created", "--workload", "beside"]).unwrap();
        assert!(matches!(options.what, What::Cell(_)));
        assert_eq!(options.wanted.workload.as_deref(), Some("beside"));
        for wrong in [
            &["--cell", "nothing"][..],
            &["--workload", "nothing"],
            &["--minutes"],
            &["--minutes", "x"],
            &["--what", "1"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
