//! What survives a restart of the monitor: learned durations, models, calibration, scores. It contains no timestamps,
//! since the clock's origin changes.
//!
//! A saved state is a header line (format version, checksum, length) followed by JSON. An unusable state is set aside and
//! reported, and learning starts over; it never prevents the monitor from starting.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::lifecycle::LoadHistory;
use crate::predict::Predictors;
use crate::predict::calibrate::Calibrator;
use crate::predict::score::ForecastScore;

/// Version of the format. A state of another version is set aside.
pub const FORMAT: u32 = 1;

const MAGIC: &str = "vllm-monitor-state";

/// What survives, as plain data.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// Version of the parameters with which it was learned.
    pub model_version: String,
    /// By target.
    pub targets: BTreeMap<Arc<str>, SavedTarget>,
}

/// What survives of one target.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedTarget {
    /// How long phases of loading took.
    pub load_history: LoadHistory,
    /// What the predictors learned.
    pub predictors: Predictors,
    /// By failure type: what resolved forecasts taught.
    pub calibrators: Vec<Calibrator>,
    /// By failure type: how good the forecasts were.
    pub scores: Vec<ForecastScore>,
}

/// The bytes of a saved state.
///
/// ```
/// use vllm_monitor::state::{Saved, decode, encode};
///
/// let saved = Saved::default();
/// let bytes = encode(&saved);
/// assert_eq!(decode(&bytes)?, saved);
/// assert!(decode(&bytes[..bytes.len() - 1]).is_err(), "cut short");
/// # Ok::<(), vllm_monitor::Error>(())
/// ```
pub fn encode(saved: &Saved) -> Vec<u8> {
    let body = serde_json::to_vec(saved).expect("plain data with text keys");
    let mut bytes = format!("{MAGIC} {FORMAT} {} {}\n", checksum(&body), body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`Error::State`] says what is wrong: another format, a wrong length or checksum, or contents that do not fit.
pub fn decode(bytes: &[u8]) -> Result<Saved> {
    let wrong = |what: String| Error::State(what);
    let end = bytes
        .iter()
        .take(200)
        .position(|b| *b == b'\n')
        .ok_or_else(|| wrong("it has no header".into()))?;
    let (header, body) = (&bytes[..end], &bytes[end + 1..]);
    let header = std::str::from_utf8(header).map_err(|_| wrong("its header is not text".into()))?;
    let [MAGIC, format, sum, length] = header.split(' ').collect::<Vec<_>>()[..] else {
        return Err(wrong("its header is not that of a state".into()));
    };
    if format != FORMAT.to_string() {
        return Err(wrong(format!(
            "it has format {format}, and this program reads format {FORMAT}"
        )));
    }
    if length != body.len().to_string() {
        return Err(wrong(format!(
            "it should have {length} bytes and has {}",
            body.len()
        )));
    }
    if sum != checksum(body) {
        return Err(wrong("its checksum is wrong".into()));
    }
    serde_json::from_slice(body).map_err(|e| wrong(e.to_string()))
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

/// Where a state is kept. Outside the core: implementations do input and output.
pub trait StateStore {
    /// The bytes that were written last; `None` if there are none.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces them, all or nothing: after a crash at any moment either the old or the new bytes are there.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts bytes that cannot be used where they do no harm and can be looked at, and says where.
    fn set_aside(&mut self) -> io::Result<String>;
}

/// How reading a saved state went.
#[derive(Debug, Clone, PartialEq)]
pub enum Loaded {
    /// There was none.
    Fresh,
    /// It was read.
    Restored(Saved),
    /// It could not be used; learning starts anew.
    SetAside {
        /// What is wrong with it.
        problem: String,
        /// Where it is now, or why it could not be moved.
        place: String,
    },
}

/// Reads the saved state. What cannot be used is set aside; nothing is an error that would keep the monitor from
/// starting.
pub fn load(store: &mut dyn StateStore) -> Loaded {
    let bytes = match store.read() {
        Ok(None) => return Loaded::Fresh,
        Ok(Some(bytes)) => bytes,
        Err(e) => {
            return Loaded::SetAside {
                problem: format!("it cannot be read: {e}"),
                place: set_aside(store),
            };
        }
    };
    match decode(&bytes) {
        Ok(saved) => Loaded::Restored(saved),
        Err(e) => Loaded::SetAside {
            problem: e.to_string(),
            place: set_aside(store),
        },
    }
}

fn set_aside(store: &mut dyn StateStore) -> String {
    store
        .set_aside()
        .unwrap_or_else(|e| format!("it could not be moved and will be overwritten: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Memory {
        bytes: Option<Vec<u8>>,
        aside: Option<Vec<u8>>,
    }

    impl StateStore for Memory {
        fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
            Ok(self.bytes.clone())
        }

        fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.bytes = Some(bytes.to_vec());
            Ok(())
        }

        fn set_aside(&mut self) -> io::Result<String> {
            self.aside = self.bytes.take();
            Ok("aside".into())
        }
    }

    fn taught() -> Saved {
        let mut target = SavedTarget::default();
        target.load_history.add(crate::log::LoadPhase::LoadWeights, 41.5);
        target.scores = vec![ForecastScore::default()];
        Saved {
            model_version: "1".into(),
            targets: [("http://a".into(), target)].into(),
        }
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let mut store = Memory::default();
        assert_eq!(load(&mut store), Loaded::Fresh);
        store.replace(&encode(&taught())).expect("memory");
        assert_eq!(load(&mut store), Loaded::Restored(taught()));
    }

    #[test]
    fn every_damage_is_noticed_and_set_aside() {
        let good = encode(&taught());
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x20;
            assert!(decode(&bad).is_err(), "a flipped bit at {place}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "cut to {length}");
        }
        let mut store = Memory {
            bytes: Some(good[..40].to_vec()),
            aside: None,
        };
        let loaded = load(&mut store);
        assert!(
            matches!(loaded, Loaded::SetAside { ref place, .. } if place == "aside"),
            "{loaded:?}"
        );
        assert!(store.bytes.is_none() && store.aside.is_some());
    }

    #[test]
    fn an_unreadable_state_is_set_aside_before_it_is_overwritten() {
        struct Unreadable {
            can_move: bool,
        }
        impl StateStore for Unreadable {
            fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
                Err(io::Error::other("bad sector"))
            }

            fn replace(&mut self, _: &[u8]) -> io::Result<()> {
                Ok(())
            }

            fn set_aside(&mut self) -> io::Result<String> {
                self.can_move
                    .then(|| "aside".into())
                    .ok_or_else(|| io::Error::other("read-only"))
            }
        }
        for (can_move, expected) in [
            (true, "aside"),
            (false, "it could not be moved and will be overwritten: read-only"),
        ] {
            let Loaded::SetAside { problem, place } = load(&mut Unreadable { can_move }) else {
                panic!("it cannot be used")
            };
            assert!(problem.contains("bad sector"), "{problem}");
            assert_eq!(place, expected);
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = String::from_utf8(encode(&taught())).expect("text");
        let newer = text.replacen(" 1 ", " 2 ", 1);
        let error = decode(newer.as_bytes()).expect_err("another format").to_string();
        assert!(error.contains("format 2"), "{error}");
    }
}
