//! From a file of somebody else's to a plugin that is ready to run, or to a
//! sentence that says why it is not one.
//!
//! `describe` is untrusted code like the rest: it runs with every import refused
//! and under tight limits.

use std::task::{Context, Poll, Waker};

use infraflow_core::Json;
use infraflow_core::grant::Capability;
use infraflow_core::id::{Digest, PluginName};
use infraflow_core::inputs::Schema;
use infraflow_core::limits::{COMPONENT, GUEST_CALLS, GUEST_MEMORY, MANIFEST};
use infraflow_core::plugin::{CapabilityRequest, Manifest, Version};
use infraflow_core::ports::PluginLimits;
use wasmtime::component::Component;

use crate::attempt::{Cause, new_store};
use crate::bindings::StepPre;
use crate::bindings::infraflow::step::types as wit;
use crate::error::PrepareError;
use crate::limits::{CAPABILITIES, DESCRIBE_CPU, DESCRIPTOR_LINE, SCHEMA};
use crate::sandbox::Sandbox;
use crate::state::State;

/// A plugin that is ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The digest of its bytes: its identity.
    pub digest: Digest,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Where its machine code came from.
    pub origin: Origin,
}

/// Where machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled just now.
    Compiled,
    /// It was in the cache.
    Cached,
}

/// See [`Sandbox::prepare`].
pub(crate) fn prepare(sandbox: &Sandbox, bytes: &[u8]) -> Result<Prepared, PrepareError> {
    check_kind(bytes)?;
    let digest = Digest::of(bytes);
    let (component, origin) = code(sandbox, digest, bytes)?;
    check_world(sandbox, &component)?;
    let plugin = sandbox
        .linker
        .instantiate_pre(&component)
        .and_then(StepPre::new)
        .map_err(PrepareError::WrongType)?;
    let descriptor = describe(sandbox, &plugin)?;
    let manifest = manifest(descriptor).map_err(|reason| PrepareError::Descriptor { reason })?;
    // Only a component that can be a plugin is worth keeping on disk.
    if let (Origin::Compiled, Some(cache)) = (origin, &sandbox.cache) {
        cache.store(digest, &component);
    }
    sandbox.keep_ready(digest, plugin);
    Ok(Prepared {
        digest,
        manifest,
        origin,
    })
}

const WASM: &[u8; 4] = b"\0asm";
const CORE_MODULE: u32 = 0x0000_0001;
const COMPONENT_MODEL: u32 = 0x0001_000d;

/// What can be said from the first eight bytes.
fn check_kind(bytes: &[u8]) -> Result<(), PrepareError> {
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if bytes.is_empty() {
        return Err(PrepareError::Empty);
    }
    if size > COMPONENT.0 {
        return Err(PrepareError::TooLarge { bytes: size });
    }
    let version = bytes
        .strip_prefix(WASM)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|version| u32::from_le_bytes(*version));
    match version {
        None => Err(PrepareError::NotWasm),
        Some(COMPONENT_MODEL) => Ok(()),
        Some(CORE_MODULE) => Err(PrepareError::CoreModule),
        Some(version) => Err(PrepareError::UnknownEncoding { version }),
    }
}

fn code(
    sandbox: &Sandbox,
    digest: Digest,
    bytes: &[u8],
) -> Result<(Component, Origin), PrepareError> {
    let cached = sandbox.cache.as_ref();
    match cached.and_then(|cache| cache.load(&sandbox.engine, digest)) {
        Some(component) => Ok((component, Origin::Cached)),
        None => Component::new(&sandbox.engine, bytes)
            .map(|component| (component, Origin::Compiled))
            .map_err(PrepareError::Compile),
    }
}

/// Interfaces of the contract that a plugin may import.
const INTERFACES: [&str; 12] = [
    "types",
    "log",
    "git",
    "ansible",
    "opentofu",
    "command",
    "workspace",
    "http",
    "secrets",
    "state",
    "artifacts",
    "events",
];

/// Names of imports and exports; their types are checked when it is linked.
fn check_world(sandbox: &Sandbox, component: &Component) -> Result<(), PrepareError> {
    let world = component.component_type();
    for (name, _) in world.imports(&sandbox.engine) {
        check_import(name)?;
    }
    for wanted in ["describe", "run"] {
        let mut exports = world.exports(&sandbox.engine);
        if !exports.any(|(name, _)| name == wanted) {
            return Err(PrepareError::MissingExport { name: wanted });
        }
    }
    Ok(())
}

