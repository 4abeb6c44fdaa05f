//! `clipseek generate`: what packages need of the command line itself. Hidden, because people do not.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::aot::{Bash, Fish, Zsh, generate_to};

use super::{Cli, End};

#[derive(Args)]
pub(super) struct GenerateArgs {
    /// Folder for the manual pages (`man/`) and the completions of bash, zsh and fish (`completions/`)
    #[arg(value_name = "DIR")]
    into: PathBuf,
}

pub(super) fn run(args: &GenerateArgs) -> anyhow::Result<End> {
    let (man, completions) = (args.into.join("man"), args.into.join("completions"));
    for dir in [&man, &completions] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let written = || -> std::io::Result<()> {
        let mut command = Cli::command().disable_help_subcommand(true);
        let name = "clipseek";
        generate_to(Bash, &mut command, name, &completions)?;
        generate_to(Zsh, &mut command, name, &completions)?;
        generate_to(Fish, &mut command, name, &completions)?;
        clap_mangen::generate_to(command, &man)
    };
    written().with_context(|| format!("cannot write into {}", args.into.display()))?;
    Ok(End::Done)
}
