//! The contract as compiled plugins see it does not change without a new
//! version.

use std::path::{Path, PathBuf};

use infraflow_sandbox::CONTRACT;
use wit_component::WitPrinter;
use wit_parser::WorldItem;

use crate::support::guest::contract;

fn golden() -> PathBuf {
    let file = CONTRACT.replace(':', "-");
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/contract")
        .join(format!("{file}.wit"))
}

/// The contract without its comments.
fn printed() -> (String, String) {
    let (resolve, world) = contract();
    let package = resolve.worlds[world].package.unwrap();
    let mut printer = WitPrinter::default();
    printer.emit_docs(false);
    printer.print(&resolve, package, &[]).unwrap();
    let text = printer.output.to_string();
    (resolve.packages[package].name.to_string(), text)
}

#[test]
fn the_host_implements_the_version_in_wit() {
    assert_eq!(printed().0, CONTRACT);
}

/// `BLESS_CONTRACT=1` writes the golden of a new version; it never overwrites
/// that of an old one.
#[test]
fn the_contract_does_not_change_without_a_new_version() {
    let (_, text) = printed();
    let path = golden();
    if !path.exists() && std::env::var_os("BLESS_CONTRACT").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let old = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: write it with BLESS_CONTRACT=1",
            path.display()
        )
    });
    assert_eq!(
        text, old,
        "compiled plugins see another contract than {CONTRACT}: give wit/ and `CONTRACT` a new version, and keep the old golden"
    );
}

#[test]
fn every_import_is_an_interface_of_the_contract() {
    let (resolve, world) = contract();
    for (_, item) in &resolve.worlds[world].imports {
        assert!(
            matches!(item, WorldItem::Interface { .. } | WorldItem::Type { .. }),
            "the denied tests know interfaces only"
        );
    }
}
