//! The host is killed just before and just after every record of a run, at
//! random moments, and NATS is killed: what must hold afterwards is always the
//! same. Effects are counted outside.

use std::fs;
use std::time::Duration;

use infraflow_core::run::Entry;
use infraflow_tests::counter::Counter;
use infraflow_tests::host::{Host, faulty_program};
use infraflow_tests::wait::{pause, wait_for};
use rustix::process::Signal;
use serde_json::Value;

use crate::COMMANDS;
use crate::workflows::{call, log, manual, sh};

const CONFIG: &str = "shutdown_grace: 200ms\n";

/// A host that dies, and starts again without the fault.
struct Mortal {
    host: Host,
    counter: Counter,
}

impl Mortal {
    fn new(steps: impl FnOnce(&Counter) -> Vec<String>) -> Self {
        let counter = Counter::start();
        let host = Host::new(&format!("{COMMANDS}{CONFIG}")).with_program(faulty_program());
        host.workflow("w", &manual("w", &steps(&counter)));
        Self { host, counter }
    }

    /// Starts the host so that it dies at a point.
    fn start_to_die(&mut self, side: &str, entry: &str) {
        let log = self.host.path("killed").display().to_string();
        self.host
            .set_env("INFRAFLOW_KILL", &format!("{side}:{entry}:1"));
        self.host.set_env("INFRAFLOW_KILL_LOG", &log);
        // What it takes over may bring it to the point at once.
        self.host.start_or_die();
    }

    /// Waits for its death, and starts it again, healthy.
    fn die_and_come_back(&mut self, side: &str, entry: &str) {
        assert_eq!(
            self.host.wait_until_gone(),
            128 + 9,
            "{side} {entry}: {}",
            self.host.log()
        );
        let hit = fs::read_to_string(self.host.path("killed")).unwrap_or_default();
        assert_eq!(hit.trim(), format!("{side}:{entry}:1"), "the point was hit");
        self.host.nothing_is_left();
        self.host.clear_env();
        self.host.start();
    }

    fn only_run(&self) -> Value {
        let run = wait_for("the run to be there", || self.host.try_runs()?.pop());
        self.host.ended(run["id"].as_str().unwrap())
    }
}

fn counted_steps(counter: &Counter) -> Vec<String> {
    vec![
        call("one", &counter.url("one"), ""),
        call("two", &counter.url("two"), ""),
        log("skipped", "never", "when: \"false\""),
        call("three", &counter.url("three"), ""),
    ]
}

/// No finished step ran twice, and none is missing; a step whose end was unknown
/// is `interrupted` and ran at most once.
fn judge(point: &str, run: &Value, counter: &Counter) {
    let state = run["run"]["state"].as_str().unwrap();
    assert!(
        ["succeeded", "interrupted"].contains(&state),
        "{point}: {run:#}"
    );
    for step in run["steps"].as_array().unwrap() {
        let id = step["id"].as_str().unwrap();
        let count = counter.count(id);
        match step["state"].as_str().unwrap() {
            "succeeded" => assert_eq!(count, 1, "{point}: step {id}: {run:#}"),
            "interrupted" => assert!(count <= 1, "{point}: step {id} ran {count} times"),
            "skipped" => assert_eq!(count, 0, "{point}: step {id}"),
            // The run had ended before.
            "waiting" => assert_eq!(count, 0, "{point}: step {id}"),
            other => panic!("{point}: step {id} is {other}: {run:#}"),
        }
    }
    if state == "succeeded" {
        let all: Vec<_> = counter.all().into_iter().collect();
        assert_eq!(
            all,
            [("/one".into(), 1), ("/three".into(), 1), ("/two".into(), 1)],
            "{point}"
        );
    }
}

/// Kills the host at records that an ordinary run writes.
fn at_ordinary(entry: &str) {
    for side in ["before", "after"] {
        let mut mortal = Mortal::new(counted_steps);
        mortal.start_to_die(side, entry);
        // Its event is durable when it is confirmed; the answer may be lost.
        drop(mortal.host.cli(&["trigger", "w"]));
        mortal.die_and_come_back(side, entry);
        let run = mortal.only_run();
        judge(&format!("{side} {entry}"), &run, &mortal.counter);
        assert_eq!(mortal.host.runs().len(), 1, "{side} {entry}");
    }
}

