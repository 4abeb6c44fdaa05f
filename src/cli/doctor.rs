//! `clipseek doctor`: checks everything that clipseek needs, and names the remedy for each problem.

use serde::Serialize;
use serde_json::json;

use super::End;
use super::app::App;
use super::text;
#[cfg(feature = "gst")]
use crate::decode::inventory;
use crate::embed::bundle::Outline;
use crate::embed::model::verify;
#[cfg(feature = "onnx")]
use crate::embed::runtime::{GpuInfo, runtime_info};

#[derive(Serialize)]
struct Check {
    what: &'static str,
    ok: bool,
    found: String,
}

pub(super) async fn run(app: &App) -> anyhow::Result<End> {
    let mut checks = vec![
        check("settings", app.settings.check().map(|()| "sound".to_owned())),
        check("data folder", data_folder(app).await),
        check("disk", disk(app)),
        check("ledger", ledger(app).await),
    ];
    checks.extend(gstreamer());
    checks.extend(onnx_runtime());
    let known = app.existing_ledger().await.ok().flatten();
    match app.bundle(None, known.as_ref()).await {
        Ok((_, bundle)) => {
            let problems: Vec<String> =
                verify(bundle.dir(), &app.embed_settings()).into_iter().filter_map(|c| c.outcome.err()).collect();
            let outcome = if problems.is_empty() {
                Ok(format!("{} ({})", bundle.name(), text::bytes(bundle.total_bytes())))
            } else {
                Err(anyhow::anyhow!("{}", problems.join("; ")))
            };
            checks.push(check("model", outcome));
            checks.push(check("store", store(app, &bundle).await));
        }
        Err(error) => checks.push(check::<String, _>("model", Err(error))),
    }
    let ok = checks.iter().all(|check| check.ok);
    if app.json {
        println!("{}", json!({"ok": ok, "checks": checks}));
    } else {
        for check in &checks {
            println!("{:6}  {:14}  {}", if check.ok { "ok" } else { "FAILED" }, check.what, check.found);
        }
    }
    Ok(if ok { End::Done } else { End::Failed })
}

fn check<T: Into<String>, E: std::fmt::Display>(what: &'static str, outcome: Result<T, E>) -> Check {
    match outcome {
        Ok(found) => Check { what, ok: true, found: found.into() },
        Err(error) => Check { what, ok: false, found: format!("{error:#}") },
    }
}

async fn data_folder(app: &App) -> anyhow::Result<String> {
    let dir = app.data_dir()?;
    if app.daemon().await?.is_some() {
        return Ok(format!("{}, used by the daemon", dir.display()));
    }
    drop(app.lock()?);
    Ok(format!("{}, writable", dir.display()))
}

fn disk(app: &App) -> anyhow::Result<String> {
    let stat = nix::sys::statvfs::statvfs(app.data_dir()?)?;
    let free = stat.blocks_available() * stat.fragment_size();
    anyhow::ensure!(free > 1 << 30, "{} free: less than a gibibyte", text::bytes(free));
    Ok(format!("{} free", text::bytes(free)))
}

async fn ledger(app: &App) -> anyhow::Result<String> {
    match app.existing_ledger().await? {
        Some(ledger) => Ok(format!("{} known", text::count(ledger.count_files().await?, "file"))),
        None => Ok("nothing indexed yet".to_owned()),
    }
}

/// The check of a feature that this build leaves out.
#[cfg(not(all(feature = "gst", feature = "onnx")))]
fn left_out(what: &'static str, feature: &str) -> Vec<Check> {
    vec![check::<String, _>(what, Err(format!("this clipseek was built without the feature \"{feature}\"")))]
}

#[cfg(not(feature = "gst"))]
fn gstreamer() -> Vec<Check> {
    left_out("GStreamer", "gst")
}

#[cfg(not(feature = "onnx"))]
fn onnx_runtime() -> Vec<Check> {
    left_out("ONNX Runtime", "onnx")
}

/// Checks the library, and describes the GPU support.
#[cfg(feature = "onnx")]
fn onnx_runtime() -> Vec<Check> {
    let info = match runtime_info() {
        Ok(info) => info,
        Err(error) => return vec![check::<String, _>("ONNX Runtime", Err(error))],
    };
    let found = format!("{} ({})", info.path.display(), info.build.trim());
    let mut checks = vec![check::<_, String>("ONNX Runtime", Ok(found))];
    checks.extend(gpu(&info.gpu));
    checks
}

/// Checks GStreamer, and that there is a decoder for each common codec.
#[cfg(feature = "gst")]
fn gstreamer() -> Vec<Check> {
    let inventory = match inventory() {
        Ok(inventory) => inventory,
        Err(error) => return vec![check::<String, _>("GStreamer", Err(error))],
    };
    let mut checks = vec![check::<_, String>("GStreamer", Ok(inventory.version))];
    let (there, missing): (Vec<_>, Vec<_>) = inventory.decoders.into_iter().partition(|(_, element)| element.is_some());
    let names = |list: &[(&str, Option<String>)]| list.iter().map(|(codec, _)| *codec).collect::<Vec<_>>().join(", ");
    checks.push(if missing.is_empty() {
        check::<_, String>("decoders", Ok(names(&there)))
    } else {
        let remedy = "install gstreamer1.0-libav, gstreamer1.0-plugins-good and gstreamer1.0-plugins-bad";
        check::<String, _>("decoders", Err(format!("none for {}: {remedy}", names(&missing))))
    });
    checks
}

/// Describes the GPU support. A missing GPU is not a failure; if the settings ask for one, the check of the model
/// fails.
#[cfg(feature = "onnx")]
fn gpu(info: &GpuInfo) -> Vec<Check> {
    let state = |problem: &Result<(), String>| match problem {
        Ok(()) => "ready".to_owned(),
        Err(problem) => format!("not usable: {problem}"),
    };
    let devices = match (&info.driver, info.gpus.is_empty()) {
        (None, true) => "no NVIDIA driver seen".to_owned(),
        (driver, _) => {
            let driver = driver.as_deref().unwrap_or("of unknown version");
            format!(
                "driver {driver}, {}",
                if info.gpus.is_empty() { "no GPU".to_owned() } else { info.gpus.join(", ") }
            )
        }
    };
    let libraries: Vec<_> = info.libraries.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let beside = if libraries.is_empty() { String::new() } else { format!("; {}", libraries.join(", ")) };
    let line = |what, found| check::<String, String>(what, Ok(found));
    vec![line("GPU", devices), line("CUDA", state(&info.cuda) + &beside), line("TensorRT", state(&info.tensorrt))]
}

async fn store(app: &App, bundle: &Outline) -> anyhow::Result<String> {
    if app.daemon().await?.is_some() {
        return Ok("open in the daemon".to_owned());
    }
    let Some(archive) = app.existing_archive().await? else { return Ok("nothing indexed yet".to_owned()) };
    let collections = archive.catalog().list().await?;
    match archive.existing(&bundle.collection()).await? {
        Some(store) => Ok(format!("{}: {}", bundle.collection(), text::count(store.count(None).await?, "window"))),
        None => Ok(format!("{}, none of this model", text::count(collections.len() as u64, "collection"))),
    }
}
