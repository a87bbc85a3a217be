//! Saves what was learned, now and then and at the end, and restores it at the start.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use vllm_monitor::State;
use vllm_monitor::shell::StateFile;
use vllm_monitor::state::{Loaded, StateStore as _, encode, load};

use crate::hub::Hub;

/// Keeps the state in one file, which one monitor at a time may use.
#[derive(Debug)]
pub struct StateKeeper {
    file: Mutex<StateFile>,
    _lock: Flock<File>,
}

/// How the start went.
#[derive(Debug)]
pub struct Opened {
    /// The keeper; `None` if nothing will be saved.
    pub keeper: Option<Arc<StateKeeper>>,
    /// What was learned before.
    pub state: State,
    /// What the user should know: that nothing is saved, or that an earlier state could not be used.
    pub warning: Option<String>,
}

impl StateKeeper {
    /// Opens the state. Whatever is wrong with it, the monitor starts: it then learns anew, and says so.
    pub fn open(path: Option<&Path>) -> Opened {
        let Some(path) = path else {
            return Opened {
                keeper: None,
                state: State::default(),
                warning: None,
            };
        };
        match Self::take(path) {
            Ok(keeper) => {
                let loaded = load(&mut *keeper.file.lock().unwrap_or_else(PoisonError::into_inner));
                let (state, warning) = match loaded {
                    Loaded::Fresh => (State::default(), None),
                    Loaded::Restored(saved) => (State::restore(saved), None),
                    Loaded::SetAside { problem, place } => (
                        State::default(),
                        Some(format!(
                            "{}: {problem}; learning starts from scratch; old state: {place}",
                            path.display()
                        )),
                    ),
                };
                Opened {
                    keeper: Some(Arc::new(keeper)),
                    state,
                    warning,
                }
            }
            Err(problem) => Opened {
                keeper: None,
                state: State::default(),
                warning: Some(format!(
                    "{}: {problem}; nothing that is learned will be saved; give another file with --state-file",
                    path.display()
                )),
            },
        }
    }

    fn take(path: &Path) -> Result<Self, String> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| format!("its folder cannot be made: {e}"))?;
        }
        let mut name = path.file_name().ok_or("it names no file")?.to_owned();
        name.push(".lock");
        // The lock is on a file of its own, since each save replaces the state's file.
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.with_file_name(name))
            .map_err(|e| format!("it cannot be written: {e}"))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| lock_problem(e))?;
        Ok(Self {
            file: Mutex::new(StateFile::new(path)),
            _lock: lock,
        })
    }

    /// Replaces the state in a file that no monitor uses.
    ///
    /// # Errors
    /// Why it cannot be replaced, in words.
    pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
        let keeper = Self::take(path)?;
        let mut file = keeper.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.replace(bytes).map_err(|e| e.to_string())
    }

    /// Saves the hub's state. Failures are counted, and the next save tries again. Writes to disk: not for an async
    /// runtime's thread.
    pub fn save(&self, hub: &Hub) {
        let saved = hub.read(|state, _| state.save(&hub.monitor().settings().model_version));
        let bytes = encode(&saved);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = match file.replace(&bytes) {
            Ok(()) => &hub.totals.saves,
            Err(_) => &hub.totals.saves_failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock_problem(error: Errno) -> String {
    if error == Errno::EWOULDBLOCK {
        "another vllm-monitor uses it".to_owned()
    } else {
        format!("its lock cannot be taken: {error}")
    }
}

/// Where the state is kept if nothing else is said: systemd's state folder, or the user's.
pub fn default_path(variable: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    // systemd separates several folders by colons.
    if let Some(folders) = set("STATE_DIRECTORY") {
        let first = folders.split(':').next().unwrap_or_default();
        return Some(Path::new(first).join("state"));
    }
    let base = set("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| Path::new(&home).join(".local/state")))?;
    Some(base.join("vllm-monitor/state"))
}

#[cfg(test)]
mod tests {
    use vllm_metrics::RunClock;
    use vllm_monitor::config::Settings;
    use vllm_monitor::{Monitor, Snapshot};

    use super::*;

    #[test]
    fn what_was_learned_survives_and_two_do_not_share_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/state");
        let opened = StateKeeper::open(Some(&path));
        assert!(opened.warning.is_none());
        let hub = Hub::new(Monitor::new(Settings::default()), opened.state, RunClock::start());
        hub.step(Snapshot::empty("t", hub.now()));
        let keeper = opened.keeper.expect("it keeps");
        keeper.save(&hub);
        assert_eq!(hub.totals.saves.load(Ordering::Relaxed), 1);

        let second = StateKeeper::open(Some(&path));
        assert!(
            second.keeper.is_none() && second.warning.is_some_and(|w| w.contains("another vllm-monitor"))
        );
        drop(keeper);
        let again = StateKeeper::open(Some(&path));
        assert!(again.state.target("t").is_some() && again.warning.is_none());
        drop(again);

        std::fs::write(&path, b"rubbish").expect("written");
        let anew = StateKeeper::open(Some(&path));
        assert!(anew.state.target("t").is_none() && anew.keeper.is_some());
        assert!(
            anew.warning
                .is_some_and(|w| w.contains("learning starts from scratch"))
        );
    }

    #[test]
    fn a_state_that_cannot_be_saved_is_a_warning() {
        let opened = StateKeeper::open(Some(Path::new("/dev/null/state")));
        assert!(opened.keeper.is_none() && opened.warning.is_some_and(|w| w.contains("nothing")));
    }

    #[test]
    fn only_a_held_lock_means_another_monitor() {
        assert!(lock_problem(Errno::EWOULDBLOCK).contains("another vllm-monitor"));
        let unsupported = lock_problem(Errno::ENOLCK);
        assert!(
            unsupported.starts_with("its lock cannot be taken: ENOLCK"),
            "{unsupported}"
        );
    }

    #[test]
    fn the_usual_place() {
        let with = |pairs: &'static [(&str, &str)]| {
            default_path(|name| {
                let (_, value) = pairs.iter().find(|(known, _)| *known == name)?;
                Some((*value).to_owned())
            })
        };
        assert_eq!(with(&[("STATE_DIRECTORY", "/a:/b")]), Some("/a/state".into()));
        assert_eq!(
            with(&[("HOME", "/h")]),
            Some("/h/.local/state/vllm-monitor/state".into())
        );
        assert_eq!(with(&[]), None);
    }
}
