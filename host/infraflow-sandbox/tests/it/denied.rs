//! Every function of the contract, called by a guest that has no grant: the
//! answer names the capability, and nothing behind it is reached.
//!
//! The functions are taken from `wit/`. A new one fails these tests until
//! somebody says here what it needs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use infraflow_core::outcome::AttemptOutcome;
use wit_parser::abi::{AbiVariant, FlatTypes, WasmType};
use wit_parser::{Function, Resolve, SizeAlign, Type, TypeDefKind, WorldItem};

use crate::support::guest::{component, contract};
use crate::support::{ALL, Bench, capabilities};

/// What a guest is told that has no grant.
enum Expected {
    /// It is always granted.
    Granted,
    /// `not-granted`, with this capability.
    Denied(&'static str),
    /// It takes a handle, and nobody ever gave the guest one: a trap.
    NoHandle,
}

use Expected::{Denied, Granted, NoHandle};

const EXPECTED: [(&str, Expected); 30] = [
    ("log.write", Granted),
    ("git.checkout", Denied("git")),
    ("ansible.run-playbook", Denied("ansible")),
    ("ansible.install-requirements", Denied("ansible")),
    ("ansible.ping", Denied("ansible")),
    ("opentofu.init", Denied("opentofu:plan")),
    ("opentofu.plan", Denied("opentofu:plan")),
    ("opentofu.apply", Denied("opentofu:apply")),
    ("opentofu.destroy", Denied("opentofu:destroy")),
    ("opentofu.output", Denied("opentofu:plan")),
    ("opentofu.show", Denied("opentofu:plan")),
    ("command.run", Denied("command:x")),
    ("workspace.read", Denied("workspace:ro")),
    ("workspace.write", Denied("workspace:rw")),
    ("workspace.list", Denied("workspace:ro")),
    ("workspace.unpack-upload", Denied("workspace:rw")),
    ("http.send", Denied("http:x:1")),
    ("http.[method]response.status", NoHandle),
    ("http.[method]response.headers", NoHandle),
    ("http.[method]response.read", NoHandle),
    ("http.[drop]response", NoHandle),
    ("secrets.get", Denied("secret:x")),
    ("state.get", Denied("state")),
    ("state.set", Denied("state")),
    ("state.remove", Denied("state")),
    ("artifacts.create", Denied("artifacts")),
    ("artifacts.finish", NoHandle),
    ("artifacts.[method]writer.write", NoHandle),
    ("artifacts.[drop]writer", NoHandle),
    ("events.emit", Denied("events:x")),
];

/// The text that a guest gives for every text of a function's arguments.
fn filler(function: &str) -> &'static str {
    match function {
        // Its address is part of the capability.
        "http.send" => "http://x:1",
        _ => "x",
    }
}

/// Every function of the world's imports, with its interface.
fn functions(resolve: &Resolve, world: wit_parser::WorldId) -> Vec<(String, Import)> {
    let mut found = Vec::new();
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else {
            continue;
        };
        let interface = &resolve.interfaces[*id];
        let name = interface.name.as_deref().unwrap();
        for function in interface.functions.values() {
            let import = Import::Function(Box::new(function.clone()));
            found.push((format!("{name}.{}", function.name), import));
        }
        for (type_name, id) in &interface.types {
            if resolve.types[*id].kind == TypeDefKind::Resource {
                let import = Import::Drop(type_name.clone());
                found.push((format!("{name}.[drop]{type_name}"), import));
            }
        }
    }
    found
}

enum Import {
    Function(Box<Function>),
    /// Dropping a handle of this resource.
    Drop(String),
}

#[test]
fn promise_06_every_function_of_the_contract_is_listed() {
    let (resolve, world) = contract();
    let found: BTreeSet<String> = functions(&resolve, world)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let listed: BTreeSet<String> = EXPECTED
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(found, listed);
}

