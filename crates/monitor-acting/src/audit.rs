//! A log of intents and outcomes in which any changed byte is detected.
//!
//! One JSON object per line: `{"seq":1,"at":…,"prev":"…","record":{…},"hash":"…"}`. `hash` is the SHA-256 of
//! the line up to and including the record, `prev` the hash of the previous line (64 zeros for the first). A
//! file next to it, with the suffix `.head`, contains the newest number and hash, so that a truncated log is
//! detected too.
//!
//! A user who can write both files can forge both; copy the head to another machine if that matters.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::hash_hex;
use crate::{Intent, Settled, Ticket, Time};

/// Longest line that is read, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// Recorded before it is executed.
    Intent(Box<Intent>),
    /// It was executed, or failed with `error`.
    Executed {
        /// The decision.
        ticket: Ticket,
        /// What went wrong.
        error: Option<String>,
    },
    /// Recorded before the time of its levers is extended.
    Renewing {
        /// The decision.
        ticket: Ticket,
    },
    /// The time of its levers was extended, or that failed.
    Renewed {
        /// The decision.
        ticket: Ticket,
        /// What went wrong.
        error: Option<String>,
    },
    /// It was reverted, or that failed.
    Reverted {
        /// The decision.
        ticket: Ticket,
        /// Why it was reverted.
        why: String,
        /// What went wrong.
        error: Option<String>,
    },
    /// It was judged.
    Settled(Settled),
    /// Something about the monitor: mode, breaker, kill switch, escalation.
    Note {
        /// In words.
        text: String,
    },
    /// A line truncated by a crash was moved to a separate file when the log was opened.
    Recovered {
        /// Bytes moved.
        bytes: u64,
        /// Where to.
        to: String,
    },
}

const FIRST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The log, open for writing by one process.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    seq: u64,
    last: String,
}

fn head_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".head");
    path.with_file_name(name)
}

impl Audit {
    /// Opens or creates a log. A last line truncated by a crash is moved to a file next to it, which is
    /// recorded.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened or is open in another process, [`Error::State`] if its last
    /// complete line is not a log line.
    pub fn open(path: impl Into<PathBuf>, now: Time) -> Result<Self> {
        let path = path.into();
        let io = |e| Error::io(&path, e);
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(io)?;
        file.try_lock().map_err(|e| Error::io(&path, e.into()))?;
        let length = file.metadata().map_err(io)?.len();
        let tail_from = length.saturating_sub(2 * LONGEST_LINE as u64);
        file.seek(SeekFrom::Start(tail_from)).map_err(io)?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail).map_err(io)?;
        let whole = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |place| place + 1);
        let (seq, last) = match last_line(&tail[..whole]) {
            None => (0, FIRST.to_owned()),
            Some(line) => {
                let parsed = Line::parse(line).map_err(|problem| Error::State {
                    file: path.display().to_string(),
                    problem: format!("its last line {problem}: verify it, and move it aside"),
                })?;
                (parsed.seq, parsed.hash.to_owned())
            }
        };
        let cut = tail.split_off(whole);
        let mut audit = Self {
            path,
            file,
            seq,
            last,
        };
        if !cut.is_empty() {
            let to = audit.path.with_extension(format!("cut-{}", audit.seq + 1));
            let io = |e| Error::io(&to, e);
            let mut aside = File::create(&to).map_err(io)?;
            aside
                .write_all(&cut)
                .and_then(|()| aside.sync_all())
                .map_err(io)?;
            audit
                .file
                .set_len(length - cut.len() as u64)
                .map_err(|e| Error::io(&audit.path, e))?;
            audit.append(
                now,
                &Record::Recovered {
                    bytes: cut.len() as u64,
                    to: to.display().to_string(),
                },
            )?;
        }
        Ok(audit)
    }

    /// Appends an entry and waits until it is on disk.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the action must then not be taken.
    pub fn append(&mut self, at: Time, record: &Record) -> Result<()> {
        let io = |e| Error::io(&self.path, e);
        let record = serde_json::to_string(record).expect("plain data with text keys");
        let (seq, at, prev) = (self.seq + 1, at.as_millis(), &self.last);
        let body = format!(r#"{{"seq":{seq},"at":{at},"prev":"{prev}","record":{record}"#);
        let hash = hash_hex(&[body.as_bytes()]);
        let line = format!("{body},\"hash\":\"{hash}\"}}\n");
        self.file.write_all(line.as_bytes()).map_err(io)?;
        self.file.sync_data().map_err(io)?;
        self.seq = seq;
        self.last = hash;
        let head = head_path(&self.path);
        let aside = head.with_extension("head-new");
        let mut file = File::create(&aside).map_err(|e| Error::io(&aside, e))?;
        file.write_all(format!("{} {}\n", self.seq, self.last).as_bytes())
            .and_then(|()| file.sync_data())
            .and_then(|()| fs::rename(&aside, &head))
            .map_err(|e| Error::io(&head, e))
    }

    /// Entries so far.
    pub fn len(&self) -> u64 {
        self.seq
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seq == 0
    }
}

