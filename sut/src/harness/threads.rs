//! The threads that serve requests. A request stays on one thread from its first byte to its last.
//!
//! LoadGen has a queue for each thread that reports to it, and empties the queues one after the other every
//! few milliseconds. A first token reported on one thread and the end reported on another can arrive in the
//! wrong order. For short answers on a busy machine this produces an error in LoadGen's log, and a run with
//! an error does not count. Tasks of a multi-threaded runtime move between threads, so each thread here has
//! its own runtime.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Threads with one runtime each. Dropping them drops the remaining requests and joins the threads.
#[derive(Debug)]
pub(crate) struct WorkerThreads {
    handles: Vec<Handle>,
    threads: Vec<JoinHandle<()>>,
    next: AtomicUsize,
    end: CancellationToken,
}

impl WorkerThreads {
    /// Starts `count` threads, at least one.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut threads = Self {
            handles: Vec::new(),
            threads: Vec::new(),
            next: AtomicUsize::new(0),
            end: CancellationToken::new(),
        };
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            threads.handles.push(runtime.handle().clone());
            let end = threads.end.clone();
            let thread = std::thread::Builder::new()
                .name(format!("sut-lane-{number}"))
                .spawn(move || runtime.block_on(end.cancelled_owned()))?;
            threads.threads.push(thread);
        }
        Ok(threads)
    }

    /// The next thread, in round-robin order.
    pub(crate) fn next(&self) -> &Handle {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        &self.handles[at]
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        self.end.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that serves requests panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stays_on_its_thread_and_the_threads_take_turns() {
        let threads = WorkerThreads::start(2).unwrap();
        let (send, receive) = std::sync::mpsc::channel();
        for _ in 0..8 {
            let send = send.clone();
            threads.next().spawn(async move {
                let first = std::thread::current().id();
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                    assert_eq!(std::thread::current().id(), first);
                }
                send.send(first).unwrap();
            });
        }
        drop(send);
        let ids: Vec<_> = receive.iter().collect();
        let on = |id| ids.iter().filter(|other| **other == id).count();
        assert_eq!(ids.len(), 8);
        assert!(ids.iter().all(|id| on(*id) == 4), "{ids:?}");
    }

    #[test]
    fn what_is_left_is_dropped_with_the_threads() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let threads = WorkerThreads::start(1).unwrap();
        threads.next().spawn(async move {
            std::future::pending::<()>().await;
            drop(send);
        });
        drop(threads);
        assert!(receive.recv().is_err());
    }
}
