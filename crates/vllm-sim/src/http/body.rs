//! The body of an answer: a complete text, or a stream filled by the dispatcher.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::live::Live;

/// The data that hyper writes to the connection.
#[derive(Debug)]
pub(crate) enum SimBody {
    /// Known in full.
    Full(Option<Bytes>),
    /// Announces a longer length than it has, and fails at its end.
    Broken {
        /// The bytes sent.
        bytes: Option<Bytes>,
        /// The announced length.
        claimed: u64,
        /// True once the connection had a chance to flush.
        flushed: bool,
    },
    /// Server-sent events of an unfinished generation.
    Stream(Box<Live>),
}

impl SimBody {
    pub(crate) fn full(bytes: Bytes) -> Self {
        Self::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl SimBody {
    /// The first half of a text, announced as the whole.
    pub(crate) fn broken(mut whole: Bytes) -> Self {
        let claimed = whole.len() as u64;
        whole.truncate(whole.len() / 2);
        Self::Broken {
            bytes: Some(whole),
            claimed,
            flushed: false,
        }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Broken { bytes, flushed, .. } => match bytes.take() {
                Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                None if !*flushed => {
                    // The connection flushes only when no more data is available.
                    *flushed = true;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
            Self::Stream(live) => live
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Broken { .. } | Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Broken { claimed, .. } => SizeHint::with_exact(*claimed),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
