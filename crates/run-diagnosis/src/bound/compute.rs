//! The quantities of the rules, computed from a run.

use std::collections::BTreeMap;
use std::ops::Range;

use run_statistics::{mean, percentile};

use super::gpus::GpuTable;
use super::quantity::Quantity;
use super::readings::{Readings, Values};
use super::step_fit::StepFit;
use crate::input::{Column, RequestTimes, Run};

/// Seconds that an average of gauges needs before it is compared with an exact one.
const SECONDS_FOR_LITTLE: usize = 30;

/// A quantity stands at its limit while it is this near to its largest value, in this share of the seconds.
const AT_PLATEAU: f64 = 0.99;
const PLATEAU_SHARE: f64 = 0.8;

/// Computes every quantity in a range of seconds.
pub(super) fn readings(
    run: &Run,
    seconds: Range<usize>,
    gpus: &GpuTable,
    fit: Result<&StepFit, &String>,
) -> Readings {
    let mut builder = Builder {
        run,
        readings: Readings {
            seconds,
            start_ns: run.seconds.start_ns,
            values: BTreeMap::new(),
        },
    };
    builder.columns();
    builder.combinations();
    builder.limits();
    builder.requests();
    builder.facts();
    builder.gpu(gpus, fit);
    builder.readings
}

struct Builder<'a> {
    run: &'a Run,
    readings: Readings,
}

