//! Effects, counted outside: an HTTP server that notes every request. A step
//! that calls it has done something in the world.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest wait for a request's first line: a caller that was killed in the
/// middle must not hold up the others.
const REQUEST_TIME: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<String, u32>,
    order: Vec<(Instant, String)>,
    held: BTreeSet<String>,
    failing_once: BTreeSet<String>,
}

impl Seen {
    /// Notes a request, and says whether it succeeds.
    fn note(&mut self, path: String) -> bool {
        *self.counts.entry(path.clone()).or_default() += 1;
        self.order.push((Instant::now(), path.clone()));
        let is_under = |folder: &String| path.strip_prefix(folder.as_str()).is_some();
        if self.held.iter().any(is_under) {
            return false;
        }
        !self.failing_once.remove(&path)
    }
}

/// Counts requests by path.
#[derive(Debug, Clone)]
pub struct Counter {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

impl Counter {
    /// Starts to listen. Ends with the test's process.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let counter = Self {
            address,
            seen: Arc::default(),
        };
        let noting = counter.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Whoever is gone has its request noted all the same.
                drop(noting.answer(&stream));
            }
        });
        counter
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(REQUEST_TIME))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let Some(path) = line.split_whitespace().nth(1) else {
            return Ok(());
        };
        let is_success = self.seen().note(path.to_owned());
        let status = if is_success {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        let mut stream = stream;
        stream.write_all(
            format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
                .as_bytes(),
        )
    }

    /// An address to call.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// How often a path was called.
    pub fn count(&self, path: &str) -> u32 {
        let seen = self.seen();
        seen.counts.get(&format!("/{path}")).copied().unwrap_or(0)
    }

    /// Everything that was called.
    pub fn all(&self) -> BTreeMap<String, u32> {
        self.seen().counts.clone()
    }

    /// Everything that was called, in order.
    pub fn in_order(&self) -> Vec<String> {
        let seen = self.seen();
        seen.order.iter().map(|(_, path)| path.clone()).collect()
    }

    /// When paths that begin so were called, in order.
    pub fn times(&self, path: &str) -> Vec<Instant> {
        let folder = format!("/{path}");
        let seen = self.seen();
        let under = seen
            .order
            .iter()
            .filter(|(_, path)| path.starts_with(&folder));
        under.map(|(time, _)| *time).collect()
    }

    /// Calls of paths that begin so fail until [`Counter::let_go`]. They count.
    pub fn hold(&self, path: &str) {
        self.seen().held.insert(format!("/{path}"));
    }

    /// Calls of paths that begin so succeed again.
    pub fn let_go(&self, path: &str) {
        self.seen().held.remove(&format!("/{path}"));
    }

    /// The next call of a path fails. It counts.
    pub fn fail_once(&self, path: &str) {
        self.seen().failing_once.insert(format!("/{path}"));
    }
}
