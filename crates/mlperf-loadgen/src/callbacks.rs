//! The functions that C++ calls. Each finds the trait object and catches panics, which must not cross into
//! C++.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ffi::{LoadGenCallbacks, RawSample};
use crate::gate;
use crate::incidents::INCIDENTS;
use crate::sample::IssuedSamples;
use crate::sut::{QuerySampleLibrary, SystemUnderTest};

/// The harness's two objects, as LoadGen calls them.
pub(crate) struct Harness<'a> {
    pub(crate) sut: &'a dyn SystemUnderTest,
    pub(crate) qsl: &'a dyn QuerySampleLibrary,
    /// Loading samples failed, so queries no longer reach the SUT.
    pub(crate) broken: AtomicBool,
}

impl LoadGenCallbacks for Harness<'_> {
    fn sut_name(&self) -> String {
        let name = guarded("SystemUnderTest::name", || self.sut.name()).unwrap_or_default();
        // LoadGen writes the name into JSON unescaped, and asks repeatedly for an empty name.
        let name: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        if name.is_empty() {
            "unnamed".to_owned()
        } else {
            name
        }
    }

    fn issue_query(&self, samples: &[RawSample]) {
        // Created outside the guarded part, so that samples are answered even if the closure never takes
        // them.
        let samples = IssuedSamples::new(samples, gate::epoch());
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        guarded("SystemUnderTest::issue_query", || self.sut.issue_query(samples));
    }

    fn flush_queries(&self) {
        guarded("SystemUnderTest::flush_queries", || self.sut.flush_queries());
    }

    fn load_samples(&self, samples: &[usize]) {
        match guarded("QuerySampleLibrary::load_samples", || {
            self.qsl.load_samples(samples)
        }) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                INCIDENTS.count(&INCIDENTS.load_failures, || {
                    format!("loading samples failed: {error}")
                });
                self.broken.store(true, Ordering::Relaxed);
            }
            None => self.broken.store(true, Ordering::Relaxed),
        }
    }

    fn unload_samples(&self, samples: &[usize]) {
        guarded("QuerySampleLibrary::unload_samples", || {
            self.qsl.unload_samples(samples);
        });
    }
}

/// Whether a character is valid in JSON without an escape, since LoadGen does not write escapes.
pub(crate) fn is_plain(c: char) -> bool {
    c != '"' && c != '\\' && !c.is_control()
}

fn guarded<T>(what: &str, call: impl FnOnce() -> T) -> Option<T> {
    // Unwind safety: after a panic only the implementor's own object is touched again, through `&self`, as with
    // any shared object that panicked on another thread.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => Some(value),
        Err(payload) => {
            INCIDENTS.count(&INCIDENTS.panics, || {
                format!("{what} panicked: {}", message(&*payload))
            });
            // A payload whose own drop panics would unwind into C++.
            std::mem::forget(payload);
            None
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
