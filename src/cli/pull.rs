//! `clipseek model pull`: downloads a model from a hub and imports it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::app::App;
use super::text;
use crate::embed::bundle::Bundle;
use crate::embed::import::{Layout, Variant, WEIGHTS_ENDINGS, import};
use crate::hub::named::{NAMED, find};
use crate::hub::{Hub, RemoteFile, RepoName, Repository};

#[derive(Args)]
pub(super) struct PullArgs {
    /// A known name, or hf:owner/repo[@revision] for any repository with an ONNX export
    model: Option<String>,
    /// Name of the new model; default: its own name
    #[arg(long)]
    name: Option<String>,
    /// Precision of the graphs
    #[arg(long, value_enum, default_value_t)]
    variant: Variant,
}

/// Returns the imported bundle; `None` if names were listed.
pub(super) async fn run(app: &App, args: PullArgs) -> anyhow::Result<Option<Bundle>> {
    let Some(asked) = args.model else {
        list(app);
        return Ok(None);
    };
    let (repo, name) = match find(&asked) {
        Some(named) => (named.repo.parse::<RepoName>()?, named.name.to_owned()),
        None if asked.starts_with("hf:") => {
            let repo: RepoName = asked.parse()?;
            let name = short_name(&repo.repo);
            (repo, name)
        }
        None => bail!("{asked}: no such name; `clipseek model pull` lists them, hf:owner/repo takes any repository"),
    };
    let name = args.name.unwrap_or(name);
    let models = app.settings.models_dir();
    if models.join(&name).exists() {
        bail!("model {name} is already there: remove {}, or pull under another --name", models.join(&name).display());
    }
    let hub = Hub::from_env()?;
    let repository = hub.repository(&repo).await?;
    let files = choose(&repository, args.variant)?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    app.say(format_args!(
        "{}: {} in {}, licence {}",
        repository.repo,
        text::bytes(bytes),
        text::count(files.len() as u64, "file"),
        repository.licence
    ));
    let cache = cache(app.data_dir()?, &repository);
    let missing = files.iter().filter(|file| !cache.join(&file.path).exists()).map(|file| file.bytes).sum();
    check_room(app.data_dir()?, missing)?;
    let bar = bar(bytes, app.quiet);
    let done = AtomicU64::new(0);
    for file in &files {
        bar.set_message(file.path.clone());
        let before = done.fetch_add(file.bytes, Relaxed);
        hub.fetch(&repository, file, &cache, &|here| bar.set_position(before + here)).await?;
    }
    bar.finish_and_clear();
    let bundle = import(&cache, &name, &models, args.variant)
        .with_context(|| format!("{} was downloaded ({}) but cannot be used", repository.repo, cache.display()))?;
    Ok(Some(bundle))
}

/// Chooses the files that the import needs, in this precision.
fn choose(repository: &Repository, variant: Variant) -> anyhow::Result<Vec<RemoteFile>> {
    let there = |path: &str| repository.files.iter().find(|file| file.path == path);
    let paths: Vec<&str> = repository.files.iter().map(|file| file.path.as_str()).collect();
    let layout = Layout::of(&paths, variant);
    let (mut chosen, mut missing) = (Vec::new(), Vec::new());
    for places in &layout.graphs {
        match places.iter().find_map(|place| there(place)) {
            Some(file) => {
                chosen.push(file.clone());
                chosen.extend(WEIGHTS_ENDINGS.iter().find_map(|end| there(&format!("{}{end}", file.path))).cloned());
            }
            None => missing.push(places.join(" or ")),
        }
    }
    for file in [&layout.tokenizer, &layout.preprocessor] {
        match there(file) {
            Some(file) => chosen.push(file.clone()),
            None => missing.push(file.clone()),
        }
    }
    chosen.extend(layout.helpful().into_iter().filter_map(there).cloned());
    if missing.is_empty() {
        return Ok(chosen);
    }
    let graphs: Vec<&str> = paths.into_iter().filter(|path| path.ends_with(".onnx")).collect();
    let graphs = if graphs.is_empty() { "none".to_owned() } else { graphs.join(", ") };
    bail!("{} is not in the usual ONNX layout: no {}; its graphs: {graphs}", repository.repo, missing.join(", no "))
}

/// Folder for the files of one commit. It is kept, so that another variant or a second try downloads only new files.
fn cache(data: &Path, repository: &Repository) -> PathBuf {
    data.join("hub").join(repository.repo.replace('/', "--")).join(&repository.commit)
}

