//! Times several candidates alternately, so that a noisy machine affects them equally.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time used by this thread so far. Wall time would include other processes on a busy machine.
///
/// # Panics
/// If the system has no such clock; Linux has one.
pub fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("Linux keeps CPU time per thread")
        .into()
}

/// Calls `candidate` for about `slice` of CPU time and returns its rate in MB/s of CPU time, over `bytes` per call.
pub fn rate(bytes: usize, slice: Duration, candidate: &mut dyn FnMut()) -> f64 {
    // Reading the clock is a system call, so several calls share one reading.
    const CALLS: u32 = 16;
    let start = thread_cpu_time();
    let mut calls = 0;
    loop {
        for _ in 0..CALLS {
            candidate();
        }
        calls += CALLS;
        let elapsed = thread_cpu_time() - start;
        if elapsed >= slice {
            return f64::from(calls) * bytes as f64 / elapsed.as_secs_f64() / 1e6;
        }
    }
}

/// Runs the candidates alternately and returns each one's median rate in MB/s of CPU time, over `bytes` per
/// call.
///
/// In a turn every candidate gets about `slice` of time; the median ignores turns that were disturbed. The
/// first turn warms up and is not counted.
pub fn megabytes_per_second(
    bytes: usize,
    turns: usize,
    slice: Duration,
    candidates: &mut [&mut dyn FnMut()],
) -> Vec<f64> {
    let mut rates = vec![Vec::with_capacity(turns); candidates.len()];
    for turn in 0..=turns {
        for (candidate, rates) in candidates.iter_mut().zip(&mut rates) {
            let rate = rate(bytes, slice, candidate);
            if turn > 0 {
                rates.push(rate);
            }
        }
    }
    rates.into_iter().map(median).collect()
}

/// The middle value, or the mean of the two in the middle. The values must not be empty.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
