//! Encoding of a hook call in its thread's ring: seven 64-bit words, so that nothing is allocated and a burst
//! of a whole dataset's queries fits.
//!
//! The upper 56 bits of the first word hold the ticks since the session's origin (half a year at 4 GHz), the
//! lower eight hold kind and flags.

use super::{Completed, Reason, ServerTimes};
use run_model::{Outcome, TimeSource};

/// Words of an entry.
pub(super) const WORDS: usize = 7;

const KIND_BITS: u32 = 4;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const ABSENT: u32 = u32::MAX;
const ABSENT_NS: i64 = i64::MIN;

const BATCH_ISSUED: u64 = 0;
const REQUEST_ISSUED: u64 = 1;
const REQUEST_SENT: u64 = 2;
const FIRST_TOKEN: u64 = 3;
const COMPLETED: u64 = 4;
const BATCH_COMPLETED: u64 = 5;
const COST: u64 = 6;

/// Flag of [`REQUEST_ISSUED`]: the batch word is valid.
const HAS_BATCH: u64 = 1 << KIND_BITS;
/// Flag of [`COMPLETED`]: three words of server times follow.
const HAS_TIMES: u64 = 1 << KIND_BITS;
/// Flag of [`COMPLETED`]: those times are estimates.
const ESTIMATED: u64 = 1 << (KIND_BITS + 1);

/// One hook call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Entry {
    BatchIssued {
        batch_id: u64,
        requests: u32,
    },
    RequestIssued {
        id: u64,
        sample_index: u64,
        batch_id: Option<u64>,
        scheduled_ns: Option<i64>,
    },
    RequestSent {
        id: u64,
    },
    FirstToken {
        id: u64,
    },
    Completed {
        id: u64,
        how: Completed,
    },
    BatchCompleted {
        batch_id: u64,
    },
    /// How many ticks a sampled hook call took.
    Cost {
        ticks: u64,
    },
}

/// An entry as words. All entries have the same length: copying a few extra words costs less than computing
/// how many are needed.
pub(super) type Words = [u64; WORDS];

impl Entry {
    /// Encodes the entry, stamped `since_origin` ticks after the session's origin.
    #[inline]
    pub(super) fn encode(self, since_origin: u64) -> Words {
        let stamp = since_origin << 8;
        match self {
            Self::BatchIssued { batch_id, requests } => {
                words([stamp | BATCH_ISSUED, batch_id, u64::from(requests)])
            }
            Self::RequestIssued {
                id,
                sample_index,
                batch_id,
                scheduled_ns,
            } => {
                let flag = if batch_id.is_some() { HAS_BATCH } else { 0 };
                words([
                    stamp | REQUEST_ISSUED | flag,
                    id,
                    sample_index,
                    batch_id.unwrap_or(0),
                    scheduled_ns.unwrap_or(ABSENT_NS).cast_unsigned(),
                ])
            }
            Self::RequestSent { id } => words([stamp | REQUEST_SENT, id]),
            Self::FirstToken { id } => words([stamp | FIRST_TOKEN, id]),
            Self::Completed { id, how } => encode_completed(stamp, id, &how),
            Self::BatchCompleted { batch_id } => words([stamp | BATCH_COMPLETED, batch_id]),
            Self::Cost { ticks } => words([stamp | COST, ticks]),
        }
    }

    /// Decodes ticks and entry. `None` for words that [`Entry::encode`] did not write.
    pub(super) fn decode(words: Words) -> Option<(u64, Self)> {
        let mut words = words.into_iter();
        let head = words.next()?;
        let entry = match head & KIND_MASK {
            BATCH_ISSUED => Self::BatchIssued {
                batch_id: words.next()?,
                requests: low(words.next()?),
            },
            REQUEST_ISSUED => {
                let (id, sample_index, batch, scheduled) =
                    (words.next()?, words.next()?, words.next()?, words.next()?);
                Self::RequestIssued {
                    id,
                    sample_index,
                    batch_id: (head & HAS_BATCH != 0).then_some(batch),
                    scheduled_ns: present_ns(scheduled),
                }
            }
            REQUEST_SENT => Self::RequestSent { id: words.next()? },
            FIRST_TOKEN => Self::FirstToken { id: words.next()? },
            COMPLETED => decode_completed(head, words)?,
            BATCH_COMPLETED => Self::BatchCompleted {
                batch_id: words.next()?,
            },
            COST => Self::Cost { ticks: words.next()? },
            _ => return None,
        };
        Some((head >> 8, entry))
    }
}

