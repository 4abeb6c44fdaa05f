//! `clipseek search`: what happens in words, a picture or another moment in, moments out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Local, NaiveDate, NaiveTime, SecondsFormat, TimeZone};
use clap::{Args, ValueEnum};
use globset::GlobBuilder;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::app::App;
use super::{End, text};
use crate::archive::Archive;
use crate::decode::{Frame, Orientation, Picture, Shrinker};
use crate::embed::Embedding;
use crate::embed::bundle::Bundle;
use crate::embed::manifest::Topology;
use crate::embed::model::{RerankModel, TextModel, VideoModel};
use crate::ledger::{Ledger, Owned};
use crate::search::moments::Moment;
use crate::search::rerank::rerank;
use crate::search::{Shelf, combine, search};
use crate::source::file_uri;
use crate::store::{Filter, Payload, Query, VectorStore, Wanted, has_words};
use crate::thumbs::{self, Thumbs};
use crate::window::Window;

#[derive(Args)]
pub(super) struct SearchArgs {
    /// What happens, in words
    #[arg(value_name = "TEXT", required_unless_present_any = ["image", "like"])]
    query: Option<String>,
    /// What TEXT is compared with
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Judge the N best windows again, by TEXT and their frames together (needs a model that re-ranks)
    #[arg(long, value_name = "N", requires = "query", value_parser = clap::value_parser!(u16).range(1..))]
    rerank: Option<u16>,
    /// Name of a model or its folder
    #[arg(long, value_name = "NAME|DIR")]
    model: Option<String>,
    /// Moments at the most
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only moments the model is this sure of, 0 to 1 (needs a bundle with a calibration)
    #[arg(long, default_value_t = 0.0)]
    min_confidence: f32,
    /// Only media with this label
    #[arg(long)]
    label: Option<String>,
    /// Only media with this tag (repeatable: all of them)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only files whose whole path matches, such as '**/garage/*.mp4'
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Only footage recorded at or after this time (2026-05-01, 2026-05-01T14:00, with or without zone)
    #[arg(long, value_name = "TIME", value_parser = wall_clock)]
    after: Option<i64>,
    /// Only footage recorded before this time
    #[arg(long, value_name = "TIME", value_parser = wall_clock)]
    before: Option<i64>,
    /// Only moments whose caption has all of these words (needs a model that writes captions)
    #[arg(long, value_name = "WORDS")]
    caption: Option<String>,
    /// What it should not be (repeatable)
    #[arg(long, value_name = "TEXT")]
    not: Vec<String>,
    /// Look for what this picture shows
    #[arg(long, value_name = "FILE", conflicts_with_all = ["query", "like"])]
    image: Option<PathBuf>,
    /// Look for what is like this moment
    #[arg(long, value_name = "ID", conflicts_with = "query")]
    like: Option<Uuid>,
    /// Play the best moment
    #[arg(long)]
    open: bool,
    /// Write a picture of each moment into this folder
    #[arg(long, value_name = "DIR")]
    thumbnails: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The pictures, by the model (score: cosine similarity)
    #[default]
    Vector,
    /// The captions, by their words (score: BM25)
    Text,
    /// Both, whichever list has it (score: reciprocal ranks fused)
    Hybrid,
}

impl Mode {
    /// Digits of a score that tell moments apart.
    fn digits(self) -> usize {
        match self {
            Self::Vector => 3,
            Self::Text => 2,
            Self::Hybrid => 4,
        }
    }
}

/// A moment as it is printed.
#[derive(Serialize)]
struct Shown {
    id: Uuid,
    /// Readable; lossy where a name is no UTF-8.
    path: String,
    uri: String,
    label: Option<String>,
    start_s: f64,
    end_s: f64,
    peak_s: f64,
    score: f32,
    confidence: Option<f32>,
    /// Of the best window.
    caption: Option<String>,
    /// Name of the configured source; none for what was indexed by hand.
    source: Option<String>,
    /// Wall clock at the start (RFC 3339), where it is known.
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
    #[serde(skip)]
    pictures: thumbs::Key,
    #[serde(skip)]
    file: PathBuf,
    #[serde(skip)]
    start: Duration,
    #[serde(skip)]
    end: Duration,
}

