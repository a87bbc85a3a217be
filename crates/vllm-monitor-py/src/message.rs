//! What one call of the stat logger says, as 64-bit words for the ring.
//!
//! A message is whole or absent: the producer reserves all of its words at once. Lengths are bounded, so that a
//! message of any engine fits into the ring.

/// Longest request id that is kept, in bytes. vLLM's own ids are about 45 bytes long.
pub(crate) const ID_BYTES: usize = 128;
/// Most latencies of one message; one step has at most one per running request.
pub(crate) const MOST_LATENCIES: usize = 4096;

const STEP: u64 = 1;
const INTER_TOKEN: u64 = 2;
const FIRST_TOKEN: u64 = 3;
const FINISHED: u64 = 4;
const STEP_WORDS: usize = 12;
const FINISHED_WORDS: usize = 9;
const ABSENT: u64 = u64::MAX;

/// What the engine put into one step, as `--enable-logging-iteration-details` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduled {
    /// Prompt tokens computed.
    pub prefill_tokens: u32,
    /// Tokens computed for requests that generate.
    pub decode_tokens: u32,
    /// Time that the step took inside the engine's process.
    pub elapsed_ns: u64,
}

/// One step of one engine, as its stat logger is called for it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Step {
    /// When the call came, in nanoseconds on the record's clock.
    pub at_ns: i64,
    /// Index of the engine.
    pub engine: u32,
    /// Requests in the running batch after the step.
    pub running: u32,
    /// Requests in the queue, those that wait for something other than room excluded.
    pub waiting: u32,
    /// Requests that wait for an adapter, transferred KV blocks or a grammar.
    pub deferred: u32,
    /// Share of KV blocks in use, 0 to 1.
    pub kv_usage_ratio: f64,
    /// False for a call that brought outputs without the scheduler's numbers: its tokens count, a step it is not, and
    /// its gauges are those of the step before.
    pub is_step: bool,
    /// False for a step that produced no output, such as a chunk of a long prefill.
    pub has_output: bool,
    /// Prompt tokens of requests whose prefill ended in this step.
    pub prompt_tokens: u32,
    /// Of these, tokens that came from a cache.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub generation_tokens: u32,
    /// Requests preempted.
    pub preemptions: u32,
    /// Finished requests whose output was not a number.
    pub corrupted: u32,
    /// What was scheduled, where the engine tells it.
    pub scheduled: Option<Scheduled>,
}

/// Why vLLM ended a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FinishReason {
    /// End of sequence or a stop string.
    Stop,
    /// The token limit.
    Length,
    /// The client gave it up.
    Abort,
    /// An error of the server.
    Error,
    /// The output repeated itself.
    Repetition,
    /// A reason that this version does not know.
    Other,
}

impl FinishReason {
    /// All reasons, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Stop,
        Self::Length,
        Self::Abort,
        Self::Error,
        Self::Repetition,
        Self::Other,
    ];

    /// vLLM's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Repetition => "repetition",
            Self::Other => "other",
        }
    }

    /// From vLLM's number: `FinishReason` is an enum of integers from 0.
    pub fn from_code(code: u64) -> Self {
        usize::try_from(code)
            .ok()
            .and_then(|code| Self::ALL.get(code).copied())
            .unwrap_or(Self::Other)
    }
}

/// One request that ended, as vLLM's `FinishedRequestStats` tells it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finished<'a> {
    /// Index of the engine.
    pub engine: u32,
    /// vLLM's id of the request: the client's `X-Request-Id` stands in it.
    pub request_id: &'a str,
    /// Why it ended.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub generation_tokens: u32,
    /// How often it was preempted.
    pub preemptions: u32,
    /// Prompt tokens that came from a cache.
    pub cached_tokens: u32,
    /// From arrival to the end, in seconds.
    pub e2e_secs: f64,
    /// In the queue, in seconds.
    pub queued_secs: f64,
    /// From first scheduling to the first token, in seconds.
    pub prefill_secs: f64,
    /// From the first token to the last, in seconds.
    pub decode_secs: f64,
}

/// One message as the reader sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Message<'a> {
    Step(Step),
    /// Words that are the bits of seconds.
    InterToken {
        engine: u32,
        secs: &'a [u64],
    },
    FirstToken {
        engine: u32,
        secs: &'a [u64],
    },
    Finished {
        at_ns: i64,
        request: Finished<'a>,
    },
}

fn head(kind: u64, engine: u32, rest: usize) -> u64 {
    // Kind in 8 bits, engine in 16, number of words that follow in 32.
    kind | (u64::from(engine & 0xffff) << 8) | ((rest as u64) << 32)
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | (u64::from(high) << 32)
}

