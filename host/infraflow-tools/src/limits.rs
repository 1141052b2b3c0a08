//! The limits of the tool door: name, unit, reason, and what happens at the
//! limit. Limits that others need too stand in `infraflow_core::limits`.

use std::time::Duration;

use infraflow_core::limits::ByteCount;

// ---- the watchdog -------------------------------------------------------------

/// Largest message between host, watchdog and shim. Below the default socket
/// buffer of Linux (208 KiB), so that one always fits; a larger one is refused
/// where it is made. Anything large travels in a memory file beside it.
pub const PACKET_BYTES: ByteCount = ByteCount::kib(64);

/// Most descriptors that one message carries. A spawn needs four.
pub const PACKET_DESCRIPTORS: usize = 16;

/// How long a start waits for a data directory whose holder is just ending: a
/// killed host's watchdog needs [`HOST_GONE_GRACE`] and a moment to clear up.
pub const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long the watchdog may take to answer its first message, beyond
/// [`LOCK_WAIT`]; longer means that it is not ours.
pub const WATCHDOG_ANSWER: Duration = Duration::from_secs(10);

/// How long tools may take to end after TERM when their host is gone. Short:
/// nobody reads their output any more.
pub const HOST_GONE_GRACE: Duration = Duration::from_secs(2);

/// How long a tree of processes may take to vanish after KILL. A process in
/// uninterruptible sleep takes longer; it is then reported as it is.
pub const KILL_WAIT: Duration = Duration::from_secs(10);

/// How often a tree that is being killed is looked at again, in case it forked.
pub const KILL_AGAIN: Duration = Duration::from_millis(20);

/// How often the watchdog looks at the clock while tools run under a lease, at
/// least. Timers stand still while the machine sleeps and the lease does not:
/// after waking, tools whose lease is over live this long at most.
pub const LEASE_LOOK: Duration = Duration::from_millis(100);

/// Children of one watchdog at the same time; more wait for a place. Sixteen
/// tools, a few services and what is still ending.
pub const CHILDREN: usize = 256;

// ---- the jail -----------------------------------------------------------------

/// Size of the private `/tmp` of a jail. It is memory.
pub const JAIL_TMP: ByteCount = ByteCount::mib(1_024);

/// Size of the private home of a jail. It is memory.
pub const JAIL_HOME: ByteCount = ByteCount::mib(256);

/// Size of the private `/dev/shm` of a jail: semaphores, mostly.
pub const JAIL_SHM: ByteCount = ByteCount::mib(64);

/// Size of the generated `/etc` of a jail.
pub const JAIL_ETC: ByteCount = ByteCount::mib(1);

/// Size of the folder with secrets and generated inputs of a jail, which also
/// holds ansible-runner's events. It is memory.
pub const JAIL_PRIVATE: ByteCount = ByteCount::mib(512);

/// What is kept of bubblewrap's own words when it cannot make a jail.
pub const JAIL_WORDS: ByteCount = ByteCount::kib(4);

/// Open files of a tool.
pub const TOOL_FILES: u64 = 65_536;

/// Processes and threads of the tools' user; a fork bomb ends here, not in the
/// host's process table.
pub const TOOL_PROCESSES: u64 = 8_192;

/// Largest file that a tool may write; more ends it with `SIGXFSZ`.
pub const TOOL_FILE_BYTES: ByteCount = ByteCount::mib(16 * 1_024);

/// How long a probe of a program (`--version`) or of the jail may take.
pub const PROBE: Duration = Duration::from_secs(20);

// ---- requests -----------------------------------------------------------------

/// Arguments of one process.
pub const ARGUMENTS: usize = 256;

/// Bytes of all arguments of one process, each with its end. Also the most that
/// Linux takes for one argument.
pub const ARGUMENT_BYTES: ByteCount = ByteCount::kib(128);

/// Environment variables of one request.
pub const VARIABLES: usize = 128;

/// Standard input of a command.
pub const STDIN: ByteCount = ByteCount::mib(1);

/// Extra variables of a playbook and variables of a module, as JSON.
pub const VARS: ByteCount = ByteCount::kib(256);

/// Inventories of one request.
pub const INVENTORIES: usize = 16;

/// Variable files of one request.
pub const VAR_FILES: usize = 16;

/// Hosts that Ansible works on at the same time.
pub const FORKS: u16 = 500;

// ---- results ------------------------------------------------------------------

/// Hosts in a playbook's result; more are left out, the failed ones last.
pub const HOST_STATS: usize = 10_000;

/// What a playbook may set with `set_stats`, as JSON; more is left out and said.
pub const CUSTOM_STATS: ByteCount = ByteCount::kib(64);

/// Longest line of a tool's event stream. An event holds its text once and its
/// data once; a longer line is left out and said.
pub const EVENT_LINE: ByteCount = ByteCount::mib(32);

/// Failures that a result's message names; the rest is counted.
pub const MESSAGE_FAILURES: usize = 10;

/// Changed resources in a plan's result, as JSON; more are left out and
/// `truncated` says so.
pub const RESOURCE_CHANGES: ByteCount = ByteCount::kib(128);

/// Outputs of a module, as JSON; more is `limit-exceeded`.
pub const TOFU_OUTPUTS: ByteCount = ByteCount::kib(128);

/// A stored plan.
pub const TOFU_PLAN: ByteCount = ByteCount::mib(64);

/// A stored state. A state of 10,000 resources has about 30 MiB.
pub const TOFU_STATE: ByteCount = ByteCount::mib(64);

/// A plan's JSON document before its sensitive values are taken out.
pub const TOFU_SHOW_RAW: ByteCount = ByteCount::mib(16);

/// A plan's JSON document as it is returned.
pub const TOFU_SHOW: ByteCount = ByteCount::mib(1);

/// What git may print where its output is read and not logged.
pub const GIT_OUTPUT: ByteCount = ByteCount::kib(64);

/// The first line of a commit's message.
pub const GIT_SUBJECT: ByteCount = ByteCount::kib(1);

// ---- workspaces ---------------------------------------------------------------

/// Largest file that is read from a workspace.
pub const WORKSPACE_READ: ByteCount = ByteCount::mib(8);

/// Largest file that is written into a workspace.
pub const WORKSPACE_WRITE: ByteCount = ByteCount::mib(8);

/// Entries of a folder that is listed.
pub const WORKSPACE_LIST: usize = 10_000;

/// Entries of an upload.
pub const UPLOAD_ENTRIES: usize = 100_000;

/// Bytes of an upload's files once they are unpacked.
pub const UPLOAD_UNPACKED: ByteCount = ByteCount::mib(1_024);

/// Bytes of a stored workspace, packed. It is held in memory, and travels
/// through the object store that the runs' records share; a checkout with its
/// history has a few MiB. A larger workspace is not stored: its run stays on
/// its host.
pub const WORKSPACE_STORED: ByteCount = ByteCount::mib(64);

/// Bytes of the files of a workspace that is stored, restored or copied.
pub const WORKSPACE_UNPACKED: ByteCount = ByteCount::mib(4 * 1_024);

/// Entries of a workspace that is stored, restored or copied: a large checkout
/// with a large virtual environment.
pub const WORKSPACE_ENTRIES: usize = 200_000;

/// Folders within folders of a workspace that is stored, restored or copied.
/// Each is an open file while it is packed.
pub const WORKSPACE_DEPTH: usize = 200;

/// Entries of a workspace that are looked at to say how large it is; more count
/// as nothing. Some seconds of a slow disk.
pub const WORKSPACE_MEASURED: usize = 1_000_000;
