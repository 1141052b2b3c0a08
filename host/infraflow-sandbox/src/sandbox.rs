//! The sandbox: one engine, the components that are ready to run in it, and the
//! clock of the guests.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use infraflow_core::id::Digest;
use infraflow_core::ports::{BoxFuture, PluginCall, PluginReport, Plugins};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::bindings::StepPre;
use crate::cache::Cache;
use crate::engine::new_engine;
use crate::error::{PrepareError, SandboxError};
use crate::limits::PLACES;
use crate::prepare::{self, Prepared};
use crate::state::State;
use crate::ticker::Ticker;
use crate::{attempt, host};

/// How a sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Where compiled components are kept between starts: a folder of this user
    /// alone, made when it is missing. Unset: every start compiles anew.
    pub cache_dir: Option<PathBuf>,
    /// Attempts that run at the same time, 1 and up; more wait for a free place,
    /// in order. A place costs address space (about 8 GiB), no memory until it
    /// is used.
    pub places: u32,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            cache_dir: None,
            places: PLACES,
        }
    }
}

/// Runs step plugins.
///
/// What a guest gets unless its attempt's permissions say otherwise: log lines,
/// and nothing else. No files, no environment, no arguments, no clock, no
/// random numbers, no sockets, no standard streams.
///
/// Dropping it ends its thread. Attempts that still run keep what they need.
pub struct Sandbox {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) cache: Option<Cache>,
    pub(crate) ticker: Ticker,
    pub(crate) places: Semaphore,
    ready: RwLock<HashMap<Digest, StepPre<State>>>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("ready", &self.ready().len())
            .field("free_places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Makes a sandbox without any plugin in it.
    ///
    /// # Errors
    /// When the engine cannot be set up on this machine, the cache folder cannot
    /// be made or is not private, or no thread can be started.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        let SandboxConfig { cache_dir, places } = config;
        let engine = new_engine(places)?;
        let mut linker = Linker::new(&engine);
        host::link(&mut linker).map_err(SandboxError::Link)?;
        let cache = match cache_dir {
            Some(folder) => Some(Cache::open(&folder, &engine)?),
            None => None,
        };
        let ticker = Ticker::start(&engine).map_err(SandboxError::Ticker)?;
        Ok(Self {
            engine,
            linker,
            cache,
            ticker,
            places: Semaphore::new(usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS)),
            ready: RwLock::default(),
        })
    }

    /// Checks a component, asks it what it is, and keeps it ready under its
    /// digest. Preparing the same again does no harm.
    ///
    /// Blocks while it compiles: 0.1 s to some seconds for one that the cache
    /// does not have, so call it where blocking is allowed.
    ///
    /// # Errors
    /// When the bytes are not a step plugin that this host can run. Nothing of
    /// them is kept then.
    pub fn prepare(&self, bytes: &[u8]) -> Result<Prepared, PrepareError> {
        prepare::prepare(self, bytes)
    }

    pub(crate) fn keep_ready(&self, digest: Digest, plugin: StepPre<State>) {
        self.ready
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest, plugin);
    }

    pub(crate) fn find(&self, digest: Digest) -> Option<StepPre<State>> {
        self.ready().get(&digest).cloned()
    }

    // A map of complete values is whole even if a thread died holding it.
    fn ready(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Digest, StepPre<State>>> {
        self.ready.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugins for Sandbox {
    /// Runs one attempt in a fresh instance.
    ///
    /// The stop signal of its scope ends it: at once while it waits for a place
    /// or computes, and when the call returns while it is in a host call (the
    /// tool door returns early then). Dropping the future ends it at once.
    fn run(&self, call: PluginCall) -> BoxFuture<'_, PluginReport> {
        Box::pin(attempt::run(self, call))
    }
}
