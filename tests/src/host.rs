//! A running `infraflow up`, in a folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::wait_for;

/// The program under test: `INFRAFLOW_BIN`, or the one that cargo has built
/// beside the tests.
///
/// # Panics
/// When it is not there.
pub fn program() -> PathBuf {
    named_program("INFRAFLOW_BIN", "infraflow")
}

/// The same with the features `faults` and `sabotage`.
///
/// # Panics
/// When it is not there: `make test` builds it.
pub fn faulty_program() -> PathBuf {
    named_program("INFRAFLOW_FAULTS_BIN", "infraflow-faults")
}

fn named_program(variable: &str, name: &str) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            // `target/<profile>/deps/test`, or a program: `target/<profile>/soak`.
            let test = std::env::current_exe().expect("a test knows its program");
            let folder = test.parent().expect("a program is in a folder");
            let profile = match folder.ends_with("deps") {
                true => folder.parent().expect("`deps` is in the profile's folder"),
                false => folder,
            };
            profile.join(name)
        }
    };
    assert!(
        path.is_file(),
        "`{}` is missing: run `make test`",
        path.display()
    );
    path
}

/// What hosts log, so that a failed test can be understood.
const LOG: &str = "info,infraflow=debug,infraflow_engine=debug,infraflow_bus=debug";

/// A folder with a configuration, and the host that runs in it.
#[derive(Debug)]
pub struct Host {
    folder: tempfile::TempDir,
    program: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    up: Option<Child>,
    starts: u32,
}

