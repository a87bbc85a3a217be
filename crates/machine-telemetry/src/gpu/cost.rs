//! Cost of one kind of driver call: a small histogram of durations and its summary.

use std::time::Duration;

/// Sub-buckets per power of two: quantiles are accurate to 1/8 of their value.
const SUB: usize = 8;
/// Up to 2^40 ns, about 18 minutes.
const BUCKETS: usize = 41 * SUB;

/// Durations of calls of one kind, in fixed memory.
#[derive(Clone)]
pub(crate) struct Durations {
    count: u64,
    sum_ns: u64,
    max_ns: u64,
    buckets: Box<[u32; BUCKETS]>,
}

/// Cost of one kind of call over the run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallCost {
    /// Kind of call: `utilization`, `memory`, `power`, `sm_clock`, `throttle`, `temperature`, `fast_fields`,
    /// `slow_fields`, `memory_clock`, `processes`.
    pub call: &'static str,
    /// Number of calls.
    pub count: u64,
    /// Total time spent in them.
    pub total: Duration,
    /// Median, to 1/8 of its value.
    pub p50: Duration,
    /// 99th percentile, to 1/8 of its value.
    pub p99: Duration,
    /// Maximum, exact.
    pub max: Duration,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            count: 0,
            sum_ns: 0,
            max_ns: 0,
            buckets: Box::new([0; BUCKETS]),
        }
    }
}

impl Durations {
    pub(crate) fn record(&mut self, ns: u64) {
        self.count += 1;
        self.sum_ns += ns;
        self.max_ns = self.max_ns.max(ns);
        self.buckets[bucket_of(ns)] += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn summary(&self, call: &'static str) -> CallCost {
        CallCost {
            call,
            count: self.count,
            total: Duration::from_nanos(self.sum_ns),
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            max: Duration::from_nanos(self.max_ns),
        }
    }

    /// Upper end of the bucket that contains the quantile, never above the maximum.
    fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return Duration::from_nanos(upper_end(index).min(self.max_ns));
            }
        }
        Duration::from_nanos(self.max_ns)
    }
}

fn bucket_of(ns: u64) -> usize {
    if ns < SUB as u64 {
        return ns as usize;
    }
    let power = ns.ilog2() as usize;
    let sub = (ns >> (power - 3)) as usize & (SUB - 1);
    ((power - 2) * SUB + sub).min(BUCKETS - 1)
}

fn upper_end(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let (power, sub) = (index / SUB + 2, (index % SUB) as u64);
    (1 << power) + ((sub + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_bucket() {
        for ns in (0..200).chain([1000, 65_535, 65_536, 1_234_567, 20_000_000_000]) {
            let index = bucket_of(ns);
            assert!(ns <= upper_end(index), "{ns}");
            assert!(index == 0 || ns > upper_end(index - 1), "{ns}");
        }
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut durations = Durations::default();
        for ns in 1..=1000 {
            durations.record(ns * 1000);
        }
        let cost = durations.summary("x");
        assert!(
            (500_000..=563_000).contains(&(cost.p50.as_nanos() as u64)),
            "{cost:?}"
        );
        assert!(
            (990_000..=1_000_000).contains(&(cost.p99.as_nanos() as u64)),
            "{cost:?}"
        );
        assert_eq!((cost.count, cost.max), (1000, Duration::from_millis(1)));
    }
}
