//! Limits of the scheduler and of admission that can be changed while a server runs, each for a limited time.
//!
//! The names and the meanings are those of vLLM 0.32's own fields, as a plugin inside the engine would set them:
//! `scheduler_config.max_num_queued_reqs` and `max_num_queued_tokens` (read for every new request),
//! `scheduler.max_num_active_reqs` and `max_num_scheduled_tokens` (read for every step), and
//! `kv_cache_manager.watermark_blocks`. `drain` exists only in the plugin: it makes `/health` answer 503.

use crate::config::SimConfig;
use crate::error::{Error, Result};

/// A limit that can be changed while the server runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lever {
    /// Unfinished requests beyond which new ones are rejected with status 503. 0 rejects every new request.
    MaxNumQueuedReqs,
    /// Prompt tokens in prefill beyond which new requests are rejected with status 503.
    MaxNumQueuedTokens,
    /// Requests that may run at once. Lowering it does not affect running requests.
    MaxNumActiveReqs,
    /// Tokens that one step may compute.
    MaxNumScheduledTokens,
    /// KV blocks that stay free when a waiting request is admitted, as a reserve for running ones to grow.
    WatermarkBlocks,
    /// 1: `/health` answers 503, so that a load balancer sends no new requests. Requests that arrive are
    /// served.
    Drain,
}

impl Lever {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::MaxNumQueuedReqs,
        Self::MaxNumQueuedTokens,
        Self::MaxNumActiveReqs,
        Self::MaxNumScheduledTokens,
        Self::WatermarkBlocks,
        Self::Drain,
    ];

    /// vLLM's name of the field, also the key of the HTTP route.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxNumQueuedReqs => "max_num_queued_reqs",
            Self::MaxNumQueuedTokens => "max_num_queued_tokens",
            Self::MaxNumActiveReqs => "max_num_active_reqs",
            Self::MaxNumScheduledTokens => "max_num_scheduled_tokens",
            Self::WatermarkBlocks => "watermark_blocks",
            Self::Drain => "drain",
        }
    }

    /// The lever of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lever| lever.name() == name)
    }

    /// Its configured value; `None` means no limit.
    pub fn default_value(self, config: &SimConfig) -> Option<u64> {
        let engine = &config.engine;
        match self {
            Self::MaxNumQueuedReqs => config.max_num_queued_reqs.map(u64::from),
            Self::MaxNumQueuedTokens => config.max_num_queued_tokens,
            Self::MaxNumActiveReqs => Some(u64::from(engine.max_num_seqs)),
            Self::MaxNumScheduledTokens => Some(u64::from(engine.max_num_batched_tokens)),
            Self::WatermarkBlocks => Some(engine.watermark_blocks()),
            Self::Drain => Some(0),
        }
    }

    /// Smallest and largest value that the engine can run with.
    pub fn bounds(self, config: &SimConfig) -> (u64, u64) {
        let engine = &config.engine;
        match self {
            Self::MaxNumQueuedReqs | Self::MaxNumQueuedTokens => (0, u64::from(u32::MAX)),
            // Raising it above the configured limit would need larger buffers than a real engine has.
            Self::MaxNumActiveReqs => (1, u64::from(engine.max_num_seqs)),
            Self::MaxNumScheduledTokens => {
                // Without chunked prefill a prompt that does not fit would wait forever.
                let least = if engine.enable_chunked_prefill {
                    1
                } else {
                    engine.max_model_len
                };
                (u64::from(least), u64::from(engine.max_num_batched_tokens))
            }
            Self::WatermarkBlocks => (0, u64::from(engine.num_gpu_blocks.saturating_sub(1))),
            Self::Drain => (0, 1),
        }
    }

    /// Rejects a value outside [`Lever::bounds`].
    ///
    /// # Errors
    /// [`Error::Config`] names the lever and its bounds.
    pub fn check(self, value: u64, config: &SimConfig) -> Result<()> {
        let (least, most) = self.bounds(config);
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{} is {value}: it must be between {least} and {most}",
            self.name()
        )))
    }
}

/// A lever that is not at its default, as reported by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeverSetting {
    /// Which one.
    pub lever: Lever,
    /// The value in force.
    pub value: u64,
    /// Virtual nanoseconds on the server's clock at which it returns to its default.
    pub(crate) until: u64,
}

/// The settings of one server's levers. An expired setting counts as absent, so no task has to reset it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LeverState {
    settings: [Option<(u64, u64)>; Lever::ALL.len()],
}

impl LeverState {
    /// Sets a lever until `until`.
    pub(crate) fn set(&mut self, lever: Lever, value: u64, until: u64) {
        self.settings[lever as usize] = Some((value, until));
    }

    /// Resets a lever to its default.
    pub(crate) fn reset(&mut self, lever: Lever) {
        self.settings[lever as usize] = None;
    }

    /// The value in force at `now`; `None` for the default.
    pub(crate) fn get(&self, lever: Lever, now: u64) -> Option<u64> {
        self.settings[lever as usize]
            .filter(|(_, until)| now < *until)
            .map(|(value, _)| value)
    }

    /// The levers that are not at their default at `now`.
    pub(crate) fn moved(&self, now: u64) -> Vec<LeverSetting> {
        Lever::ALL
            .into_iter()
            .filter_map(|lever| {
                let (value, until) = self.settings[lever as usize].filter(|(_, until)| now < *until)?;
                Some(LeverSetting { lever, value, until })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_ends_by_itself() {
        let mut state = LeverState::default();
        state.set(Lever::MaxNumActiveReqs, 2, 100);
        assert_eq!(state.get(Lever::MaxNumActiveReqs, 99), Some(2));
        assert_eq!(state.get(Lever::MaxNumActiveReqs, 100), None);
        assert_eq!(state.moved(99).len(), 1);
        assert!(state.moved(100).is_empty());
        state.set(Lever::WatermarkBlocks, 4, 100);
        state.reset(Lever::WatermarkBlocks);
        assert_eq!(state.get(Lever::WatermarkBlocks, 0), None);
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let config = SimConfig::default();
        for lever in Lever::ALL {
            assert_eq!(Lever::named(lever.name()), Some(lever));
            let (least, most) = lever.bounds(&config);
            lever.check(least, &config).unwrap();
            lever.check(most, &config).unwrap();
            let text = lever.check(most + 1, &config).unwrap_err().to_string();
            assert!(text.contains(lever.name()), "{text}");
        }
        assert!(Lever::MaxNumActiveReqs.check(0, &config).is_err());
    }
}
