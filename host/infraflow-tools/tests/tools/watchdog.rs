//! Whoever is killed, nothing is left.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_core::tool::ProcessEnd;
use infraflow_tools::watchdog::{ServiceSpec, Watchdog, WatchdogConfig, WatchdogError};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{World, eventually, marker, processes_with, program, soon};

/// A host in a process of its own, to be killed.
pub(crate) struct Host {
    process: Child,
    out: BufReader<std::process::ChildStdout>,
    pub(crate) watchdog: i32,
}

impl Host {
    /// Starts one and waits until it has its watchdog.
    pub(crate) fn start(
        data_dir: &Utf8PathBuf,
        scenario: &str,
        marker: &str,
    ) -> Result<Self, String> {
        let store = data_dir.with_file_name("store");
        #[expect(clippy::disallowed_methods, reason = "a test sets its scene")]
        let mut command = std::process::Command::new(program());
        let mut process = command
            .args(["host", data_dir.as_str(), store.as_str(), scenario, marker])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let mut host = Self {
            process,
            out,
            watchdog: 0,
        };
        let line = host.line();
        match line.strip_prefix("watchdog ") {
            Some(pid) => {
                host.watchdog = pid.parse().unwrap();
                Ok(host)
            }
            None => {
                host.process.wait().unwrap();
                Err(line)
            }
        }
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.id().try_into().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) struct Scene {
    _folder: tempfile::TempDir,
    pub(crate) data_dir: Utf8PathBuf,
}

pub(crate) fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Utf8PathBuf::from_path_buf(folder.path().join("data")).unwrap();
    Scene {
        _folder: folder,
        data_dir,
    }
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// A service, a jailed tool with a grandchild in its own session, and a tool
/// without a jail: four processes with the marker, and shells around them.
fn busy(scene: &Scene) -> (Host, String) {
    let marker = marker();
    let mut host = Host::start(&scene.data_dir, "busy", &marker).unwrap();
    assert_eq!(host.line(), "ready");
    (host, format!("1000.{marker}"))
}

async fn nothing_is_left(scene: &Scene, marker: &str) {
    eventually("the end of all tools", || processes_with(marker).is_empty()).await;
    // The data directory is free: the next one starts.
    let mut next = Host::start(&scene.data_dir, "idle", "x").unwrap();
    assert_eq!(next.line(), "ready");
}

#[tokio::test]
async fn a_killed_host_leaves_nothing() {
    let scene = scene();
    let (mut host, marker) = busy(&scene);
    assert!(processes_with(&marker).len() >= 4);
    host.kill();
    nothing_is_left(&scene, &marker).await;
    eventually("the watchdog's end", || !is_alive(host.watchdog)).await;
}

#[tokio::test]
async fn a_killed_watchdog_takes_everything_with_it() {
    let scene = scene();
    let (mut host, marker) = busy(&scene);
    kill(host.watchdog);
    eventually("the end of all tools", || {
        processes_with(&marker).is_empty()
    })
    .await;
    let mut said = host.line();
    while !said.is_empty() && said != "the watchdog died" {
        said = host.line();
    }
    assert_eq!(said, "the watchdog died", "the host sees it");
    nothing_is_left(&scene, &marker).await;
}

#[tokio::test]
async fn both_killed_at_once_leave_nothing() {
    let scene = scene();
    let (mut host, marker) = busy(&scene);
    kill(host.watchdog);
    host.kill();
    nothing_is_left(&scene, &marker).await;
}

#[tokio::test]
async fn a_second_host_is_told_who_has_the_data_directory() {
    let scene = scene();
    let mut first = Host::start(&scene.data_dir, "idle", "x").unwrap();
    assert_eq!(first.line(), "ready");
    let Err(told) = Host::start(&scene.data_dir, "idle", "x") else {
        panic!("there is one already");
    };
    let expected = format!(
        "use data directory `{}`: another infraflow has it (process {}, its watchdog is {}); \
         stop that one, or choose another directory",
        scene.data_dir,
        first.pid(),
        first.watchdog
    );
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_watchdog_ends_by_its_socket_and_not_by_signals() {
    let scene = scene();
    let mut host = Host::start(&scene.data_dir, "idle", "x").unwrap();
    assert_eq!(host.line(), "ready");
    let watchdog = Pid::from_raw(host.watchdog).unwrap();
    assert_eq!(rustix::process::getsid(Some(watchdog)), Ok(watchdog));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        kill_process(watchdog, signal).unwrap();
    }
    // It still answers: it ends what it is told to end.
    assert!(is_alive(host.watchdog));
    host.kill();
    eventually("its end", || !is_alive(watchdog.as_raw_pid())).await;
}

fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn service(world: &World, script: &str) -> ServiceSpec {
    ServiceSpec {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        environment: vec![("GIVEN".to_owned(), "value".to_owned())],
        directory: "/".into(),
        log: world.data_dir.join("service.log"),
        grace: Duration::from_millis(300),
    }
}

#[tokio::test]
async fn a_service_logs_to_its_file_and_ends_when_it_is_told() {
    let world = World::new().await;
    let log = || std::fs::read_to_string(world.data_dir.join("service.log")).unwrap_or_default();
    let spec = |script: &str| service(&world, script);
    let script = "trap 'echo bye; exit 5' TERM; env; echo up >&2; while :; do sleep 0.05; done";
    let service = world.watchdog.spawn_service(spec(script)).await.unwrap();
    eventually("it", || log().contains("up\n")).await;
    assert!(
        log().contains("GIVEN=value\n") && !log().contains("HOME="),
        "{}",
        log()
    );
    let end = soon("its end", service.stop()).await.unwrap();
    assert_eq!(end, ProcessEnd::Exited(5));
    assert!(log().ends_with("bye\n"));

    let script = "trap '' TERM; echo stubborn; while :; do sleep 0.05; done";
    let stubborn = world.watchdog.spawn_service(spec(script)).await.unwrap();
    eventually("it", || log().contains("stubborn")).await;
    let end = soon("its end", stubborn.stop()).await.unwrap();
    assert_eq!(end, ProcessEnd::Signalled(9));

    let short = world.watchdog.spawn_service(spec("exit 3")).await.unwrap();
    assert_eq!(
        soon("its end", short.exited()).await.unwrap(),
        ProcessEnd::Exited(3)
    );
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let world = World::new().await;
    let mut spec = service(&world, "");
    spec.program = "/nonexistent/nats-server".into();
    let error = world.watchdog.spawn_service(spec).await.err().unwrap();
    assert_eq!(error.to_string(), "start `/nonexistent/nats-server`");
}

#[tokio::test]
async fn a_real_nats_server_runs_as_a_service() {
    let world = World::new().await;
    let ports = world.data_dir.join("ports");
    std::fs::create_dir_all(&ports).unwrap();
    let mut spec = service(&world, "");
    spec.program = crate::world::tools_bin().join("nats-server");
    spec.arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"]
        .into_iter()
        .chain([
            world.data_dir.join("js").as_str(),
            "--ports_file_dir",
            ports.as_str(),
        ])
        .map(str::to_owned)
        .collect();
    spec.grace = Duration::from_secs(10);
    let nats = world.watchdog.spawn_service(spec).await.unwrap();
    let log = || std::fs::read_to_string(world.data_dir.join("service.log")).unwrap_or_default();
    eventually("its readiness", || log().contains("Server is ready")).await;
    let end = soon("its end", nats.stop()).await.unwrap();
    assert_eq!(end, ProcessEnd::Exited(0), "{}", log());
}

#[tokio::test]
async fn a_shutdown_frees_the_data_directory() {
    let scene = scene();
    let config = WatchdogConfig {
        program: program(),
        arguments: vec!["watchdog".to_owned()],
        data_dir: scene.data_dir.clone(),
    };
    for _ in 0..3 {
        let watchdog = Watchdog::start(config.clone()).await.unwrap();
        soon("the end", watchdog.shutdown()).await;
        soon("its death", watchdog.died()).await;
    }
}

#[tokio::test]
async fn a_program_that_is_no_watchdog_is_an_error() {
    let start = |program: &str| {
        Watchdog::start(WatchdogConfig {
            program: program.into(),
            arguments: vec![],
            data_dir: "/nonexistent".into(),
        })
    };
    assert!(matches!(start("/bin/true").await, Err(WatchdogError::Gone)));
    assert!(matches!(
        start("/nonexistent/x").await,
        Err(WatchdogError::Start { .. })
    ));
}