// Each entry of a journal has a test of its own: these are the ordinary ones.

#[test]
fn promise_02_killed_at_created() {
    at_ordinary("created");
}

#[test]
fn promise_04_killed_at_claimed() {
    at_ordinary("claimed");
}

#[test]
fn promise_04_killed_at_attempt_started() {
    at_ordinary("attempt_started");
}

#[test]
fn promise_04_killed_at_attempt_ended() {
    at_ordinary("attempt_ended");
}

#[test]
fn promise_04_killed_at_step_skipped() {
    at_ordinary("step_skipped");
}

#[test]
fn promise_04_killed_at_ended() {
    at_ordinary("ended");
}

/// Kills the host at records of a run that waits for a moment.
fn at_wait(entry: &str, time: &str) {
    for side in ["before", "after"] {
        let mut mortal = Mortal::new(|counter| {
            vec![
                call("one", &counter.url("one"), "on_interrupt: retry"),
                format!("id: nap\nwait: {{ for: {time} }}\n"),
                call("two", &counter.url("two"), "on_interrupt: retry"),
            ]
        });
        mortal.start_to_die(side, entry);
        drop(mortal.host.cli(&["trigger", "w"]));
        mortal.die_and_come_back(side, entry);
        let run = mortal.only_run();
        assert_eq!(run["run"]["state"], "succeeded", "{side} {entry}: {run:#}");
        // An attempt whose end was not written down is made again.
        for step in ["one", "two"] {
            let count = mortal.counter.count(step);
            assert!((1..=2).contains(&count), "{side} {entry}: {step} {count}");
        }
    }
}

#[test]
fn promise_04_killed_at_wait_started() {
    at_wait("wait_started", "100ms");
}

#[test]
fn promise_04_killed_at_wait_ended() {
    at_wait("wait_ended", "100ms");
}

#[test]
fn promise_04_killed_at_woken() {
    at_wait("woken", "6s");
}

#[test]
fn promise_04_killed_at_lock_acquired() {
    for side in ["before", "after"] {
        let counter = Counter::start();
        let host = Host::new(&format!("{COMMANDS}{CONFIG}")).with_program(faulty_program());
        let steps = [call("one", &counter.url("one"), "on_interrupt: retry")];
        let text = manual("w", &steps).replacen("on: manual\n", "on: manual\nlock: one\n", 1);
        host.workflow("w", &text);
        let mut mortal = Mortal { host, counter };
        mortal.start_to_die(side, "lock_acquired");
        drop(mortal.host.cli(&["trigger", "w"]));
        mortal.die_and_come_back(side, "lock_acquired");
        let run = mortal.only_run();
        assert_eq!(run["run"]["state"], "succeeded", "{side}: {run:#}");
        // The run that had it is over, and so is its hold.
        let next = mortal.host.run("w", &[]);
        assert_eq!(next["run"]["state"], "succeeded", "{side}: {next:#}");
    }
}

#[test]
fn every_entry_has_a_test() {
    // What only several hosts write is tested with several hosts.
    let tests = concat!(include_str!("crashes.rs"), include_str!("hosts.rs"));
    for entry in Entry::NAMES {
        assert!(
            tests.contains(&format!("_killed_at_{entry}() {{")),
            "{entry}"
        );
    }
}

/// A step that waits until a file is there.
fn waiting_step(more: &str) -> String {
    sh(
        "wait",
        "echo begun; while ! test -e go; do sleep 0.05; done",
        more,
    )
}

fn until_begun(host: &Host) -> String {
    let run = wait_for("the run", || host.try_runs()?.pop());
    let id = run["id"].as_str().unwrap().to_owned();
    wait_for("the tool to run", || {
        host.texts(&id).contains(&"begun".to_owned()).then_some(())
    });
    id
}

