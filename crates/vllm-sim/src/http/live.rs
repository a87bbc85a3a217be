//! Unfinished answers on one HTTP thread: delivers their tokens, and handles disconnected clients.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Shared;
use super::api_error::ApiError;
use super::stream::Answer;
use super::stream_fault::{NextAction, StreamFault, error_end};
use crate::engine::{Nanos, Output, RequestId};
use crate::metrics::Exchange;

const CHOICE_BITS: u32 = 12;
const SERIAL_BITS: u32 = 16;
const SLOT_BITS: u32 = 20;

/// One HTTP thread. Everything in it stays on that thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    thread: usize,
    answers: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
}

#[derive(Debug)]
struct Slot {
    /// Distinguishes a late token of an earlier answer from one of this answer.
    serial: u64,
    answer: Option<Rc<RefCell<Answer>>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, thread: usize) -> Self {
        Self {
            shared,
            thread,
            answers: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
        }
    }

    /// Delivers a batch of tokens to their answers. Tokens of answers that are gone are dropped, since their
    /// clients are gone.
    pub(crate) fn dispatch(&self, batch: &[Output]) {
        let answers = self.answers.borrow();
        for output in batch {
            let choice = output.route & ((1 << CHOICE_BITS) - 1);
            let serial = (output.route >> CHOICE_BITS) & ((1 << SERIAL_BITS) - 1);
            let slot = (output.route >> (CHOICE_BITS + SERIAL_BITS)) & ((1 << SLOT_BITS) - 1);
            let Some(answer) = answers
                .get(slot as usize)
                .filter(|s| s.serial & ((1 << SERIAL_BITS) - 1) == serial)
                .and_then(|s| s.answer.as_ref())
            else {
                continue;
            };
            let mut answer = answer.borrow_mut();
            if answer.push(choice as usize, output)
                && let Some(waker) = answer.waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Wakes every stream, since the engine has died.
    pub(crate) fn wake_all(&self) {
        for answer in self
            .answers
            .borrow()
            .iter()
            .filter_map(|slot| slot.answer.as_ref())
        {
            if let Some(waker) = answer.borrow_mut().waker.take() {
                waker.wake();
            }
        }
    }

    /// Registers an answer; `None` when all slots are taken.
    fn insert(&self, answer: Rc<RefCell<Answer>>) -> Option<(u32, u64)> {
        let mut answers = self.answers.borrow_mut();
        let slot = match self.free.borrow_mut().pop() {
            Some(slot) => slot,
            None if answers.len() < 1 << SLOT_BITS => {
                answers.push(Slot {
                    serial: 0,
                    answer: None,
                });
                (answers.len() - 1) as u32
            }
            None => return None,
        };
        let entry = &mut answers[slot as usize];
        entry.serial += 1;
        entry.answer = Some(answer);
        Some((slot, entry.serial))
    }

    fn remove(&self, slot: u32) {
        self.answers.borrow_mut()[slot as usize].answer = None;
        self.free.borrow_mut().push(slot);
    }
}

/// An answer that its connection still waits for. Dropping it removes its requests from the engines.
#[derive(Debug)]
pub(crate) struct Live {
    worker: Rc<Worker>,
    answer: Rc<RefCell<Answer>>,
    slot: u32,
    serial: u64,
    id: String,
    requests: Vec<(usize, RequestId)>,
    started: Nanos,
    exchange: Exchange,
    fault: Option<StreamFault>,
    /// The error event has been sent: nothing more follows.
    failed: bool,
}

impl Live {
    /// Allocates an answer; requests are added with [`Live::add`]. `None` when the thread is full.
    pub(crate) fn new(
        worker: Rc<Worker>,
        answer: Answer,
        started: Nanos,
        exchange: Exchange,
    ) -> Option<Self> {
        let id = answer.id().to_owned();
        let answer = Rc::new(RefCell::new(answer));
        let (slot, serial) = worker.insert(Rc::clone(&answer))?;
        Some(Self {
            worker,
            answer,
            slot,
            serial,
            id,
            requests: Vec::new(),
            started,
            exchange,
            fault: None,
            failed: false,
        })
    }

    /// Returned by the engine with each token of a choice.
    pub(crate) fn route(&self, choice: usize) -> u64 {
        (self.worker.thread as u64) << (CHOICE_BITS + SERIAL_BITS + SLOT_BITS)
            | u64::from(self.slot) << (CHOICE_BITS + SERIAL_BITS)
            | (self.serial & ((1 << SERIAL_BITS) - 1)) << CHOICE_BITS
            | choice as u64
    }

    /// Records a request of this answer.
    pub(crate) fn add(&mut self, engine: usize, id: RequestId) {
        self.requests.push((engine, id));
        self.worker.shared.enter(&self.id, &self.requests);
    }

    /// Injects a fault into this stream after `tokens` tokens.
    pub(crate) fn inject(&mut self, fault: StreamFault, tokens: u64) {
        self.answer.borrow_mut().hold(tokens);
        self.fault = Some(fault);
    }

    /// The next piece of the stream; `None` at its end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut answer = self.answer.borrow_mut();
        loop {
            if !answer.buffer.is_empty() {
                return Poll::Ready(Some(Ok(answer.buffer.split().freeze())));
            }
            if answer.ended() || self.failed {
                return Poll::Ready(None);
            }
            if self.worker.shared.is_dead() {
                self.failed = true;
                return Poll::Ready(Some(Ok(error_end(&ApiError::dead_engine()))));
            }
            answer.waker = Some(cx.waker().clone());
            let Some(stream_fault) = self.fault.as_mut().filter(|_| answer.held()) else {
                return Poll::Pending;
            };
            match stream_fault.next_action(cx) {
                NextAction::Wait => return Poll::Pending,
                NextAction::Last(end) => {
                    self.failed = true;
                    return Poll::Ready(Some(Ok(end)));
                }
                NextAction::Send(next_action) => {
                    answer.release();
                    self.fault = None;
                    if let Some(sent) = next_action {
                        return Poll::Ready(Some(sent));
                    }
                }
            }
        }
    }

    /// The whole answer, once it has ended.
    ///
    /// # Errors
    /// The engine died before.
    pub(crate) async fn whole(mut self) -> Result<Bytes, ApiError> {
        poll_fn(|cx| {
            let mut answer = self.answer.borrow_mut();
            if answer.ended() {
                return Poll::Ready(Ok(()));
            }
            if self.worker.shared.is_dead() {
                return Poll::Ready(Err(ApiError::dead_engine()));
            }
            answer.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
        .inspect_err(|error| self.exchange.status = error.status)?;
        let body = self.answer.borrow().whole().freeze();
        self.exchange.response_bytes = body.len() as u64;
        Ok(body)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.worker.remove(self.slot);
        let shared = &self.worker.shared;
        shared.leave(&self.id);
        if !self.answer.borrow().ended() {
            for &(engine, id) in &self.requests {
                shared.engines[engine].abort(id);
            }
        }
        shared.record(self.exchange, self.started);
    }
}