fn check_import(name: &str) -> Result<(), PrepareError> {
    let shown = || name.chars().take(200).collect();
    let unknown = || PrepareError::UnknownImport { name: shown() };
    let (package, version) = crate::CONTRACT.split_once('@').unwrap_or_default();
    let rest = name.strip_prefix(package).ok_or_else(unknown)?;
    let rest = rest.strip_prefix('/').ok_or_else(unknown)?;
    match rest.split_once('@') {
        Some((interface, found)) if found == version => {
            if INTERFACES.contains(&interface) {
                Ok(())
            } else {
                Err(unknown())
            }
        }
        _ => Err(PrepareError::OtherVersion { found: shown() }),
    }
}

fn describe(sandbox: &Sandbox, plugin: &StepPre<State>) -> Result<wit::Descriptor, PrepareError> {
    let limits = PluginLimits {
        memory_bytes: GUEST_MEMORY.0,
        cpu: DESCRIBE_CPU,
        calls: GUEST_CALLS,
        call_bytes: MANIFEST.0,
        output_bytes: MANIFEST.0,
    };
    let _running = sandbox.ticker.run();
    let state = State::for_describe(limits, sandbox.ticker.clock());
    let mut store = new_store(&sandbox.engine, state);
    let described = now(async {
        let plugin = plugin.instantiate_async(&mut store).await?;
        plugin.call_describe(&mut store).await
    });
    match described {
        Some(Ok(descriptor)) => Ok(descriptor),
        Some(Err(error)) => Err(PrepareError::Describe {
            reason: Cause::of(&error, store.data()).to_string(),
        }),
        None => Err(PrepareError::Describe {
            reason: "it waits for something".to_owned(),
        }),
    }
}

/// The result of a future that never waits. Every import of `describe` is
/// refused, and ticks do not make it yield, so it has nothing to wait for.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The manifest, when every field holds what it should.
fn manifest(descriptor: wit::Descriptor) -> Result<Manifest, String> {
    let name = PluginName::new(&descriptor.name).map_err(|error| error.to_string())?;
    let version: Version = descriptor.version.parse().map_err(|_| {
        let shown: String = descriptor.version.chars().take(80).collect();
        format!("`version` is `{shown}`: expected three numbers, like `1.4.2`")
    })?;
    one_line("summary", &descriptor.summary)?;
    if descriptor.capabilities.len() > CAPABILITIES {
        return Err(format!(
            "`capabilities` has {} entries, more than the {CAPABILITIES} allowed",
            descriptor.capabilities.len()
        ));
    }
    let mut capabilities: Vec<CapabilityRequest> = Vec::new();
    for request in descriptor.capabilities {
        let request = capability(request)?;
        if capabilities
            .iter()
            .any(|other| other.capability == request.capability)
        {
            return Err(format!("`capabilities` has `{}` twice", request.capability));
        }
        capabilities.push(request);
    }
    Ok(Manifest {
        name,
        version,
        summary: descriptor.summary,
        input_schema: schema("input-schema", &descriptor.input_schema)?,
        output_schema: schema("output-schema", &descriptor.output_schema)?,
        capabilities,
        idempotent: descriptor.idempotent,
        writes_workspace: descriptor.writes_workspace,
    })
}

fn capability(request: wit::CapabilityRequest) -> Result<CapabilityRequest, String> {
    let capability: Capability = request
        .capability
        .parse()
        .map_err(|error| format!("`capabilities`: {error}"))?;
    one_line(&format!("the reason of `{capability}`"), &request.reason)?;
    Ok(CapabilityRequest {
        capability,
        reason: request.reason,
    })
}

fn one_line(what: &str, text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        Err(format!("{what} is empty: expected one line for people"))
    } else if text.len() > DESCRIPTOR_LINE {
        Err(format!(
            "{what} has {} bytes, more than the {DESCRIPTOR_LINE} allowed",
            text.len()
        ))
    } else if text.chars().any(char::is_control) {
        Err(format!("{what} has a control character: expected one line"))
    } else {
        Ok(())
    }
}

fn schema(what: &str, text: &str) -> Result<Json, String> {
    if text.len() > SCHEMA.to_usize() {
        return Err(format!(
            "`{what}` has {} bytes, more than the {SCHEMA} allowed",
            text.len()
        ));
    }
    let document: Json =
        serde_json::from_str(text).map_err(|error| format!("`{what}` is not JSON: {error}"))?;
    Schema::compile(&document)
        .map_err(|error| format!("`{what}` is not a JSON Schema: {}", cut(&error)))?;
    Ok(document)
}

