//! The tunable parameters: name, range and meaning. Default values are in `configs/monitor/parameters.toml` only.

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// `group.name`, as in files.
    pub name: &'static str,
    /// Smallest value that makes sense.
    pub smallest: f64,
    /// Largest.
    pub largest: f64,
    /// What it does, with its unit.
    pub meaning: &'static str,
}

macro_rules! parameters {
    ($(
        $(#[doc = $group_doc:literal])+
        $group:ident: $Type:ident {
            $( #[doc = $doc:literal] $key:ident in $smallest:literal .. $largest:literal, )+
        }
    )+) => {
        $(
            $(#[doc = $group_doc])+
            #[derive(Debug, Clone, Copy, PartialEq)]
            pub struct $Type {
                $( #[doc = $doc] pub $key: f64, )+
            }
        )+

        /// All parameters. Each is a number; counts are whole numbers.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct Parameters {
            $( $(#[doc = $group_doc])+ pub $group: $Type, )+
        }

        /// Every parameter, in the order of the file.
        pub const KEYS: &[Key] = &[
            $( $( Key {
                name: concat!(stringify!($group), ".", stringify!($key)),
                smallest: $smallest,
                largest: $largest,
                meaning: $doc,
            }, )+ )+
        ];

        impl Parameters {
            /// Nothing set; every value is not a number until it is read from a file.
            pub(super) const UNSET: Self = Self {
                $( $group: $Type { $( $key: f64::NAN, )+ }, )+
            };

            /// The value of a parameter by its name.
            pub fn value_mut(&mut self, name: &str) -> Option<&mut f64> {
                $( $(
                    if name == concat!(stringify!($group), ".", stringify!($key)) {
                        return Some(&mut self.$group.$key);
                    }
                )+ )+
                None
            }
        }
    };
}

parameters! {
    /// States and their hysteresis.
    lifecycle: LifecycleParameters {
        /// seconds that a problem must last before a server counts as degraded
        degrade_after_secs in 0.0 .. 3600.0,
        /// seconds without a problem before a degraded or failed server counts as well again
        recover_after_secs in 0.0 .. 3600.0,
        /// seconds without work before a serving server counts as ready
        idle_after_secs in 1.0 .. 86400.0,
        /// probes in a row that must fail before a server that was up counts as failed
        unhealthy_probes in 1.0 .. 100.0,
        /// seconds without any answer, connections being taken, before the API process counts as hung
        silent_api_secs in 1.0 .. 3600.0,
        /// the same for an API process that `/proc` shows as stopped, in seconds
        stopped_api_secs in 1.0 .. 3600.0,
        /// seconds between snapshots beyond which the time between them counts as not observed
        longest_gap_secs in 1.0 .. 3600.0,
        /// seconds for which a compilation that the log shows excuses silence
        compile_gate_secs in 0.0 .. 3600.0,
        /// seconds that a phase of loading may take before anything was learned
        startup_budget_secs in 1.0 .. 86400.0,
        /// seconds that a phase of loading may always take
        load_phase_floor_secs in 0.0 .. 86400.0,
    }

    /// When a probability becomes an alarm.
    alarm: AlarmParameters {
        /// probability at the alarm horizon from which on an alarm is raised
        raise_probability in 0.0 .. 1.0,
        /// probability below which a raised alarm may end
        clear_probability in 0.0 .. 1.0,
        /// the horizon that is looked at, in seconds: 5, 30, 60 or 300
        horizon_secs in 5.0 .. 300.0,
        /// seconds that the probability must stay high before an alarm is raised
        raise_after_secs in 0.0 .. 3600.0,
        /// seconds that the probability must stay low before an alarm ends
        clear_after_secs in 0.0 .. 3600.0,
    }

    /// KV preemption.
    kv: KvParameters {
        /// seconds of samples before the first forecast
        min_observed_secs in 1.0 .. 3600.0,
        /// time constant of the level's trend, in seconds
        trend_secs in 1.0 .. 3600.0,
        /// how many mean request durations after an idle server gets work until its usage has settled
        settle_stays in 0.0 .. 100.0,
        /// time constant of the rate of preemptions, in seconds
        rate_secs in 1.0 .. 3600.0,
        /// time constant of the means per request, in seconds
        request_secs in 1.0 .. 36000.0,
        /// how fast usage changes, as a share of it per second
        slope_prior_per_sec in 0.0 .. 1.0,
        /// seconds for which a change of usage continues
        slope_lasts_secs in 1.0 .. 3600.0,
        /// usage at which blocks count as used up
        full_ratio in 0.5 .. 1.0,
        /// probability at the alarm horizon from which on an alarm is raised
        raise_probability in 0.0 .. 1.0,
        /// preemptions per second from which on a server counts as degraded
        thrash_per_sec in 0.0 .. 1000.0,
    }

    /// Queue overflow.
    queue: QueueParameters {
        /// seconds of samples before the first forecast
        min_observed_secs in 1.0 .. 3600.0,
        /// time constant of arrival and finish rates, in seconds
        rate_secs in 1.0 .. 3600.0,
        /// how fast arrival rates change, as a share of the rate per second
        slope_prior_per_sec in 0.0 .. 1.0,
        /// seconds for which a change of the arrival rate continues
        slope_lasts_secs in 1.0 .. 3600.0,
        /// wait that is too long where the server has no limit of its own, in seconds
        wait_target_secs in 0.1 .. 3600.0,
        /// fewest waiting requests that count as an overflow
        least_barrier in 1.0 .. 100000.0,
        /// seconds that waiting must be beyond the barrier to be an overflow
        onset_after_secs in 0.0 .. 3600.0,
        /// probability at the alarm horizon from which on an alarm is raised
        raise_probability in 0.0 .. 1.0,
    }

    /// Degradation at equal load.
    degradation: DegradationParameters {
        /// pages of metrics learned before the first verdict
        min_samples in 10.0 .. 100000.0,
        /// factor by which a page counts less at each newer one
        forgetting in 0.9 .. 1.0,
        /// pages are pooled over this many seconds
        pool_secs in 1.0 .. 60.0,
        /// tokens that a pool needs
        min_tokens in 1.0 .. 100000.0,
        /// half of the slowdown that matters, as a difference of logarithms
        allowance in 0.001 .. 2.0,
        /// sum of differences from which on steps count as slower
        threshold in 0.01 .. 1000.0,
        /// multiple of the noise's variance over the allowance that the threshold is at least
        noise_factor in 0.0 .. 1000.0,
        /// differences beyond this do not count more
        most_difference in 0.01 .. 10.0,
        /// leverage from which on an operating point counts as new
        new_point_leverage in 0.0 .. 100.0,
    }

    /// Hang of the engine.
    hang: HangParameters {
        /// seconds of silence that are never a hang
        floor_secs in 1.0 .. 3600.0,
        /// multiple of the rare gap between heartbeats that counts as a hang
        gap_factor in 1.0 .. 100.0,
        /// share of gaps that are shorter than the rare gap
        gap_quantile in 0.5 .. 0.99999,
        /// gaps learned before the rare gap is believed
        min_gaps in 1.0 .. 1000000.0,
        /// seconds of silence that count as a hang before anything was learned
        untaught_secs in 1.0 .. 3600.0,
        /// seconds of silence that count as a hang while the engine's processes sleep and its GPUs are idle
        still_secs in 1.0 .. 3600.0,
        /// CPU time of a sleeping engine, in cores
        still_cores in 0.0 .. 1.0,
        /// multiple of the time that one longest prompt takes
        prefill_factor in 1.0 .. 100.0,
        /// seconds for which a canary may wait for its first token
        canary_secs in 1.0 .. 3600.0,
        /// seconds after a pause, a compilation or a start before silence counts
        grace_secs in 0.0 .. 3600.0,
        /// hangs per hour of a healthy server: the prior
        prior_per_hour in 0.0 .. 100.0,
    }

    /// Device memory taken by others.
    gpu_memory: GpuMemoryParameters {
        /// seconds of samples before the first forecast
        min_observed_secs in 1.0 .. 36000.0,
        /// time constant of the trend, in seconds
        trend_secs in 1.0 .. 36000.0,
        /// free memory that counts as none, in bytes
        reserve_bytes in 0.0 .. 1e12,
        /// share of the GPU's memory that must be free; below it the condition is present
        tight_ratio in 0.0 .. 1.0,
    }

    /// Host memory.
    host_memory: HostMemoryParameters {
        /// seconds of samples before the first forecast
        min_observed_secs in 1.0 .. 36000.0,
        /// time constant of the trend, in seconds
        trend_secs in 1.0 .. 36000.0,
        /// share of the limit that must be free; below it the condition is present
        tight_ratio in 0.0 .. 1.0,
    }

    /// GPUs and their links.
    hardware: HardwareParameters {
        /// mean hours between failures of one GPU: the base rate
        mean_hours_between_failures in 1.0 .. 1e9,
        /// factor on the base rate while corrected memory errors come often
        ecc_factor in 1.0 .. 1e6,
        /// factor while a row remap waits for a reset
        remap_factor in 1.0 .. 1e6,
        /// factor while links repeat transfers
        link_factor in 1.0 .. 1e6,
        /// threshold of corrected memory errors per hour
        ecc_per_hour in 0.0 .. 1e9,
        /// threshold of link errors per minute
        link_errors_per_minute in 0.0 .. 1e9,
        /// threshold of the share of time slowed down for heat or power
        throttle_ratio in 0.0 .. 1.0,
        /// time constant of these rates, in seconds
        rate_secs in 1.0 .. 36000.0,
        /// seconds within which equal errors of one GPU are one burst
        burst_secs in 0.0 .. 86400.0,
        /// bursts within a day that call for a person
        bursts_for_human in 1.0 .. 1000.0,
        /// seconds for which an error counts as present
        recent_secs in 1.0 .. 86400.0,
    }

    /// The network.
    network: NetworkParameters {
        /// probes before the first verdict
        min_probes in 1.0 .. 10000.0,
        /// time constant of the usual times, in seconds
        usual_secs in 1.0 .. 86400.0,
        /// threshold of the share of failed transports
        fault_ratio in 0.0 .. 1.0,
        /// multiple of the usual time to connect that is slow
        slow_factor in 1.0 .. 1000.0,
        /// seconds to connect that are never slow
        slow_floor_secs in 0.0 .. 60.0,
        /// time constant of the share of faults, in seconds
        fault_secs in 1.0 .. 3600.0,
        /// threshold of failed transfers between servers per minute
        transfer_failures_per_minute in 0.0 .. 1e6,
    }

    /// Comparison with peers.
    peers: PeersParameters {
        /// peers that a comparison needs
        min_peers in 1.0 .. 1000.0,
        /// robust deviations from the median that count as slower
        deviations in 1.0 .. 100.0,
        /// least difference of logarithms that counts
        least_difference in 0.0 .. 10.0,
        /// seconds that it must last
        after_secs in 0.0 .. 3600.0,
    }

    /// Requests that fail by the server's fault.
    errors: ErrorsParameters {
        /// threshold of the share of failed requests
        share in 0.0 .. 1.0,
        /// failed requests within the time constant before the share counts
        least_failed in 0.0 .. 1e6,
        /// time constant, in seconds
        rate_secs in 1.0 .. 36000.0,
        /// seconds for which requests with NaN logits count as present
        corrupted_secs in 1.0 .. 86400.0,
    }

    /// Learning from outcomes.
    calibration: CalibrationParameters {
        /// seconds between predictions that are kept to be resolved
        sample_secs in 1.0 .. 3600.0,
        /// resolved predictions before they change a table
        min_resolved in 10.0 .. 1e9,
        /// resolved failures before they change a table
        min_failures in 1.0 .. 1e9,
        /// weight of the compiled-in table, in predictions
        prior_weight in 0.0 .. 1e9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reaches_its_own_field() {
        let mut parameters = Parameters::UNSET;
        for (i, key) in KEYS.iter().enumerate() {
            *parameters.value_mut(key.name).expect("it is in the list") = i as f64;
        }
        for (i, key) in KEYS.iter().enumerate() {
            assert_eq!(
                parameters.value_mut(key.name).copied(),
                Some(i as f64),
                "{}",
                key.name
            );
            assert!(key.smallest < key.largest, "{}", key.name);
        }
        assert_eq!(parameters.value_mut("kv.nothing"), None);
    }
}
