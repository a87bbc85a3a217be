//! Leases, so that only one of several monitors acts on a target, with fencing tokens to detect a late one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::error::{Error, Result};

/// A lease on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its holder.
    pub holder: Arc<str>,
    /// Increases with every lease of this target. An actuator rejects a smaller token than it has seen.
    pub fence: u64,
    /// Expiry.
    pub until: Time,
}

/// Storage of leases.
pub trait LeaseStore: std::fmt::Debug {
    /// Takes or renews the lease of a target. `Ok(None)` if another monitor holds it.
    ///
    /// # Errors
    /// If the store cannot be read or written; then no monitor may act.
    fn acquire(&mut self, target: &str, holder: &Arc<str>, now: Time, secs: f64) -> Result<Option<Lease>>;
}

fn take(current: Option<&Lease>, holder: &Arc<str>, now: Time, secs: f64) -> Option<Lease> {
    let until = now.plus_secs(secs);
    match current {
        // A lease longer than the maximum was written with a wrong clock.
        Some(lease)
            if lease.holder != *holder && lease.until > now && lease.until <= now.plus_secs(2.0 * secs) =>
        {
            None
        }
        Some(lease) if lease.holder == *holder && lease.until > now => Some(Lease {
            until,
            ..lease.clone()
        }),
        other => Some(Lease {
            holder: Arc::clone(holder),
            fence: other.map_or(0, |lease| lease.fence) + 1,
            until,
        }),
    }
}

/// Leases within one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryLeases {
    leases: Arc<Mutex<BTreeMap<String, Lease>>>,
}

impl LeaseStore for MemoryLeases {
    fn acquire(&mut self, target: &str, holder: &Arc<str>, now: Time, secs: f64) -> Result<Option<Lease>> {
        let mut leases = self
            .leases
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let lease = take(leases.get(target), holder, now, secs);
        if let Some(lease) = &lease {
            leases.insert(target.to_owned(), lease.clone());
        }
        Ok(lease)
    }
}

/// Leases in a folder that the monitors share, one file per target, each changed under a lock of that file.
///
/// The folder must be on a file system that is visible to all of them and supports locks. Clocks may differ
/// by less than the lease's length.
#[derive(Debug, Clone)]
pub struct FileLeases {
    folder: PathBuf,
}

impl FileLeases {
    /// Uses this folder, which is created.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be created.
    pub fn new(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        Ok(Self { folder })
    }

    fn path(&self, target: &str) -> PathBuf {
        use sha2::Digest as _;
        // Targets are URLs: hashed, they are safe as file names.
        let hash = sha2::Sha256::digest(target.as_bytes());
        let name: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.lease"))
    }
}

impl LeaseStore for FileLeases {
    fn acquire(&mut self, target: &str, holder: &Arc<str>, now: Time, secs: f64) -> Result<Option<Lease>> {
        let path = self.path(target);
        let io = |e| Error::io(&path, e);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        // Released when the file is closed, also by a crash.
        File::lock(&file).map_err(io)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let current: Option<Lease> = if text.trim().is_empty() {
            None
        } else {
            Some(serde_json::from_str(&text).map_err(|e| Error::State {
                file: path.display().to_string(),
                problem: format!("it is not a lease ({e}): remove it when no monitor acts on {target}"),
            })?)
        };
        let lease = take(current.as_ref(), holder, now, secs);
        if let Some(lease) = &lease {
            let mut bytes = serde_json::to_vec(lease).expect("a lease is plain data");
            bytes.push(b'\n');
            file.seek(SeekFrom::Start(0)).map_err(io)?;
            // Overwritten in place and padded, so that a crash never leaves an empty file, which would reset
            // the fence.
            bytes.resize(bytes.len().max(text.len()), b' ');
            file.write_all(&bytes).map_err(io)?;
            file.sync_data().map_err(io)?;
        }
        Ok(lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(store: &mut dyn LeaseStore) {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let at = Time::from_secs_f64;
        let mut acquire = |holder: &Arc<str>, now: f64| {
            store
                .acquire("http://t:8000", holder, at(now), 60.0)
                .expect("the store works")
        };
        assert_eq!(acquire(&a, 0.0).expect("free").fence, 1);
        assert_eq!(acquire(&b, 1.0), None);
        assert_eq!(acquire(&a, 30.0).expect("its own").fence, 1, "renewed");
        assert_eq!(acquire(&b, 89.0), None);
        assert_eq!(acquire(&b, 91.0).expect("it is over").fence, 2);
        assert_eq!(acquire(&a, 92.0), None);
    }

    #[test]
    fn one_holder_at_a_time_and_fences_rise() {
        check(&mut MemoryLeases::default());
        let folder = tempfile::tempdir().expect("a folder");
        check(&mut FileLeases::new(folder.path()).expect("a folder"));
    }

    #[test]
    fn of_many_processes_worth_of_threads_one_gets_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|i| {
                    let mut store = FileLeases::new(folder.path()).expect("a folder");
                    scope.spawn(move || {
                        let holder: Arc<str> = format!("monitor {i}").into();
                        let lease = store.acquire("t", &holder, Time::from_secs_f64(5.0), 60.0);
                        usize::from(lease.expect("the store works").is_some())
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert_eq!(winners, 1);
    }

    #[test]
    fn a_file_that_is_no_lease_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = FileLeases::new(folder.path()).expect("a folder");
        fs::write(store.path("t"), "rubbish").expect("written");
        let error = store
            .acquire("t", &"a".into(), Time::default(), 60.0)
            .expect_err("it is unusable")
            .to_string();
        assert!(error.contains(".lease") && error.contains("remove it"), "{error}");
    }
}
