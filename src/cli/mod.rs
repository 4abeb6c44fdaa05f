//! The commands, a file each. Only this module prints to the terminal.
//!
//! Exit codes: 0 done, 1 nothing found (or nothing to do), 2 failed, 130 interrupted.

// First, because the modules after it use its macros.
#[macro_use]
mod output;

mod app;
mod bench;
mod choices;
mod clip;
mod config;
mod doctor;
#[cfg(feature = "eval")]
mod eval;
mod export;
mod follow;
mod generate;
mod index;
mod media;
mod model;
#[cfg(not(all(feature = "eval", feature = "onnx")))]
mod not_built;
mod probe;
mod progress;
#[cfg(feature = "onnx")]
mod pull;
mod search;
mod serve;
mod sources;
mod text;
mod token;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};

use app::App;

use crate::config::TelemetrySettings;
use crate::telemetry::Reader;

/// Type what happens, get the moment.
#[derive(Parser)]
#[command(
    version,
    about,
    arg_required_else_help = true,
    after_help = "Begin with: clipseek index FOLDER, then clipseek search \"what happens\"."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Folder for all that clipseek writes
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Settings file (annotated: pipelines/clipseek.example.toml)
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON for programs
    #[arg(long, global = true)]
    json: bool,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Say only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Index video files, or all below a folder
    Index(index::IndexArgs),
    /// Find moments by caption
    Search(search::SearchArgs),
    /// Write a moment to a file
    Clip(clip::ClipArgs),
    /// What is indexed: list, show, remove, retry, export
    Media(media::MediaArgs),
    /// Watch folders and streams, index what appears, and answer searches (HTTP API)
    Serve(serve::ServeArgs),
    /// What the daemon watches, and how it is doing
    Sources,
    /// Tokens for those who ask over the network
    Token(token::TokenArgs),
    /// Models: list, info, verify, import
    Model(model::ModelArgs),
    /// What is in a file: container, tracks, and the frames that would be sampled
    Probe(probe::ProbeArgs),
    /// Measure each stage on your own files
    Bench(bench::BenchArgs),
    /// Measure a model on videos with captions, beside published figures
    #[cfg(feature = "eval")]
    Eval(eval::EvalArgs),
    /// Measure a model (this build leaves it out)
    #[cfg(not(feature = "eval"))]
    Eval(not_built::NotBuilt),
    /// Check that ledger, store and pictures agree, and mend where they do not
    Verify(verify::VerifyArgs),
    /// Check that everything clipseek needs is there
    Doctor,
    /// Show or check the settings
    Config(config::ConfigArgs),
    /// Write manual pages and shell completions
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// The outcome of a command that did not return an error.
pub(crate) enum End {
    Done,
    /// Nothing found, or nothing to do.
    Nothing,
    /// Something failed, and the user has been told.
    Failed,
    Interrupted,
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            return ExitCode::from(2);
        }
    };
    let result = runtime.block_on(run(cli));
    // A decoder that does not respond must not block the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    let code = match result {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Nothing) => ExitCode::from(1),
        Ok(End::Failed) => ExitCode::from(2),
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    };
    match output::close() {
        Ok(()) => code,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<End> {
    let mut app = App::new(&cli.global)?;
    let telemetry = match &cli.command {
        // These two report problems of the settings; all others rely on valid settings.
        Command::Doctor | Command::Config(_) => TelemetrySettings::default(),
        // Its flags may mend what is wrong in the settings.
        Command::Serve(args) => {
            args.apply(&mut app.parts.settings)?;
            app.settings.telemetry.clone()
        }
        _ => {
            app.settings.check()?;
            app.settings.telemetry.clone()
        }
    };
    let verbosity = if cli.global.quiet { -1 } else { cli.global.verbose.min(2) as i8 };
    let reader = if matches!(cli.command, Command::Serve(_)) { Reader::of_daemon() } else { Reader::People };
    let traces = crate::telemetry::init(verbosity, reader, &telemetry).map_err(|problem| anyhow::anyhow!(problem))?;
    let end = command(app, cli).await;
    traces.end().await;
    end
}

async fn command(app: App, cli: Cli) -> anyhow::Result<End> {
    match cli.command {
        Command::Index(args) => index::run(app, args).await,
        Command::Search(args) => search::run(&app, args).await,
        Command::Clip(args) => clip::run(&app, args).await,
        Command::Media(args) => media::run(app, args).await,
        Command::Serve(args) => serve::run(app, cli.global, args).await,
        Command::Sources => sources::run(&app).await,
        Command::Token(args) => token::run(&app, args).await,
        Command::Model(args) => model::run(&app, args).await,
        Command::Probe(args) => probe::run(&app, args).await,
        Command::Bench(args) => bench::run(&app, args).await,
        #[cfg(feature = "eval")]
        Command::Eval(args) => eval::run(&app, args).await,
        #[cfg(not(feature = "eval"))]
        Command::Eval(args) => args.run("eval", "eval"),
        Command::Verify(args) => verify::run(&app, args).await,
        Command::Doctor => doctor::run(&app).await,
        Command::Config(args) => config::run(&app, &args),
        Command::Generate(args) => generate::run(&args),
    }
}