pub(super) async fn run(app: &App, args: SearchArgs) -> anyhow::Result<End> {
    app.settings.check()?;
    if args.query.as_deref().is_some_and(|query| query.trim().is_empty()) {
        bail!("the query is empty: say what happens, such as \"a dog catches a frisbee\"");
    }
    check_words(&args)?;
    let Some(archive) = app.existing_archive().await? else {
        app.say(format_args!("nothing is indexed in {} yet: clipseek index PATH", app.settings.data_dir.display()));
        return show(app, &args, Vec::new());
    };
    let ledger = &archive.ledger;
    let (name, bundle) = app.bundle(args.model.as_deref(), Some(ledger)).await?;
    if args.min_confidence > 0.0 {
        bail!(
            "--min-confidence: model {} has no calibration, so its scores cannot be read as confidence",
            bundle.name()
        );
    }
    let collection = bundle.collection();
    if !ledger.collections().await?.iter().any(|(known, _)| *known == collection) {
        app.say(format_args!("nothing is indexed with model {name} yet: clipseek index PATH --model {name}"));
        return show(app, &args, Vec::new());
    }
    let filter = filter(ledger, &collection, &args).await?;
    let store = app.existing_store(&archive, &bundle).await?;
    if args.mode != Mode::Vector || args.caption.is_some() {
        check_captions(&bundle, store.as_ref()).await?;
    }
    if args.rerank.is_some() && bundle.manifest().rerank.is_none() {
        bail!("the model {} does not re-rank: --rerank needs one that does (CLIP4Clip's tightTransf)", bundle.name());
    }
    let wanted = wanted(app, &bundle, store.as_ref(), &args).await?;
    let limit = args.limit.into();
    let shelf = Shelf { store: store.as_ref(), ledger, collection: &collection };
    let moments = match (args.rerank, &args.query) {
        (Some(candidates), Some(text)) => {
            let model = RerankModel::open(&bundle, &app.embed_settings())?;
            let query = Query { wanted, limit: candidates.into(), filter };
            rerank(&shelf, query, &model, text, limit).await?
        }
        _ => search(&shelf, &wanted, filter, limit).await?,
    };
    let mut shown = Vec::new();
    for moment in moments {
        shown.push(place(&archive, &collection, moment, args.path.as_deref()).await?);
    }
    show(app, &args, shown)
}

/// What is asked of captions can be asked.
fn check_words(args: &SearchArgs) -> anyhow::Result<()> {
    if let Some(caption) = args.caption.as_deref().filter(|caption| !has_words(caption)) {
        bail!("--caption {caption:?}: no word to look for (words such as \"the\" are not)");
    }
    let (Mode::Text | Mode::Hybrid, mode) = (args.mode, args.mode.to_possible_value()) else { return Ok(()) };
    let mode = mode.map_or_else(String::new, |mode| mode.get_name().to_owned());
    let Some(query) = args.query.as_deref() else {
        bail!("--mode {mode} looks for words in captions: give it a TEXT, not --image or --like");
    };
    if !has_words(query) {
        bail!(
            "{query:?}: no word to look for in captions (words such as \"the\" are not): say more, or use --mode vector"
        );
    }
    if args.mode == Mode::Text && !args.not.is_empty() {
        bail!("--not is about what the pictures show: use --mode vector or hybrid");
    }
    Ok(())
}

async fn check_captions(bundle: &Bundle, store: &dyn VectorStore) -> anyhow::Result<()> {
    if store.captions().await? > 0 {
        return Ok(());
    }
    match bundle.manifest().captions {
        Some(_) => bail!("no window has a caption: index again with index.captions = true"),
        None => bail!(
            "the model {} writes no captions: --mode text or hybrid and --caption need one that does",
            bundle.name()
        ),
    }
}

async fn filter(ledger: &Ledger, collection: &str, args: &SearchArgs) -> anyhow::Result<Filter> {
    let media = match &args.path {
        Some(glob) => {
            let glob = matcher(glob)?;
            Some(ledger.media_at(collection, move |path| glob.is_match(path)).await?)
        }
        None => None,
    };
    Ok(Filter {
        media,
        hidden: Vec::new(),
        label: args.label.clone(),
        tags: args.tags.clone(),
        after_ms: args.after,
        before_ms: args.before,
        caption: args.caption.clone(),
    })
}

fn matcher(glob: &str) -> anyhow::Result<globset::GlobMatcher> {
    let glob = GlobBuilder::new(glob).literal_separator(true).build().with_context(|| format!("--path {glob}"))?;
    Ok(glob.compile_matcher())
}

