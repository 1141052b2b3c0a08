//! What the watchdog does when the host's lease runs out.

use std::time::Duration;

use infraflow_core::tool::CallError;
use infraflow_tools::boottime;
use infraflow_tools::watchdog::ServiceSpec;
use rustix::process::{Pid, Signal, kill_process};

use crate::watchdog::{Host, scene};
use crate::world::{Attempt, World, eventually, marker, processes_with, soon};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(200);

const REFUSED: &str = "this host has lost touch with NATS: its lease allows no new tools";
const KILLED: &str = "the host's lease ran out, the tool was killed";

fn interrupted(text: &str) -> CallError {
    CallError::Interrupted(text.to_owned())
}

/// A tool that does not end by TERM, with a grandchild in a session of its own.
fn stubborn(marker: &str) -> String {
    format!(
        "trap '' TERM; setsid sleep 1000.{marker} & echo up; sleep 1000.{marker}; sleep 1000.{marker}"
    )
}

async fn lease_runs_out(world: &World) {
    let (tool, kept) = (marker(), marker());
    let service = world.watchdog.spawn_service(ServiceSpec {
        program: "/bin/sleep".into(),
        arguments: vec![format!("1000.{kept}")],
        environment: vec![],
        directory: "/".into(),
        log: world.data_dir.join("service.log"),
        grace: SHORT,
    });
    let _service = service.await.unwrap();
    let now = boottime();
    world.watchdog.lease(now + LONG, now + LONG);

    let attempt = world.attempt("lease");
    let script = stubborn(&tool);
    let ends = async {
        soon("the tool", attempt.lines.wait_for("up")).await;
        let now = boottime();
        world.watchdog.lease(now + SHORT, now + 2 * SHORT);
    };
    let (output, ()) = tokio::join!(world.sh(&attempt, &script), ends);
    assert_eq!(output, Err(interrupted(KILLED)));
    assert!(attempt.scope.facts.lease_ended());
    let is_tool = |pid: &i32| name_of(*pid) == "sleep";
    let left: Vec<_> = processes_with(&tool).into_iter().filter(is_tool).collect();
    assert!(left.is_empty(), "grandchildren are gone with it");

    let refused = world.attempt("lease");
    assert_eq!(world.sh(&refused, "true").await, Err(interrupted(REFUSED)));
    assert!(refused.scope.facts.lease_ended());
    assert_eq!(processes_with(&kept).len(), 1, "services stay");

    let now = boottime();
    world.watchdog.lease(now + LONG, now + LONG);
    let again = world.attempt("lease");
    assert_eq!(world.sh(&again, "echo hi").await.unwrap().stdout, "hi\n");
    assert!(!again.scope.facts.lease_ended());
}

fn name_of(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[tokio::test]
async fn a_lease_that_runs_out_ends_tools_and_not_services() {
    lease_runs_out(&World::new().await).await;
}

#[tokio::test]
async fn a_lease_that_runs_out_ends_tools_without_a_jail() {
    lease_runs_out(&World::without_jail().await).await;
}

/// What the watchdog answers to a spawn that the host's side let through.
async fn watchdog_spawns(world: &World) -> Result<(), String> {
    let spawned = world.watchdog.spawn(infraflow_tools::watchdog::Spawn {
        program: "/bin/true".into(),
        arguments: vec![],
        environment: vec![],
        directory: "/".into(),
        stdin: None,
        stdout: None,
        stderr: None,
        extra: vec![],
        tree: infraflow_tools::watchdog::Tree::Supervised,
    });
    match spawned.await {
        Ok(child) => {
            soon("its end", child.wait()).await.unwrap();
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn between_both_moments_tools_go_on_and_none_is_started() {
    let world = World::new().await;
    assert_eq!(watchdog_spawns(&world).await, Ok(()), "without a lease");
    let attempt: Attempt = world.attempt("between");
    let checks = async {
        soon("the tool", attempt.lines.wait_for("up")).await;
        let now = boottime();
        world.watchdog.lease(now, now + LONG);
        assert_eq!(watchdog_spawns(&world).await, Err(REFUSED.to_owned()));
        let refused = world.attempt("other");
        assert_eq!(world.sh(&refused, "true").await, Err(interrupted(REFUSED)));
        world.watchdog.lease(now + LONG, now + LONG);
        assert_eq!(watchdog_spawns(&world).await, Ok(()));
        world.write("between", "go", "").await;
    };
    let script = "echo up; while [ ! -e go ]; do sleep 0.05; done; echo done";
    let (output, ()) = tokio::join!(world.sh(&attempt, script), checks);
    assert_eq!(output.unwrap().stdout, "up\ndone\n");
    assert!(!attempt.scope.facts.lease_ended());
}

#[tokio::test]
async fn a_tool_is_asked_to_end_before_it_is_killed() {
    let world = World::new().await;
    let attempt = world.attempt("asked");
    let ends = async {
        soon("the tool", attempt.lines.wait_for("up")).await;
        let now = boottime();
        // Asked at once, killed in two seconds.
        let spawn_until = now.saturating_sub(LONG);
        world
            .watchdog
            .lease(spawn_until, now + Duration::from_secs(2));
    };
    let script = "trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let (output, ()) = tokio::join!(world.sh(&attempt, script), ends);
    assert_eq!(output, Err(interrupted(KILLED)));
    assert!(attempt.lines.texts().contains(&"asked".to_owned()));
}

#[tokio::test]
async fn a_stopped_hosts_tools_die_without_it() {
    let scene = scene();
    let marker = marker();
    let mut host = Host::start(&scene.data_dir, "leased", &marker).unwrap();
    assert_eq!(host.line(), "ready");
    let marker = format!("1000.{marker}");
    let alive = |number: u8| !processes_with(&format!("{marker}{number}")).is_empty();
    assert!((1..=4).all(alive));
    let pid = Pid::from_raw(host.pid()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    eventually("the end of all tools", || !(2..=4).any(alive)).await;
    assert!(alive(1), "the service stays");
    kill_process(pid, Signal::CONT).unwrap();
    let told = host.line();
    assert!(
        told.contains("Interrupted") && told.contains(KILLED),
        "{told}"
    );
    assert!(alive(1), "and the watchdog goes on");
}
