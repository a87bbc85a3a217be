//! Assembles request and batch rows from hook entries of many threads, which arrive in no common order.
//!
//! Every event before a completion was pushed to its ring before the completion, so it is drained at most one
//! pass later. A row is therefore finished one pass after its completion was seen.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::entry::Entry;
use super::ring::HookReader;
use super::{Completed, Reason};
use run_model::{BatchRow, Outcome, Record, RequestRow};

/// Ids are the caller's numbers, not hostile input: mixing the bits once is enough.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

type IdMap<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

#[derive(Debug, Default)]
struct Request {
    issued: Option<(i64, u64, Option<u64>, Option<i64>)>,
    sent_ns: Option<i64>,
    first_token_ns: Option<i64>,
    done: Option<(i64, Completed)>,
    reason: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Batch {
    issued_ns: Option<i64>,
    requests: u32,
    answered: u32,
    failed: u32,
    output_tokens: Option<u64>,
    last_answer_ns: Option<i64>,
    done_ns: Option<i64>,
}

impl Batch {
    /// Declared done and all answers counted. A batch that is declared done early waits for its answers.
    fn is_complete(&self) -> bool {
        self.done_ns.is_some() && self.issued_ns.is_some() && self.answered >= self.requests
    }
}

/// Collects pending entries and emits finished rows.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    requests: IdMap<Request>,
    batches: IdMap<Batch>,
    /// Requests completed in the previous pass, and in this one.
    ripe: Vec<u64>,
    ripening: Vec<u64>,
    ripe_batches: Vec<u64>,
    ripening_batches: Vec<u64>,
    /// Rows without `request_issued`, because it was dropped or never called.
    without_issue: u64,
}

impl Assembler {
    /// Drains `reader` once and passes finished rows to `out`. Returns false if there was nothing to do and
    /// nothing waits for the next pass.
    pub(crate) fn pass(&mut self, reader: &mut HookReader, out: &mut dyn FnMut(Record)) -> bool {
        let taken = reader.drain(|at_ns, entry| self.take(at_ns, entry, out));
        for id in std::mem::take(&mut self.ripe) {
            self.finish_request(id, out);
        }
        for id in std::mem::take(&mut self.ripe_batches) {
            if self.batches.get(&id).is_some_and(Batch::is_complete) {
                self.finish_batch(id, out);
            }
        }
        self.ripe = std::mem::take(&mut self.ripening);
        self.ripe_batches = std::mem::take(&mut self.ripening_batches);
        taken > 0 || !self.ripe.is_empty() || !self.ripe_batches.is_empty()
    }

    /// Sets a free-text reason from a control event.
    pub(crate) fn reason(&mut self, id: u64, reason: Arc<str>) {
        self.requests.entry(id).or_default().reason = Some(reason);
    }

