//! Parses the command line, runs the library, and maps the result to an exit status.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use sut::Cli;

fn main() -> ExitCode {
    sut::hide_secret_args();
    let exit = match sut::run(Cli::parse()) {
        Ok(exit) => exit,
        Err(fail) => {
            // A closed pipe must not change the exit status.
            let _closed = writeln!(std::io::stderr(), "error: {}", fail.message());
            fail.exit
        }
    };
    exit.into()
}
