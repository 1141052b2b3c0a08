//! A TCP proxy between one host and NATS: the network, with its faults.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that are passed on at once.
const BUFFER: usize = 64 * 1024;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// It passes everything on.
    Fair,
    /// Connections end, and new ones end at once.
    Cut,
    /// Connections stand, and nothing gets through.
    Stalled,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    open: Vec<TcpStream>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing gets through; `false` when the connection is over.
    fn passes(&self) -> bool {
        let state = self
            .changed
            .wait_while(self.state(), |state| state.weather == Weather::Stalled)
            .unwrap_or_else(PoisonError::into_inner);
        state.weather == Weather::Fair
    }

    fn set(&self, weather: Weather) {
        let mut state = self.state();
        state.weather = weather;
        if weather == Weather::Cut {
            for stream in state.open.drain(..) {
                // One that is closed already is as good.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        self.changed.notify_all();
    }
}

/// A proxy on a port of its own.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one in front of a port of this machine. Ends with the test's
    /// process.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                weather: Weather::Fair,
                open: vec![],
            }),
            changed: Condvar::new(),
        });
        let proxy = Self {
            port,
            shared: shared.clone(),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                // Refused while NATS is away: whoever connects tries again.
                drop(connect(&shared, stream, target));
            }
        });
        proxy
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends every connection, and new ones at once.
    pub fn cut(&self) {
        self.shared.set(Weather::Cut);
    }

    /// Lets nothing through, and ends nothing.
    pub fn stall(&self) {
        self.shared.set(Weather::Stalled);
    }

    /// Lets everything through again.
    pub fn restore(&self) {
        self.shared.set(Weather::Fair);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn connect(shared: &Arc<Shared>, client: TcpStream, target: u16) -> std::io::Result<()> {
    if shared.state().weather == Weather::Cut {
        return client.shutdown(Shutdown::Both);
    }
    let server = TcpStream::connect(("127.0.0.1", target))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    {
        let mut state = shared.state();
        state.open.push(client.try_clone()?);
        state.open.push(server.try_clone()?);
    }
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let shared = shared.clone();
        std::thread::spawn(move || pass_on(&shared, from, to));
    }
    Ok(())
}

fn pass_on(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(size) = from.read(&mut buffer) {
        let bytes = buffer.get(..size).unwrap_or_default();
        if bytes.is_empty() || !shared.passes() || to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other side learns that it is over; it may know.
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().filter_map(Result::ok) {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        if stream.write_all(&byte).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        port
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        stream
    }

    fn says(stream: &mut TcpStream, byte: u8) -> bool {
        let mut back = [0];
        stream.write_all(&[byte]).is_ok() && stream.read_exact(&mut back).is_ok() && back == [byte]
    }

    #[test]
    fn it_passes_on_cuts_and_stalls() {
        let proxy = Proxy::start(echo());
        let mut stream = client(&proxy);
        assert!(says(&mut stream, 1));
        proxy.stall();
        assert!(!says(&mut stream, 2));
        proxy.restore();
        let mut back = [0];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, [2], "what was held back comes");
        proxy.cut();
        assert!(!says(&mut stream, 3));
        assert!(!says(&mut client(&proxy), 4));
        proxy.restore();
        assert!(says(&mut client(&proxy), 5));
    }
}
