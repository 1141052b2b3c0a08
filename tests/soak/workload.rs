//! What the hosts do while a fault strikes. Every step's effect is counted
//! outside, under the id of its event and a token of the process that had it.

use std::time::Duration;

use infraflow_tests::counter::Counter;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Short steps, one of them skipped.
    Short,
    /// A step that fails and is tried again after a delay.
    Retry,
    /// A step that cannot be started.
    Unstartable,
    /// A step that waits, until somebody cancels the run.
    Cancel,
    /// A step that waits, until its host is told to end.
    Release,
    /// A step that waits, whose host is killed: the others, or its next life, go
    /// on.
    Takeover,
    /// The same with a step that asks a person then.
    Ask,
    /// A run begins on one host and its step waits; more events come, and one of
    /// their runs meets the fault beside it.
    Beside,
    /// A step that fails and is tried again after so long that the run is parked.
    Later,
    /// A step that only waits, so long that the run is parked.
    Wait,
    /// The same, until somebody cancels the run.
    WaitCancel,
    /// Runs that need the same two locks.
    Lock,
    /// A run waits whose files only one host has; that one leaves, others stay.
    Leave,
}

impl Workload {
    /// All of them.
    pub(crate) const ALL: [Self; 13] = [
        Self::Short,
        Self::Retry,
        Self::Unstartable,
        Self::Cancel,
        Self::Release,
        Self::Takeover,
        Self::Ask,
        Self::Beside,
        Self::Later,
        Self::Wait,
        Self::WaitCancel,
        Self::Lock,
        Self::Leave,
    ];

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Retry => "retry",
            Self::Unstartable => "unstartable",
            Self::Cancel => "cancel",
            Self::Release => "release",
            Self::Takeover => "takeover",
            Self::Ask => "ask",
            Self::Beside => "beside",
            Self::Later => "later",
            Self::Wait => "wait",
            Self::WaitCancel => "wait-cancel",
            Self::Lock => "lock",
            Self::Leave => "leave",
        }
    }

    /// The entries that its hosts write once their gates are set.
    pub(crate) fn entries(self) -> &'static [&'static str] {
        match self {
            Self::Short => &[
                "created",
                "claimed",
                "attempt_started",
                "attempt_ended",
                "step_skipped",
                "ended",
            ],
            Self::Retry => &["created", "attempt_started", "attempt_ended", "ended"],
            Self::Unstartable => &["attempt_ended", "step_unstartable", "ended"],
            Self::Cancel => &["stop_requested", "attempt_ended", "ended"],
            Self::Release => &["created", "attempt_started", "released"],
            Self::Takeover => &["claimed", "attempt_started", "attempt_ended", "ended"],
            Self::Ask => &["claimed", "attempt_ended", "parked", "answered", "ended"],
            Self::Beside => &["created", "attempt_started", "attempt_ended"],
            Self::Later => &["parked", "woken", "attempt_started", "ended"],
            Self::Wait => &["wait_started", "parked", "woken", "wait_ended", "ended"],
            Self::WaitCancel => &["parked", "stop_requested", "ended"],
            Self::Lock => &["lock_acquired", "parked", "woken", "claimed", "ended"],
            Self::Leave => &["files_stored"],
        }
    }

    /// Whether a run is parked until a time: clocks may not be wrong for longer
    /// than one waits for that.
    pub(crate) fn waits_for_a_time(self) -> bool {
        matches!(
            self,
            Self::Later | Self::Wait | Self::WaitCancel | Self::Leave
        )
    }

    /// Its workflow. `on_interrupt` is that of the steps whose end the workload
    /// leaves open.
    pub(crate) fn workflow(self, counter: &Counter, on_interrupt: &str) -> String {
        let steps = Steps {
            base: counter.url(""),
            more: match on_interrupt {
                "" => String::new(),
                kind => format!("on_interrupt: {kind}\n"),
            },
        };
        let steps = match self {
            Self::Short => vec![
                steps.effect("one"),
                steps.effect("two"),
                steps.skipped("never"),
                steps.effect("three"),
            ],
            Self::Retry => vec![
                steps.effect("one"),
                steps.flaky("two", PARKED / 8),
                steps.effect("three"),
            ],
            Self::Later => vec![
                steps.effect("one"),
                steps.flaky("two", PARKED),
                steps.effect("three"),
            ],
            Self::Wait => vec![
                steps.effect("one"),
                wait("two", PARKED),
                steps.effect("three"),
            ],
            Self::Leave => vec![
                steps.effect("one"),
                wait("two", PARKED * 3),
                steps.effect("three"),
            ],
            Self::WaitCancel => vec![
                steps.effect("one"),
                wait("two", PARKED * 15),
                steps.effect("three"),
            ],
            Self::Lock => vec![steps.effect("one"), steps.effect("two")],
            Self::Unstartable => vec![steps.effect("one"), steps.unstartable("two")],
            Self::Cancel | Self::Release | Self::Takeover | Self::Beside => vec![
                steps.effect("one"),
                steps.waiting("two", "retry"),
                steps.effect("three"),
            ],
            Self::Ask => vec![
                steps.effect("one"),
                steps.waiting("two", "ask"),
                steps.effect("three"),
            ],
        };
        let more = match self {
            Self::Lock => "lock: [south, north]\n",
            _ => "",
        };
        workflow(&steps, more)
    }
}

