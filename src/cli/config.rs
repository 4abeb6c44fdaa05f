//! `clipseek config`: shows and checks the settings.

use clap::{Args, Subcommand};

use super::End;
use super::app::App;

#[derive(Args)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the settings in force (secrets hidden)
    Show,
    /// Report every problem in the settings at once
    Check,
}

pub(super) fn run(app: &App, args: &ConfigArgs) -> anyhow::Result<End> {
    match args.command {
        ConfigCommand::Show if app.json => println!("{}", serde_json::to_string_pretty(&app.settings)?),
        ConfigCommand::Show => print!("{}", toml::to_string(&app.settings)?),
        ConfigCommand::Check => {
            app.settings.check()?;
            let source = app
                .config_file
                .as_ref()
                .map_or_else(|| "defaults and environment".to_owned(), |p| p.display().to_string());
            println!("{source}: sound");
        }
    }
    Ok(End::Done)
}
