//! A `libnvidia-ml.so` without a GPU: it answers NVML's C calls from a text script, so that a sampler's real
//! code path (dlopen, C structs, error codes, event set) runs in tests and in the simulator's demo.
//!
//! The library is C, compiled by `build.rs` and embedded here as bytes, so a program that uses it needs no
//! second file. The alternative was a Rust `cdylib`, but cargo has no stable way to build one for another
//! crate's tests or to embed it, and every export would be `unsafe` Rust. Nothing in this crate is `unsafe`,
//! and the C code is never called directly: it is only loaded by path, like the driver's library.
//!
//! # Script
//!
//! One statement per line; `#` starts a comment. Times are seconds after `origin`.
//!
//! | line | meaning |
//! |---|---|
//! | `origin UNIX_NS` | zero of the times below; without it, the moment of `nvmlInit` |
//! | `driver VERSION` | driver version to report |
//! | `init CODE` | `nvmlInit` fails, for example with `DRIVER_NOT_LOADED` |
//! | `live PATH` | values come from that file (see [`live`]); scripted faults still apply |
//! | `gpu` | starts the next GPU; the lines below belong to it |
//! | `name TEXT`, `uuid TEXT` | identity |
//! | `set KEY VALUE` | constant from the start |
//! | `at T KEY VALUE` | value from `T` on |
//! | `ramp T0 T1 KEY A B` | from `A` at `T0` to `B` at `T1`, then `B` |
//! | `error KEY CODE`, `error T0 T1 KEY CODE` | that reading fails, always or for a while |
//! | `delay KEY SECONDS` | that reading takes so long |
//! | `type KEY N` | NVML value type of a field (0 double, 1 uint, 3 ulonglong (default), 5 int) |
//! | `lost T0 [T1]` | the GPU is lost from `T0` (until `T1`) |
//! | `xid T CODE`, `ecc T single\|double` | an event |
//! | `process PID BYTES` | a compute process |
//!
//! Keys are in NVML's own units: `utilization` and `memory_activity` (percent), `memory_total`, `memory_used`,
//! `memory_reserved` (bytes), `power` and `power_limit` (milliwatts), `sm_clock`, `memory_clock`, `max_sm_clock`,
//! `max_memory_clock` (MHz), `throttle` (bits), `temperature`, `slowdown`, `shutdown` (°C), `energy` (millijoules),
//! `events` (supported event bits), `processes` (for errors only), `ecc` (0 or 1), and `field:ID` for the field
//! values. All other keys are unsupported.
//!
//! ```
//! let dir = std::env::temp_dir().join(format!("fake-nvml-doc-{}", std::process::id()));
//! let library = fake_nvml::install(&dir, "gpu\nset utilization 50\nxid 1.5 79\n")?;
//! assert!(library.exists());
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod live;

use std::io;
use std::path::{Path, PathBuf};

/// The compiled library.
pub static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libnvidia-ml-fake.so"));

/// Writes the library and its script into `dir` (created if missing) and returns the path for the sampler.
///
/// Each folder gets its own copy and so its own state: two fakes in one process do not share any.
pub fn install(dir: &Path, script: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let library = dir.join("libnvidia-ml.so.1");
    std::fs::write(&library, LIBRARY)?;
    std::fs::write(dir.join("libnvidia-ml.so.1.script"), script)?;
    Ok(library)
}

/// Script lines of one idle GPU with every value that the sampler reads, with the sizes of an 80 GB
/// data-centre board: a base that tests extend and the demo makes live.
pub fn data_centre_gpu(index: u32) -> String {
    let mut text = format!(
        "gpu\nname Simulated GPU 80GB\nuuid GPU-51a10000-0000-4000-8000-{index:012}\n\
         set utilization 0\nset memory_activity 0\nset memory_total 85520809984\nset memory_used 4194304\n\
         set memory_reserved 645922816\nset power 70000\nset power_limit 700000\nset sm_clock 345\n\
         set memory_clock 2619\nset max_sm_clock 1980\nset max_memory_clock 2619\nset throttle 1\n\
         set temperature 30\nset slowdown 87\nset shutdown 92\nset energy 0\nset ecc 1\n\
         set field:82 35\ntype field:82 1\nset field:83 0\nset field:186 70000\ntype field:186 1\n\
         set field:190 700000\ntype field:190 1\nset field:230 0\ntype field:230 1\nset field:94 0\n"
    );
    // ECC, row remaps, NVLink totals, PCIe error counts and byte counts, throttle times: all zero.
    let zeros = [3, 4, 142, 143, 144, 145, 38, 45, 52, 59];
    for field in zeros
        .into_iter()
        .chain(173..=183)
        .chain([197, 198])
        .chain(74..=79)
        .chain(251..=253)
    {
        text.push_str(&format!("set field:{field} 0\n"));
    }
    text
}