/// The name of the workflow, and the type of its events without `soak.`.
pub(crate) const NAME: &str = "work";

/// How long runs are parked.
pub(crate) const PARKED: Duration = Duration::from_secs(6);

fn wait(id: &str, time: Duration) -> String {
    format!("id: {id}\nwait: {{ for: {}ms }}\n", time.as_millis())
}

fn workflow(steps: &[String], more: &str) -> String {
    let mut text = format!(
        "infraflow: v1\nname: {NAME}\non: {{ event: {{ type: soak.{NAME} }} }}\n{more}stages:\n  - name: main\n    steps:\n"
    );
    for step in steps {
        for (index, line) in step.trim_end().lines().enumerate() {
            let lead = if index == 0 { "      - " } else { "        " };
            text.push_str(&format!("{lead}{line}\n"));
        }
    }
    text
}

/// Writes steps.
struct Steps {
    base: String,
    more: String,
}

impl Steps {
    fn script(&self, id: &str, script: &str, more: &str) -> String {
        let script = format!(
            "set -e; t=$(cat /proc/sys/kernel/random/uuid); \
             get() {{ curl -fsS -m 5 -o /dev/null \"{}$1/{{{{ event.id }}}}/$2$t\"; }}; {script}",
            self.base
        );
        let script = serde_json::Value::from(script);
        format!("id: {id}\nuses: command@1\nwith: {{ run: sh, args: [\"-c\", {script}] }}\n{more}")
    }

    /// A step with an effect.
    fn effect(&self, id: &str) -> String {
        self.script(id, &format!("get effect {id}/"), &self.more)
    }

    /// A step that waits until it is let go, and then has its effect.
    fn waiting(&self, id: &str, on_interrupt: &str) -> String {
        let script = format!("until get open '' 2>/dev/null; do sleep 0.1; done; get effect {id}/");
        self.script(id, &script, &format!("on_interrupt: {on_interrupt}\n"))
    }

    /// A step with an effect that fails the first time.
    fn flaky(&self, id: &str, delay: Duration) -> String {
        let script = format!(
            "get effect {id}/; curl -fsS -m 5 -o /dev/null \"{}once/{{{{ event.id }}}}\"",
            self.base
        );
        let retry = format!(
            "retry: {{ attempts: 3, delay: {}ms, on: [failed] }}\non_interrupt: retry\n",
            delay.as_millis()
        );
        self.script(id, &script, &retry)
    }

    fn skipped(&self, id: &str) -> String {
        self.script(id, &format!("get effect {id}/"), "when: \"false\"\n")
    }

    fn unstartable(&self, id: &str) -> String {
        let text = self.script(id, &format!("get effect {id}/"), "");
        text.replace("event.id", "steps.one.outputs.nothing_of_the_kind")
    }
}
