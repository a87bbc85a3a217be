//! GPUs that follow a simulated server's load: a small model, and the file through which the library reads it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The server's activity on one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Share of the time in which an engine step was running, 0 to 1.
    pub busy_ratio: f64,
    /// Share of that time spent on prompt tokens, 0 to 1: prefill draws more power than decode.
    pub prefill_ratio: f64,
    /// Share of the KV blocks in use, 0 to 1.
    pub kv_usage_ratio: f64,
}

/// Sizes of the simulated board.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Board {
    /// Power at rest, in watts.
    pub idle_watts: f64,
    /// Power limit, in watts.
    pub limit_watts: f64,
    /// Memory taken by weights and activations, in bytes.
    pub weights_bytes: f64,
    /// Memory reserved for KV blocks, in bytes.
    pub kv_bytes: f64,
    /// Share of the maximum clock under a power cap while the GPU works, above 0 and at most 1. Below 1 the
    /// throttle reason is the software power cap, and the time under the cap is counted.
    pub clock_ratio: f64,
}

impl Default for Board {
    /// An 80 GB board that serves a model of 16 GB with 90 % of its memory.
    fn default() -> Self {
        Self {
            idle_watts: 70.0,
            limit_watts: 700.0,
            weights_bytes: 18e9,
            kv_bytes: 58e9,
            clock_ratio: 1.0,
        }
    }
}

/// Simulated GPUs that a sampler reads through the fake library. Dropping it does not remove the
/// files.
#[derive(Debug)]
pub struct LiveGpus {
    library: PathBuf,
    file: File,
    board: Board,
    gpus: Vec<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    temperature_celsius: f64,
    power_watts: f64,
    energy_joules: f64,
    /// Time under the power cap.
    capped_ns: f64,
    is_capped: bool,
    at: f64,
}

/// Doubles per GPU in the file; must match the C side.
const VALUES: usize = 12;
/// NVML's throttle bits for "idle" and "software power cap".
const THROTTLE_IDLE: f64 = 1.0;
const THROTTLE_POWER_CAP: f64 = 4.0;

impl LiveGpus {
    /// Writes library, script and live file for `count` idle GPUs into `dir`.
    pub fn create(dir: &Path, count: u32, board: Board) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let live = dir.join("live");
        let file = File::create(&live)?;
        let mut script = format!("live {}\n", live.display());
        for index in 0..count {
            script.push_str(&crate::data_centre_gpu(index));
        }
        let library = crate::install(dir, &script)?;
        let rest = State {
            temperature_celsius: 30.0,
            power_watts: board.idle_watts,
            energy_joules: 0.0,
            capped_ns: 0.0,
            is_capped: false,
            at: unix_seconds(),
        };
        let mut gpus = Self {
            library,
            file,
            board,
            gpus: vec![rest; count as usize],
        };
        for index in 0..gpus.gpus.len() {
            gpus.set(
                index,
                Load {
                    busy_ratio: 0.0,
                    prefill_ratio: 0.0,
                    kv_usage_ratio: 0.0,
                },
            )?;
        }
        Ok(gpus)
    }

    /// The library for the sampler.
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// How many GPUs there are.
    pub fn count(&self) -> usize {
        self.gpus.len()
    }

    /// Sets one GPU's load from now on. Cheap (one write of 96 bytes); a few times a second is enough.
    ///
    /// # Panics
    ///
    /// If `gpu` is not below [`LiveGpus::count`].
    pub fn set(&mut self, gpu: usize, load: Load) -> io::Result<()> {
        let now = unix_seconds();
        let board = self.board;
        let state = &mut self.gpus[gpu];
        let elapsed = (now - state.at).max(0.0);
        let busy = load.busy_ratio.clamp(0.0, 1.0);
        let prefill = load.prefill_ratio.clamp(0.0, 1.0);
        // Decode is limited by memory and leaves the cores waiting: about half of prefill's power above idle.
        let demand =
            board.idle_watts + (board.limit_watts * 1.02 - board.idle_watts) * busy * (0.5 + 0.5 * prefill);
        let is_capped = demand > board.limit_watts || (board.clock_ratio < 1.0 && busy > 0.0);
        state.energy_joules += state.power_watts * elapsed;
        if std::mem::replace(&mut state.is_capped, is_capped) {
            state.capped_ns += elapsed * 1e9;
        }
        state.power_watts = demand.min(board.limit_watts);
        state.at = now;
        // A heatsink: first order towards a temperature in proportion to the power, with 20 s time constant.
        let target = 28.0 + state.power_watts * 0.06;
        state.temperature_celsius += (target - state.temperature_celsius) * (1.0 - (-elapsed / 20.0).exp());
        let memory = board.weights_bytes + board.kv_bytes * load.kv_usage_ratio.clamp(0.0, 1.0);
        let (clock_mhz, throttle) = match (busy > 0.0, is_capped) {
            (false, _) => (345.0, THROTTLE_IDLE),
            (true, false) => (1980.0, 0.0),
            (true, true) => {
                let ratio = (board.limit_watts / demand).min(board.clock_ratio);
                (1980.0 * ratio, THROTTLE_POWER_CAP)
            }
        };
        let values: [f64; VALUES] = [
            busy * 100.0,
            busy * (1.0 - 0.6 * prefill) * 100.0,
            memory,
            state.power_watts,
            clock_mhz,
            state.temperature_celsius,
            throttle,
            state.energy_joules,
            now,
            state.capped_ns,
            0.0,
            0.0,
        ];
        let mut bytes = [0; VALUES * 8];
        for (place, value) in bytes.chunks_exact_mut(8).zip(values) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        // A reader may see half of the old and half of the new record, which are two adjacent moments.
        self.file.write_all_at(&bytes, (gpu * bytes.len()) as u64)
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cap_lowers_the_clock_and_counts_its_time() {
        let dir = std::env::temp_dir().join(format!("fake-nvml-cap-{}", std::process::id()));
        let board = Board {
            clock_ratio: 0.8,
            ..Board::default()
        };
        let mut gpus = LiveGpus::create(&dir, 1, board).expect("the folder can be written");
        let busy = Load {
            busy_ratio: 1.0,
            prefill_ratio: 0.0,
            kv_usage_ratio: 0.5,
        };
        let read = || -> Vec<f64> {
            let bytes = std::fs::read(dir.join("live")).expect("the live file");
            let numbers = bytes.chunks_exact(8);
            numbers
                .map(|number| f64::from_ne_bytes(number.try_into().expect("eight bytes")))
                .collect()
        };
        gpus.set(0, busy).expect("the live file can be written");
        let first = read();
        assert_eq!((first[4], first[6], first[9]), (1584.0, THROTTLE_POWER_CAP, 0.0));
        // The clock has advanced by the second write, however little.
        while read()[9] == 0.0 {
            gpus.set(0, busy).expect("the live file can be written");
        }
        let idle = Load {
            busy_ratio: 0.0,
            ..busy
        };
        gpus.set(0, idle).expect("the live file can be written");
        let capped = read()[9];
        assert_eq!((read()[4], read()[6]), (345.0, THROTTLE_IDLE));
        gpus.set(0, idle).expect("the live file can be written");
        assert_eq!(read()[9], capped, "at rest no time is counted");
        std::fs::remove_dir_all(dir).expect("the folder is ours");
    }
}
