//! Checks that LoadGen's sources are the published ones: every file has the hash in `vendor/SHA256SUMS`, and
//! there is no file without a hash.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

#[test]
fn the_vendored_sources_are_the_published_ones() {
    let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
    let sums = fs::read_to_string(vendor.join("SHA256SUMS")).unwrap();
    let listed: BTreeMap<&str, &str> = sums
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(hash, path)| (path, hash))
        .collect();
    let mut found = Vec::new();
    files(&vendor.join("loadgen"), &mut found);
    let hashed: BTreeMap<String, String> = found
        .iter()
        .map(|path| {
            let digest = Sha256::digest(fs::read(path).unwrap());
            let hash = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            (path.strip_prefix(&vendor).unwrap().display().to_string(), hash)
        })
        .collect();
    let hashed: BTreeMap<&str, &str> = hashed.iter().map(|(p, h)| (p.as_str(), h.as_str())).collect();
    assert_eq!(hashed, listed);
}

#[test]
fn the_licence_comes_with_them() {
    let licence = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/LICENSE");
    let text = fs::read_to_string(licence).unwrap();
    assert!(text.contains("Apache License") && text.contains("Version 2.0"));
}
