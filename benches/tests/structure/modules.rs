//! The module graph of a package, read from its source text: the paths in each file that begin with `crate`
//! or `super`. Tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module as the names from the root to it; the root is empty.
type Module = Vec<String>;

/// The cycles among the modules of each folder: their paths, sorted.
///
/// A module that uses items of its parent does not form a cycle with it: a parent and its children count as
/// one module split over several files.
pub(super) fn cycles(src: &Path) -> Vec<Vec<String>> {
    let mut files = BTreeMap::new();
    collect(src, &[], &mut files);
    let modules: BTreeSet<&Module> = files.keys().collect();
    // For each parent: which child imports which.
    let mut graphs: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, text) in &files {
        for path in paths(&code(text), from) {
            let Some(to) = (0..=path.len())
                .rev()
                .map(|n| path[..n].to_vec())
                .find(|m| modules.contains(m))
            else {
                continue;
            };
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                let graph = graphs.entry(from[..common].to_vec()).or_default();
                graph.entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    let mut cycles = Vec::new();
    for (parent, graph) in &graphs {
        let mut seen = BTreeSet::new();
        for module in graph.keys() {
            let cycle: BTreeSet<&String> = reachable(graph, module)
                .into_iter()
                .filter(|other| reachable(graph, other).contains(module))
                .collect();
            if cycle.len() > 1 && seen.insert(cycle.clone()) {
                let path = |name: &String| {
                    [parent.as_slice(), std::slice::from_ref(name)]
                        .concat()
                        .join("::")
                };
                cycles.push(cycle.into_iter().map(path).collect());
            }
        }
    }
    cycles
}

fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&'a String> = graph.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(graph.get(module).into_iter().flatten());
        }
    }
    found
}

fn collect(folder: &Path, module: &[String], files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let child = || [module, std::slice::from_ref(&name)].concat();
        if path.is_dir() {
            // Each program in `bin` is a separate root.
            if name != "bin" {
                collect(&path, &child(), files);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && name != "tests" && !name.ends_with("_tests")
        {
            let at = if matches!(name.as_str(), "mod" | "lib" | "main") {
                module.to_vec()
            } else {
                child()
            };
            files
                .entry(at)
                .or_default()
                .push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// The text without comments, strings and inline test modules.
fn code(text: &str) -> String {
    let text = match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => text,
    };
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        // Treats every other piece between quotes as a string, which is exact enough for paths.
        for (n, piece) in line.split('"').enumerate() {
            if n % 2 == 0 {
                out.push_str(piece);
            }
        }
        out.push('\n');
    }
    out
}

/// Every path in `code` that begins with `crate` or `super`, from the root.
fn paths(code: &str, from: &[String]) -> Vec<Module> {
    let mut out = Vec::new();
    let words: Vec<&str> = tokens(code);
    let mut at = 0;
    while at < words.len() {
        let starts = at == 0 || !matches!(words[at - 1], "::" | "$");
        let base = match words[at] {
            "crate" if starts => Some(Vec::new()),
            "super" if starts => Some(from[..from.len().saturating_sub(1)].to_vec()),
            "self" if starts => Some(from.to_vec()),
            _ => None,
        };
        at += 1;
        if let Some(base) = base
            && words.get(at) == Some(&"::")
        {
            at = tree(&words, at + 1, base, &mut out);
        }
    }
    out
}

/// Reads what follows `::`: a path, or a braced list of paths. Returns where it ended.
fn tree(words: &[&str], mut at: usize, mut base: Module, out: &mut Vec<Module>) -> usize {
    while let Some(word) = words.get(at) {
        match *word {
            "super" => {
                base.pop();
                at += 1;
            }
            "{" => {
                at += 1;
                while let Some(word) = words.get(at) {
                    match *word {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => {
                            let next = tree(words, at, base.clone(), out);
                            // Always advance, whatever comes next.
                            at = next.max(at + 1);
                        }
                    }
                }
                return at;
            }
            word if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                if word != "self" {
                    base.push(word.to_owned());
                }
                at += 1;
            }
            _ => break,
        }
        if words.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    // `as name` renames; it imports nothing else.
    if words.get(at) == Some(&"as") {
        at += 2;
    }
    out.push(base);
    at
}

fn tokens(code: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        out.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_between_siblings_are_found_and_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("lib.rs", "mod a; mod b; mod c;");
        write("a/mod.rs", "use super::b::{self, X};\nmod inner; mod other;");
        write("a/inner.rs", "use super::other::Y; // crate::c::Z");
        write(
            "a/other.rs",
            "use super::Parent;\nfn f() { let text = \"crate::c\"; }",
        );
        write("b.rs", "fn f() { crate::c::g(); }");
        write(
            "c.rs",
            "use crate::b::f;\n#[cfg(test)]\nmod tests { use crate::a; }",
        );
        assert_eq!(cycles(dir.path()), [["b", "c"]]);
    }
}
