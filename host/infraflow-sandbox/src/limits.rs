//! Limits that only the sandbox has, beside those of
//! [`infraflow_core::limits`]. All are part of how a guest is boxed in, none is
//! set by an operator.

use std::time::Duration;

use infraflow_core::limits::ByteCount;

/// Attempts that run at the same time unless the configuration says otherwise;
/// more wait for a free place, in order. Twice the runs that a host works on.
/// A place costs address space, not memory, until it is used.
pub(crate) const PLACES: u32 = 1_024;

/// Places beside those, for plugins that describe themselves.
pub(crate) const DESCRIBING: u32 = 8;

/// How often a computing guest is looked at: its CPU time is counted in these,
/// a stop ends it within one, and it lets others run after each.
pub(crate) const TICK: Duration = Duration::from_millis(1_000 / TICKS_PER_SECOND);

/// Ticks in one second.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// How long ticks go on after the last guest has ended. Without guests nothing
/// ticks; starting again costs a few microseconds, so a busy host does not stop.
pub(crate) const TICKS_IDLE: u64 = 100;

/// Stack of a guest; deeper recursion ends the attempt with `limit_exceeded`.
pub(crate) const STACK: ByteCount = ByteCount::kib(512);

/// Linear memories of one component. Composed components have one each.
pub(crate) const MEMORIES: u32 = 4;

/// Tables of one component: one a core module, and a few more of the glue that
/// component encoders add.
pub(crate) const TABLES: u32 = 32;

/// Core instances of one component. A Python component has about 20.
pub(crate) const INSTANCES: u32 = 64;

/// Open handles of one instance.
pub(crate) const HANDLES: usize = 1_000;

/// Memory of an idle place that stays resident for the next guest. Clearing
/// this much is cheaper than giving the pages back and faulting them in again.
pub(crate) const KEPT_RESIDENT: ByteCount = ByteCount::kib(128);

/// Time that `describe` may compute.
pub(crate) const DESCRIBE_CPU: Duration = Duration::from_secs(2);

/// Largest schema of a descriptor.
pub(crate) const SCHEMA: ByteCount = ByteCount::kib(64);

/// Longest one-line text of a descriptor: its summary, a reason.
pub(crate) const DESCRIPTOR_LINE: usize = 512;

/// Most capabilities of a descriptor. There are about a dozen kinds.
pub(crate) const CAPABILITIES: usize = 64;

/// Most capabilities that a report names as missing. A guest that asks for more
/// names than this is told no all the same.
pub(crate) const MISSING_NAMED: usize = 64;

/// Compiled components that are kept on disk; the oldest go first.
pub(crate) const CACHE_ENTRIES: usize = 256;

/// Largest compiled component that is read from disk. Machine code is two to
/// five times as large as its WebAssembly.
pub(crate) const CACHE_ENTRY: ByteCount = ByteCount::mib(512);

// ---- arguments of host calls, as `wit/` has them ------------------------------

/// Inventories of one call, variable files of one module.
pub(crate) const PATHS: usize = 16;

/// Host patterns, tags.
pub(crate) const WORDS: usize = 256;

/// Longest host pattern, tag or user name.
pub(crate) const WORD: usize = 1_024;

/// Variables of Ansible and OpenTofu, as JSON.
pub(crate) const VARIABLES: ByteCount = ByteCount::kib(256);

/// Hosts at once.
pub(crate) const FORKS: u32 = 500;

/// Levels of verbosity.
pub(crate) const VERBOSITY: u8 = 4;

/// Arguments of a command.
pub(crate) const ARGUMENTS: usize = 256;

/// Arguments of a command in all.
pub(crate) const ARGUMENT_BYTES: ByteCount = ByteCount::kib(128);

/// Environment variables of one call.
pub(crate) const VARIABLES_SET: usize = 128;

/// Values of environment variables in all.
pub(crate) const VARIABLE_BYTES: ByteCount = ByteCount::kib(128);

/// Standard input of a command.
pub(crate) const STDIN: ByteCount = ByteCount::mib(1);

/// A file that is read or written through the contract.
pub(crate) const FILE: ByteCount = ByteCount::mib(8);
