//! Checks which module of `sut` may use which: the edges between its top modules, and that they form no
//! cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// (module, the other modules it uses), lowest first: a module may use only modules listed above it.
const EDGES: &[(&str, &[&str])] = &[
    ("cli", &[]),
    ("exit", &[]),
    ("secret_args", &[]),
    ("shutdown", &[]),
    ("console", &["cli"]),
    ("plan", &["cli", "exit"]),
    ("server", &["exit", "plan", "shutdown"]),
    ("workload", &["exit", "plan", "server"]),
    ("harness", &["shutdown", "workload"]),
    ("recorder", &["exit", "harness", "plan", "server"]),
    ("live", &["console"]),
    (
        "series",
        &[
            "cli", "console", "exit", "harness", "plan", "server", "shutdown", "workload",
        ],
    ),
    (
        "run",
        &[
            "console", "exit", "harness", "live", "plan", "recorder", "server", "shutdown", "workload",
        ],
    ),
    (
        "commands",
        &[
            "cli", "console", "exit", "live", "plan", "recorder", "run", "series", "shutdown", "workload",
        ],
    ),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The top modules that a source file names after `crate::`.
fn uses(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| -> String {
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = BTreeSet::new();
    for (_, rest) in text
        .match_indices("crate::")
        .map(|(at, word)| (at, &text[at + word.len()..]))
    {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = &group[..group.find("};").unwrap_or(group.len())];
                found.extend(group.split(',').map(|part| name(part.trim())));
            }
            None => {
                found.insert(name(rest));
            }
        }
    }
    found
}

#[test]
fn the_modules_of_sut_have_no_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sut/src");
    let modules: BTreeSet<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let inside = file.strip_prefix(&root).expect("it is inside");
        let first = inside.components().next().expect("a name").as_os_str();
        let module = first.to_string_lossy().trim_end_matches(".rs").to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a source");
        // Doc comments may name modules of higher layers.
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        let used = edges.entry(module.clone()).or_default();
        used.extend(uses(&code).into_iter().filter(|used| *used != module));
    }
    let found: BTreeMap<&str, BTreeSet<&str>> = edges
        .iter()
        .map(|(module, used)| {
            let used = used
                .iter()
                .map(String::as_str)
                .filter(|used| edges.contains_key(*used));
            (module.as_str(), used.collect())
        })
        .collect();
    let listed: BTreeMap<&str, BTreeSet<&str>> = EDGES
        .iter()
        .map(|(module, used)| (*module, used.iter().copied().collect()))
        .collect();
    assert_eq!(found, listed, "the list is what the sources say");
    let mut above = BTreeSet::new();
    for (module, used) in EDGES {
        for used in *used {
            assert!(
                above.contains(used),
                "{module} uses {used}, which does not stand above it"
            );
        }
        above.insert(*module);
    }
    assert_eq!(above, modules);
}
