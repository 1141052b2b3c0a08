//! One to three hosts on one NATS server, each behind a network of its own, with
//! a gate in its journals and a clock that can be wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::counter::Counter;
use crate::disk::SmallDisk;
use crate::history::History;
use crate::host::{Host, faulty_program};
use crate::nats::{RawClient, Server};
use crate::proxy::Proxy;

/// The names of the hosts: at most as many as there are names.
pub const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The key that all hosts of one server share.
const BLOB_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A host, and what stands between it and the world.
#[derive(Debug)]
pub struct Member {
    /// The host.
    pub host: Host,
    /// Its way to NATS.
    pub proxy: Proxy,
    /// Its name.
    pub name: &'static str,
}

impl Member {
    fn new(name: &'static str, target: u16, config: &str) -> Self {
        let proxy = Proxy::start(target);
        let text = format!("{config}nats: {{ url: \"{}\" }}\n", proxy.url());
        let mut host = Host::of(faulty_program(), &text);
        host.write("data/host-name", &format!("{name}\n"));
        host.write("data/keys/blobs.key", BLOB_KEY);
        only_for_owner(&host.path("data/keys/blobs.key"));
        set_environment(&mut host);
        components::copy_to(&host.path("data/cache"));
        Self { host, proxy, name }
    }

    /// Sets a gate at a point, `<side>:<entry>:<n>`, from now on, also for a life
    /// that has begun.
    pub fn arm(&self, point: &str) {
        // Whole or not at all: the host reads it at any time.
        self.host.write("point.new", point);
        fs::rename(self.host.path("point.new"), self.host.path("point")).expect("the gate is set");
    }

    /// No gate for the lives that begin now.
    pub fn disarm(&self) {
        // There was none.
        drop(fs::remove_file(self.host.path("point")));
    }

    fn gate_log(&self) -> PathBuf {
        self.host.path("gate")
    }

    /// The point that was reached.
    pub fn hit(&self) -> Option<String> {
        let text = fs::read_to_string(self.gate_log()).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    }

    /// Opens the gate, also before somebody waits there.
    pub fn open_gate(&self) {
        self.host.write("gate.go", "");
    }

    /// Moves its clock.
    pub fn set_clock(&self, seconds: i64) {
        // Whole or not at all: the host reads it at any time.
        self.host.write("clock.new", &seconds.to_string());
        fs::rename(self.host.path("clock.new"), self.host.path("clock")).expect("the clock is set");
    }
}

fn set_environment(host: &mut Host) {
    for (variable, file) in [
        ("INFRAFLOW_FAULT", "point"),
        ("INFRAFLOW_FAULT_LOG", "gate"),
        ("INFRAFLOW_CLOCK_FILE", "clock"),
    ] {
        let path = host.path(file).display().to_string();
        host.set_env(variable, &path);
    }
}

fn only_for_owner(file: &Path) {
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(file, private).expect("permissions of the key");
}

/// The compiled components: compiled once by a host of its own, not by each.
mod components {
    use std::ffi::OsString;
    use std::fs;
    use std::path::Path;
    use std::sync::OnceLock;

    use crate::host::{Host, faulty_program};

    static COMPILED: OnceLock<Vec<(OsString, Vec<u8>)>> = OnceLock::new();

    fn compile() -> Vec<(OsString, Vec<u8>)> {
        let mut host = Host::of(faulty_program(), "");
        host.start();
        host.stop();
        let files = fs::read_dir(host.path("data/cache")).expect("compiled components");
        let read = |file: fs::DirEntry| Some((file.file_name(), fs::read(file.path()).ok()?));
        files.filter_map(Result::ok).filter_map(read).collect()
    }

    pub(super) fn copy_to(cache: &Path) {
        fs::create_dir_all(cache).expect("a folder for the components");
        for (name, bytes) in COMPILED.get_or_init(compile) {
            fs::write(cache.join(name), bytes).expect("a copy");
        }
    }
}

/// Hosts on one server.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they end.
    /// The hosts.
    pub members: Vec<Member>,
    history: Option<History>,
    /// The server.
    pub server: Server,
    disk: Option<SmallDisk>,
    /// What the steps do, counted.
    pub counter: Counter,
}

impl Cluster {
    /// A server, and so many hosts that do not run yet, with this configuration
    /// each.
    ///
    /// # Panics
    /// When there are more hosts than names.
    pub fn new(hosts: usize, config: &str, disk: Option<SmallDisk>) -> Self {
        assert!(hosts <= NAMES.len(), "{hosts} hosts");
        let server = match &disk {
            Some(disk) => Server::start_on(&disk.path()),
            None => Server::start(),
        };
        let members = NAMES
            .into_iter()
            .take(hosts)
            .map(|name| Member::new(name, server.port(), config))
            .collect();
        Self {
            members,
            history: None,
            server,
            disk,
            counter: Counter::start(),
        }
    }

    /// Writes a workflow for every host.
    pub fn workflow(&self, name: &str, text: &str) {
        for member in &self.members {
            member.host.workflow(name, text);
        }
    }

    /// Starts these hosts and returns when they are ready.
    ///
    /// # Panics
    /// When one does not get ready.
    pub fn start(&mut self, members: impl Iterator<Item = usize> + Clone) {
        for index in members.clone() {
            self.member(index).host.spawn();
        }
        for index in members {
            let member = self.member(index);
            let gone = member.host.until_ready_or_gone();
            assert_eq!(
                gone,
                None,
                "host {} starts: {}",
                member.name,
                member.host.log()
            );
        }
    }

    /// A host.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn member(&mut self, index: usize) -> &mut Member {
        self.members
            .get_mut(index)
            .expect("there are so many hosts")
    }

    /// What is in the journals.
    pub fn history(&mut self) -> &History {
        let url = self.server.url();
        self.history.get_or_insert_with(|| History::follow(&url))
    }

    /// The disk below the server, where it has one of its own.
    pub fn disk(&self) -> Option<&SmallDisk> {
        self.disk.as_ref()
    }

    /// Publishes an event with an id, past all hosts; the server has confirmed
    /// it.
    ///
    /// # Panics
    /// When the server refuses it.
    pub fn publish(&self, kind: &str, id: &str) {
        let mut client = RawClient::connect(&self.server.url(), "", "");
        let headers = format!(
            "ce-specversion: 1.0\r\nce-id: {id}\r\nce-source: soak\r\nce-type: soak.{kind}\r\n"
        );
        let answer = client.publish_confirmed("infraflow.event.custom.soak", &headers, "{}");
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(
            text.contains("\"stream\":\"EVENTS\"") && !text.contains("\"error\""),
            "the event is stored: {text}"
        );
    }
}
