//! `sut completions`: shell completions and the man page.

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::{Cli, CompletionsArgs, ShellArg};
use crate::console::print;
use crate::exit::{Exit, Fail};

pub(super) fn run(args: &CompletionsArgs) -> Result<Exit, Fail> {
    let mut command = Cli::command();
    let mut out = Vec::new();
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Elvish => Shell::Elvish,
        ShellArg::Fish => Shell::Fish,
        ShellArg::Powershell => Shell::PowerShell,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Man => {
            clap_mangen::Man::new(command)
                .render(&mut out)
                .context("cannot write the man page")?;
            print(&String::from_utf8_lossy(&out));
            return Ok(Exit::Valid);
        }
    };
    generate(shell, &mut command, "sut", &mut out);
    print(&String::from_utf8_lossy(&out));
    Ok(Exit::Valid)
}
