//! Plays `infraflow watchdog`, `infraflow shim` and, to be killed, a host.

#![expect(
    dead_code,
    clippy::unwrap_used,
    reason = "a program of the tests: what goes wrong is seen by the test that started it"
)]

#[path = "../support/mod.rs"]
mod support;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use infraflow_core::JsonMap;
use infraflow_core::ports::Tools as _;
use infraflow_core::tool::{CommandRequest, GuestPath, PlanKind, TofuModule};
use infraflow_tools::jail::{JailConfig, JailMode};
use infraflow_tools::watchdog::{ServiceSpec, Watchdog, WatchdogConfig};
use infraflow_tools::{CommandSpec, ToolDoor, ToolsConfig};

use support::{FolderBlobs, MapSecrets, scope_of};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|verb| verb.to_str()) {
        Some("watchdog") => infraflow_tools::watchdog::run(),
        Some("shim") => infraflow_tools::shim::run(arguments),
        Some("host") => {
            let arguments: Vec<String> = arguments.map(|a| a.into_string().unwrap()).collect();
            host(&arguments)
        }
        _ => ExitCode::from(64),
    }
}

/// `host <data directory> <store> idle|busy|leased|apply <marker>`
fn host(arguments: &[String]) -> ExitCode {
    let [data_dir, store, scenario, marker] = arguments else {
        return ExitCode::from(64);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let program = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
        let started = Watchdog::start(WatchdogConfig {
            program: program.clone(),
            arguments: vec!["watchdog".to_owned()],
            data_dir: data_dir.into(),
        })
        .await;
        let watchdog = match started {
            Ok(watchdog) => watchdog,
            Err(error) => {
                say(&error.to_string());
                return ExitCode::FAILURE;
            }
        };
        say(&format!("watchdog {}", watchdog.pid()));
        let host = Host {
            program,
            data_dir: data_dir.into(),
            store: store.into(),
            watchdog: watchdog.clone(),
            marker: marker.clone(),
        };
        let work = async {
            match scenario.as_str() {
                "busy" => host.busy().await,
                "leased" => {
                    tokio::join!(host.renew_lease(), host.busy());
                }
                "apply" => host.apply().await,
                _ => {
                    say("ready");
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = work => ExitCode::SUCCESS,
            () = watchdog.died() => {
                say("the watchdog died");
                ExitCode::FAILURE
            }
        }
    })
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

struct Host {
    program: Utf8PathBuf,
    data_dir: Utf8PathBuf,
    store: Utf8PathBuf,
    watchdog: Watchdog,
    marker: String,
}

impl Host {
    fn door(&self, mode: JailMode) -> ToolDoor {
        let mut jail = JailConfig::new(self.program.clone());
        jail.mode = mode;
        let mut config = ToolsConfig::new(self.data_dir.clone(), jail);
        let name = "sh".parse().unwrap();
        config
            .commands
            .insert(name, CommandSpec::new("/bin/sh".into()));
        let blobs = FolderBlobs::new(self.store.clone().into_std_path_buf());
        let secrets = Arc::new(MapSecrets::default());
        ToolDoor::new(config, self.watchdog.clone(), secrets, Arc::new(blobs))
    }

    /// A service, a jailed tool with a grandchild in a session of its own, and
    /// a tool without a jail, all for ever.
    async fn busy(&self) {
        let marker = &self.marker;
        let service = self.watchdog.spawn_service(ServiceSpec {
            program: "/bin/sleep".into(),
            arguments: vec![format!("1000.{marker}1")],
            environment: vec![],
            directory: "/".into(),
            log: self.data_dir.join("service.log"),
            grace: Duration::from_secs(1),
        });
        let _service = service.await.unwrap();
        let shell = |text: String| CommandRequest {
            name: "sh".parse().unwrap(),
            args: vec!["-c".to_owned(), text],
            dir: GuestPath::root(),
            env: vec![],
            secret_env: vec![],
            stdin: None,
        };
        let jailed = self.door(JailMode::Required);
        let open = self.door(JailMode::Off);
        let (jailed_scope, jailed_lines, _) = scope_of("jailed", &[]);
        let (open_scope, open_lines, _) = scope_of("open", &[]);
        let jailed_script = shell(format!(
            "trap '' TERM; setsid sleep 1000.{marker}2 & echo up; sleep 1000.{marker}3"
        ));
        let open_script = shell(format!("echo up; exec sleep 1000.{marker}4"));
        let up = async {
            jailed_lines.wait_for("up").await;
            open_lines.wait_for("up").await;
            say("ready");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = jailed.run_command(&jailed_scope, jailed_script) => say(&format!("{end:?}")),
            end = open.run_command(&open_scope, open_script) => say(&format!("{end:?}")),
            () = up => {}
        }
        std::future::pending::<()>().await;
    }

    /// Renews a lease of a few seconds for ever.
    async fn renew_lease(&self) {
        let mut ticks = tokio::time::interval(Duration::from_millis(200));
        loop {
            ticks.tick().await;
            let now = infraflow_tools::boottime();
            let (spawn, kill) = (Duration::from_secs(3), Duration::from_secs(5));
            self.watchdog.lease(now + spawn, now + kill);
        }
    }

    /// An apply that never ends, in its second resource.
    async fn apply(&self) {
        let door = self.door(JailMode::Required);
        let (scope, lines, _) = scope_of("apply", &[]);
        let text = format!(
            "resource \"terraform_data\" \"first\" {{ input = \"kept\" }}\n\
             resource \"terraform_data\" \"second\" {{\n\
             depends_on = [terraform_data.first]\n\
             provisioner \"local-exec\" {{ command = \"echo sleeping; sleep 1000.{}\" }}\n}}\n",
            self.marker
        );
        let path = GuestPath::new("infra/main.tf").unwrap();
        door.write_file(&scope, path, text.into_bytes())
            .await
            .unwrap();
        let module = TofuModule {
            dir: GuestPath::new("infra").unwrap(),
            vars: JsonMap::new(),
            var_files: vec![],
            secret_env: vec![],
        };
        let plan = door
            .tofu_plan(&scope, module.clone(), PlanKind::Apply)
            .await;
        let plan = plan.unwrap().plan.unwrap();
        let sleeping = async {
            lines.wait_for("(local-exec): sleeping").await;
            say("ready");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = door.tofu_apply(&scope, module, plan) => say(&format!("{end:?}")),
            () = sleeping => {}
        }
    }
}