impl Host {
    /// A folder with this configuration (see [`Host::configure`]) and no
    /// workflows; nothing runs yet.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn new(config: &str) -> Self {
        Self::of(program(), config)
    }

    /// As [`Host::new`], of another program.
    ///
    /// # Panics
    /// When the folder cannot be made.
    pub fn of(program: PathBuf, config: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("infraflow-test-")
            .tempdir()
            .expect("a folder for the test");
        // Tools run as another user and must be able to pass.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(folder.path(), open).expect("permissions of the folder");
        let host = Self {
            folder,
            program,
            environment: vec![],
            arguments: vec![],
            up: None,
            starts: 0,
        };
        fs::create_dir(host.path("workflows")).expect("a folder for workflows");
        host.configure(config);
        host
    }

    /// Uses another program.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf) -> Self {
        self.program = program;
        self
    }

    /// Writes the configuration: this text, and free ports where it names none.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, config: &str) {
        let mut text = config.to_owned();
        for (key, line) in [
            ("http:", "http: { listen: \"127.0.0.1:0\" }"),
            ("nats:", "nats: { port: 0, sync: relaxed }"),
            ("data_dir:", "data_dir: data"),
        ] {
            if !text.lines().any(|have| have.starts_with(key)) {
                text.push_str(&format!("\n{line}\n"));
            }
        }
        self.write("infraflow.yaml", &text);
    }

    /// Sets a variable of the host's environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Removes all variables that were set.
    pub fn clear_env(&mut self) {
        self.environment.clear();
    }

    /// More arguments of `up`.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder, as text: every process of this host mentions it.
    pub fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Writes a file of the folder.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder for the file");
        }
        fs::write(path, text).expect("the file is written");
    }

    /// Writes a workflow.
    pub fn workflow(&self, name: &str, text: &str) {
        self.write(&format!("workflows/{name}.yaml"), text);
    }

    /// Starts the host and returns when it is ready.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn start(&mut self) {
        if let Some(status) = self.start_or_die() {
            self.fail(&format!("the host ended with {status}"));
        }
    }

    /// Starts the host and returns when it is ready, or its exit status when it
    /// has ended before.
    ///
    /// # Panics
    /// When it does neither.
    pub fn start_or_die(&mut self) -> Option<i32> {
        self.spawn();
        self.until_ready_or_gone()
    }

    /// Returns when a host that was spawned is ready, or its exit status when it
    /// has ended before.
    ///
    /// # Panics
    /// When it does neither.
    pub fn until_ready_or_gone(&mut self) -> Option<i32> {
        wait_for("the host to be ready", || {
            let is_ready = self.printed().contains("stops the host");
            match self.exited() {
                Some(status) => Some(Some(status)),
                None => is_ready.then_some(None),
            }
        })
    }

    /// Starts the host and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&mut self) {
        self.starts += 1;
        let file = |path: PathBuf| fs::File::create(path).expect("a file for the output");
        let (out, err) = (file(self.out()), file(self.err()));
        let mut command = command(&self.program);
        command
            .arg("up")
            .args(&self.arguments)
            .current_dir(self.folder.path())
            .env("INFRAFLOW_LOG", LOG)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        self.up = Some(command.spawn().expect("the program starts"));
    }

    fn out(&self) -> PathBuf {
        self.path(&format!("up-{}.out", self.starts))
    }

    fn err(&self) -> PathBuf {
        self.path(&format!("up-{}.err", self.starts))
    }

    /// What the host has printed on standard output.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.out()).unwrap_or_default()
    }

    /// What its lives have logged, the last one last.
    pub fn logs(&self) -> Vec<String> {
        (1..=self.starts)
            .map(|start| {
                fs::read_to_string(self.path(&format!("up-{start}.err"))).unwrap_or_default()
            })
            .collect()
    }

    /// What the host has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.err()).unwrap_or_default()
    }

    /// Its exit status, once it has ended.
    pub fn exited(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        let status = self
            .up
            .as_mut()?
            .try_wait()
            .expect("the host can be waited for")?;
        Some(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        )
    }

    #[expect(clippy::panic, reason = "a failed test")]
    fn fail(&self, why: &str) -> ! {
        panic!(
            "{why}\n--- printed\n{}\n--- logged\n{}",
            self.printed(),
            self.log()
        );
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When nothing runs.
    pub fn signal(&self, signal: Signal) {
        let child = self.up.as_ref().expect("the host runs");
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Its process id.
    ///
    /// # Panics
    /// When nothing runs.
    pub fn pid(&self) -> u32 {
        self.up.as_ref().expect("the host runs").id()
    }

    /// Whether it was started and its end was not waited for.
    pub fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Kills it and returns when it is gone; what it started may not be yet.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_until_gone();
    }

    /// Asks it to end, and returns its exit status.
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.wait_until_gone()
    }

    /// Waits until it has ended, and returns its exit status.
    ///
    /// # Panics
    /// When it does not end.
    pub fn wait_until_gone(&mut self) -> i32 {
        let status = wait_for("the host to end", || self.exited());
        self.up = None;
        status
    }

    // ---- asking --------------------------------------------------------------------

    /// Runs a command of the program in the folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn cli<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Output {
        let mut command = command(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.output().expect("the program runs")
    }

    /// Starts a command of the program in the folder, and does not wait.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn call(&self, arguments: &[&str]) -> Child {
        let mut command = command(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("the program runs")
    }

    /// Runs a command that succeeds and prints JSON.
    ///
    /// # Panics
    /// When it does not.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--output", "json"]].concat());
        if !output.status.success() {
            self.fail(&format!(
                "`infraflow {}` failed: {}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        serde_json::from_slice(&output.stdout).expect("the program prints JSON")
    }

    /// Starts a workflow and returns the run's id.
    ///
    /// # Panics
    /// When it is refused.
    pub fn trigger(&self, workflow: &str, inputs: &[&str]) -> String {
        let mut arguments = vec!["trigger", workflow];
        for input in inputs {
            arguments.extend(["-i", input]);
        }
        let started = self.json(&arguments);
        started
            .get("run")
            .and_then(Value::as_str)
            .expect("a run id")
            .to_owned()
    }

    /// All runs, newest first.
    pub fn runs(&self) -> Vec<Value> {
        let page = self.json(&["runs", "list", "-n", "500"]);
        let runs = page.get("runs").and_then(Value::as_array);
        runs.cloned().unwrap_or_default()
    }

    /// The runs, when the host answers.
    pub fn try_runs(&self) -> Option<Vec<Value>> {
        let output = self.cli(&["runs", "list", "-n", "500", "--output", "json"]);
        let page: Value = serde_json::from_slice(&output.stdout).ok()?;
        page.get("runs")?.as_array().cloned()
    }

    /// A run.
    pub fn show(&self, run: &str) -> Value {
        self.json(&["runs", "show", run])
    }

    /// A run, when the host answers and has it.
    pub fn try_show(&self, run: &str) -> Option<Value> {
        let output = self.cli(&["runs", "show", run, "--output", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Waits until a run has ended, and returns it.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ended(&self, run: &str) -> Value {
        self.in_state(run, "to end", |run| run["is_ended"] == true)
    }

    /// Waits until a run is in a state, and returns it.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn until_state(&self, run: &str, state: &str) -> Value {
        self.in_state(run, &format!("to be {state}"), |run| run["state"] == state)
    }

    fn in_state(&self, run: &str, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        loop {
            let shown = self.try_show(run);
            if let Some(shown) = shown.as_ref().filter(|shown| is_there(&shown["run"])) {
                return shown.clone();
            }
            if start.elapsed() > Duration::from_secs(90) {
                self.fail(&format!(
                    "waited in vain for run {run} {what}; it is {shown:#?}"
                ));
            }
            crate::wait::pause(Duration::from_millis(20));
        }
    }

    /// Starts a workflow, waits for its end, and returns the run.
    pub fn run(&self, workflow: &str, inputs: &[&str]) -> Value {
        let run = self.trigger(workflow, inputs);
        self.ended(&run)
    }

    /// The log lines of a run.
    pub fn lines(&self, run: &str) -> Vec<Value> {
        let output = self.cli(&["logs", run, "--output", "json"]);
        let text = String::from_utf8(output.stdout).expect("log lines are UTF-8");
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    /// The texts of the log lines of a run.
    pub fn texts(&self, run: &str) -> Vec<String> {
        let lines = self.lines(run).into_iter();
        let text = |line: Value| line.get("text")?.as_str().map(str::to_owned);
        lines.map(|line| text(line).expect("a text")).collect()
    }

    /// The address of its HTTP listener.
    ///
    /// # Panics
    /// When it has not printed one.
    pub fn http(&self) -> String {
        let printed = self.printed();
        let mut words = printed.split_whitespace();
        let address = words.find(|word| word.starts_with("http://"));
        address.expect("the host prints its address").to_owned()
    }

    /// A value of the credentials file for people.
    ///
    /// # Panics
    /// When it is not there.
    pub fn credential(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path("data/credentials/operator.env"))
            .expect("the host has written credentials");
        let prefix = format!("export {name}=");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .expect("the value");
        line.to_owned()
    }

    /// The process id of its NATS server.
    pub fn nats_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.path("data/nats/server.pid")).ok()?;
        text.trim().parse().ok()
    }

    /// Kills its NATS server.
    ///
    /// # Panics
    /// When there is none.
    pub fn kill_nats(&self) {
        let pid = self
            .nats_pid()
            .and_then(Pid::from_raw)
            .expect("a NATS server");
        kill_process(pid, Signal::KILL).expect("the signal is sent");
    }

    /// Kills its NATS server, and returns when another one runs and the host is
    /// ready again.
    pub fn restart_nats(&self) {
        let before = self.nats_pid();
        self.kill_nats();
        wait_for("another NATS server", || {
            self.nats_pid().filter(|pid| Some(*pid) != before)
        });
        let ready = format!("{}/readyz", self.http());
        wait_for("the host to be ready", || {
            (crate::push::get(&ready).status == 200).then_some(())
        });
    }

    /// The folder of a run's files.
    ///
    /// # Panics
    /// When the host does not know it.
    pub fn workspace(&self, run: &str) -> PathBuf {
        let shown = self.show(run);
        let path = shown.get("workspace").and_then(Value::as_str);
        PathBuf::from(path.expect("the folder of the run's files"))
    }

    /// Makes the file `go` in a run's workspace, which its step waits for.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn let_go(&self, run: &str) {
        fs::write(self.workspace(run).join("go"), "").expect("the file is made");
    }

    /// Waits until no process mentions this host's folder.
    ///
    /// # Panics
    /// When one is left.
    #[expect(clippy::panic, reason = "a failed test")]
    pub fn nothing_is_left(&self) {
        let folder = self.folder();
        let begun = std::time::Instant::now();
        loop {
            let left = crate::processes::mentioning(&folder);
            if left.is_empty() {
                return;
            }
            if begun.elapsed() > Duration::from_secs(20) {
                panic!("processes of the host are left: {left:#?}");
            }
            crate::wait::pause(Duration::from_millis(15));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.up.take() {
            // Its watchdog ends everything that it started.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let keep = std::env::temp_dir().join("infraflow-failed-test.log");
            drop(fs::write(
                keep,
                format!("{}\n{}", self.printed(), self.log()),
            ));
        }
    }
}

/// A command with a clean environment: a test does not depend on its caller's.
#[expect(
    clippy::disallowed_methods,
    reason = "tests start the program under test"
)]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in [
        "PATH",
        "HOME",
        "TMPDIR",
        "INFRAFLOW_PLUGINS",
        "INFRAFLOW_TOOLS_BIN",
        "INFRAFLOW_BREAK",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}
