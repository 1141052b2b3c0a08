//! The workspace keeps its shape: who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use infraflow_tests::host::command;
use serde_json::Value;

/// Each crate of ours, and those of ours that it may use.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("infraflow-core", &[]),
    ("infraflow-workflow", &["infraflow-core"]),
    ("infraflow-bus", &["infraflow-core"]),
    ("infraflow-tools", &["infraflow-core"]),
    ("infraflow-sandbox", &["infraflow-core"]),
    ("infraflow-sources", &["infraflow-core"]),
    ("infraflow-engine", &["infraflow-core"]),
    (
        "infraflow",
        &[
            "infraflow-core",
            "infraflow-workflow",
            "infraflow-bus",
            "infraflow-tools",
            "infraflow-sandbox",
            "infraflow-sources",
            "infraflow-engine",
        ],
    ),
    (
        "infraflow-tests",
        &["infraflow-core", "infraflow-bus", "infraflow-sandbox"],
    ),
];

/// What only one crate may touch, so that its errors, limits and versions stay there.
const BEHIND: [(&str, &str); 5] = [
    ("wasmtime", "infraflow-sandbox"),
    ("async-nats", "infraflow-bus"),
    ("saphyr-parser", "infraflow-workflow"),
    ("minijinja", "infraflow-core"),
    ("clap", "infraflow"),
];

fn metadata() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = command(Path::new(&cargo))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let shipped = dependencies.iter().filter(|d| d["kind"] != "dev");
            let names = shipped.map(|d| d["name"].as_str().expect("a name").to_owned());
            (
                package["name"].as_str().expect("a name").to_owned(),
                names.collect(),
            )
        })
        .collect()
}

#[test]
fn dependencies_point_inwards() {
    let crates = metadata();
    let known: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    let listed: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, listed, "every crate is listed");
    for (name, allowed) in ALLOWED {
        for used in crates[name]
            .iter()
            .filter(|used| known.contains(used.as_str()))
        {
            assert!(
                allowed.contains(&used.as_str()),
                "`{name}` may not use `{used}`"
            );
        }
    }
    for (dependency, owner) in BEHIND {
        for (name, used) in &crates {
            assert!(
                !used.contains(dependency) || name == owner,
                "`{name}` uses `{dependency}`: only `{owner}` may"
            );
        }
    }
}

#[test]
fn the_core_does_no_io() {
    let crates = metadata();
    for banned in [
        "tokio",
        "async-nats",
        "wasmtime",
        "axum",
        "rustix",
        "tempfile",
        "tracing",
    ] {
        assert!(
            !crates["infraflow-core"].contains(banned),
            "infraflow-core uses `{banned}`"
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/infraflow-core/src");
    let mut open = vec![folder];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for banned in [
                "std::fs",
                "std::net",
                "std::process",
                "std::env",
                "SystemTime::now",
                "Instant::now",
                "Timestamp::now",
            ] {
                assert!(
                    !text.contains(banned),
                    "`{}` uses `{banned}`",
                    path.display()
                );
            }
        }
    }
}
