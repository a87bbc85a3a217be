//! Compiles `src/nvml.c` into a shared object, which `src/lib.rs` embeds.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=src/nvml.c");
    let out =
        PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("libnvidia-ml-fake.so");
    // `cc` finds the compiler and its flags for the target but builds only archives, so we link ourselves.
    let compiler = cc::Build::new()
        .opt_level(2)
        .warnings(true)
        .pic(true)
        .get_compiler();
    let status = compiler
        .to_command()
        .args(["-std=c11", "-shared", "-fvisibility=hidden", "-Werror", "-o"])
        .arg(&out)
        .args(["src/nvml.c", "-lpthread", "-ldl"])
        .status();
    let why = match status {
        Ok(status) if status.success() => return ExitCode::SUCCESS,
        Ok(status) => format!("the C compiler left with {status}"),
        Err(error) => format!("no C compiler could be run: {error}; install gcc or set CC"),
    };
    println!("cargo::error=fake-nvml: {why}");
    ExitCode::FAILURE
}
