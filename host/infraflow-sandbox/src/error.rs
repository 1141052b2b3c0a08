//! What can go wrong before a plugin runs. What goes wrong while it runs is an
//! outcome, not an error.

use std::path::PathBuf;

use infraflow_core::limits;

/// Why a sandbox cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The processor or the kernel lacks something, or the address space is
    /// limited (`ulimit -v`).
    #[error("set up the WebAssembly engine for {places} plugins at the same time")]
    Engine {
        /// How many were asked for.
        places: u32,
        /// Why.
        #[source]
        source: wasmtime::Error,
    },
    /// The functions of the contract cannot be linked: a fault of this program.
    #[error("link the host functions")]
    Link(#[source] wasmtime::Error),
    /// The folder for compiled components cannot be made or read.
    #[error("open the component cache `{path}`")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder for compiled components could have been written by somebody
    /// else. What is in it is machine code that this process would run.
    #[error(
        "the component cache `{path}` is not private ({reason}): make it a folder that only this user can write, mode 0700"
    )]
    CacheNotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No thread can be started.
    #[error("start the thread that counts the time of guests")]
    Ticker(#[source] std::io::Error),
    /// The figures for comparison cannot be taken.
    #[error("run the bare component")]
    Bare(#[source] wasmtime::Error),
}

/// Why a component is not a plugin that this host can run. Nothing of it is
/// kept then.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// It is larger than [`limits::COMPONENT`].
    #[error(
        "the component has {bytes} bytes, more than the {} allowed",
        limits::COMPONENT
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It does not start like WebAssembly.
    #[error("the file is not WebAssembly: expected a component")]
    NotWasm,
    /// It is a module, not a component.
    #[error(
        "the file is a core WebAssembly module: expected a component (make one with `wasm-tools component new`)"
    )]
    CoreModule,
    /// It is a component of another encoding.
    #[error("the file is of WebAssembly's encoding {version:#x}, which this host does not know")]
    UnknownEncoding {
        /// Version and layer, as the file has them.
        version: u32,
    },
    /// It is cut off, damaged, uses a feature that is not supported, or needs
    /// more instances, memories or tables than a plugin may have.
    #[error("compile the component")]
    Compile(#[source] wasmtime::Error),
    /// It imports what no infraflow host has.
    #[error(
        "the component imports `{name}`, which this host does not have: a step plugin imports interfaces of {contract} only",
        contract = crate::CONTRACT
    )]
    UnknownImport {
        /// The import.
        name: String,
    },
    /// It is made for another version of the contract.
    #[error("the component is made for `{found}`, this host has {contract}", contract = crate::CONTRACT)]
    OtherVersion {
        /// What it imports.
        found: String,
    },
    /// It does not export what a step plugin exports.
    #[error(
        "the component does not export `{name}`: it is not a step plugin (world `step` of {contract})",
        contract = crate::CONTRACT
    )]
    MissingExport {
        /// The export.
        name: &'static str,
    },
    /// It imports or exports a function of the contract with another type.
    #[error("the component does not fit {contract}", contract = crate::CONTRACT)]
    WrongType(#[source] wasmtime::Error),
    /// `describe` trapped, or hit a limit.
    #[error("the plugin cannot describe itself: {reason}")]
    Describe {
        /// Why, for people.
        reason: String,
    },
    /// What `describe` returned is not a valid descriptor.
    #[error("the plugin's descriptor is not valid: {reason}")]
    Descriptor {
        /// Which field, and what was expected.
        reason: String,
    },
}