/// A shutdown gives the run back.
#[test]
fn promise_04_killed_at_released() {
    for side in ["before", "after"] {
        let mut mortal = Mortal::new(|counter| {
            vec![
                call("one", &counter.url("one"), ""),
                waiting_step("on_interrupt: retry"),
            ]
        });
        mortal.start_to_die(side, "released");
        mortal.host.trigger("w", &[]);
        until_begun(&mortal.host);
        mortal.host.signal(Signal::TERM);
        mortal.die_and_come_back(side, "released");
        let run = until_begun(&mortal.host);
        mortal.host.let_go(&run);
        let run = mortal.only_run();
        assert_eq!(run["run"]["state"], "succeeded", "{side}: {run:#}");
        assert_eq!(mortal.counter.count("one"), 1, "{side}");
    }
}

/// A step whose expression cannot be computed.
#[test]
fn promise_04_killed_at_step_unstartable() {
    for side in ["before", "after"] {
        let mut mortal = Mortal::new(|counter| {
            vec![
                call("one", &counter.url("one"), ""),
                log("two", "{{ steps.one.outputs.nothing_of_the_kind }}", ""),
            ]
        });
        mortal.start_to_die(side, "step_unstartable");
        drop(mortal.host.cli(&["trigger", "w"]));
        mortal.die_and_come_back(side, "step_unstartable");
        let run = mortal.only_run();
        assert_eq!(mortal.counter.count("one"), 1, "{side}");
        // Before: the end of the first step was in the same record.
        let expected = match side {
            "before" => ["interrupted", "waiting"],
            _ => ["failed", "could_not_start"],
        };
        let states = [&run["run"]["state"], &run["steps"][1]["state"]];
        assert_eq!(states, expected, "{side}: {run:#}");
    }
}

/// Somebody cancels.
#[test]
fn promise_04_killed_at_stop_requested() {
    for side in ["before", "after"] {
        let mut mortal = Mortal::new(|counter| {
            vec![
                call("one", &counter.url("one"), ""),
                waiting_step("on_interrupt: retry"),
            ]
        });
        mortal.start_to_die(side, "stop_requested");
        mortal.host.trigger("w", &[]);
        let run = until_begun(&mortal.host);
        drop(mortal.host.cli(&["runs", "cancel", &run]));
        mortal.die_and_come_back(side, "stop_requested");
        if side == "before" {
            // Nobody was told that it is cancelled: ask again.
            wait_for("the run to take the cancel", || {
                mortal
                    .host
                    .cli(&["runs", "cancel", &run])
                    .status
                    .success()
                    .then_some(())
            });
        }
        let ended = mortal.host.ended(&run);
        assert_eq!(ended["run"]["state"], "cancelled", "{side}: {ended:#}");
        assert_eq!(mortal.counter.count("one"), 1, "{side}");
    }
}

/// A host that died during a step which asks: the next one parks the run.
fn parked(side: &str, entry: &str) -> (Mortal, String) {
    let mut mortal = Mortal::new(|counter| {
        vec![
            call("one", &counter.url("one"), ""),
            waiting_step("on_interrupt: ask"),
            call("two", &counter.url("two"), ""),
        ]
    });
    mortal.host.start();
    mortal.host.trigger("w", &[]);
    let run = until_begun(&mortal.host);
    mortal.host.kill();
    mortal.host.nothing_is_left();
    mortal.start_to_die(side, entry);
    (mortal, run)
}

#[test]
fn promise_04_killed_at_parked() {
    for side in ["before", "after"] {
        let (mut mortal, run) = parked(side, "parked");
        mortal.die_and_come_back(side, "parked");
        finish_parked(&mortal, &run, side);
    }
}

#[test]
fn promise_04_killed_at_answered() {
    for side in ["before", "after"] {
        let (mut mortal, run) = parked(side, "answered");
        mortal.host.until_state(&run, "waiting");
        drop(
            mortal
                .host
                .cli(&["runs", "resume", &run, "--answer", "done"]),
        );
        mortal.die_and_come_back(side, "answered");
        if side == "before" {
            finish_parked(&mortal, &run, side);
        } else {
            judge_parked(&mortal, &run, side);
        }
    }
}

