//! A pending fault of one stream, which is applied when the stream has reached its token count.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Sleep;

use super::api_error::ApiError;
use super::wire::Trigger;
use crate::faults::Fault;

/// Bytes that are neither an event nor UTF-8, and an event with truncated JSON.
const GARBAGE: &[u8] = b"data: {\"id\":\"cmpl-\",\"choices\":[{\"inde\n\n\xff\xfe\x00garbage\r\n\n";

/// The next action of a stream.
#[derive(Debug)]
pub(crate) enum NextAction {
    /// Nothing yet.
    Wait,
    /// Send this and end with this error, if any; otherwise continue.
    Send(Option<Result<Bytes, io::Error>>),
    /// Send this and end normally.
    Last(Bytes),
}

/// One stream's fault.
#[derive(Debug)]
pub(crate) struct StreamFault {
    pub(crate) fault: Fault,
    pub(crate) trigger: Trigger,
    /// The preceding bytes have been passed to the connection and flushed once.
    flushed: bool,
    stall: Option<Pin<Box<Sleep>>>,
}

impl StreamFault {
    /// The fault of a stream, and the tokens before it; `None` for any other fault.
    pub(crate) fn new(fault: Fault, trigger: Trigger) -> Option<(Self, u64)> {
        let tokens = match &fault {
            Fault::Reset { tokens }
            | Fault::Truncate { tokens }
            | Fault::Stall { tokens, .. }
            | Fault::Garbage { tokens }
            | Fault::Error { tokens } => u64::from(*tokens),
            _ => return None,
        };
        Some((
            Self {
                fault,
                trigger,
                flushed: false,
                stall: None,
            },
            tokens,
        ))
    }

    /// Called when the stream has reached its limit. After [`NextAction::Send`], with or without bytes, it
    /// continues.
    pub(crate) fn next_action(&mut self, cx: &mut Context<'_>) -> NextAction {
        if !self.flushed {
            // The connection flushes only when there is nothing to send: wait for it, or the preceding tokens
            // would be lost.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return NextAction::Wait;
        }
        match &self.fault {
            Fault::Reset { .. } => {
                self.trigger.reset();
                NextAction::Send(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
            Fault::Truncate { .. } => NextAction::Send(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            Fault::Stall {
                lasts: Some(lasts), ..
            } => {
                let stall = self
                    .stall
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(*lasts)));
                match stall.as_mut().poll(cx) {
                    Poll::Ready(()) => NextAction::Send(None),
                    Poll::Pending => NextAction::Wait,
                }
            }
            Fault::Garbage { .. } => NextAction::Send(Some(Ok(Bytes::from_static(GARBAGE)))),
            Fault::Error { .. } => NextAction::Last(error_end(&ApiError::scripted(500))),
            // An unlimited stall: only the client ends it.
            _ => NextAction::Wait,
        }
    }
}

/// The end of a stream that fails: an error event and the usual last event.
pub(crate) fn error_end(error: &ApiError) -> Bytes {
    Bytes::from(format!("data: {}\n\ndata: [DONE]\n\n", error.body()))
}

/// Text that is neither JSON nor a metrics page.
pub(crate) fn garbage() -> Bytes {
    Bytes::from_static(
        b"\xff\xfe\x00<html>{not what was asked for\nvllm:num_requests_running{engine=\"0 nonsense\n",
    )
}