    /// Emits everything that is left; unanswered requests are [`Outcome::Unfinished`]. Call it after two
    /// passes. Returns the number of unanswered requests.
    pub(crate) fn finish(&mut self, out: &mut dyn FnMut(Record)) -> u64 {
        let mut ids: Vec<u64> = self.requests.keys().copied().collect();
        ids.sort_unstable();
        let unfinished = self
            .requests
            .values()
            .filter(|r| r.done.is_none() && r.earliest_ns().is_some())
            .count();
        for id in ids {
            self.finish_request(id, out);
        }
        let mut ids: Vec<u64> = self.batches.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.finish_batch(id, out);
        }
        unfinished as u64
    }

    /// Number of rows without `request_issued`.
    pub(crate) fn without_issue(&self) -> u64 {
        self.without_issue
    }

    fn take(&mut self, at_ns: i64, entry: Entry, out: &mut dyn FnMut(Record)) {
        match entry {
            Entry::BatchIssued { batch_id, requests } => {
                let batch = self.batches.entry(batch_id).or_default();
                batch.issued_ns = Some(at_ns);
                batch.requests = requests;
            }
            Entry::RequestIssued {
                id,
                sample_index,
                batch_id,
                scheduled_ns,
            } => {
                // An id may be reused once it has been answered.
                if self
                    .requests
                    .get(&id)
                    .is_some_and(|request| request.issued.is_some())
                {
                    self.finish_request(id, out);
                }
                let request = self.requests.entry(id).or_default();
                request.issued = Some((at_ns, sample_index, batch_id, scheduled_ns));
            }
            Entry::RequestSent { id } => self.requests.entry(id).or_default().sent_ns = Some(at_ns),
            Entry::FirstToken { id } => self.requests.entry(id).or_default().first_token_ns = Some(at_ns),
            Entry::Completed { id, how } => {
                self.requests.entry(id).or_default().done = Some((at_ns, how));
                self.ripening.push(id);
            }
            Entry::BatchCompleted { batch_id } => {
                self.batches.entry(batch_id).or_default().done_ns = Some(at_ns);
                self.ripening_batches.push(batch_id);
            }
            Entry::Cost { .. } => {}
        }
    }

    fn finish_request(&mut self, id: u64, out: &mut dyn FnMut(Record)) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let Some(earliest_ns) = request.earliest_ns() else {
            return;
        };
        if request.issued.is_none() {
            self.without_issue += 1;
        }
        let (issued_ns, sample_index, batch_id, scheduled_ns) =
            request.issued.unwrap_or((earliest_ns, 0, None, None));
        if let (Some(batch_id), Some((done_ns, how))) = (batch_id, request.done) {
            let batch = self.batches.entry(batch_id).or_default();
            batch.answered += 1;
            batch.failed += u32::from(how.outcome != Outcome::Completed);
            batch.last_answer_ns = batch.last_answer_ns.max(Some(done_ns));
            if let Some(tokens) = how.output_tokens {
                *batch.output_tokens.get_or_insert(0) += u64::from(tokens);
            }
            if batch.is_complete() {
                self.ripening_batches.push(batch_id);
            }
        }
        let how = request.done.map(|(_, how)| how);
        let server = how.and_then(|how| how.server);
        out(Record::Request(RequestRow {
            request_id: id,
            sample_index,
            batch_id,
            endpoint: how.map_or(0, |how| how.endpoint),
            scheduled_ns,
            issued_ns,
            sent_ns: request.sent_ns,
            first_token_ns: request.first_token_ns,
            done_ns: request.done.map(|(done_ns, _)| done_ns),
            prompt_tokens: how.and_then(|how| how.prompt_tokens),
            output_tokens: how.and_then(|how| how.output_tokens),
            server_queue_ns: server.and_then(|times| times.queue_ns),
            server_prefill_ns: server.and_then(|times| times.prefill_ns),
            server_decode_ns: server.and_then(|times| times.decode_ns),
            server_time_source: server.map(|times| times.source),
            outcome: how.map_or(Outcome::Unfinished, |how| how.outcome),
            reason: request
                .reason
                .or_else(|| how.map_or(Reason::Unknown, |how| how.reason).text()),
        }));
    }

    fn finish_batch(&mut self, batch_id: u64, out: &mut dyn FnMut(Record)) {
        let Some(batch) = self.batches.get(&batch_id) else {
            return;
        };
        let all_answered = batch.requests > 0 && batch.answered >= batch.requests;
        let done_ns = batch
            .done_ns
            .or(if all_answered { batch.last_answer_ns } else { None });
        let row = BatchRow {
            batch_id,
            issued_ns: batch
                .issued_ns
                .or(batch.done_ns)
                .or(batch.last_answer_ns)
                .unwrap_or(0),
            done_ns,
            requests: batch.requests.max(batch.answered),
            output_tokens: batch.output_tokens,
            failed: batch.failed,
        };
        self.batches.remove(&batch_id);
        out(Record::Batch(row));
    }
}

impl Request {
    fn earliest_ns(&self) -> Option<i64> {
        [
            self.issued.map(|(ns, ..)| ns),
            self.sent_ns,
            self.first_token_ns,
            self.done.map(|(ns, _)| ns),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
