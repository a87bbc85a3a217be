//! Passes the commit of the source to release builds as `SUT_COMMIT`; empty without git or a repository.
//! Builds for development pass none, since each commit would compile the program again.

use std::path::Path;
use std::process::Command;

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

#[allow(clippy::print_stdout, reason = "cargo reads it")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let mut commit = None;
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        commit = git(&["rev-parse", "--short=12", "HEAD"]);
        for name in ["HEAD", "logs/HEAD"] {
            let path = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
            if let Some(path) = path {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    println!("cargo::rustc-env=SUT_COMMIT={}", commit.unwrap_or_default());
}