fn cut(text: &str) -> String {
    text.chars().take(DESCRIPTOR_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> wit::Descriptor {
        wit::Descriptor {
            name: "greet".into(),
            version: "1.2.3".into(),
            summary: "Greets somebody".into(),
            input_schema: r#"{ "type": "object" }"#.into(),
            output_schema: "true".into(),
            capabilities: vec![request("git", "to fetch")],
            idempotent: true,
            writes_workspace: false,
        }
    }

    fn request(capability: &str, reason: &str) -> wit::CapabilityRequest {
        wit::CapabilityRequest {
            capability: capability.into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn a_good_descriptor_is_a_manifest() {
        let manifest = manifest(descriptor()).unwrap();
        assert_eq!(manifest.name.as_str(), "greet");
        assert_eq!(manifest.version.to_string(), "1.2.3");
        assert_eq!(*manifest.capability_list(), [Capability::Git]);
        assert!(manifest.idempotent && !manifest.writes_workspace);
    }

    #[test]
    fn every_bad_field_is_named() {
        let with = |capabilities| wit::Descriptor {
            capabilities,
            ..descriptor()
        };
        let long = "x".repeat(600);
        for (bad, expected) in [
            (
                wit::Descriptor {
                    name: "a b".into(),
                    ..descriptor()
                },
                "`a b` is not a valid plugin name",
            ),
            (
                wit::Descriptor {
                    version: "1.2".into(),
                    ..descriptor()
                },
                "`version` is `1.2`",
            ),
            (
                wit::Descriptor {
                    summary: " ".into(),
                    ..descriptor()
                },
                "summary is empty",
            ),
            (
                wit::Descriptor {
                    summary: "a\nb".into(),
                    ..descriptor()
                },
                "summary has a control character",
            ),
            (
                wit::Descriptor {
                    summary: long,
                    ..descriptor()
                },
                "summary has 600 bytes",
            ),
            (
                wit::Descriptor {
                    input_schema: "{".into(),
                    ..descriptor()
                },
                "`input-schema` is not JSON",
            ),
            (
                wit::Descriptor {
                    output_schema: r#"{"type": "x"}"#.into(),
                    ..descriptor()
                },
                "`output-schema` is not a JSON Schema",
            ),
            (
                wit::Descriptor {
                    input_schema: r#"{"$ref": "https://example.com/x"}"#.into(),
                    ..descriptor()
                },
                "`input-schema` is not a JSON Schema",
            ),
            (
                wit::Descriptor {
                    input_schema: " ".repeat(65_537),
                    ..descriptor()
                },
                "`input-schema` has 65537 bytes, more than the 64 KiB allowed",
            ),
            (
                with(vec![request("root", "x")]),
                "`root` is not a capability",
            ),
            (
                with(vec![request("git", "")]),
                "the reason of `git` is empty",
            ),
            (
                with(vec![request("git", "x"), request("git", "y")]),
                "`capabilities` has `git` twice",
            ),
            (
                with(vec![request("git", "x"); 65]),
                "`capabilities` has 65 entries",
            ),
        ] {
            let error = manifest(bad).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn imports_are_known_by_name() {
        for name in INTERFACES {
            check_import(&format!("infraflow:step/{name}@0.1.0")).unwrap();
        }
        for (name, expected) in [
            (
                "wasi:cli/environment@0.2.0",
                "imports `wasi:cli/environment@0.2.0`",
            ),
            (
                "infraflow:step/nothing@0.1.0",
                "imports `infraflow:step/nothing@0.1.0`",
            ),
            (
                "infraflow:stepper/log@0.1.0",
                "imports `infraflow:stepper/log@0.1.0`",
            ),
            ("environment", "imports `environment`"),
            (
                "infraflow:step/log@0.2.0",
                "made for `infraflow:step/log@0.2.0`, this host has infraflow:step@0.1.0",
            ),
            ("infraflow:step/log", "made for `infraflow:step/log`"),
        ] {
            let error = check_import(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_first_bytes_say_what_it_is() {
        for (bytes, expected) in [
            (&b""[..], "the file is empty"),
            (b"#!/bin/sh", "not WebAssembly"),
            (b"\0asm", "not WebAssembly"),
            (b"\0asm\x01\0\0\0", "core WebAssembly module"),
            (b"\0asm\x0a\0\x01\0", "encoding 0x1000a"),
        ] {
            let error = check_kind(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        check_kind(b"\0asm\x0d\0\x01\0").unwrap();
        let mut large = vec![0; COMPONENT.to_usize() + 1];
        large[..8].copy_from_slice(b"\0asm\x0d\0\x01\0");
        assert!(check_kind(&large[..COMPONENT.to_usize()]).is_ok());
        let error = check_kind(&large).unwrap_err().to_string();
        assert!(error.contains("64 MiB"), "{error}");
    }
}