fn unpair(word: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
    let halves = (word as u32, (word >> 32) as u32);
    halves
}

/// Appends a step.
pub(crate) fn put_step(out: &mut Vec<u64>, step: &Step) {
    let scheduled = step.scheduled;
    out.extend_from_slice(&[
        head(STEP, step.engine, STEP_WORDS),
        step.at_ns.cast_unsigned(),
        pair(step.running, step.waiting),
        pair(
            step.deferred,
            u32::from(step.has_output) | u32::from(step.is_step) << 1,
        ),
        step.kv_usage_ratio.to_bits(),
        pair(step.prompt_tokens, step.cached_tokens),
        pair(step.generation_tokens, step.preemptions),
        u64::from(step.corrupted),
        scheduled.map_or(ABSENT, |s| pair(s.prefill_tokens, s.decode_tokens)),
        scheduled.map_or(ABSENT, |s| s.elapsed_ns),
        0,
        0,
        0,
    ]);
}

/// Appends latencies, in seconds; returns how many did not fit into a message.
pub(crate) fn put_latencies(
    out: &mut Vec<u64>,
    engine: u32,
    first_token: bool,
    count: usize,
    secs: impl Iterator<Item = f64>,
) -> usize {
    let kept = count.min(MOST_LATENCIES);
    if kept == 0 {
        return count;
    }
    let kind = if first_token { FIRST_TOKEN } else { INTER_TOKEN };
    let at = out.len();
    out.push(0);
    out.extend(secs.take(kept).map(f64::to_bits));
    let rest = out.len() - at - 1;
    out[at] = head(kind, engine, rest);
    count - rest
}

/// Appends a finished request. A longer id is cut at [`ID_BYTES`].
pub(crate) fn put_finished(out: &mut Vec<u64>, at_ns: i64, request: &Finished<'_>) {
    let bytes = request.request_id.as_bytes();
    let bytes = &bytes[..bytes.len().min(ID_BYTES)];
    let id_words = bytes.len().div_ceil(8);
    let at = out.len();
    out.extend_from_slice(&[
        head(FINISHED, request.engine, FINISHED_WORDS + id_words),
        at_ns.cast_unsigned(),
        pair(request.prompt_tokens, request.generation_tokens),
        pair(request.preemptions, request.cached_tokens),
        request.e2e_secs.to_bits(),
        request.queued_secs.to_bits(),
        request.prefill_secs.to_bits(),
        request.decode_secs.to_bits(),
        request.reason as u64,
        bytes.len() as u64,
    ]);
    debug_assert_eq!(out.len() - at - 1, FINISHED_WORDS);
    out.extend(bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    }));
}