/// Words in captions need no model.
async fn wanted(app: &App, bundle: &Bundle, store: &dyn VectorStore, args: &SearchArgs) -> anyhow::Result<Wanted> {
    let text = args.query.clone().unwrap_or_default();
    Ok(match args.mode {
        Mode::Vector => Wanted::Vector(vector(app, bundle, store, args).await?),
        Mode::Text => Wanted::Text(text),
        Mode::Hybrid => Wanted::Hybrid(vector(app, bundle, store, args).await?, text),
    })
}

/// The vector of whatever is being looked for.
async fn vector(app: &App, bundle: &Bundle, store: &dyn VectorStore, args: &SearchArgs) -> anyhow::Result<Embedding> {
    let mut wanted = None;
    if let Some(id) = args.like {
        let record =
            store.get(id).await?.with_context(|| format!("--like {id}: no such moment in {}", bundle.collection()))?;
        wanted = Some(record.vector);
    } else if let Some(file) = &args.image {
        wanted = Some(of_image(app, bundle, file).await?);
    }
    let texts: Vec<String> = args.query.iter().chain(&args.not).cloned().collect();
    if texts.is_empty() {
        return wanted.context("nothing to look for");
    }
    let model = TextModel::open(bundle, &app.embed_settings())?;
    for text in &texts {
        if model.is_truncated(text)? {
            app.say(format_args!(
                "the model reads only the beginning of \"{}…\"",
                text.chars().take(40).collect::<String>()
            ));
        }
    }
    let mut vectors = model.encode(texts).await?;
    let wanted = match wanted {
        Some(wanted) => wanted,
        None => vectors.remove(0),
    };
    Ok(combine(&wanted, &vectors)?)
}

/// A picture is a window that stands still.
async fn of_image(app: &App, bundle: &Bundle, file: &Path) -> anyhow::Result<Embedding> {
    let picture = image::ImageReader::open(file)
        .and_then(image::ImageReader::with_guessed_format)
        .with_context(|| format!("--image {}", file.display()))?
        .decode()
        .with_context(|| format!("--image {}: not a JPEG, PNG or WebP picture", file.display()))?;
    let rgba = picture.into_rgba8();
    let picture = Picture {
        data: rgba.as_raw(),
        width: rgba.width(),
        height: rgba.height(),
        pixel_aspect: (1, 1),
        orientation: Orientation::default(),
    };
    let pixels = Shrinker::default().pixels(&picture, &bundle.pixel_spec());
    let frame = Frame { pts: Duration::ZERO, pixels: pixels.into(), thumbnail: None };
    let model = VideoModel::open(bundle, &app.embed_settings())?;
    let frames = vec![frame; bundle.manifest().video.frames];
    let span = (Duration::ZERO, Duration::ZERO);
    let mut vectors = match bundle.manifest().video.topology {
        Topology::FramesHead => {
            let items = model.features(frames).await?;
            model.pool(vec![Window { start: span.0, end: span.1, items }]).await?
        }
        Topology::Video => model.encode(vec![Window { start: span.0, end: span.1, items: frames }]).await?,
    };
    vectors.pop().context("the model gave no vector")
}

/// Where the medium lies now: of several places one that matches the glob and is still there. With its picture, where
/// pictures are wanted.
async fn place(archive: &Archive, collection: &str, moment: Moment, glob: Option<&str>) -> anyhow::Result<Shown> {
    let glob = glob.map(matcher).transpose()?;
    let Payload { media_id, label, caption, source, start, wall_ms, plan, .. } = moment.payload;
    let files = archive.ledger.files_of(media_id).await?;
    let wanted = |path: &Path| glob.as_ref().is_none_or(|glob| glob.is_match(path));
    let best =
        files.iter().map(|file| &file.path).max_by_key(|path| (wanted(path), path.exists(), std::cmp::Reverse(*path)));
    let file = best.cloned().unwrap_or_default();
    // The payload's clock is that of the best window's start, which lies at or behind the moment's.
    let ahead_ms = i64::try_from(start.saturating_sub(moment.start).as_millis()).unwrap_or(i64::MAX);
    let time = wall_ms.and_then(|wall| DateTime::from_timestamp_millis(wall.saturating_sub(ahead_ms)));
    Ok(Shown {
        id: moment.id,
        path: file.to_string_lossy().into_owned(),
        uri: file_uri(&file),
        label,
        start_s: text::seconds(moment.start),
        end_s: text::seconds(moment.end),
        peak_s: text::seconds(moment.peak),
        score: moment.score,
        confidence: None,
        caption,
        source,
        time: time.map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        thumbnail: None,
        pictures: thumbs::Key::of(&Owned { media_id, collection: collection.to_owned(), plan }),
        file,
        start: moment.start,
        end: moment.end,
    })
}

