//! The clock of guests: a thread that counts while guests run, and sleeps while
//! none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use wasmtime::{Engine, EngineWeak};

use crate::limits::{TICK, TICKS_IDLE};

/// The count, as everybody reads it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    ticks: AtomicU64,
}

impl Clock {
    /// Ticks so far. Stands still while no guest runs.
    pub(crate) fn now(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// One more.
    pub(crate) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Owns the thread; it ends with this.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
    joined: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    clock: Arc<Clock>,
    guests: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

/// While one exists, the clock runs.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Shared);

impl Ticker {
    /// Starts the thread, asleep.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(engine: &Engine) -> Result<Self, std::io::Error> {
        let shared = Arc::new(Shared::default());
        let engine = engine.weak();
        let theirs = Arc::clone(&shared);
        let handle = std::thread::Builder::new()
            .name("guest-clock".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || tick_until_ended(&theirs, &engine))?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
            joined: Some(handle),
        })
    }

    /// The count.
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.shared.clock
    }

    /// Lets the clock run for as long as the answer lives.
    pub(crate) fn run(&self) -> Running<'_> {
        // Both sides write their own flag before they read the other's, so one
        // of them always sees the other: no guest runs without a clock.
        self.shared.guests.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.guests.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.thread.unpark();
        if let Some(handle) = self.joined.take() {
            // It cannot panic, and there is nobody to tell.
            let _ = handle.join();
        }
    }
}

fn tick_until_ended(shared: &Shared, engine: &EngineWeak) {
    let mut idle_ticks = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        if idle_ticks > TICKS_IDLE {
            sleep_until_needed(shared);
            idle_ticks = 0;
            continue;
        }
        wait_one_tick(shared);
        shared.clock.tick();
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
        idle_ticks = match shared.guests.load(Ordering::SeqCst) {
            0 => idle_ticks + 1,
            _ => 0,
        };
    }
}

fn sleep_until_needed(shared: &Shared) {
    shared.asleep.store(true, Ordering::SeqCst);
    while shared.asleep.load(Ordering::SeqCst)
        && shared.guests.load(Ordering::SeqCst) == 0
        && !shared.ended.load(Ordering::SeqCst)
    {
        std::thread::park();
    }
    shared.asleep.store(false, Ordering::SeqCst);
}

fn wait_one_tick(shared: &Shared) {
    let start = Instant::now();
    while let Some(left) = TICK.checked_sub(start.elapsed()) {
        if left.is_zero() || shared.ended.load(Ordering::SeqCst) {
            return;
        }
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed().as_secs() < 20, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_clock_runs_with_guests_and_sleeps_without() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        wait_for("it falls asleep", || {
            ticker.shared.asleep.load(Ordering::SeqCst)
        });
        for _ in 0..3 {
            let running = ticker.run();
            let before = ticker.clock().now();
            wait_for("it ticks", || ticker.clock().now() > before + 1);
            drop(running);
        }
        wait_for("it falls asleep again", || {
            ticker.shared.asleep.load(Ordering::SeqCst)
        });
        let before = ticker.clock().now();
        std::thread::yield_now();
        assert_eq!(ticker.clock().now(), before);
    }

    #[test]
    fn the_thread_ends_with_its_owner() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let shared = Arc::downgrade(&ticker.shared);
        drop(ticker);
        assert!(shared.upgrade().is_none(), "the thread held it");
    }
}
