//! `vllm-metrics` for harnesses in C and C++: a handle, a dozen functions, one header.
//!
//! Hook functions cost the same as the Rust hooks: they never block, and allocate in a thread's first call and when a
//! burst fills its ring. Every function ignores a null handle, so that a harness need not check whether its session
//! started. No panic crosses the FFI boundary.

mod text;

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use vllm_metrics::{
    Completed, Hooks, Outcome, Reason, ServerTimes, Session, SessionBuilder, SessionConfig, TimeSource,
};

/// A run being recorded. Made by `vm_session_start`, ended by `vm_session_finish` or `vm_session_drop`.
#[derive(Debug)]
pub struct VmSession {
    session: Session,
    hooks: Hooks,
}

/// Value of `batch_id` for a request without a batch.
pub const VM_NO_BATCH: u64 = u64::MAX;
/// An unknown time or duration in nanoseconds.
pub const VM_NO_TIME: i64 = i64::MIN;
/// An unknown number of tokens.
pub const VM_NO_COUNT: u32 = u32::MAX;

/// Success.
pub const VM_OK: c_int = 0;
/// The call failed; the text says why.
pub const VM_FAILED: c_int = 1;

/// How a request ended. Fill with `vm_completed_tokens`, then change fields as needed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct VmCompleted {
    /// Whether it was answered in full.
    pub ok: bool,
    /// Index of the endpoint that served it.
    pub endpoint: u32,
    /// Prompt length in tokens, or `VM_NO_COUNT`.
    pub prompt_tokens: u32,
    /// Output length in tokens, including the first, or `VM_NO_COUNT`.
    pub output_tokens: u32,
    /// HTTP status if that is why it failed, else 0.
    pub http_status: u16,
    /// Time in the server's queue, as reported by the server, or `VM_NO_TIME`.
    pub server_queue_ns: i64,
    /// The server's prefill time, or `VM_NO_TIME`.
    pub server_prefill_ns: i64,
    /// The server's decode time, or `VM_NO_TIME`.
    pub server_decode_ns: i64,
}

/// Runs `call` and catches a panic.
fn guarded<T>(otherwise: T, call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or(otherwise)
}

/// The hooks of `session`, unless it is null.
///
/// # Safety
///
/// As for every function here: null, or from `vm_session_start` and not yet ended.
unsafe fn hooks<'a>(session: *const VmSession) -> Option<&'a Hooks> {
    // SAFETY: the caller promises a live session or null; sessions are only shared, never changed, through this.
    unsafe { session.as_ref() }.map(|session| &session.hooks)
}

/// Starts a session. `config_json` is an object with the keys of a session's configuration, for example
/// `{"endpoints": [{"url": "http://localhost:8000"}], "interval_secs": 0.5, "output_dir": "out"}`.
/// Returns null on failure, with the reason in `error` (cut to `error_size`, always NUL-terminated).
///
/// # Safety
///
/// `config_json` is a NUL-terminated string; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_session_start(
    config_json: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> *mut VmSession {
    let started = guarded(Err("the library panicked".to_owned()), || {
        // SAFETY: the caller promises a NUL-terminated string or null.
        let config = unsafe { text::read(config_json) }.ok_or("the configuration is null or not UTF-8")?;
        let config = SessionConfig::from_json(config).map_err(|error| error.to_string())?;
        SessionBuilder::default()
            .config(config)
            .start()
            .map_err(|error| error.to_string())
    });
    match started {
        Ok(session) => Box::into_raw(Box::new(VmSession {
            hooks: session.hooks(),
            session,
        })),
        Err(reason) => {
            // SAFETY: the caller promises that `error` has room for `error_size` bytes or is null.
            unsafe { text::write(&reason, error, error_size) };
            std::ptr::null_mut()
        }
    }
}

/// Ends the run and writes its files; `session` is freed, whatever is returned. `summary` receives a JSON
/// object: `samples`, `processed`, `requests`, `events` (paths or null), `cost` and `missing`; on failure the
/// reason. It is cut to `summary_size`; 64 KiB hold every summary of a single endpoint.
///
/// # Safety
///
/// `session` is null or from `vm_session_start`, not yet ended, and no other thread uses it any more; `summary` is
/// null or has room for `summary_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_session_finish(
    session: *mut VmSession,
    summary: *mut c_char,
    summary_size: usize,
) -> c_int {
    if session.is_null() {
        return VM_FAILED;
    }
    // SAFETY: it came out of `Box::into_raw` in `vm_session_start`, and the caller gives it up.
    let session = unsafe { Box::from_raw(session) };
    let finished = guarded(Err("the library panicked".to_owned()), || {
        session
            .session
            .finish()
            .map(|run| text::summary(&run))
            .map_err(|error| error.to_string())
    });
    let (code, text) = match &finished {
        Ok(text) => (VM_OK, text),
        Err(reason) => (VM_FAILED, reason),
    };
    // SAFETY: the caller promises that `summary` has room for `summary_size` bytes or is null.
    unsafe { text::write(text, summary, summary_size) };
    code
}

