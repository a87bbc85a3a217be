//! Checks which package or module imports which.
//!
//! - Between packages: the table in ARCHITECTURE.md lists exactly the edges reported by `cargo metadata`.
//!   After an intended change, regenerate it: `UPDATE_ARCHITECTURE=1 cargo test -p benches --test structure`.
//! - Inside a package: modules of one folder do not import each other in a cycle.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const BEGIN: &str = "<!-- imports: written by benches/tests/structure -->\n";
const END: &str = "<!-- end of imports -->\n";

/// Packages that any package may use in its tests.
const TEST_DOUBLES: [&str; 2] = ["vllm-sim", "fake-nvml"];

/// Modules that still import each other in cycles, by package. Do not add to it.
const KNOWN_CYCLES: &[(&str, &[&str])] = &[("report-page", &["numbers", "requests"])];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(Path::new(ROOT).join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata runs in the workspace")
}

/// The packages of this workspace that each package imports, without dev-dependencies.
fn imports(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let members: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let edges = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development && members.contains(d.name.as_str()))
            .map(|d| d.name.clone())
            .collect()
    };
    metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), edges(package)))
        .collect()
}

/// The table, packages that import nothing first, then those that only import packages above them.
fn table(imports: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut out = String::from("| package | imports |\n|---|---|\n");
    let mut written: BTreeSet<&str> = BTreeSet::new();
    while written.len() < imports.len() {
        let next: Vec<_> = imports
            .iter()
            .filter(|(name, uses)| {
                !written.contains(name.as_str()) && uses.iter().all(|used| written.contains(used.as_str()))
            })
            .collect();
        assert!(!next.is_empty(), "packages import each other in a cycle");
        for (name, uses) in next {
            let uses: Vec<String> = uses.iter().map(|used| format!("`{used}`")).collect();
            let uses = if uses.is_empty() {
                "–".to_owned()
            } else {
                uses.join(" ")
            };
            out.push_str(&format!("| `{name}` | {uses} |\n"));
            written.insert(name);
        }
    }
    out
}

#[test]
fn the_table_in_architecture_holds_exactly_the_imports() {
    let path = Path::new(ROOT).join("ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("ARCHITECTURE.md has the table of imports");
    let (written, after) = rest.split_once(END).expect("the table of imports has an end");
    let expected = table(&imports(&metadata()));
    if std::env::var_os("UPDATE_ARCHITECTURE").is_some() {
        std::fs::write(&path, [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(
        written, expected,
        "the imports differ from the table; if that is intended: UPDATE_ARCHITECTURE=1 cargo test -p benches --test structure"
    );
}

#[test]
fn tests_use_the_test_doubles_and_what_their_package_imports() {
    let metadata = metadata();
    let imports = imports(&metadata);
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            // A dependency may be listed a second time for a feature.
            if dependency.kind == DependencyKind::Development
                && imports.contains_key(name)
                && !TEST_DOUBLES.contains(&name)
                && !reaches(&imports, package.name.as_str(), name)
            {
                wrong.push(format!("{} -> {name}", package.name));
            }
        }
    }
    assert!(wrong.is_empty(), "dev-dependencies: {wrong:?}");
}

/// Whether `from` imports `to`, directly or not.
fn reaches(imports: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    imports
        .get(from)
        .is_some_and(|uses| uses.contains(to) || uses.iter().any(|used| reaches(imports, used, to)))
}

#[test]
fn no_modules_import_each_other_in_a_cycle() {
    let mut found = Vec::new();
    for package in &metadata().packages {
        let src = package.manifest_path.parent().unwrap().join("src");
        if src.exists() {
            for cycle in modules::cycles(src.as_std_path()) {
                found.push((package.name.to_string(), cycle));
            }
        }
    }
    found.retain(|(package, cycle)| {
        !KNOWN_CYCLES
            .iter()
            .any(|(known, modules)| known == package && cycle.iter().all(|m| modules.contains(&m.as_str())))
    });
    assert!(
        found.is_empty(),
        "modules that import each other in a cycle: {found:?}"
    );
}
