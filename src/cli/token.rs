//! `clipseek token`: who may ask the daemon over the network.

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::End;
use super::app::App;
use crate::api::access::{secret, sha256_hex};
use crate::config::{self, TokenSettings};

#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token, and the table for the settings that lets it in
    New {
        /// For whom or what it is
        #[arg(long)]
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t)]
        role: Role,
    },
    /// Have the running daemon make a link by which a browser gets in once
    Link {
        /// What it may do
        #[arg(long, value_enum, default_value_t)]
        role: Role,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Search and look
    #[default]
    Read,
    /// All that changes something, too
    Admin,
}

impl From<Role> for config::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Read => Self::Read,
            Role::Admin => Self::Admin,
        }
    }
}

pub(super) async fn run(app: &App, args: TokenArgs) -> anyhow::Result<End> {
    match args.command {
        TokenCommand::New { name, role } => {
            let secret = secret();
            let token = TokenSettings { name, role: role.into(), sha256: sha256_hex(&secret) };
            if app.json {
                println!("{}", json!({ "secret": secret, "token": token }));
                return Ok(End::Done);
            }
            println!("{secret}");
            app.say("This is the token; it is shown only now. Send it as `Authorization: Bearer …`.");
            app.say("Paste this into the settings of the daemon, and start it again:\n");
            let table = toml::to_string(&token).context("the table cannot be written")?;
            app.say(format_args!("[[token]]\n{}", table.trim_end()));
        }
        TokenCommand::Link { role } => {
            let client = app.daemon().await?.with_context(|| {
                format!("no daemon is running for {}: clipseek serve FOLDER", app.settings.data_dir.display())
            })?;
            let link = client.link(role.into()).await?;
            if app.json {
                println!("{}", json!({ "link": link }));
            } else {
                println!("{link}");
            }
        }
    }
    Ok(End::Done)
}