#[tokio::test]
async fn promise_06_without_a_grant_nothing_is_reached() {
    let (resolve, world) = contract();
    for (name, import, expected) in cases(&resolve, world) {
        let bench = Bench {
            grants: capabilities(&[]),
            ..Bench::new()
        };
        check(&bench, &resolve, &name, &import, &expected).await;
        assert!(bench.tools.calls().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn promise_06_every_other_grant_does_not_help() {
    let (resolve, world) = contract();
    for (name, import, expected) in cases(&resolve, world) {
        let Denied(needed) = expected else {
            continue;
        };
        let needed_one = capabilities(&[needed]);
        let others: Vec<&str> = ALL
            .into_iter()
            .filter(|text| !capabilities(&[text])[0].covers(&needed_one[0]))
            .collect();
        assert!(others.len() < ALL.len(), "{name}: nothing covers {needed}");
        let bench = Bench {
            grants: capabilities(&others),
            ..Bench::new()
        };
        check(&bench, &resolve, &name, &import, &Denied(needed)).await;
        assert!(bench.tools.calls().is_empty(), "{name}");
    }
}

/// The other way round, so that the tests above cannot pass by accident.
#[tokio::test]
async fn with_every_grant_no_call_is_denied() {
    let (resolve, world) = contract();
    for (name, import, expected) in cases(&resolve, world) {
        if matches!(expected, NoHandle) {
            continue;
        }
        let bench = Bench::new();
        let report = bench.try_out(&asking(&resolve, &name, &import)).await;
        assert!(report.not_granted.is_empty(), "{name}: {report:?}");
        assert_ne!(report.outcome, AttemptOutcome::NotGranted, "{name}");
        assert_ne!(report.outcome, AttemptOutcome::Trapped, "{name}");
    }
}

fn cases(resolve: &Resolve, world: wit_parser::WorldId) -> Vec<(String, Import, Expected)> {
    let found = functions(resolve, world).into_iter();
    found
        .map(|(name, import)| {
            let (_, expected) = EXPECTED
                .into_iter()
                .find(|(listed, _)| *listed == name)
                .unwrap_or_else(|| panic!("{name} is not listed"));
            (name, import, expected)
        })
        .collect()
}

async fn check(bench: &Bench, resolve: &Resolve, name: &str, import: &Import, expected: &Expected) {
    let report = bench.try_out(&asking(resolve, name, import)).await;
    match expected {
        Granted => assert_eq!(report.outcome, AttemptOutcome::Succeeded, "{name}"),
        NoHandle => assert_eq!(
            report.outcome,
            AttemptOutcome::Trapped,
            "{name}: {report:?}"
        ),
        Denied(capability) => {
            assert_eq!(
                report.outcome,
                AttemptOutcome::NotGranted,
                "{name}: {report:?}"
            );
            // The guest fails with what the error held.
            assert_eq!(report.message.as_deref(), Some(*capability), "{name}");
            assert_eq!(
                report.not_granted[..],
                capabilities(&[capability])[..],
                "{name}"
            );
        }
    }
}

// ---- a guest that calls one function --------------------------------------------

/// Where the guest has its text, its indirect arguments and its answers.
const TEXT_AT: usize = 16_384;
const ARGUMENTS_AT: usize = 20_480;
const ANSWER_AT: usize = 24_576;

/// A guest that calls one function, with texts in every place for a text and
/// zeros everywhere else, and fails with what the error held, if it was one.
fn asking(resolve: &Resolve, name: &str, import: &Import) -> Vec<u8> {
    let (interface, _) = name.split_once('.').unwrap();
    let module = format!("infraflow:step/{interface}@0.1.0");
    let text = filler(name);
    let mut guest = match import {
        Import::Drop(resource) => format!(
            r#"(import "{module}" "[resource-drop]{resource}" (func $call (param i32)))
               (func $body (result i32) (call $call (i32.const 1)) (call $ok_text))"#
        ),
        Import::Function(function) => calling(resolve, &module, function, text.len()),
    };
    write!(guest, r#"(data (i32.const {TEXT_AT}) "{text}")"#).unwrap();
    component(&guest)
}

fn calling(resolve: &Resolve, module: &str, function: &Function, text_length: usize) -> String {
    let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
    let types: Vec<Type> = function.params.iter().map(|param| param.ty).collect();
    let mut arguments = Vec::new();
    let mut prepare = String::new();
    if signature.indirect_params {
        let mut sizes = SizeAlign::default();
        sizes.fill(resolve).unwrap();
        fill_memory(
            resolve,
            &sizes,
            &types,
            ARGUMENTS_AT,
            text_length,
            &mut prepare,
        );
        arguments.push(format!("(i32.const {ARGUMENTS_AT})"));
    } else {
        for ty in &types {
            fill_flat(resolve, ty, text_length, &mut arguments);
        }
    }
    if signature.retptr {
        arguments.push(format!("(i32.const {ANSWER_AT})"));
    }
    assert_eq!(arguments.len(), signature.params.len(), "{}", function.name);
    let params: Vec<&str> = signature.params.iter().copied().map(wat_type).collect();
    let results: Vec<&str> = signature.results.iter().copied().map(wat_type).collect();
    let drops = "drop ".repeat(results.len());
    let answered = if signature.retptr {
        error_text_at(resolve, function)
    } else {
        "(call $ok_text)".to_owned()
    };
    format!(
        r#"(import "{module}" "{name}" (func $call (param {params}) (result {results})))
           (func $body (result i32)
             {prepare}
             (call $call {arguments})
             {drops}
             {answered})"#,
        name = function.name,
        params = params.join(" "),
        results = results.join(" "),
        arguments = arguments.join(" "),
    )
}

/// Fails with the text in the error, when the answer is one.
fn error_text_at(resolve: &Resolve, function: &Function) -> String {
    let Some(Type::Id(id)) = function.result else {
        return "(call $ok_text)".to_owned();
    };
    let TypeDefKind::Result(result) = &resolve.types[id].kind else {
        return "(call $ok_text)".to_owned();
    };
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve).unwrap();
    let payload = sizes
        .payload_offset(
            wit_parser::Int::U8,
            [result.ok.as_ref(), result.err.as_ref()],
        )
        .size_wasm32();
    let error = ANSWER_AT + payload;
    let Some(Type::Id(error_id)) = result.err else {
        panic!("every error of the contract is `types.error`");
    };
    let inner = match resolve_alias(resolve, error_id) {
        TypeDefKind::Variant(variant) => sizes
            .payload_offset(
                variant.tag(),
                variant.cases.iter().map(|case| case.ty.as_ref()),
            )
            .size_wasm32(),
        other => panic!("{other:?}"),
    };
    let text = error + inner;
    format!(
        "(if (result i32) (i32.load8_u (i32.const {ANSWER_AT}))
           (then (call $fail (i32.load (i32.const {text})) (i32.load (i32.const {}))))
           (else (call $ok_text)))",
        text + 4
    )
}

fn resolve_alias(resolve: &Resolve, id: wit_parser::TypeId) -> &TypeDefKind {
    match &resolve.types[id].kind {
        TypeDefKind::Type(Type::Id(id)) => resolve_alias(resolve, *id),
        kind => kind,
    }
}

fn wat_type(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

fn fill_flat(resolve: &Resolve, ty: &Type, text_length: usize, out: &mut Vec<String>) {
    let texts = match ty {
        Type::String => {
            out.push(format!("(i32.const {TEXT_AT})"));
            out.push(format!("(i32.const {text_length})"));
            return;
        }
        Type::Id(id) => parts(resolve, *id),
        _ => None,
    };
    if let Some(parts) = texts {
        for part in parts {
            fill_flat(resolve, &part, text_length, out);
        }
        return;
    }
    let mut storage = [WasmType::I32; 64];
    let mut flat = FlatTypes::new(&mut storage);
    resolve.push_flat(ty, &mut flat);
    for ty in flat.to_vec() {
        out.push(format!("({}.const 0)", wat_type(ty)));
    }
}

fn fill_memory(
    resolve: &Resolve,
    sizes: &SizeAlign,
    types: &[Type],
    at: usize,
    text_length: usize,
    out: &mut String,
) {
    for (offset, ty) in sizes.field_offsets(types) {
        let at = at + offset.size_wasm32();
        match ty {
            Type::String => {
                writeln!(out, "(i32.store (i32.const {at}) (i32.const {TEXT_AT}))").unwrap();
                let length_at = at + 4;
                writeln!(
                    out,
                    "(i32.store (i32.const {length_at}) (i32.const {text_length}))"
                )
                .unwrap();
            }
            Type::Id(id) => {
                if let Some(parts) = parts(resolve, *id) {
                    fill_memory(resolve, sizes, &parts, at, text_length, out);
                }
            }
            _ => {}
        }
    }
}

/// The types of a record or a tuple.
fn parts(resolve: &Resolve, id: wit_parser::TypeId) -> Option<Vec<Type>> {
    match resolve_alias(resolve, id) {
        TypeDefKind::Record(record) => Some(record.fields.iter().map(|field| field.ty).collect()),
        TypeDefKind::Tuple(tuple) => Some(tuple.types.clone()),
        _ => None,
    }
}
