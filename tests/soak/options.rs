//! What the suite is asked to do.

use std::time::Duration;

use crate::scenario::{Scenario, cells};

/// Scenarios that run side by side: they mostly wait.
const WORKERS: usize = 4;

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

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Which scenarios.
    pub(crate) what: What,
    /// How many side by side.
    pub(crate) workers: usize,
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
