//! Finds LoadGen's sources (a folder the user names, or the pinned source distribution fetched with pip),
//! and compiles them and the shim.
//!
//! The sources are used as published: LoadGen may not be changed in a submission, so nothing here patches or
//! regenerates a file, and the version file that ships with the distribution is the one that is compiled.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const DIR_VARIABLE: &str = "MLPERF_LOADGEN_DIR";
const PACKAGE: &str = "mlcommons-loadgen";
const VERSION: &str = "6.0.17";
const FOLDER: &str = "mlcommons_loadgen-6.0.17";
const ARCHIVE: &str = "mlcommons_loadgen-6.0.17.tar.gz";
const ARCHIVE_SHA256: &str = "a2e85d09e3cc0c606f89bfe1fbf97537c8b5b238ae0afbd923ad9c710fcf2ca8";

/// LoadGen's library, as its own build lists it.
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
    println!("cargo::rerun-if-env-changed={DIR_VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    for file in ["src/ffi.rs", "cxx/shim.h", "cxx/shim.cc"] {
        println!("cargo::rerun-if-changed={file}");
    }
    match find_sources() {
        Ok(dir) => compile(&dir),
        Err(reason) => {
            println!(
                "cargo::error=LoadGen's sources are missing: set {DIR_VARIABLE} to the unpacked source \
                 distribution of {PACKAGE} {VERSION}, or let `python3 -m pip` reach a package index so that \
                 the build can fetch it ({reason})"
            );
            std::process::exit(1);
        }
    }
}

fn find_sources() -> Result<PathBuf, Box<dyn Error>> {
    let dir = match std::env::var_os(DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => fetched()?,
    };
    check(&dir)?;
    Ok(fs::canonicalize(dir)?)
}

/// A folder counts as LoadGen's when every file that is compiled is there and the version is the one that this
/// binding was written against: it relies on the layout of internal structures.
fn check(dir: &Path) -> Result<(), Box<dyn Error>> {
    let missing: Vec<&str> = SOURCES
        .iter()
        .chain(&["loadgen.h", "mlperf_conf.h"])
        .copied()
        .filter(|file| !dir.join(file).is_file())
        .collect();
    if !missing.is_empty() {
        return Err(format!("{} lacks {}", dir.display(), missing.join(", ")).into());
    }
    let version = fs::read_to_string(dir.join("VERSION.txt"))?;
    if version.trim() != VERSION {
        return Err(format!("{} is version {}", dir.display(), version.trim()).into());
    }
    Ok(())
}

/// The fetched sources live beside the profiles' folders, so that dev and release share one copy.
fn fetched() -> Result<PathBuf, Box<dyn Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let shared = out
        .ancestors()
        .find(|path| path.file_name().is_some_and(|name| name == "build"))
        .and_then(|build| build.parent()?.parent())
        .unwrap_or(&out)
        .join("loadgen-sources");
    let dir = shared.join(FOLDER);
    if check(&dir).is_ok() {
        return Ok(dir);
    }

    // Another profile's build may do the same at this moment: work in a folder of our own, then rename.
    let work = shared.join(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&work)?;
    let result = fetch(&work, &dir);
    // Leaving the folder behind would cost 100 kB and no correctness.
    let _ = fs::remove_dir_all(&work);
    result?;
    Ok(dir)
}

fn fetch(work: &Path, dir: &Path) -> Result<(), Box<dyn Error>> {
    // With the hash in a requirements file, pip refuses the archive before it runs anything from it. (pip asks
    // a source distribution for its metadata even when it is only to be downloaded.)
    let requirements = work.join("requirements.txt");
    fs::write(
        &requirements,
        format!("{PACKAGE}=={VERSION} --hash=sha256:{ARCHIVE_SHA256}\n"),
    )?;
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--require-hashes",
            "--no-binary",
            PACKAGE,
            "--dest",
        ])
        .arg(work)
        .arg("--requirement")
        .arg(&requirements))?;

    let archive = work.join(ARCHIVE);
    let digest: String = Sha256::digest(fs::read(&archive)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if digest != ARCHIVE_SHA256 {
        return Err(format!("{ARCHIVE} has sha256 {digest}, expected {ARCHIVE_SHA256}").into());
    }
    run(Command::new("python3")
        .args(["-m", "tarfile", "--extract"])
        .arg(&archive)
        .arg(work))?;
    if fs::rename(work.join(FOLDER), dir).is_err() {
        // Either another build was faster, or an older attempt left something incomplete.
        if check(dir).is_err() {
            fs::remove_dir_all(dir)?;
            fs::rename(work.join(FOLDER), dir)?;
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let output = command.output().map_err(|error| format!("python3: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("no message");
    Err(format!("pip: {}", last.trim()).into())
}

fn compile(dir: &Path) {
    let flags = |build: &mut cc::Build| {
        // NDEBUG: some of LoadGen's asserts do not hold in valid runs. -O2 in every profile: LoadGen measures.
        build
            .cpp(true)
            .std("c++14")
            .opt_level(2)
            .define("NDEBUG", None)
            .flag("-pthread")
            .include(dir);
    };

    // The shim comes first on the linker's line, as it needs symbols of LoadGen.
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

    // For a dependent's build script (`DEP_MLPERF_LOADGEN_*`) that compares the binding with plain C++.
    println!("cargo::metadata=src={}", dir.display());
    println!(
        "cargo::metadata=lib={}",
        std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")
    );
}
