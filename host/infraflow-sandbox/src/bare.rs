//! What wasmtime alone takes for what an attempt does: the figure that ours is
//! held against, measured in the same run.
//!
//! The same engine settings, a fresh store and instance each time, one call with
//! a text and three host calls. Nothing of ours around it: no permissions, no
//! limits, no log. Never used to run plugins.

use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};
use wasmtime::{Engine, Store};

use crate::engine::new_engine;
use crate::error::SandboxError;

const COMPONENT: &[u8] = include_bytes!("bare.wasm");

/// The bare component, ready to run.
pub struct Bench {
    engine: Engine,
    component: InstancePre<u64>,
    run: ComponentExportIndex,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

impl Bench {
    /// Compiles the component, with so many places as the sandbox that it is
    /// compared with.
    ///
    /// # Errors
    /// As [`crate::Sandbox::new`].
    pub fn new(places: u32) -> Result<Self, SandboxError> {
        let engine = new_engine(places)?;
        prepare(&engine)
            .map(|(component, run)| Self {
                engine,
                component,
                run,
            })
            .map_err(SandboxError::Bare)
    }

    /// Instantiates the component, calls it with a text, and gives the number of
    /// bytes that its three host calls were handed.
    ///
    /// # Errors
    /// When wasmtime fails: never, unless more run at once than there are
    /// places.
    pub async fn once(&self, text: &str) -> Result<u64, SandboxError> {
        self.call(text).await.map_err(SandboxError::Bare)
    }

    async fn call(&self, text: &str) -> wasmtime::Result<u64> {
        let mut store = Store::new(&self.engine, 0);
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = self.component.instantiate_async(&mut store).await?;
        let run = instance.get_typed_func::<(&str,), (String,)>(&mut store, self.run)?;
        run.call_async(&mut store, (text,)).await?;
        Ok(*store.data())
    }
}

fn prepare(engine: &Engine) -> wasmtime::Result<(InstancePre<u64>, ComponentExportIndex)> {
    let component = Component::new(engine, COMPONENT)?;
    let run = component
        .get_export_index(None, "run")
        .ok_or_else(|| wasmtime::Error::msg("the bare component has no `run`"))?;
    let mut linker = Linker::new(engine);
    linker.instance("host")?.func_wrap(
        "call",
        |mut store: wasmtime::StoreContextMut<'_, u64>, (text,): (String,)| {
            *store.data_mut() += u64::try_from(text.len())?;
            Ok(())
        },
    )?;
    Ok((linker.instantiate_pre(&component)?, run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_calls_are_made() {
        let bench = Bench::new(2).unwrap();
        for _ in 0..10 {
            assert_eq!(bench.once("hello").await.unwrap(), 15);
        }
    }

    /// `BLESS_BARE=1` writes the binary form anew.
    #[test]
    fn the_binary_is_that_of_the_text() {
        let binary = wat::parse_str(include_str!("bare.wat")).unwrap();
        if std::env::var_os("BLESS_BARE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bare.wasm");
            std::fs::write(path, &binary).unwrap();
        }
        assert_eq!(binary, COMPONENT, "write it with BLESS_BARE=1");
    }
}