fn last_line(whole: &[u8]) -> Option<&[u8]> {
    let line = whole.strip_suffix(b"\n")?;
    let from = line
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |place| place + 1);
    Some(&line[from..])
}

/// One parsed line, without interpreting the record.
struct Line<'a> {
    seq: u64,
    prev: &'a str,
    body: &'a str,
    hash: &'a str,
    record: &'a str,
    at: i64,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> std::result::Result<Self, String> {
        let text = std::str::from_utf8(line).map_err(|_| "is not text".to_owned())?;
        let not = || "does not have the form of an entry".to_owned();
        let (body, tail) = text.rsplit_once(",\"hash\":\"").ok_or_else(not)?;
        let hash = tail
            .strip_suffix("\"}")
            .filter(|hash| hash.len() == 64)
            .ok_or_else(not)?;
        let rest = body.strip_prefix("{\"seq\":").ok_or_else(not)?;
        let (seq, rest) = rest.split_once(",\"at\":").ok_or_else(not)?;
        let (at, rest) = rest.split_once(",\"prev\":\"").ok_or_else(not)?;
        let (prev, record) = rest.split_once("\",\"record\":").ok_or_else(not)?;
        Ok(Self {
            seq: seq.parse().map_err(|_| not())?,
            at: at.parse().map_err(|_| not())?,
            prev,
            body,
            hash,
            record,
        })
    }
}

/// An error in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1; 0 if it is about the end.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

/// Result of checking a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Entries read.
    pub entries: u64,
    /// Hash of the last.
    pub head: String,
    /// The errors; empty if there are none.
    pub faults: Vec<Fault>,
}

impl Checked {
    /// Whether the log is intact.
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_intact() {
            return write!(f, "intact: {} entries, head {}", self.entries, self.head);
        }
        writeln!(f, "NOT intact: {} entries", self.entries)?;
        for fault in &self.faults {
            if fault.line == 0 {
                writeln!(f, "  end: {}", fault.problem)?;
            } else {
                writeln!(f, "  line {}: {}", fault.line, fault.problem)?;
            }
        }
        Ok(())
    }
}

/// Largest number of listed errors; the first one breaks the chain for all later lines.
const MOST_FAULTS: usize = 20;

