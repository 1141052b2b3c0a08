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

/// Every test that the operations chapter names is there.
#[test]
fn the_operations_chapter_names_real_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("docs/operations.md")).expect("the chapter");
    let mut sources = String::new();
    let mut folders = vec![root.join("host"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).expect("a source"));
            }
        }
    }
    let table = text
        .split("## Several hosts")
        .next()
        .expect("the first table");
    let names = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| name.matches('_').count() >= 3);
    let mut count = 0;
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "{name}");
        count += 1;
    }
    assert!(count >= 25, "only {count} tests are named");
}
