//! `clipseek model`: lists, describes, checks, imports and downloads bundles.

#[cfg(feature = "onnx")]
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::app::App;
#[cfg(not(feature = "onnx"))]
use super::not_built::NotBuilt;
#[cfg(feature = "onnx")]
use super::pull::{self, PullArgs};
use super::{End, text};
use crate::embed::bundle::{Bundle, Listed};
#[cfg(feature = "onnx")]
use crate::embed::import::{Variant, import};
use crate::embed::manifest::{Manifest, Topology};
use crate::embed::model::verify;

#[derive(Args)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Subcommand)]
enum ModelCommand {
    /// List the models
    List,
    /// Show a model's manifest
    Info { model: String },
    /// Check a model's files, and that its graphs run
    Verify { model: String },
    /// Make a bundle from a folder with an ONNX export of a CLIP-like model
    #[cfg(feature = "onnx")]
    Import {
        /// Folder with vision_model.onnx, text_model.onnx (there or under onnx/), tokenizer.json, preprocessor_config.json
        dir: PathBuf,
        /// Name of the new model
        #[arg(long)]
        name: String,
        /// Precision of the graphs, if the export has several
        #[arg(long, value_enum, default_value_t)]
        variant: Variant,
    },
    /// Download a model from a hub and import it; without MODEL, list the known names
    #[cfg(feature = "onnx")]
    Pull(PullArgs),
    /// Make a bundle from an ONNX export (this build leaves it out)
    #[cfg(not(feature = "onnx"))]
    Import(NotBuilt),
    /// Download a model and import it (this build leaves it out)
    #[cfg(not(feature = "onnx"))]
    Pull(NotBuilt),
}

pub(super) async fn run(app: &App, args: ModelArgs) -> anyhow::Result<End> {
    match args.command {
        ModelCommand::List => list(app),
        ModelCommand::Info { model } => info(app, &model),
        ModelCommand::Verify { model } => check(app, &model),
        #[cfg(feature = "onnx")]
        ModelCommand::Import { dir, name, variant } => {
            app.data_dir()?;
            imported(app, &import(&dir, &name, &app.settings.models_dir(), variant)?);
            Ok(End::Done)
        }
        #[cfg(feature = "onnx")]
        ModelCommand::Pull(args) => {
            if let Some(bundle) = pull::run(app, args).await? {
                imported(app, &bundle);
            }
            Ok(End::Done)
        }
        #[cfg(not(feature = "onnx"))]
        ModelCommand::Import(args) => args.run("model import", "onnx"),
        #[cfg(not(feature = "onnx"))]
        ModelCommand::Pull(args) => args.run("model pull", "onnx"),
    }
}

/// Prints the new bundle and how to use it.
#[cfg(feature = "onnx")]
fn imported(app: &App, bundle: &Bundle) {
    if app.json {
        println!("{}", json!({"name": bundle.name(), "dir": bundle.dir(), "dim": bundle.dim()}));
    } else {
        println!("imported {}: {}", bundle.name(), describe(bundle.manifest()));
        println!("licence: {}", bundle.manifest().licence);
        println!("use it: clipseek index PATH --model {}", bundle.name());
    }
}

fn list(app: &App) -> anyhow::Result<End> {
    let (mut models, mut rows) = (Vec::new(), Vec::new());
    for Listed { dir, manifest } in app.bundles().list() {
        match manifest {
            Ok(m) => {
                models.push(json!({
                    "name": m.name, "dim": m.dim, "frames": m.video.frames, "licence": m.licence, "source": m.source,
                }));
                rows.push(vec![m.name, m.dim.to_string(), m.video.frames.to_string(), m.licence, m.summary]);
            }
            Err(error) => app.say(format_args!("{}: {error}", text::path(&dir))),
        }
    }
    if app.json {
        println!("{}", json!({ "models": models }));
    } else if rows.is_empty() {
        println!("no models");
    } else {
        print!("{}", text::table(&["name", "dim", "frames", "licence", "summary"], &rows));
    }
    Ok(if models.is_empty() { End::Nothing } else { End::Done })
}

fn describe(manifest: &Manifest) -> String {
    let video = &manifest.video;
    let kind = match video.topology {
        Topology::FramesHead if manifest.graphs.head.is_some() => "frame encoder with temporal head",
        Topology::FramesHead => "frame encoder with mean pooling",
        Topology::Video => "video encoder",
    };
    let mut text = format!(
        "{kind}, {} numbers, {} frames every {} s at {}×{}",
        manifest.dim, video.frames, video.interval_s, manifest.pixels.width, manifest.pixels.height
    );
    if manifest.rerank.is_some() {
        text.push_str(", re-ranks");
    }
    if manifest.captions.is_some() {
        text.push_str(", writes captions");
    }
    text
}

fn info(app: &App, model: &str) -> anyhow::Result<End> {
    let bundle = Bundle::check(app.bundles().outline(model)?)?;
    let manifest = bundle.manifest();
    if app.json {
        let mut value = serde_json::to_value(manifest)?;
        value["hash"] = json!(bundle.hash());
        value["collection"] = json!(bundle.collection());
        value["dir"] = json!(bundle.dir());
        value["bytes"] = json!(bundle.total_bytes());
        println!("{value}");
        return Ok(End::Done);
    }
    println!("name        {}", manifest.name);
    println!("summary     {}", manifest.summary);
    println!("licence     {}", manifest.licence);
    println!("source      {}", manifest.source);
    println!("model       {}", describe(manifest));
    println!("templates   {}", manifest.text.templates.join(" | "));
    if let Some(scope) = &manifest.scope {
        println!("knows only  {}", scope.summary);
    }
    println!("folder      {} ({})", bundle.dir().display(), text::bytes(bundle.total_bytes()));
    println!("hash        {}", bundle.hash());
    println!("collection  {}", bundle.collection());
    Ok(End::Done)
}

fn check(app: &App, model: &str) -> anyhow::Result<End> {
    let dir = app.bundles().dir_of(model)?;
    let checks = verify(&dir, &app.embed_settings());
    let failed = checks.iter().filter(|check| check.outcome.is_err()).count();
    if app.json {
        let lines: Vec<_> = checks
            .iter()
            .map(|check| match &check.outcome {
                Ok(found) => json!({"check": check.what, "ok": true, "found": found}),
                Err(problem) => json!({"check": check.what, "ok": false, "found": problem}),
            })
            .collect();
        println!("{}", json!({"ok": failed == 0, "checks": lines}));
    } else {
        for check in &checks {
            match &check.outcome {
                Ok(found) => println!("ok      {}: {found}", check.what),
                Err(problem) => println!("FAILED  {}: {problem}", check.what),
            }
        }
    }
    Ok(if failed == 0 { End::Done } else { End::Failed })
}
