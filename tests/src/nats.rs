//! A plain NATS client over raw TCP, and a server of one's own: what anybody can
//! do without infraflow.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::host::command;
use crate::wait::wait_for;

/// A connection that speaks the text protocol.
#[derive(Debug)]
pub struct RawClient {
    stream: BufReader<TcpStream>,
    /// Messages that came while an answer was waited for.
    early: VecDeque<Message>,
}

/// What the server says.
enum Next {
    Pong,
    Refused(String),
    Message(Message),
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// Its headers, as they came.
    pub headers: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// When the server does not answer or refuses.
    pub fn connect(url: &str, user: &str, password: &str) -> Self {
        let address = url.trim_start_matches("nats://");
        let stream = TcpStream::connect(address).expect("a connection to NATS");
        stream.set_nodelay(true).expect("small requests go at once");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a time limit");
        let mut client = Self {
            stream: BufReader::new(stream),
            early: VecDeque::new(),
        };
        assert!(
            client.line().starts_with("INFO "),
            "the server says INFO first"
        );
        client.send(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
        ));
        assert_eq!(client.line(), "PONG", "the server takes the credentials");
        client
    }

    /// Sends text.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send(&mut self, text: &str) {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .expect("the connection stands");
    }

    /// Publishes.
    pub fn publish(&mut self, subject: &str, payload: &str) {
        self.send(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
        self.flush();
    }

    /// Publishes with headers, and returns the answer of the stream that stored
    /// it.
    pub fn publish_confirmed(&mut self, subject: &str, headers: &str, payload: &str) -> Message {
        let inbox = "_INBOX.harness";
        self.subscribe(inbox);
        let headers = format!("NATS/1.0\r\n{headers}\r\n");
        self.send(&format!(
            "HPUB {subject} {inbox} {} {}\r\n{headers}{payload}\r\n",
            headers.len(),
            headers.len() + payload.len()
        ));
        self.message()
    }

    /// Asks, and returns the answer.
    pub fn request(&mut self, subject: &str, payload: &str) -> Message {
        let inbox = "_INBOX.harness";
        self.subscribe(inbox);
        self.send(&format!(
            "PUB {subject} {inbox} {}\r\n{payload}\r\n",
            payload.len()
        ));
        self.message()
    }

    /// Subscribes.
    pub fn subscribe(&mut self, subject: &str) {
        self.send(&format!("SUB {subject} 1\r\n"));
        self.flush();
    }

    /// Waits until the server has taken everything; `Err` holds what it refused.
    ///
    /// # Errors
    /// The server's error, for example a permissions violation.
    pub fn try_flush(&mut self) -> Result<(), String> {
        self.send("PING\r\n");
        let mut refused = Ok(());
        loop {
            match self.next() {
                Next::Pong => return refused,
                Next::Refused(line) => refused = Err(line),
                Next::Message(message) => self.early.push_back(message),
            }
        }
    }

    fn flush(&mut self) {
        self.try_flush().expect("the server allows it");
    }

    /// One line of the protocol.
    ///
    /// # Panics
    /// When none comes.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line from NATS");
        line.trim_end().to_owned()
    }

    /// The next message.
    ///
    /// # Panics
    /// When none comes, or the server refuses something.
    #[expect(clippy::panic, reason = "a failed test")]
    pub fn message(&mut self) -> Message {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        loop {
            match self.next() {
                Next::Message(message) => return message,
                Next::Pong => {}
                Next::Refused(line) => panic!("{line}"),
            }
        }
    }

    #[expect(clippy::panic, reason = "a failed test")]
    fn next(&mut self) -> Next {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |word: &str| word.parse::<usize>().expect("a size");
            match words.as_slice() {
                ["PING"] => self.send("PONG\r\n"),
                ["PONG"] => return Next::Pong,
                ["-ERR", ..] => return Next::Refused(line),
                ["MSG", subject, _, size] | ["MSG", subject, _, _, size] => {
                    let payload = self.bytes(number(size));
                    return Next::Message(Message {
                        subject: (*subject).to_owned(),
                        headers: String::new(),
                        payload,
                    });
                }
                ["HMSG", subject, _, head, size] | ["HMSG", subject, _, _, head, size] => {
                    let mut bytes = self.bytes(number(size));
                    let payload = bytes.split_off(number(head));
                    let headers = String::from_utf8_lossy(&bytes).into_owned();
                    return Next::Message(Message {
                        subject: (*subject).to_owned(),
                        headers,
                        payload,
                    });
                }
                _ => panic!("unexpected line from NATS: {line}"),
            }
        }
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size + 2];
        self.stream.read_exact(&mut bytes).expect("a whole message");
        bytes.truncate(size);
        bytes
    }
}

/// Where the `nats-server` program is.
///
/// # Panics
/// When it is not there: `deploy/setup.sh` installs it.
pub fn server_program() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/venv/bin/nats-server");
    let named = std::env::var_os("INFRAFLOW_TOOLS_BIN")
        .map(|folder| PathBuf::from(folder).join("nats-server"));
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).map(|folder| folder.join("nats-server"));
    named
        .into_iter()
        .chain([venv])
        .chain(on_path)
        .find(|path| path.is_file())
        .expect("nats-server is installed: run deploy/setup.sh")
}

/// A server of one's own, with JetStream and without authorization.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    store: PathBuf,
    port: u16,
    sync: &'static str,
}

impl Server {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start() -> Self {
        Self::start_with("2m")
    }

    /// Starts one that writes to the disk at this interval: `always`, or a time.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_with(sync: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let store = folder.path().to_owned();
        Self::start_in(folder, store, sync)
    }

    /// Starts one that keeps its streams in a store of the caller's.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn start_on(store: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        Self::start_in(folder, store.to_owned(), "2m")
    }

    fn start_in(folder: tempfile::TempDir, store: PathBuf, sync: &'static str) -> Self {
        let port = free_port();
        let child = spawn_server(folder.path(), &store, port, sync);
        let mut server = Self {
            sync,
            child,
            folder,
            store,
            port,
        };
        while !server.is_ready() {
            // Somebody else has taken the port in between.
            server.port = free_port();
            server.child = spawn_server(server.folder.path(), &server.store, server.port, sync);
        }
        server
    }

    /// Waits until it says that it is ready; `false` when it has ended instead.
    /// An answer on its port might be another server's.
    fn is_ready(&mut self) -> bool {
        wait_for("the NATS server to be ready", || {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return Some(false);
            }
            self.log().contains("Server is ready").then_some(true)
        })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged since its last start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server runs");
        self.child.wait().expect("the server can be waited for");
    }

    /// Starts it again on the same port and store.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.child = spawn_server(self.folder.path(), &self.store, self.port, self.sync);
        assert!(self.is_ready(), "the server starts again: {}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that nobody listens on, and that no outgoing connection gets: so it is
/// still free when a server starts there again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 12_000).unwrap_or(0);
    wait_for("a free port", || {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (first + next % 12_000) % 12_000;
        TcpListener::bind(("127.0.0.1", port))
            .is_ok()
            .then_some(port)
    })
}

fn spawn_server(folder: &Path, store: &Path, port: u16, sync: &str) -> Child {
    let config = folder.join("server.conf");
    let text = format!(
        // More than a small disk has: what streams may take is not what they take.
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", sync_interval: {sync}, max_file_store: 64GB }}\n",
        store.display()
    );
    fs::write(&config, text).expect("the server's configuration");
    let log = fs::File::create(folder.join("server.log")).expect("a file for the server's log");
    command(&server_program())
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("nats-server starts")
}