impl Builder<'_> {
    fn set(&mut self, quantity: Quantity, values: Values) {
        self.readings.values.insert(quantity, values);
    }

    /// One for the whole window, or why not.
    fn constant(&mut self, quantity: Quantity, value: Result<f64, impl Into<String>>) {
        let values = match value {
            Ok(value) => Values::Constant(value),
            Err(because) => Values::Missing(because.into()),
        };
        self.set(quantity, values);
    }

    /// A value per second from the values of others in that second.
    fn combine<const N: usize>(&mut self, quantity: Quantity, from: [Quantity; N], of: fn([f64; N]) -> f64) {
        let missing = from
            .iter()
            .find_map(|other| match self.readings.values.get(other) {
                Some(Values::Missing(because)) => Some(format!("no {}: {because}", other.describe())),
                _ => None,
            });
        if let Some(because) = missing {
            self.set(quantity, Values::Missing(because));
            return;
        }
        let cell = |second| {
            let mut values = [0.0; N];
            for (value, other) in values.iter_mut().zip(from) {
                *value = self.readings.at(other, second)?;
            }
            Some(of(values)).filter(|value| value.is_finite())
        };
        let cells = self.readings.seconds.clone().map(cell).collect();
        self.set(quantity, Values::PerSecond(cells));
    }

    fn column(&mut self, quantity: Quantity, column: &Column) {
        let values = match column.absent_because() {
            Some(because) => Values::Missing(because.to_owned()),
            None => Values::PerSecond(
                self.readings
                    .seconds
                    .clone()
                    .map(|second| column.at(second))
                    .collect(),
            ),
        };
        self.set(quantity, values);
    }

    fn columns(&mut self) {
        let seconds = &self.run.seconds;
        for (quantity, column) in [
            (Quantity::InFlight, &seconds.in_flight),
            (Quantity::ClientQueue, &seconds.client_queue),
            (Quantity::ClientCpuCores, &seconds.client_cpu_cores),
            (Quantity::Running, &seconds.running),
            (Quantity::WaitingForCapacity, &seconds.waiting_for_capacity),
            (Quantity::WaitingDeferred, &seconds.waiting_deferred),
            (Quantity::KvCacheUsageRatio, &seconds.kv_cache_usage_ratio),
            (Quantity::Preemptions, &seconds.preemptions),
            (Quantity::ApiServerCpuCores, &seconds.api_server_cpu_cores),
            (Quantity::ScrapeSecs, &seconds.scrape_secs),
            (Quantity::GpuUtilizationRatio, &seconds.gpu_utilization_ratio),
            (Quantity::ThrottledSecs, &seconds.throttled_secs),
            (Quantity::SmClockRatio, &seconds.sm_clock_ratio),
            (
                Quantity::NetworkUtilizationRatio,
                &seconds.network_utilization_ratio,
            ),
            (Quantity::TcpRetransmits, &seconds.tcp_retransmits),
        ] {
            self.column(quantity, column);
        }
    }

    fn combinations(&mut self) {
        use Quantity as Q;
        // A server without the split by reason has its whole queue in the capacity column.
        if self.run.seconds.waiting_deferred.absent_because().is_some() {
            self.combine(Q::Waiting, [Q::WaitingForCapacity], |[waiting]| waiting);
        } else {
            self.combine(
                Q::Waiting,
                [Q::WaitingForCapacity, Q::WaitingDeferred],
                |[a, b]| a + b,
            );
        }
        self.combine(
            Q::ServerRequests,
            [Q::Running, Q::Waiting],
            |[running, waiting]| running + waiting,
        );
        self.combine(
            Q::SequencesWanted,
            [Q::Running, Q::WaitingForCapacity],
            |[a, b]| a + b,
        );
        self.combine(
            Q::HeldBackRequests,
            [Q::InFlight, Q::ServerRequests],
            |[client, server]| (client - server).max(0.0),
        );
        self.combine(Q::ClockLossRatio, [Q::SmClockRatio], |[clock]| 1.0 - clock);
        self.ratio_of_columns(Q::TokensPerStep, |seconds| {
            (&seconds.step_tokens, &seconds.engine_steps)
        });
        self.prompt_share();
        let little = self.little_residual();
        self.constant(Q::LittleResidualRatio, little);
        let all: Vec<usize> = self.readings.seconds.clone().collect();
        let usual = self.readings.median(Q::TcpRetransmits, &all);
        self.constant(
            Q::UsualTcpRetransmits,
            usual.ok_or("retransmits were not recorded"),
        );
    }

    fn ratio_of_columns(
        &mut self,
        quantity: Quantity,
        of: fn(&crate::input::PerSecond) -> (&Column, &Column),
    ) {
        let (above, below) = of(&self.run.seconds);
        let values = match above.absent_because().or(below.absent_because()) {
            Some(because) => Values::Missing(because.to_owned()),
            None => Values::PerSecond(
                self.readings
                    .seconds
                    .clone()
                    .map(|second| {
                        Some(above.at(second)? / below.at(second)?).filter(|ratio| ratio.is_finite())
                    })
                    .collect(),
            ),
        };
        self.set(quantity, values);
    }

    fn prompt_share(&mut self) {
        let (prompt, output) = (
            &self.run.seconds.prompt_tokens_computed,
            &self.run.seconds.generation_tokens,
        );
        let share = |second| {
            let (prompt, output) = (prompt.at(second)?, output.at(second)?);
            Some(prompt / (prompt + output)).filter(|share| share.is_finite())
        };
        let values = match prompt.absent_because().or(output.absent_because()) {
            Some(because) => Values::Missing(because.to_owned()),
            None => Values::PerSecond(self.readings.seconds.clone().map(share).collect()),
        };
        self.set(Quantity::PromptShareRatio, values);
    }

    /// |client − server| / client, of the mean number of requests in flight.
    fn little_residual(&self) -> Result<f64, String> {
        let pairs: Vec<(f64, f64)> = self
            .readings
            .seconds
            .clone()
            .filter_map(|second| {
                let client = self.readings.at(Quantity::InFlight, second)?;
                Some((client, self.readings.at(Quantity::ServerRequests, second)?))
            })
            .collect();
        if pairs.len() < SECONDS_FOR_LITTLE {
            return Err(format!(
                "client and server are both known in {} seconds, {SECONDS_FOR_LITTLE} are needed",
                pairs.len()
            ));
        }
        let (client, server): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        let (client, server) = (mean(&client).unwrap_or(0.0), mean(&server).unwrap_or(0.0));
        if client > 0.0 {
            Ok((client - server).abs() / client)
        } else {
            Err("nothing was in flight".to_owned())
        }
    }

    fn limits(&mut self) {
        let facts = &self.run.facts;
        let sequences = match facts.max_num_seqs {
            Some(limit) => Ok(f64::from(limit)),
            None => self
                .plateau(Quantity::Running)
                .ok_or("max_num_seqs is not known, and no plateau shows it"),
        };
        self.constant(Quantity::SequenceLimit, sequences);
        let tokens = match facts.max_num_batched_tokens {
            Some(limit) => Ok(f64::from(limit)),
            None => self
                .plateau(Quantity::TokensPerStep)
                .ok_or("max_num_batched_tokens is not known, and no plateau shows it"),
        };
        self.constant(Quantity::TokenBudget, tokens);
        self.combine(
            Quantity::LoadRoomRatio,
            [Quantity::SequenceLimit, Quantity::Running],
            |[limit, running]| limit / running,
        );
    }

    /// The largest value, if the quantity stays there while requests wait for capacity although the cache has room.
    fn plateau(&self, quantity: Quantity) -> Option<f64> {
        let at = |quantity, second| self.readings.at(quantity, second);
        let values: Vec<f64> = self
            .readings
            .seconds
            .clone()
            .filter(|second| {
                at(Quantity::WaitingForCapacity, *second).is_some_and(|waiting| waiting > 0.0)
                    && at(Quantity::KvCacheUsageRatio, *second).is_some_and(|usage| usage < 0.9)
            })
            .filter_map(|second| at(quantity, second))
            .collect();
        let largest = values.iter().copied().fold(0.0, f64::max);
        let near = values
            .iter()
            .filter(|value| **value >= AT_PLATEAU * largest)
            .count();
        let long_enough = near as f64 >= PLATEAU_SHARE * self.readings.seconds.len() as f64;
        (largest > 0.0 && long_enough).then_some(largest)
    }

    fn requests(&mut self) {
        use Quantity as Q;
        let span = &self.readings.seconds;
        let begins_ns = self.run.seconds.begins_ns(span.start);
        let ends_ns = self.run.seconds.begins_ns(span.end);
        let issued: Vec<&RequestTimes> = self
            .run
            .requests
            .iter()
            .filter(|request| (begins_ns..ends_ns).contains(&request.issued_ns))
            .collect();
        let p99 = |of: fn(&RequestTimes) -> Option<f64>| {
            let values: Vec<f64> = issued.iter().filter_map(|request| of(request)).collect();
            percentile::linear(&percentile::sorted(&values), 0.99)
        };
        let by_second = |of: fn(&RequestTimes) -> Option<f64>, q: f64| -> Vec<Option<f64>> {
            let mut seconds = vec![Vec::new(); span.len()];
            for request in &issued {
                if let (Some(value), Ok(i)) = (
                    of(request),
                    usize::try_from((request.issued_ns - begins_ns) / 1_000_000_000),
                ) {
                    seconds[i].push(value);
                }
            }
            seconds
                .iter()
                .map(|values| percentile::linear(&percentile::sorted(values), q))
                .collect()
        };
        let delay_p99 = p99(RequestTimes::schedule_lag_secs);
        // A second in which nothing was scheduled delayed nothing.
        let delays = by_second(RequestTimes::schedule_lag_secs, 0.99);
        let delays = delays.into_iter().map(|delay| delay.or(Some(0.0))).collect();
        let ttft = p99(RequestTimes::ttft_secs);
        let tpot = p99(RequestTimes::tpot_secs);
        let outside = by_second(RequestTimes::outside_engine_secs, 0.5);
        let e2e = by_second(RequestTimes::e2e_secs, 0.5);

        let unscheduled = "no request has a scheduled time";
        match delay_p99 {
            Some(_) => self.set(Q::IssueDelaySecs, Values::PerSecond(delays)),
            None => self.set(Q::IssueDelaySecs, Values::Missing(unscheduled.to_owned())),
        }
        self.constant(Q::IssueDelayP99Secs, delay_p99.ok_or(unscheduled));
        self.constant(Q::TtftP99Secs, ttft.ok_or("no request has a first token"));
        self.constant(Q::TpotP99Secs, tpot.ok_or("no request has two tokens"));
        let or_missing = |cells: Vec<Option<f64>>, because: &str| match cells.iter().any(Option::is_some) {
            true => Values::PerSecond(cells),
            false => Values::Missing(because.to_owned()),
        };
        self.set(
            Q::OutsideEngineSecs,
            or_missing(outside, "requests have no times of the server"),
        );
        self.set(Q::E2eSecs, or_missing(e2e, "no request was finished"));
    }

    fn facts(&mut self) {
        let facts = &self.run.facts;
        let same_host = facts.loopback.map(|loopback| f64::from(u8::from(loopback)));
        for (quantity, value, missing) in [
            (Quantity::TtftLimitSecs, facts.ttft_limit_secs, "no limit is set"),
            (Quantity::TpotLimitSecs, facts.tpot_limit_secs, "no limit is set"),
            (
                Quantity::ClientCoresGranted,
                facts.client_cores_granted,
                "not recorded",
            ),
            (
                Quantity::IdleScrapeSecs,
                facts.idle_scrape_secs,
                "not measured before the run",
            ),
            (Quantity::SameHost, same_host, "not known"),
        ] {
            self.constant(quantity, value.ok_or(missing));
        }
    }

    fn gpu(&mut self, gpus: &GpuTable, fit: Result<&StepFit, &String>) {
        use Quantity as Q;
        let facts = &self.run.facts;
        // The table first: it needs no tuning. Otherwise where the fitted step time begins to follow its tokens.
        match (gpus.ridge_tokens(facts), fit) {
            (Ok(ridge), _) => self.set(Q::RidgeTokens, Values::Constant(ridge)),
            (Err(because), Ok(fit)) => self.fitted_ridge(&because, fit),
            (Err(because), Err(no_fit)) => {
                self.set(Q::RidgeTokens, Values::Missing(format!("{because}; {no_fit}")));
            }
        }

        let gpu = gpus.of_run(facts);
        let format = facts
            .math
            .ok_or_else(|| "the number format of the arithmetic is not known".to_owned());
        let flops = gpu
            .clone()
            .and_then(|gpu| gpu.flops(format?).ok_or("no peak rate in the table".to_owned()));
        self.utilization(Q::MfuRatio, &self.run.seconds.flops_per_gpu, flops);
        let bytes = gpu.map(|gpu| gpu.memory_bytes_per_sec);
        self.utilization(Q::MbuRatio, &self.run.seconds.memory_bytes_per_gpu, bytes);

        self.sequences_with_room();
        match fit {
            Ok(fit) => {
                let growth = |second| fit.growth(self.readings.at(Q::TokensPerStep, second)?, second);
                let cells = self.readings.seconds.clone().map(growth).collect();
                self.set(Q::StepTimeGrowthRatio, Values::PerSecond(cells));
                let cells: Vec<_> = self
                    .readings
                    .seconds
                    .clone()
                    .map(|second| fit.kv_to_fixed(second))
                    .collect();
                self.set(
                    Q::KvReadToWeightsRatio,
                    match cells.iter().any(Option::is_some) {
                        true => Values::PerSecond(cells),
                        false => Values::Missing("the KV cache's size or use is not known".to_owned()),
                    },
                );
            }
            Err(because) => {
                self.set(Q::StepTimeGrowthRatio, Values::Missing(because.clone()));
                self.set(Q::KvReadToWeightsRatio, Values::Missing(because.clone()));
            }
        }
    }

    /// The fitted ridge, in the seconds whose steps are on one side of it whatever the errors of the fit.
    fn fitted_ridge(&mut self, not_in_table: &str, fit: &StepFit) {
        let tokens: Vec<Option<f64>> = self
            .readings
            .seconds
            .clone()
            .map(|second| self.readings.at(Quantity::TokensPerStep, second))
            .collect();
        let ridge = |tokens: f64| fit.is_beyond_ridge(tokens).map(|_| fit.ridge_tokens());
        let cells: Vec<Option<f64>> = tokens.iter().map(|tokens| (*tokens).and_then(ridge)).collect();
        let known = cells.iter().flatten().count();
        let of_steps: Vec<f64> = tokens.into_iter().flatten().collect();
        let values = if 2 * known >= of_steps.len() {
            Values::PerSecond(cells)
        } else {
            let sorted = percentile::sorted(&of_steps);
            let at = |q| percentile::linear(&sorted, q).unwrap_or(f64::NAN);
            Values::Missing(format!(
                "{not_in_table}; steps of mostly {:.0} to {:.0} tokens are too alike for their times to show it",
                at(0.1),
                at(0.9)
            ))
        };
        self.set(Quantity::RidgeTokens, values);
    }

    /// More sequences help until the cache is full to 0.9 or their tokens reach the ridge.
    fn sequences_with_room(&mut self) {
        use Quantity as Q;
        let limits = [
            Q::SequencesWanted,
            Q::Running,
            Q::KvCacheUsageRatio,
            Q::RidgeTokens,
        ];
        self.combine(Q::SequencesWithRoom, limits, |[wanted, running, usage, ridge]| {
            wanted.min(0.9 / usage * running).min(ridge).max(running)
        });
    }

    fn utilization(&mut self, quantity: Quantity, used: &Column, peak: Result<f64, String>) {
        match peak {
            Ok(peak) => {
                let scaled = match used.absent_because() {
                    Some(because) => Column::absent(because),
                    None => Column::of(
                        (0..self.readings.seconds.end).map(|second| used.at(second).map(|used| used / peak)),
                    ),
                };
                self.column(quantity, &scaled);
            }
            Err(because) => self.set(quantity, Values::Missing(because)),
        }
    }
}
