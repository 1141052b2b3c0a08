//! Effects, counted outside: an HTTP server that notes every request. A step
//! that calls it has done something in the world.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts requests by path.
#[derive(Debug, Clone)]
pub struct Counter {
    address: String,
    seen: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Counter {
    /// Starts to listen. Ends with the test's process.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let seen: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let counter = Self {
            address,
            seen: seen.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                if let Some(path) = answer(&stream) {
                    *seen
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(path)
                        .or_default() += 1;
                }
            }
        });
        counter
    }

    /// An address to call.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// How often a path was called.
    pub fn count(&self, path: &str) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&format!("/{path}")).copied().unwrap_or(0)
    }

    /// Everything that was called.
    pub fn all(&self) -> BTreeMap<String, u32> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn answer(stream: &TcpStream) -> Option<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut stream = stream;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
        .ok()?;
    Some(path)
}
