//! `make soak`: real hosts, a real NATS server, real tools, and a fault between
//! two named records, again and again; what must hold is judged after each.
//!
//! ```text
//! soak [--minutes N]      every cell of the table once, and on until the time is up
//! soak --short            one scenario a fault, side by side
//! soak --seed S           that scenario again
//! soak --cell C           one of that cell, for example kill:before:created
//!      --workload W --hosts N   only such, where the cell has them
//! soak --workers N        how many scenarios run side by side
//! soak --keep-going       does not end at the first violation
//! ```
//!
//! Ends with 1 when something was violated, or a cell of the table stayed empty.

#![expect(clippy::indexing_slicing, reason = "a broken harness fails the suite")]

mod fault;
mod judge;
mod options;
mod play;
mod random;
mod scenario;
mod suite;
mod table;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    // A panic is a violation, and told as one.
    std::panic::set_hook(Box::new(|panic| {
        if let Some(place) = panic.location() {
            say(&format!("given up at {place}"));
        }
    }));
    match options::Options::from_arguments(std::env::args().skip(1)) {
        Ok(options) => suite::run(&options),
        Err(problem) => {
            say(&format!("{problem}\nsee tests/soak/main.rs"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "the suite's report")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
