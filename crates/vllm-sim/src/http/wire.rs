//! A connection that can be made to fail: reset or closed at the next byte, regardless of pending writes by
//! hyper.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Fired at most once, by the handler of a request on the connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trigger(Rc<Cell<bool>>);

impl Trigger {
    /// Resets the connection: nothing more is written and the peer receives RST.
    pub(crate) fn reset(&self) {
        self.0.set(true);
    }

    fn check(&self) -> io::Result<()> {
        if self.0.get() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }
}

/// The socket used by hyper.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: TokioIo<TcpStream>,
    trigger: Trigger,
}

impl Wire {
    pub(crate) fn new(socket: TcpStream, trigger: Trigger) -> Self {
        Self {
            socket: TokioIo::new(socket),
            trigger,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Closing a socket with a linger time of zero sends RST instead of FIN.
        if self.trigger.0.get()
            && let Err(error) = self.socket.inner().set_zero_linger()
        {
            tracing::warn!(%error, "cannot reset a connection; it is closed instead");
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.trigger.check()?;
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.trigger.check()?;
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.trigger.check()?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.trigger.check()?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.trigger.check()?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
}