fn finish_parked(mortal: &Mortal, run: &str, side: &str) {
    mortal.host.until_state(run, "waiting");
    assert!(
        mortal
            .host
            .cli(&["runs", "resume", run, "--answer", "done"])
            .status
            .success()
    );
    judge_parked(mortal, run, side);
}

fn judge_parked(mortal: &Mortal, run: &str, side: &str) {
    let ended = mortal.host.ended(run);
    // After the answer the next step may have begun before the host was dead.
    let is_interrupted = side == "after" && ended["run"]["state"] == "interrupted";
    if !is_interrupted {
        assert_eq!(ended["run"]["state"], "succeeded", "{side}: {ended:#}");
    }
    let two = mortal.counter.count("two");
    assert!(two == 1 || is_interrupted && two == 0, "{side}: {ended:#}");
    assert_eq!(mortal.counter.count("one"), 1, "{side}");
}

#[test]
fn promise_04_killed_at_random_moments() {
    // A generator of its own: the moments are spread, and the same each time.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for round in 0..20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let after = Duration::from_millis(state % 400);
        let mut mortal = Mortal::new(counted_steps);
        mortal.host.start();
        mortal.host.trigger("w", &[]);
        pause(after);
        mortal.host.kill();
        mortal.host.nothing_is_left();
        mortal.host.start();
        let run = mortal.only_run();
        judge(
            &format!("round {round}, after {after:?}"),
            &run,
            &mortal.counter,
        );
    }
}

#[test]
fn promise_04_nats_is_killed_in_the_middle_of_a_run() {
    let counter = Counter::start();
    let mut host = Host::new(COMMANDS);
    let steps = [
        call("one", &counter.url("one"), ""),
        waiting_step(""),
        call("two", &counter.url("two"), ""),
    ];
    host.workflow("w", &manual("w", &steps));
    host.start();
    let run = host.trigger("w", &[]);
    until_begun(&host);
    let workspace = host.workspace(&run);
    let pid = host.nats_pid();
    host.kill_nats();
    // The step ends while NATS is away: its end is written when it is back.
    fs::write(workspace.join("go"), "").unwrap();
    wait_for("another NATS server", || {
        (host.nats_pid().is_some() && host.nats_pid() != pid).then_some(())
    });
    let ended = host.ended(&run);
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!((counter.count("one"), counter.count("two")), (1, 1));
}

#[test]
fn promise_05_a_finished_step_is_not_run_again() {
    let mut mortal = Mortal::new(|counter| {
        vec![
            call("one", &counter.url("one"), "on_interrupt: retry"),
            waiting_step("on_interrupt: retry"),
        ]
    });
    mortal.host.start();
    mortal.host.trigger("w", &[]);
    let run = until_begun(&mortal.host);
    mortal.host.kill();
    mortal.host.nothing_is_left();
    mortal.host.start();
    mortal.host.let_go(&run);
    let ended = mortal.only_run();
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
    assert_eq!(mortal.counter.count("one"), 1, "{ended:#}");
}

#[test]
fn promise_02_a_run_that_was_given_back_is_not_forgotten() {
    let mut mortal = Mortal::new(|_| vec![waiting_step("on_interrupt: retry")]);
    mortal.host.start();
    mortal.host.trigger("w", &[]);
    let run = until_begun(&mortal.host);
    let workspace = mortal.host.workspace(&run);
    // It becomes a work item; the next host takes it, and dies before its claim.
    assert_eq!(mortal.host.stop(), 0);
    mortal.host.nothing_is_left();
    fs::write(workspace.join("go"), "").unwrap();
    let log = mortal.host.path("killed").display().to_string();
    mortal.host.set_env("INFRAFLOW_KILL", "before:claimed:1");
    mortal.host.set_env("INFRAFLOW_KILL_LOG", &log);
    mortal.host.spawn();
    mortal.die_and_come_back("before", "claimed");
    let ended = mortal.only_run();
    assert_eq!(ended["run"]["state"], "succeeded", "{ended:#}");
}