fn show(app: &App, args: &SearchArgs, mut moments: Vec<Shown>) -> anyhow::Result<End> {
    if let Some(dir) = &args.thumbnails {
        write_thumbnails(app, dir, &mut moments)?;
    }
    if app.json {
        println!("{}", json!({ "moments": moments }));
    } else if moments.is_empty() {
        println!("nothing found");
    } else {
        print(&moments, args.mode);
    }
    let Some(best) = moments.first() else { return Ok(End::Nothing) };
    if args.open {
        play(best)?;
    }
    Ok(End::Done)
}

fn print(moments: &[Shown], mode: Mode) {
    let rows: Vec<Vec<String>> = (1..)
        .zip(moments)
        .map(|(rank, moment)| {
            vec![
                rank.to_string(),
                format!("{:.*}", mode.digits(), moment.score),
                format!("{} – {}", text::clock(moment.start), text::clock(moment.end)),
                text::path(&moment.file),
                moment.label.clone().unwrap_or_default(),
            ]
        })
        .collect();
    // Whole where nobody's window would wrap it.
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let width = terminal.map_or(usize::MAX, |(width, _)| usize::from(width.0).saturating_sub(3));
    let table = text::table(&["#", "score", "moment", "file", "label"], &rows);
    for (line, moment) in table.lines().zip([None].into_iter().chain(moments.iter().map(Some))) {
        println!("{line}");
        if let Some(moment) = moment {
            if let Some(caption) = &moment.caption {
                println!("   {}", text::line(caption, width));
            }
            println!("   {}", play_command(moment));
        }
    }
}

/// What plays a moment in a terminal.
fn play_command(moment: &Shown) -> String {
    let length = (moment.end_s - moment.start_s).max(1.0);
    format!("ffplay -autoexit -ss {:.1} -t {length:.1} {}", moment.start_s, text::shell(&moment.file))
}

/// Starts the first player there is, at the right second.
fn play(moment: &Shown) -> anyhow::Result<()> {
    let start = format!("{:.1}", moment.start_s);
    let players: [(&str, Vec<String>); 3] = [
        ("ffplay", vec!["-loglevel".into(), "error".into(), "-ss".into(), start.clone()]),
        ("mpv", vec![format!("--start={start}")]),
        ("xdg-open", Vec::new()),
    ];
    for (player, arguments) in players {
        let mut command = Command::new(player);
        command.args(arguments).arg(&moment.file).stdin(Stdio::null()).stdout(Stdio::null());
        match command.spawn() {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("cannot start {player}")),
        }
    }
    bail!("no player found: install ffplay (package ffmpeg) or mpv")
}

fn write_thumbnails(app: &App, dir: &Path, moments: &mut [Shown]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let thumbs = Thumbs::open(app.settings.thumbs_dir())?;
    for (rank, moment) in (1..).zip(moments) {
        let peak = Duration::try_from_secs_f64(moment.peak_s)?;
        if let Some(picture) = thumbs.nearest(&moment.pictures, peak)? {
            let file = dir.join(format!("{rank:03}.jpg"));
            std::fs::write(&file, picture.0).with_context(|| format!("cannot write {}", file.display()))?;
            moment.thumbnail = Some(file.display().to_string());
        }
    }
    Ok(())
}

/// A date or a time, in this machine's zone where none is given, to Unix milliseconds.
fn wall_clock(text: &str) -> Result<i64, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    let formats = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    let local = formats
        .iter()
        .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| date.and_time(NaiveTime::MIN)));
    let time = local.and_then(|time| Local.from_local_datetime(&time).earliest());
    time.map(|time| time.timestamp_millis())
        .ok_or_else(|| "a time such as 2026-05-01 or 2026-05-01T14:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_and_without_zone() {
        assert_eq!(wall_clock("1970-01-01T00:00:01Z"), Ok(1000));
        assert_eq!(wall_clock("1970-01-01T01:00:00+01:00"), Ok(0));
        let day = wall_clock("2026-05-02").unwrap() - wall_clock("2026-05-01").unwrap();
        assert_eq!(day, 86_400_000);
        assert!(wall_clock("yesterday").is_err());
    }
}
