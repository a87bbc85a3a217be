//! Running one test.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::callbacks::{Harness, is_plain};
use crate::error::{Error, Result};
use crate::incidents::{INCIDENTS, Incidents};
use crate::log_settings::LogSettings;
use crate::sample::NEEDS_FIRST_TOKEN;
use crate::settings::TestSettings;
use crate::sut::{QuerySampleLibrary, SystemUnderTest};
use crate::{ffi, gate};

/// What the binding knows about a test that has ended. The result itself is in LoadGen's logs: read them with
/// [`LoadGenLog`](crate::LoadGenLog).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunReport {
    /// What went wrong and is not explained in LoadGen's log. A result counts only if this is empty.
    pub incidents: Incidents,
    /// From LoadGen's start to its return.
    pub wall_time: Duration,
}

static RUNNING: AtomicBool = AtomicBool::new(false);

/// Why no further test can run, as an index into `USED_UP_REASONS`; 0 while it can.
static USED_UP: AtomicU8 = AtomicU8::new(0);
const USED_UP_REASONS: [&str; 3] = [
    "",
    "an earlier test ended in a C++ exception",
    "an earlier test used issue threads",
];

/// Guard that marks the process as running a test.
struct Running;

impl Running {
    fn claim() -> Result<Self> {
        if RUNNING.swap(true, Ordering::AcqRel) {
            return Err(Error::AlreadyRunning);
        }
        let running = Self;
        match USED_UP.load(Ordering::Acquire) {
            0 => Ok(running),
            reason => Err(Error::ProcessUsedUp(USED_UP_REASONS[usize::from(reason)])),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Release);
    }
}

/// Runs one test and returns when LoadGen has written its logs.
///
/// Blocks for the whole test, so call it on a dedicated thread. LoadGen waits for the answer to every sample
/// without a timeout and cannot be stopped: to end early, answer all samples as failed. A watchdog that
/// cannot rely on that has to end the process with [`end_process`]; what LoadGen logged until about 10 ms
/// before remains readable.
///
/// # Errors
/// Everything that can be known in advance is refused before the first query: see [`Error`]. After
/// [`Error::LoadGen`] the process should end.
pub fn run_test(
    sut: &dyn SystemUnderTest,
    qsl: &dyn QuerySampleLibrary,
    settings: &TestSettings,
    log: &LogSettings,
) -> Result<RunReport> {
    let _running = Running::claim()?;

    let total = qsl.total_sample_count();
    let performance = qsl.performance_sample_count();
    settings.check(total, performance)?;
    log.check()?;
    let audit = log.audit_path()?;
    let qsl_name = qsl.name();
    if !qsl_name.chars().all(is_plain) {
        return Err(Error::Library(format!(
            "the name {qsl_name:?} holds quotes, backslashes or control characters, which LoadGen would write \
             into its JSON unescaped"
        )));
    }

    NEEDS_FIRST_TOKEN.store(settings.needs_first_token(), Ordering::Relaxed);
    INCIDENTS.take();
    let raw = settings.to_raw();
    let raw_log = log.to_raw();
    let harness = Harness {
        sut,
        qsl,
        broken: AtomicBool::new(false),
    };
    let callbacks = ffi::Callbacks(&harness);

    gate::open();
    let open = CloseOnDrop;
    let start = Instant::now();
    let result = with_issue_threads(settings.server_issue_threads, || {
        ffi::start_test(&callbacks, &raw, &raw_log, total, performance, &qsl_name, audit)
    });
    let wall_time = start.elapsed();
    drop(open);

    if settings.server_issue_threads > 0 {
        USED_UP.store(2, Ordering::Release);
    }
    let incidents = INCIDENTS.take();
    match result? {
        Ok(()) => {
            tracing::debug!(?wall_time, ?incidents, "LoadGen test ended");
            Ok(RunReport { incidents, wall_time })
        }
        Err(error) => {
            USED_UP.store(1, Ordering::Release);
            Err(Error::LoadGen(error.what().to_owned()))
        }
    }
}

/// Ends the process with `status` at once: no destructor runs, neither C++ nor Rust, and no buffer is
/// flushed. Write and close everything before.
///
/// Use it to end a process whose test is still running. LoadGen cannot be stopped: in the Server scenario it
/// follows its schedule to the end, even if the system under test has failed. LoadGen's detail log is
/// complete up to about 10 ms before the call; its summary does not exist then.
///
/// After a test has ended, returning from `main` is safe with glibc: an exit handler of this crate ends the
/// process, with the requested status, before the destructors of LoadGen's globals run. Those destructors
/// race with threads that have called into LoadGen and end at the same moment. With another C library, use
/// this function, or first join all threads that have answered samples.
pub fn end_process(status: u8) -> ! {
    ffi::end_process(i32::from(status));
    // Not reached; cxx cannot declare that the C++ function does not return.
    std::process::abort()
}

struct CloseOnDrop;

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        gate::close();
    }
}

/// Runs `test` while `threads` threads are registered for LoadGen's issue queries.
///
/// LoadGen looks for registrations when its first series starts and is not woken by a later one, which costs
/// a wait of 10 s. Registration is not observable, so the threads get a head start.
fn with_issue_threads<T>(threads: u64, test: impl FnOnce() -> T) -> Result<T> {
    if threads == 0 {
        return Ok(test());
    }
    std::thread::scope(|scope| {
        for i in 0..threads {
            let spawned = std::thread::Builder::new()
                .name(format!("loadgen-issue-{i}"))
                .spawn_scoped(scope, || {
                    if let Err(error) = ffi::issue_thread() {
                        INCIDENTS.count(&INCIDENTS.exceptions, || format!("issue thread: {error}"));
                    }
                });
            if let Err(error) = spawned {
                // Release the threads that were started.
                ffi::end_issue_threads();
                return Err(Error::Thread(error));
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        // LoadGen ends the threads itself, except when it fails.
        let result = test();
        ffi::end_issue_threads();
        Ok(result)
    })
}
