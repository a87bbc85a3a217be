//! `plugins new`, `validate`, `list` and `test` as functions.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::output::is_name;
use crate::{Host, HostConfig, Role, Status, Tick};

/// Writes a template plugin that runs unchanged. Returns its path.
///
/// # Errors
/// If the name is unusable, the file exists, or it cannot be written.
pub fn new(folder: &Path, name: &str, role: Role) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.rhai"));
    let wrong = |problem: &str| Error::Io {
        file: path.display().to_string(),
        problem: problem.to_owned(),
    };
    if !is_name(name) {
        return Err(wrong(
            "a name is letters, digits and _, and does not begin with a digit",
        ));
    }
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
    let text = template(role);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(|e| Error::io(&path, &e))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(|e| Error::io(&path, &e))?;
    Ok(path)
}

/// The template of a role.
pub fn template(role: Role) -> &'static str {
    match role {
        Role::Derive => include_str!("../templates/derive.rhai"),
        Role::Detect => include_str!("../templates/detect.rhai"),
        Role::Rule => include_str!("../templates/rule.rhai"),
        Role::Notify => include_str!("../templates/notify.rhai"),
    }
}

/// Loads every plugin of a folder and makes a dry run over snapshots. Returns a line for each, and whether
/// all are usable.
///
/// # Errors
/// If the folder cannot be read.
pub fn validate<S: Serialize>(
    folder: &Path,
    config: HostConfig,
    snapshots: &[S],
) -> Result<(Vec<String>, bool)> {
    let host = Host::new(folder, config);
    for snapshot in snapshots {
        host.record(snapshot);
    }
    host.try_reload()?;
    let mut good = true;
    let lines = host
        .list()
        .into_iter()
        .map(|listed| {
            good &= matches!(listed.status, Status::Active);
            format!("{}: {}", listed.name, listed.status)
        })
        .collect();
    Ok((lines, good))
}

/// A table of the plugins of a host.
pub fn list(host: &Host) -> String {
    let mut text = String::new();
    for listed in host.list() {
        let roles: Vec<String> = listed.roles.iter().map(ToString::to_string).collect();
        let version = listed
            .manifest
            .as_ref()
            .map_or("-", |manifest| manifest.version.as_str());
        let _infallible = writeln!(
            text,
            "{}  version {version}  {}  {}  calls {}  faults {}  slowest {:.1} ms",
            listed.name,
            roles.join("+"),
            listed.status,
            listed.calls,
            listed.faults,
            listed.slowest.as_secs_f64() * 1e3,
        );
        if let Some(pending) = listed.pending {
            let _infallible = writeln!(
                text,
                "    an older version runs; the file as it is now: {pending}"
            );
        }
    }
    if text.is_empty() {
        let _infallible = writeln!(text, "there is no plugin in {}", host.folder().display());
    }
    text
}

/// Runs one plugin file over snapshots as if each had just been observed, and returns the results.
///
/// # Errors
/// If the file cannot be used.
pub fn test<S: Serialize>(file: &Path, config: HostConfig, snapshots: &[S]) -> Result<Vec<Tick>> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let name = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let host = Host::new(folder, config);
    host.try_reload()?;
    let listed = host.list().into_iter().find(|listed| listed.name == name);
    match listed.map(|listed| listed.status) {
        Some(Status::Active) => {}
        Some(status) => {
            return Err(Error::Script {
                file: file.display().to_string(),
                problem: status.to_string(),
            });
        }
        None => {
            return Err(Error::Io {
                file: file.display().to_string(),
                problem: "there is no such plugin".into(),
            });
        }
    }
    Ok(snapshots.iter().map(|snapshot| host.tick(snapshot)).collect())
}
