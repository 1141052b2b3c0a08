//! What is not a plugin gets a sentence that says why, whatever it is.

use std::error::Error;
use std::sync::LazyLock;

use infraflow_sandbox::{Origin, PrepareError, Sandbox, SandboxConfig};
use proptest::prelude::*;
use wit_parser::{Resolve, SourceMap, WorldId};

use crate::support::guest::{FINE, component, component_of, contract, encode, guest, wit_folder};
use crate::support::sandbox;

/// One for all that keep nothing.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(sandbox);

fn error_of(bytes: &[u8]) -> PrepareError {
    SANDBOX.prepare(bytes).unwrap_err()
}

fn check(bytes: &[u8], expected: &str) {
    let error = error_of(bytes);
    assert!(error.to_string().contains(expected), "{error}");
}

/// The contract with something in its text replaced.
fn changed_contract(from: &str, to: &str) -> (Resolve, WorldId) {
    let mut sources = SourceMap::new();
    let mut found = false;
    for entry in std::fs::read_dir(wit_folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        found |= text.contains(from);
        sources.push(&path, text.replace(from, to));
    }
    assert!(found, "{from}");
    parse(sources)
}

/// A world of its own.
fn own_world(text: &str) -> (Resolve, WorldId) {
    let mut sources = SourceMap::new();
    sources.push_str("own.wit", text);
    parse(sources)
}

fn parse(sources: SourceMap) -> (Resolve, WorldId) {
    let group = sources.parse().map_err(|(_, error)| error).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    (resolve, world)
}

// ---- what is a plugin -----------------------------------------------------------

#[test]
fn a_good_component_is_described() {
    let prepared = SANDBOX.prepare(&component(FINE)).unwrap();
    let manifest = prepared.manifest;
    assert_eq!(manifest.name.as_str(), "guest");
    assert_eq!(manifest.version.to_string(), "1.0.0");
    assert_eq!(manifest.summary, "A guest");
    assert!(manifest.capabilities.is_empty());
    assert!(!manifest.idempotent && !manifest.writes_workspace);
    assert_eq!(prepared.origin, Origin::Compiled);
}

#[test]
fn a_compiled_component_is_taken_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let new = || {
        Sandbox::new(SandboxConfig {
            cache_dir: Some(folder.path().join("a/b")),
            places: 2,
        })
        .unwrap()
    };
    let guest = component(FINE);
    let first = new();
    let compiled = first.prepare(&guest).unwrap();
    assert_eq!(compiled.origin, Origin::Compiled);
    let again = first.prepare(&guest).unwrap();
    assert_eq!(again.origin, Origin::Cached);
    let cached = new().prepare(&guest).unwrap();
    assert_eq!(cached.origin, Origin::Cached);
    assert_eq!(cached.manifest, compiled.manifest);
}

#[test]
fn what_is_no_plugin_is_not_kept_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: Some(folder.path().join("cache")),
        places: 2,
    });
    sandbox
        .unwrap()
        .prepare(&guest("trap_in_describe"))
        .unwrap_err();
    let kept = std::fs::read_dir(folder.path().join("cache")).unwrap();
    assert_eq!(kept.count(), 0);
}

#[test]
fn a_cache_that_is_not_private_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    let cache_dir = Some(path.clone());
    let error = Sandbox::new(SandboxConfig {
        cache_dir,
        places: 2,
    })
    .unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
}

// ---- what is not ----------------------------------------------------------------

#[test]
fn files_of_other_kinds() {
    check(b"", "the file is empty");
    check(b"#!/bin/sh\necho hello\n", "the file is not WebAssembly");
    check(
        &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0],
        "the file is not WebAssembly",
    );
    check(b"\0asm", "the file is not WebAssembly");
    let module = wat::parse_str("(module (func (export \"run\")))").unwrap();
    check(&module, "core WebAssembly module");
    check(
        &vec![0; 64 * 1024 * 1024 + 1],
        "more than the 64 MiB allowed",
    );
}

#[test]
fn every_truncation_is_refused() {
    let whole = component(FINE);
    let needed = end_of_last_needed_section(&whole);
    assert!(needed > whole.len() / 2 && needed < whole.len());
    for length in 8..whole.len() {
        match SANDBOX.prepare(&whole[..length]) {
            Err(PrepareError::Compile(_) | PrepareError::MissingExport { .. }) => {}
            Ok(_) if length >= needed => {}
            other => panic!("cut to {length} of {}: {other:?}", whole.len()),
        }
    }
}