/// Hands every message of `words` to `take`. `id` is scratch memory. Returns false for words that no `put_` wrote.
pub(crate) fn each_message(mut words: &[u64], id: &mut Vec<u8>, mut take: impl FnMut(Message<'_>)) -> bool {
    while let Some((head, rest)) = words.split_first() {
        let kind = head & 0xff;
        let engine = u32::try_from((head >> 8) & 0xffff).expect("16 bits fit into 32");
        let Some((body, after)) = usize::try_from(head >> 32)
            .ok()
            .and_then(|count| rest.split_at_checked(count))
        else {
            return false;
        };
        words = after;
        match (kind, body) {
            (STEP, body) if body.len() == STEP_WORDS => take(Message::Step(step(engine, body))),
            (INTER_TOKEN, secs) => take(Message::InterToken { engine, secs }),
            (FIRST_TOKEN, secs) => take(Message::FirstToken { engine, secs }),
            (FINISHED, body) if body.len() >= FINISHED_WORDS => {
                id.clear();
                id.extend(body[FINISHED_WORDS..].iter().flat_map(|word| word.to_le_bytes()));
                id.truncate(usize::try_from(body[8]).unwrap_or(0));
                let text = String::from_utf8_lossy(id);
                take(Message::Finished {
                    at_ns: body[0].cast_signed(),
                    request: finished(engine, body, &text),
                });
            }
            _ => return false,
        }
    }
    true
}

fn step(engine: u32, body: &[u64]) -> Step {
    let (running, waiting) = unpair(body[1]);
    let (deferred, flags) = unpair(body[2]);
    let (prompt_tokens, cached_tokens) = unpair(body[4]);
    let (generation_tokens, preemptions) = unpair(body[5]);
    let (prefill_tokens, decode_tokens) = unpair(body[7]);
    Step {
        at_ns: body[0].cast_signed(),
        engine,
        running,
        waiting,
        deferred,
        kv_usage_ratio: f64::from_bits(body[3]),
        is_step: flags & 2 != 0,
        has_output: flags & 1 != 0,
        prompt_tokens,
        cached_tokens,
        generation_tokens,
        preemptions,
        corrupted: unpair(body[6]).0,
        scheduled: (body[7] != ABSENT).then_some(Scheduled {
            prefill_tokens,
            decode_tokens,
            elapsed_ns: body[8],
        }),
    }
}

fn finished<'a>(engine: u32, body: &[u64], request_id: &'a str) -> Finished<'a> {
    let (prompt_tokens, generation_tokens) = unpair(body[1]);
    let (preemptions, cached_tokens) = unpair(body[2]);
    let secs = |at: usize| f64::from_bits(body[at]);
    Finished {
        engine,
        request_id,
        reason: FinishReason::from_code(body[7]),
        prompt_tokens,
        generation_tokens,
        preemptions,
        cached_tokens,
        e2e_secs: secs(3),
        queued_secs: secs(4),
        prefill_secs: secs(5),
        decode_secs: secs(6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_as_they_were_put() {
        let one = Step {
            at_ns: 1_700_000_000_000_000_000,
            engine: 3,
            running: 5,
            waiting: 7,
            deferred: 1,
            kv_usage_ratio: 0.75,
            is_step: true,
            has_output: true,
            prompt_tokens: 2000,
            cached_tokens: 16,
            generation_tokens: 4,
            preemptions: 2,
            corrupted: 1,
            scheduled: Some(Scheduled {
                prefill_tokens: 2048,
                decode_tokens: 3,
                elapsed_ns: 12_345,
            }),
        };
        let two = Step {
            scheduled: None,
            has_output: false,
            ..one
        };
        let request = Finished {
            engine: 1,
            request_id: "cmpl-42-0",
            reason: FinishReason::Length,
            prompt_tokens: 11,
            generation_tokens: 12,
            preemptions: 1,
            cached_tokens: 8,
            e2e_secs: 1.5,
            queued_secs: 0.25,
            prefill_secs: 0.5,
            decode_secs: 0.75,
        };
        let mut words = Vec::new();
        put_step(&mut words, &one);
        assert_eq!(
            put_latencies(&mut words, 1, false, 3, [0.1, 0.2, 0.3].into_iter()),
            0
        );
        assert_eq!(put_latencies(&mut words, 1, true, 1, [0.4].into_iter()), 0);
        put_finished(&mut words, 99, &request);
        put_step(&mut words, &two);

        let mut seen = Vec::new();
        let whole = each_message(&words, &mut Vec::new(), |message| match message {
            Message::Step(step) => seen.push(format!("{step:?}")),
            Message::InterToken { engine, secs } | Message::FirstToken { engine, secs } => {
                seen.push(format!(
                    "{engine} {:?}",
                    secs.iter().map(|s| f64::from_bits(*s)).collect::<Vec<_>>()
                ));
            }
            Message::Finished { at_ns, request } => seen.push(format!("{at_ns} {request:?}")),
        });
        assert!(whole);
        assert_eq!(
            seen,
            [
                format!("{one:?}"),
                "1 [0.1, 0.2, 0.3]".to_owned(),
                "1 [0.4]".to_owned(),
                format!("99 {request:?}"),
                format!("{two:?}"),
            ]
        );
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut words = Vec::new();
        let secs = std::iter::repeat(0.1);
        assert_eq!(put_latencies(&mut words, 0, false, MOST_LATENCIES + 5, secs), 5);
        let id = "x".repeat(500);
        put_finished(
            &mut words,
            0,
            &Finished {
                engine: 0,
                request_id: &id,
                reason: FinishReason::Stop,
                prompt_tokens: 0,
                generation_tokens: 0,
                preemptions: 0,
                cached_tokens: 0,
                e2e_secs: 0.0,
                queued_secs: 0.0,
                prefill_secs: 0.0,
                decode_secs: 0.0,
            },
        );
        let mut length = 0;
        assert!(each_message(&words, &mut Vec::new(), |message| {
            if let Message::Finished { request, .. } = message {
                length = request.request_id.len();
            }
        }));
        assert_eq!(length, ID_BYTES);
    }

    #[test]
    fn foreign_words_end_the_reading() {
        assert!(!each_message(&[77], &mut Vec::new(), |_| {}));
        assert!(!each_message(&[head(STEP, 0, 9000)], &mut Vec::new(), |_| {}));
    }
}