#[inline]
fn words<const N: usize>(from: [u64; N]) -> Words {
    let mut words = [0; WORDS];
    words[..N].copy_from_slice(&from);
    words
}

#[inline]
fn encode_completed(stamp: u64, id: u64, how: &Completed) -> Words {
    let tokens = pair(
        how.prompt_tokens.unwrap_or(ABSENT),
        how.output_tokens.unwrap_or(ABSENT),
    );
    let (reason, detail) = how.reason.code();
    let outcome = match how.outcome {
        Outcome::Completed => 0,
        Outcome::Failed => 1,
        Outcome::Unfinished => 2,
    };
    let facts = pair(
        how.endpoint,
        u32::from(detail) << 16 | u32::from(reason) << 8 | outcome,
    );
    let Some(times) = how.server else {
        return words([stamp | COMPLETED, id, tokens, facts]);
    };
    let estimated = if times.source == TimeSource::Estimate {
        ESTIMATED
    } else {
        0
    };
    words([
        stamp | COMPLETED | HAS_TIMES | estimated,
        id,
        tokens,
        facts,
        times.queue_ns.unwrap_or(ABSENT_NS).cast_unsigned(),
        times.prefill_ns.unwrap_or(ABSENT_NS).cast_unsigned(),
        times.decode_ns.unwrap_or(ABSENT_NS).cast_unsigned(),
    ])
}

fn decode_completed(head: u64, mut words: impl Iterator<Item = u64>) -> Option<Entry> {
    let (id, tokens, facts) = (words.next()?, words.next()?, words.next()?);
    let server = if head & HAS_TIMES == 0 {
        None
    } else {
        Some(ServerTimes {
            queue_ns: present_ns(words.next()?),
            prefill_ns: present_ns(words.next()?),
            decode_ns: present_ns(words.next()?),
            source: if head & ESTIMATED == 0 {
                TimeSource::Server
            } else {
                TimeSource::Estimate
            },
        })
    };
    let code = low(facts);
    Some(Entry::Completed {
        id,
        how: Completed {
            outcome: match code & 0xff {
                0 => Outcome::Completed,
                1 => Outcome::Failed,
                _ => Outcome::Unfinished,
            },
            endpoint: high(facts),
            prompt_tokens: present(high(tokens)),
            output_tokens: present(low(tokens)),
            server,
            reason: Reason::from_code((code >> 8 & 0xff) as u8, (code >> 16) as u16),
        },
    })
}

#[inline]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

fn low(word: u64) -> u32 {
    (word & u64::from(u32::MAX)) as u32
}

fn present(value: u32) -> Option<u32> {
    (value != ABSENT).then_some(value)
}

fn present_ns(word: u64) -> Option<i64> {
    let ns = word.cast_signed();
    (ns != ABSENT_NS).then_some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: Entry) {
        let words = entry.encode(123_456_789);
        assert_eq!(Entry::decode(words), Some((123_456_789, entry)));
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        check(Entry::BatchIssued {
            batch_id: u64::MAX,
            requests: 7,
        });
        check(Entry::RequestIssued {
            id: u64::MAX,
            sample_index: 3,
            batch_id: None,
            scheduled_ns: None,
        });
        check(Entry::RequestIssued {
            id: 0,
            sample_index: u64::MAX,
            batch_id: Some(0),
            scheduled_ns: Some(-1),
        });
        check(Entry::RequestSent { id: 1 });
        check(Entry::FirstToken { id: 2 });
        check(Entry::BatchCompleted { batch_id: 9 });
        check(Entry::Cost { ticks: 60 });
        for outcome in [Outcome::Completed, Outcome::Failed, Outcome::Unfinished] {
            for reason in [
                Reason::Stop,
                Reason::HttpStatus(503),
                Reason::Unknown,
                Reason::Other,
            ] {
                for source in [TimeSource::Server, TimeSource::Estimate] {
                    let server = Some(ServerTimes {
                        queue_ns: Some(5),
                        prefill_ns: None,
                        decode_ns: Some(0),
                        source,
                    });
                    let how = Completed {
                        outcome,
                        endpoint: 2,
                        prompt_tokens: Some(11),
                        output_tokens: None,
                        server,
                        reason,
                    };
                    check(Entry::Completed { id: 1, how });
                    check(Entry::Completed {
                        id: 1,
                        how: Completed { server: None, ..how },
                    });
                }
            }
        }
    }
}