/// Behind it there are custom sections only: a component is whole without them.
fn end_of_last_needed_section(component: &[u8]) -> usize {
    let mut at = 8;
    let mut needed = at;
    while at < component.len() {
        let is_custom = component[at] == 0;
        let mut size = 0;
        let mut shift = 0;
        loop {
            at += 1;
            size |= usize::from(component[at] & 0x7f) << shift;
            shift += 7;
            if component[at] & 0x80 == 0 {
                break;
            }
        }
        at += 1 + size;
        if !is_custom {
            needed = at;
        }
    }
    needed
}

#[test]
fn a_component_of_another_world() {
    let empty = wat::parse_str("(component)").unwrap();
    check(
        &empty,
        "does not export `describe`: it is not a step plugin",
    );

    let (resolve, world) = own_world("package a:b; world w { export describe: func(); }");
    let half = encode("(module (func (export \"describe\")))", &resolve, world);
    check(&half, "does not export `run`");

    let (resolve, world) = own_world(
        "package wasi:cli@0.2.0; interface environment { get: func() -> u32; }
         world w { import environment; }",
    );
    let import = r#"(import "wasi:cli/environment@0.2.0" "get" (func (result i32)))"#;
    let wasi = encode(&format!("(module {import})"), &resolve, world);
    check(
        &wasi,
        "imports `wasi:cli/environment@0.2.0`, which this host does not have",
    );
}

#[test]
fn a_component_of_another_version_of_the_contract() {
    let (resolve, world) = changed_contract("infraflow:step@0.1.0", "infraflow:step@0.9.0");
    let calling = guest_calling("0.9.0");
    check(
        &component_of(&calling, &resolve, world),
        "made for `infraflow:step/log@0.9.0`, this host has infraflow:step@0.1.0",
    );
}

fn guest_calling(version: &str) -> String {
    format!(
        r#"(import "infraflow:step/log@{version}" "write" (func $log (param i32 i32 i32)))
           (func $body (result i32)
             (call $log (i32.const 1) (i32.const 16384) (i32.const 0))
             (call $ok_text))"#
    )
}

#[test]
fn a_component_with_a_function_that_the_contract_does_not_have() {
    let (resolve, world) = changed_contract(
        "write: func(level: level, message: string);",
        "write: func(level: level, message: string); erase: func();",
    );
    let erasing = r#"(import "infraflow:step/log@0.1.0" "erase" (func $erase))
        (func $body (result i32) (call $erase) (call $ok_text))"#;
    let error = error_of(&component_of(erasing, &resolve, world));
    assert!(matches!(error, PrepareError::WrongType(_)), "{error}");
    let reasons = chain(&error);
    assert!(reasons.contains("erase"), "{reasons}");
}

#[test]
fn a_component_with_a_function_of_another_type() {
    let (resolve, world) = changed_contract(
        "write: func(level: level, message: string);",
        "write: func(message: string);",
    );
    let writing = r#"(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32)))
        (func $body (result i32)
          (call $log (i32.const 0) (i32.const 0)) (call $ok_text))"#;
    let error = error_of(&component_of(writing, &resolve, world));
    assert!(matches!(error, PrepareError::WrongType(_)), "{error}");

    let (resolve, world) =
        own_world("package a:b; world w { export describe: func(); export run: func(); }");
    let exports = r#"(module (func (export "describe")) (func (export "run")))"#;
    let error = error_of(&encode(exports, &resolve, world));
    assert!(matches!(error, PrepareError::WrongType(_)), "{error}");
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[test]
fn a_component_with_too_many_instances_is_refused() {
    let one = r#"(core instance (instantiate $module))"#.repeat(65);
    let text = format!("(component (core module $module) {one})");
    let error = error_of(&wat::parse_str(text).unwrap());
    assert!(matches!(error, PrepareError::Compile(_)), "{error}");
    assert!(chain(&error).contains("64"), "{}", chain(&error));
}

#[test]
fn what_was_refused_is_not_ready() {
    let sandbox = sandbox();
    sandbox.prepare(&guest("trap_in_describe")).unwrap_err();
    assert!(format!("{sandbox:?}").contains("ready: 0"), "{sandbox:?}");
}

// ---- anything -------------------------------------------------------------------

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_loader_never_panics_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = SANDBOX.prepare(&bytes);
        let component = [b"\0asm\x0d\0\x01\0", &bytes[..]].concat();
        let _ = SANDBOX.prepare(&component);
    }

    #[test]
    fn the_loader_never_panics_on_damaged_components(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..8),
    ) {
        static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| component(FINE));
        let mut damaged = WHOLE.clone();
        for (at, flip) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= flip;
        }
        let _ = SANDBOX.prepare(&damaged);
    }
}

#[test]
fn the_contract_of_the_tests_is_the_real_one() {
    let (resolve, world) = contract();
    assert_eq!(resolve.worlds[world].name, "step");
}