/// Checks every line, the chain and the end of a log. Keeps only one line in memory.
///
/// # Errors
/// [`Error::Io`] if the log cannot be read.
pub fn verify(path: &Path) -> Result<Checked> {
    let mut checked = Checked {
        entries: 0,
        head: FIRST.to_owned(),
        faults: Vec::new(),
    };
    let mut before = FIRST.to_owned();
    read_lines(path, |number, line| {
        let mut fault = |problem: String| {
            if checked.faults.len() < MOST_FAULTS {
                checked.faults.push(Fault {
                    line: number,
                    problem,
                });
            }
        };
        match line.and_then(Line::parse) {
            Err(problem) => fault(format!("it {problem}")),
            Ok(line) => {
                let hash = hash_hex(&[line.body.as_bytes()]);
                if hash != line.hash {
                    fault("its contents do not have the hash that it names".into());
                } else if line.prev != checked.head {
                    fault("it does not follow the line before".into());
                } else if line.seq != number {
                    fault(format!("it has number {}", line.seq));
                } else if let Err(e) = serde_json::from_str::<Record>(line.record) {
                    fault(format!("its record cannot be read: {e}"));
                }
                before = std::mem::replace(&mut checked.head, hash);
            }
        }
        checked.entries = number;
    })?;
    check_head(path, &before, &mut checked);
    Ok(checked)
}

fn check_head(path: &Path, before: &str, checked: &mut Checked) {
    let mut fault = |problem: String| checked.faults.push(Fault { line: 0, problem });
    match fs::read_to_string(head_path(path)) {
        Err(_) if checked.entries == 0 => {}
        Err(e) => fault(format!("its head file cannot be read: {e}")),
        Ok(text) => {
            let head = text
                .strip_suffix('\n')
                .and_then(|text| text.split_once(' '))
                .and_then(|(seq, hash)| Some((seq.parse::<u64>().ok()?, hash)));
            match head {
                None => fault("its head file is damaged".into()),
                // A crash between the two writes leaves the head one entry behind.
                Some((seq, hash)) if seq + 1 == checked.entries && hash == before => {}
                Some((seq, hash)) if seq != checked.entries || hash != checked.head => fault(format!(
                    "the head names entry {seq} and another hash or number: entries were cut or changed"
                )),
                Some(_) => {}
            }
        }
    }
}

fn read_lines(path: &Path, mut each: impl FnMut(u64, std::result::Result<&[u8], String>)) -> Result<()> {
    let io = |e| Error::io(path, e);
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        let n = reader
            .by_ref()
            .take(LONGEST_LINE as u64)
            .read_until(b'\n', &mut line)
            .map_err(io)?;
        if n == 0 {
            return Ok(());
        }
        number += 1;
        match line.strip_suffix(b"\n") {
            Some(whole) => each(number, Ok(whole)),
            None if n == LONGEST_LINE => each(number, Err("is too long".into())),
            None => each(number, Err("is cut".into())),
        }
    }
}

/// The entries of a log, to describe what was done. Unreadable lines are left out; [`verify`] reports them.
///
/// # Errors
/// [`Error::Io`] if the log cannot be read.
pub fn read(path: &Path) -> Result<Vec<(Time, Record)>> {
    let mut records = Vec::new();
    read_lines(path, |_, line| {
        if let Ok(line) = line.and_then(Line::parse)
            && let Ok(record) = serde_json::from_str(line.record)
        {
            records.push((Time::from_millis(line.at), record));
        }
    })?;
    Ok(records)
}

