//! How often each fault struck at each boundary.

use std::collections::BTreeMap;

use crate::scenario::{Boundary, Cell, Fault, Scenario, boundaries, cells};

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Table {
    hits: BTreeMap<Cell, u64>,
    by_kind: BTreeMap<&'static str, u64>,
}

impl Table {
    /// Counts a scenario whose fault struck.
    pub(crate) fn count(&mut self, scenario: &Scenario) {
        *self.hits.entry(scenario.cell).or_default() += 1;
        for kind in [scenario.who(), scenario.workload.name()] {
            *self.by_kind.entry(kind).or_default() += 1;
        }
    }

    /// How often a fault struck in a cell.
    pub(crate) fn hits(&self, cell: Cell) -> u64 {
        self.hits.get(&cell).copied().unwrap_or(0)
    }

    /// The cells in which no fault struck.
    pub(crate) fn empty(&self) -> Vec<Cell> {
        let is_empty = |cell: &Cell| self.hits(*cell) == 0;
        cells().into_iter().filter(is_empty).collect()
    }

    /// The table for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:<24}", "");
        for fault in Fault::ALL {
            text.push_str(&format!("{:>11}", fault.name()));
        }
        text.push('\n');
        for boundary in boundaries() {
            text.push_str(&self.row(boundary));
        }
        for (kind, count) in &self.by_kind {
            text.push_str(&format!("{kind}: {count}  "));
        }
        text.push('\n');
        text
    }

    fn row(&self, boundary: Boundary) -> String {
        let mut row = format!("{:<24}", boundary.to_string());
        for fault in Fault::ALL {
            row.push_str(&format!("{:>11}", self.hits(Cell { boundary, fault })));
        }
        row.push('\n');
        row
    }
}
