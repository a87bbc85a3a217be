//! Builds the C++ null SUT against the same LoadGen objects that the binding links.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=cxx/null_sut.cc");
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let src = variable("DEP_MLPERF_LOADGEN_SRC");
    let lib = variable("DEP_MLPERF_LOADGEN_LIB");
    let out = PathBuf::from(variable("OUT_DIR")).join("null_sut");

    // The same flags as in the binding's build.
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++14")
        .opt_level(2)
        .define("NDEBUG", None)
        .flag("-pthread")
        .include(&src);
    let compiler = build.get_compiler();
    let mut command: Command = compiler.to_command();
    command
        .arg("cxx/null_sut.cc")
        .arg(format!("{lib}/libmlperf_loadgen_cpp.a"))
        .arg("-o")
        .arg(&out);
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
    println!("cargo::rustc-env=NULL_SUT={}", out.display());
}