/// Drops a session without finishing it: its files stay readable, as after a kill.
///
/// # Safety
///
/// As for `vm_session_finish`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_session_drop(session: *mut VmSession) {
    if !session.is_null() {
        // SAFETY: it came out of `Box::into_raw` in `vm_session_start`, and the caller gives it up.
        let session = unsafe { Box::from_raw(session) };
        guarded((), || drop(session));
    }
}

/// Now on the run's clock, in nanoseconds since the Unix epoch; `VM_NO_TIME` without a session.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_now_ns(session: *const VmSession) -> i64 {
    // SAFETY: promised by the caller.
    unsafe { session.as_ref() }.map_or(VM_NO_TIME, |session| session.session.clock().now_ns())
}

/// Scrapes every endpoint now and waits for it, `limit_ms` at most. Call it right before the first load, so that
/// counters start there. False if the limit passed first, or without a session.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_scrape_now(session: *const VmSession, limit_ms: u64) -> bool {
    // SAFETY: promised by the caller.
    let session = unsafe { session.as_ref() };
    session.is_some_and(|session| {
        guarded(false, || {
            session.session.scrape_now(Duration::from_millis(limit_ms))
        })
    })
}

/// Marks that the model answers; load time ends here.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_model_loaded(session: *const VmSession) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.model_loaded());
    }
}

/// Begins a phase of the run, which lasts until the next one.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended; `name` is a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_phase(session: *const VmSession, name: *const c_char) {
    // SAFETY: promised by the caller.
    if let (Some(hooks), Some(name)) = unsafe { (hooks(session), text::read(name)) } {
        guarded((), || hooks.phase(name));
    }
}

/// Marks that the last query was answered.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_test_completed(session: *const VmSession) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.test_completed());
    }
}

/// Marks that a batch of `requests` queries was issued.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_batch_issued(session: *const VmSession, batch_id: u64, requests: u32) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.batch_issued(batch_id, requests));
    }
}

/// Marks that the last query of a batch was answered.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_batch_completed(session: *const VmSession, batch_id: u64) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.batch_completed(batch_id));
    }
}

/// Marks that a query was issued. `batch_id` may be `VM_NO_BATCH`. `scheduled_ns`, the time at which the load
/// generator intended to send it, may be `VM_NO_TIME`.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_request_issued(
    session: *const VmSession,
    id: u64,
    sample_index: u64,
    batch_id: u64,
    scheduled_ns: i64,
) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        let batch_id = (batch_id != VM_NO_BATCH).then_some(batch_id);
        guarded((), || {
            hooks.request_issued(id, sample_index, batch_id, known(scheduled_ns))
        });
    }
}

/// Marks that the request's bytes were sent.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_request_sent(session: *const VmSession, id: u64) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.request_sent(id));
    }
}

/// Marks that the first token of the answer arrived.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_first_token(session: *const VmSession, id: u64) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.first_token(id));
    }
}

/// Returns a full answer of `output_tokens` tokens, with everything else unknown.
#[unsafe(no_mangle)]
pub extern "C" fn vm_completed_tokens(output_tokens: u32) -> VmCompleted {
    VmCompleted {
        ok: true,
        endpoint: 0,
        prompt_tokens: VM_NO_COUNT,
        output_tokens,
        http_status: 0,
        server_queue_ns: VM_NO_TIME,
        server_prefill_ns: VM_NO_TIME,
        server_decode_ns: VM_NO_TIME,
    }
}

/// Marks that the query was answered, successfully or not.
///
/// # Safety
///
/// `session` is null or from `vm_session_start` and not yet ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vm_request_completed(session: *const VmSession, id: u64, how: VmCompleted) {
    // SAFETY: promised by the caller.
    if let Some(hooks) = unsafe { hooks(session) } {
        guarded((), || hooks.request_completed(id, completed(how)));
    }
}

fn completed(how: VmCompleted) -> Completed {
    let times = [how.server_queue_ns, how.server_prefill_ns, how.server_decode_ns].map(known);
    let [queue_ns, prefill_ns, decode_ns] = times;
    Completed {
        outcome: if how.ok {
            Outcome::Completed
        } else {
            Outcome::Failed
        },
        endpoint: how.endpoint,
        prompt_tokens: (how.prompt_tokens != VM_NO_COUNT).then_some(how.prompt_tokens),
        output_tokens: (how.output_tokens != VM_NO_COUNT).then_some(how.output_tokens),
        server: times.iter().any(Option::is_some).then_some(ServerTimes {
            queue_ns,
            prefill_ns,
            decode_ns,
            source: TimeSource::Server,
        }),
        reason: match (how.ok, how.http_status) {
            (_, status) if status != 0 => Reason::HttpStatus(status),
            (true, _) => Reason::Unknown,
            (false, _) => Reason::Other,
        },
    }
}

fn known(ns: i64) -> Option<i64> {
    (ns != VM_NO_TIME).then_some(ns)
}
