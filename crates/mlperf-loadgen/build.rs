//! Compiles LoadGen's published sources in `vendor/loadgen` and the shim.
//!
//! A submission must use unmodified LoadGen, so this script neither patches nor generates any of its files.

use std::path::{Path, PathBuf};

const VERSION: &str = "6.0.17";

/// The sources of LoadGen's library, as listed in its own build.
const SOURCES: &[&str] = &[
    "early_stopping.cc",
    "issue_query_controller.cc",
    "loadgen.cc",
    "logging.cc",
    "results.cc",
    "test_settings_internal.cc",
    "utils.cc",
    "version.cc",
    "generated/version_generated.cc",
];

fn main() {
    for path in ["build.rs", "src/ffi.rs", "cxx", "vendor"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let variable = |name| std::env::var(name).expect("cargo sets it for a build script");
    let dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("vendor/loadgen");
    let version = std::fs::read_to_string(dir.join("VERSION.txt")).unwrap_or_default();
    // The shim relies on the layout of internal structures of this version.
    assert_eq!(version.trim(), VERSION, "vendor/loadgen holds another LoadGen");
    compile(&dir);

    // For the build script of a dependent crate (`DEP_MLPERF_LOADGEN_*`) that compares the binding with plain
    // C++.
    println!("cargo::metadata=src={}", dir.display());
    println!("cargo::metadata=lib={}", variable("OUT_DIR"));
}

fn compile(dir: &Path) {
    let flags = |build: &mut cc::Build| {
        // NDEBUG: some of LoadGen's asserts fail in valid runs. -O2 in every profile: LoadGen measures.
        build
            .cpp(true)
            .std("c++14")
            .opt_level(2)
            .define("NDEBUG", None)
            .flag("-pthread")
            .include(dir);
    };

    // The shim must come first on the linker's command line, as it needs symbols of LoadGen.
    let mut shim = cxx_build::bridge("src/ffi.rs");
    flags(&mut shim);
    shim.include("cxx")
        .file("cxx/shim.cc")
        .compile("mlperf_loadgen_shim");

    let mut loadgen = cc::Build::new();
    flags(&mut loadgen);
    loadgen
        .warnings(false)
        .files(SOURCES.iter().map(|file| dir.join(file)))
        .compile("mlperf_loadgen_cpp");
}
