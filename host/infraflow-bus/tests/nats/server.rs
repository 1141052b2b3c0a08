//! A NATS server of a test's own, and ways to wait.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use infraflow_bus::topology::TopologyConfig;
use infraflow_bus::{Bus, BusConfig, Credentials};
use infraflow_core::id::RunId;
use serde_json::Value;

/// The longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(60);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(15);

/// A server in a folder and on a port of its own. Ends with the test.
pub(crate) struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    /// Starts one.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = spawn(folder.path(), port);
        let server = Self {
            child,
            folder,
            port,
        };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        let address = ("127.0.0.1", self.port);
        wait_for("the server to answer", async || {
            tokio::net::TcpStream::connect(address).await.ok()
        })
        .await;
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts it again on the same port and store.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(self.folder.path(), self.port);
        self.answers().await;
    }

    /// Connects to it.
    pub(crate) async fn connect(&self) -> Bus {
        Bus::connect(BusConfig {
            url: self.url(),
            credentials: Credentials::Anonymous,
            name: "test".to_owned(),
            connect_timeout: SOON,
            inbox_prefix: None,
        })
        .await
        .expect("a connection")
    }

    /// Connects to it, with every stream there.
    pub(crate) async fn bus(&self) -> Bus {
        let bus = self.connect().await;
        bus.ensure_topology(&TopologyConfig::default())
            .await
            .expect("a topology");
        bus
    }

    /// A plain client: what anybody can do without infraflow.
    pub(crate) async fn plain(&self) -> Plain {
        Plain(
            async_nats::connect(self.url())
                .await
                .expect("a plain client"),
        )
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A plain client.
pub(crate) struct Plain(pub(crate) async_nats::Client);

impl Plain {
    /// A request to the API of JetStream; panics when it is refused.
    pub(crate) async fn api(&self, verb: &str, body: &Value) -> Value {
        let answer = self.try_api(verb, body).await;
        assert!(answer.get("error").is_none(), "{verb}: {answer}");
        answer
    }

    /// A request to the API of JetStream.
    pub(crate) async fn try_api(&self, verb: &str, body: &Value) -> Value {
        let subject = format!("$JS.API.{verb}");
        let request = self.0.request(subject, body.to_string().into());
        let reply = soon("an answer", request).await.expect("an answer");
        serde_json::from_slice(&reply.payload).expect("JSON")
    }

    /// Stores a message.
    pub(crate) async fn store(&self, subject: &str, payload: &str) {
        let request = self
            .0
            .request(subject.to_owned(), payload.to_owned().into());
        let reply = soon("an answer", request).await.expect("an answer");
        let answer: Value = serde_json::from_slice(&reply.payload).expect("JSON");
        assert!(answer["seq"].as_u64() > Some(0), "{answer}");
    }
}

/// The program: where the harness of the other tests looks for it.
fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("INFRAFLOW_TOOLS_BIN").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    named
        .into_iter()
        .chain([root.join(".tools/venv/bin")])
        .chain(std::env::split_paths(&on_path))
        .map(|folder| folder.join("nats-server"))
        .find(|path| path.is_file())
        .expect("nats-server is installed: run deploy/setup.sh")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests start the server that they test against"
)]
fn spawn(folder: &Path, port: u16) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("server.log"))
        .expect("a file for the server's log");
    Command::new(program())
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .arg("--jetstream")
        .arg("--store_dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("nats-server starts")
}

/// Waits for something that should happen soon.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {SOON:?} in vain for {what}"),
    }
}

/// Looks until there is a value.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut looks = tokio::time::interval(LOOK);
    let found = async {
        loop {
            looks.tick().await;
            if let Some(value) = look().await {
                return value;
            }
        }
    };
    soon(what, found).await
}

/// The run of that number.
pub(crate) fn run(number: u8) -> RunId {
    format!("{number:026}").parse().expect("a run id")
}
