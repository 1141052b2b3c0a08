//! The `infraflow` binary: command line, configuration, wiring, signals and exit
//! codes. Never logic with a branch worth testing: that belongs further down.

fn main() {}
