//! Finds the descendants of a process: a vLLM server has an API process, an engine process and workers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// Returns the process and its living descendants; empty if it is not in `/proc`.
pub fn process_tree(root: u32) -> HashSet<u32> {
    process_tree_in(Path::new("/proc"), root)
}

pub(crate) fn process_tree_in(proc: &Path, root: u32) -> HashSet<u32> {
    let Ok(entries) = fs::read_dir(proc) else {
        return HashSet::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut alive = false;
    for pid in pids {
        alive |= pid == root;
        // Skip a process that ended meanwhile.
        let Ok(stat) = fs::read_to_string(proc.join(format!("{pid}/stat"))) else {
            continue;
        };
        if let Some(parent) = parent_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut tree = HashSet::new();
    let mut open = if alive { vec![root] } else { Vec::new() };
    while let Some(pid) = open.pop() {
        if tree.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    tree
}

/// The parent's pid: the second field after the command, which is in parentheses (any characters).
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_hold_brackets_and_blanks() {
        assert_eq!(parent_of("42 (a) b (c)) S 7 42 42 0"), Some(7));
        assert_eq!(parent_of("42"), None);
    }

    #[test]
    fn our_own_tree_holds_us_and_a_child() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let tree = process_tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(tree.contains(&std::process::id()) && tree.contains(&child.id()));
        assert!(process_tree(u32::MAX).is_empty());
    }
}