/// Checks for twice the size as free space, because downloaded files are copied into the bundle.
fn check_room(data: &Path, bytes: u64) -> anyhow::Result<()> {
    let disk = nix::sys::statvfs::statvfs(data)?;
    let free = disk.blocks_available() * disk.fragment_size();
    if free < 2 * bytes {
        bail!(
            "downloading {} needs twice that space, and {} is free in {}: make room, or choose another --data",
            text::bytes(bytes),
            text::bytes(free),
            data.display()
        );
    }
    Ok(())
}

/// A bundle name made from the name of a repository.
fn short_name(repo: &str) -> String {
    let name = repo.rsplit('/').next().unwrap_or(repo).to_ascii_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    name.trim_matches(['-', '_']).chars().take(64).collect()
}

fn bar(bytes: u64, quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    let template = "{bar:24} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("█▉▊▋▌▍▎▏ ")),
        Err(_) => bar,
    }
}

fn list(app: &App) {
    if app.json {
        let models: Vec<_> = NAMED
            .iter()
            .map(|m| json!({"name": m.name, "repo": m.repo, "licence": m.licence, "summary": m.summary}))
            .collect();
        println!("{}", json!({ "models": models }));
    } else {
        let row = |m: &crate::hub::named::Named| [m.name, m.licence, m.repo, m.summary].map(str::to_owned).to_vec();
        print!(
            "{}",
            text::table(&["name", "licence", "repository", "summary"], &NAMED.iter().map(row).collect::<Vec<_>>())
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Digest;

    #[test]
    fn repositories_get_names_that_bundles_can_have() {
        assert_eq!(short_name("onnx-community/siglip2-base-patch16-224-ONNX"), "siglip2-base-patch16-224-onnx");
        assert_eq!(short_name("a/MobileCLIP_S0.1"), "mobileclip_s0-1");
    }

    #[test]
    fn graphs_of_the_variant_are_chosen_with_their_weights() {
        let file =
            |path: &&str| RemoteFile { path: (*path).to_owned(), bytes: 1, digest: Digest::GitBlob(String::new()) };
        let repository = |paths: &[&str]| Repository {
            repo: "a/b".to_owned(),
            commit: "c".to_owned(),
            licence: "mit".to_owned(),
            files: paths.iter().map(file).collect(),
        };
        let full = repository(&[
            "README.md",
            "onnx/text_model.onnx",
            "onnx/text_model_quantized.onnx",
            "onnx/vision_model.onnx",
            "onnx/vision_model.onnx_data",
            "onnx/vision_model_quantized.onnx",
            "preprocessor_config.json",
            "tokenizer.json",
        ]);
        let paths = |variant| choose(&full, variant).unwrap().into_iter().map(|file| file.path).collect::<Vec<_>>();
        let rest = ["tokenizer.json", "preprocessor_config.json", "README.md"];
        let float32 = ["onnx/vision_model.onnx", "onnx/vision_model.onnx_data", "onnx/text_model.onnx"];
        assert_eq!(paths(Variant::Float32), [&float32[..], &rest].concat());
        let int8 = ["onnx/vision_model_quantized.onnx", "onnx/text_model_quantized.onnx"];
        assert_eq!(paths(Variant::Int8), [&int8[..], &rest].concat());
        let immich = repository(&[
            "config.json",
            "textual/model.onnx",
            "textual/tokenizer.json",
            "textual/tokenizer_config.json",
            "visual/model.onnx",
            "visual/model.onnx.data",
            "visual/preprocess_cfg.json",
        ]);
        let chosen: Vec<_> = choose(&immich, Variant::Float32).unwrap().into_iter().map(|file| file.path).collect();
        let expected = [
            "visual/model.onnx",
            "visual/model.onnx.data",
            "textual/model.onnx",
            "textual/tokenizer.json",
            "visual/preprocess_cfg.json",
            "config.json",
            "textual/tokenizer_config.json",
        ];
        assert_eq!(chosen, expected);
        let error = choose(&full, Variant::Float16).unwrap_err().to_string();
        assert!(error.contains("no vision_model_fp16.onnx or onnx/vision_model_fp16.onnx"), "{error}");
        assert!(error.contains("its graphs: onnx/text_model.onnx"), "{error}");
    }
}