/// Each action of a log in words: why it was taken, what was expected, and what happened.
pub fn tell(records: &[(Time, Record)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, record) in records {
        let Record::Intent(intent) = record else { continue };
        let effect = &intent.plan.effect;
        let mut text = format!(
            "#{} at {} on {}: {} against {}. Why: {}. Expected: {} {:?} by {:.0} % within {:.0} s.",
            intent.ticket.0,
            at.as_millis() / 1000,
            intent.target,
            intent.arm,
            intent.failure,
            intent.reason,
            effect.signal,
            effect.change,
            effect.by * 100.0,
            effect.within_secs,
        );
        for (at, later) in records {
            match later {
                Record::Executed { ticket, error } if *ticket == intent.ticket => match error {
                    Some(error) => text.push_str(&format!(" It could not be carried out: {error}.")),
                    None => text.push_str(" Carried out."),
                },
                Record::Settled(settled) if settled.ticket == intent.ticket => {
                    let v = &settled.verdict;
                    let came = if settled.replaces.is_some() {
                        "Later"
                    } else {
                        "Came"
                    };
                    text.push_str(&format!(" {came}: {:?}, {}", v.outcome, v.why));
                    if let (Some(expected), Some(observed)) = (v.expected_without, v.observed) {
                        text.push_str(&format!(
                            " ({} {observed:.3} instead of {expected:.3} without it)",
                            v.signal
                        ));
                    }
                    text.push('.');
                }
                Record::Renewed { ticket, error } if *ticket == intent.ticket => match error {
                    Some(error) => text.push_str(&format!(" Renewing it failed: {error}.")),
                    None => text.push_str(&format!(" Renewed {:.0} s later.", at.secs_since(intent.at))),
                },
                Record::Reverted { ticket, why, error } if *ticket == intent.ticket => match error {
                    Some(error) => text.push_str(&format!(" Taking it back failed: {error}.")),
                    None => text.push_str(&format!(" Taken back: {why}.")),
                },
                _ => {}
            }
        }
        lines.push(text);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Record {
        Record::Note { text: text.into() }
    }

    fn log(folder: &Path) -> PathBuf {
        let path = folder.join("audit.jsonl");
        let mut audit = Audit::open(&path, Time::default()).expect("opened");
        for text in ["one", "two \"quoted\",\"hash\":\"", "three"] {
            audit
                .append(Time::from_secs_f64(1.0), &note(text))
                .expect("appended");
        }
        path
    }

    #[test]
    fn any_changed_byte_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = log(folder.path());
        assert!(verify(&path).expect("read").is_intact());
        let good = fs::read(&path).expect("read");
        for place in 0..good.len() {
            for change in [0x01, 0x80] {
                let mut bad = good.clone();
                bad[place] ^= change;
                fs::write(&path, bad).expect("written");
                assert!(
                    !verify(&path).expect("read").is_intact(),
                    "byte {place} changed by {change:#x}"
                );
            }
        }
    }

    #[test]
    fn lines_cut_removed_or_swapped_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = log(folder.path());
        let good = fs::read_to_string(&path).expect("read");
        let lines: Vec<&str> = good.lines().collect();
        for bad in [
            lines[..2].join("\n") + "\n",
            [lines[0], lines[2]].join("\n") + "\n",
            [lines[1], lines[0], lines[2]].join("\n") + "\n",
            lines[1..].join("\n") + "\n",
            String::new(),
            good.trim_end().to_owned(),
            good.clone() + lines[2] + "\n",
        ] {
            // A crash leaves the head one entry behind; a head that is ahead is an error.
            fs::write(&path, &bad).expect("written");
            assert!(!verify(&path).expect("read").is_intact(), "{bad}");
        }
    }

    #[test]
    fn continued_after_a_crash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = log(folder.path());
        let mut bytes = fs::read(&path).expect("read");
        bytes.extend_from_slice(b"{\"seq\":4,\"at\":12");
        fs::write(&path, bytes).expect("written");
        assert!(!verify(&path).expect("read").is_intact());
        let mut audit = Audit::open(&path, Time::default()).expect("opened");
        assert_eq!(audit.len(), 4, "the recovery is an entry");
        audit.append(Time::default(), &note("five")).expect("appended");
        drop(audit);
        let checked = verify(&path).expect("read");
        assert!(checked.is_intact(), "{checked}");
        assert_eq!(checked.entries, 5);
        let records = read(&path).expect("read");
        assert!(matches!(records[3].1, Record::Recovered { bytes: 16, .. }));
    }

    #[test]
    fn two_writers_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let _first = Audit::open(&path, Time::default()).expect("opened");
        let error = Audit::open(&path, Time::default())
            .expect_err("it is open")
            .to_string();
        assert!(error.contains("audit.jsonl"), "{error}");
    }
}
