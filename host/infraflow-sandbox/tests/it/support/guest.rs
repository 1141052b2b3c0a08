//! Components out of WAT.
//!
//! A guest is a core module with a function `$body` that returns the address of
//! what `run` returns; the frame below adds memory, allocation, a descriptor and
//! the helpers `$ok`, `$ok_text`, `$fail`.

use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// Where the frame keeps things. A guest's own data starts at 16384; what the
/// host allocates in it comes after 65536.
const FRAME: &str = r#"
  (global $next (mut i32) (i32.const 65536))
  (global $input (mut i32) (i32.const 0))
  (global $input_length (mut i32) (i32.const 0))

  (func $cabi_realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (block $fits
      (loop $more
        (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
        unreachable))
    (local.get $at))

  ;; The outputs at an address.
  (func $ok (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 512) (i32.const 0))
    (i32.store (i32.const 516) (local.get $at))
    (i32.store (i32.const 520) (local.get $length))
    (i32.const 512))

  ;; The outputs `{}`.
  (func $ok_text (result i32) (call $ok (i32.const 4088) (i32.const 2)))

  ;; A failure with the message at an address.
  (func $fail (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 512) (i32.const 1))
    (i32.store (i32.const 516) (local.get $at))
    (i32.store (i32.const 520) (local.get $length))
    (i32.store8 (i32.const 524) (i32.const 0))
    (i32.store8 (i32.const 528) (i32.const 0))
    (i32.store8 (i32.const 536) (i32.const 0))
    (i32.const 512))

  (func (export "run")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (global.set $input (local.get 13))
    (global.set $input_length (local.get 14))
    (call $body))

  (data (i32.const 4088) "{}")
"#;

/// The memory of a guest that has none of its own.
const MEMORY: &str = r#"(memory (export "memory") 2)"#;

/// The descriptor of a guest that has none of its own.
const DESCRIBE: &str = r#"
  (func (export "describe") (result i32) (i32.const 1024))
  ;; name, version, summary, both schemas, capabilities, idempotent, writes_workspace
  (data (i32.const 1024)
    "\50\04\00\00\05\00\00\00" "\60\04\00\00\05\00\00\00" "\70\04\00\00\07\00\00\00"
    "\80\04\00\00\04\00\00\00" "\80\04\00\00\04\00\00\00" "\00\00\00\00\00\00\00\00"
    "\00\00")
  (data (i32.const 1104) "guest")
  (data (i32.const 1120) "1.0.0")
  (data (i32.const 1136) "A guest")
  (data (i32.const 1152) "true")
"#;

/// The folder of the contract.
pub(crate) fn wit_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

/// The contract.
pub(crate) fn contract() -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit_folder()).unwrap();
    let world = resolve.select_world(&[package], Some("step")).unwrap();
    (resolve, world)
}

/// A component of the contract out of the text of a guest.
pub(crate) fn component(guest: &str) -> Vec<u8> {
    let (resolve, world) = contract();
    component_of(guest, &resolve, world)
}

/// A component of some world out of the text of a guest.
pub(crate) fn component_of(guest: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let unless_own = |own: &str, text: &'static str| if guest.contains(own) { "" } else { text };
    let describe = unless_own("(export \"describe\")", DESCRIBE);
    let memory = unless_own("(memory (export \"memory\")", MEMORY);
    let module = format!("(module {guest} {memory} {FRAME} {describe})");
    encode(&module, resolve, world)
}

/// A component out of the text of a whole module.
pub(crate) fn encode(module: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// The folder of the guests.
pub(crate) fn guests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests")
}

/// The component of `tests/guests/<name>.wat`.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = guests_folder().join(name).with_extension("wat");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    component(&text)
}

/// A guest that returns `{}`.
pub(crate) const FINE: &str = "(func $body (result i32) (call $ok_text))";
