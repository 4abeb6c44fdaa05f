//! `clipseek search`: turns flags into a request and prints the answer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::app::App;
use super::clip::{Cutter, Wanted};
use super::index::absolute_model;
use super::{End, text};
use crate::play::{Span, names};
use crate::search::{self, Answer, Between, Group, Placed, SearchRequest, WallTime, groups};
use crate::thumbs::Thumbs;

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
    /// Only this source: a watched folder or a stream, by its name in `clipseek sources`
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only media with this label
    #[arg(long)]
    label: Option<String>,
    /// Only media with this tag (repeatable: all of them)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Only files whose name matches ('*.mp4'), or whose path does from any folder on ('garage/**', '/videos/*')
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// Only footage recorded at or after this time (2026-05-01, 2026-05-01T14:00, with or without zone)
    #[arg(long, value_name = "TIME")]
    after: Option<WallTime>,
    /// Only footage recorded before this time
    #[arg(long, value_name = "TIME")]
    before: Option<WallTime>,
    /// Only footage recorded at this time of the day (22:00-06:00), in this machine's zone
    #[arg(long, value_name = "HH:MM-HH:MM")]
    between: Option<Between>,
    /// Show the moments of each file together
    #[arg(long)]
    group: bool,
    /// Different moments first: how much, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    diversity: f32,
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
    /// Write the N best moments as clips into the folder --out
    #[arg(long, value_name = "N", requires = "out", value_parser = clap::value_parser!(u16).range(1..=1000))]
    save: Option<u16>,
    /// Folder for the clips
    #[arg(long, value_name = "DIR", requires = "save")]
    out: Option<PathBuf>,
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

impl From<Mode> for search::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Vector => Self::Vector,
            Mode::Text => Self::Text,
            Mode::Hybrid => Self::Hybrid,
        }
    }
}

impl Mode {
    /// Decimals of a score, enough to tell moments apart.
    fn digits(self) -> usize {
        match self {
            Self::Vector => 3,
            Self::Text => 2,
            Self::Hybrid => 4,
        }
    }
}

/// A moment with the picture written for it.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    placed: Placed,
    /// Path of the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
    /// Path of the clip.
    #[serde(skip_serializing_if = "Option::is_none")]
    clip: Option<String>,
}

pub(super) async fn run(app: &App, args: SearchArgs) -> anyhow::Result<End> {
    let mut request = request(&args);
    // Check before reading the picture.
    request.check()?;
    if let Some(file) = &args.image {
        request.picture = Some(std::fs::read(file).with_context(|| format!("--image {}", file.display()))?);
    }
    if let Some(client) = app.daemon().await? {
        request.model = absolute_model(request.model)?;
        let answer = client.search(&request).await?;
        for remark in &answer.remarks {
            app.say(remark);
        }
        return show(app, &args, answer).await;
    }
    let Some(archive) = app.existing_archive().await? else {
        app.say(format_args!("nothing is indexed in {} yet: clipseek index PATH", app.settings.data_dir.display()));
        return show(app, &args, Answer::default()).await;
    };
    let answer = app.searchers(Arc::new(archive)).answer(request).await?;
    for remark in &answer.remarks {
        app.say(remark);
    }
    show(app, &args, answer).await
}

/// The request of the flags, without the bytes of the picture.
fn request(args: &SearchArgs) -> SearchRequest {
    SearchRequest {
        text: args.query.clone(),
        picture: args.image.as_ref().map(|_| Vec::new()),
        like: args.like,
        not: args.not.clone(),
        mode: args.mode.into(),
        rerank: args.rerank,
        limit: args.limit,
        min_confidence: args.min_confidence,
        source: args.source.clone(),
        label: args.label.clone(),
        tags: args.tags.clone(),
        path: args.path.clone(),
        after: args.after,
        before: args.before,
        between: args.between,
        caption: args.caption.clone(),
        diversity: args.diversity,
        group: args.group,
        model: args.model.clone(),
        ..SearchRequest::default()
    }
}

async fn show(app: &App, args: &SearchArgs, answer: Answer) -> anyhow::Result<End> {
    let Answer { moments, remarks, .. } = answer;
    let groups = args.group.then(|| groups(&moments));
    let mut moments: Vec<Shown> =
        moments.into_iter().map(|placed| Shown { placed, thumbnail: None, clip: None }).collect();
    if let Some(dir) = &args.thumbnails {
        write_thumbnails(app, dir, &mut moments)?;
    }
    let saved = match (&args.out, args.save) {
        (Some(dir), Some(count)) if !moments.is_empty() => save(app, dir, count.into(), &mut moments).await?,
        _ => true,
    };
    if app.json {
        let mut shown = json!({ "moments": moments });
        if !remarks.is_empty() {
            shown["remarks"] = json!(remarks);
        }
        if let Some(groups) = groups {
            shown["groups"] = json!(groups);
        }
        println!("{shown}");
    } else if moments.is_empty() {
        println!("nothing found");
    } else {
        match groups {
            None => print(&moments, args.mode),
            Some(groups) => print_groups(&groups, &moments, args.mode),
        }
    }
    let Some(best) = moments.first() else { return Ok(End::Nothing) };
    if args.open {
        play(&best.placed)?;
    }
    Ok(if saved { End::Done } else { End::Failed })
}

/// The moments of each medium below its name.
fn print_groups(groups: &[Group], moments: &[Shown], mode: Mode) {
    for (number, group) in groups.iter().enumerate() {
        if number > 0 {
            println!();
        }
        let of_group =
            || group.moments.iter().filter_map(|place| moments.get(*place).map(|moment| (place + 1, moment)));
        println!("{}", of_group().next().map(|(_, Shown { placed, .. })| place(placed)).unwrap_or_default());
        for (rank, Shown { placed, .. }) in of_group() {
            let span = format!("{} – {}", text::clock(placed.start), text::clock(placed.end));
            println!("{rank:>4}  {:.*}  {span}", mode.digits(), placed.score);
            if let Some(command) = play_command(placed) {
                println!("      {command}");
            }
        }
    }
}

fn print(moments: &[Shown], mode: Mode) {
    let rows: Vec<Vec<String>> = (1..)
        .zip(moments)
        .map(|(rank, Shown { placed, .. })| {
            vec![
                rank.to_string(),
                format!("{:.*}", mode.digits(), placed.score),
                format!("{} – {}", text::clock(placed.start), text::clock(placed.end)),
                place(placed),
                placed.label.clone().unwrap_or_default(),
            ]
        })
        .collect();
    // Captions are cut to the width of the terminal, but not when the output is not a terminal.
    let terminal = terminal_size::terminal_size_of(std::io::stdout());
    let width = terminal.map_or(usize::MAX, |(width, _)| usize::from(width.0).saturating_sub(3));
    let table = text::table(&["#", "score", "moment", "file", "label"], &rows);
    for (line, moment) in table.lines().zip([None].into_iter().chain(moments.iter().map(Some))) {
        println!("{line}");
        if let Some(Shown { placed, .. }) = moment {
            if let Some(caption) = &placed.caption {
                println!("   {}", text::line(caption, width));
            }
            if let Some(command) = play_command(placed) {
                println!("   {command}");
            }
            if let Some(clip) = &moment.and_then(|moment| moment.clip.as_deref()) {
                println!("   saved: {}", text::path(Path::new(clip)));
            }
        }
    }
}

/// The file, or the source and when it was.
fn place(moment: &Placed) -> String {
    match (&moment.file, &moment.source, &moment.time) {
        (_, Some(source), Some(time)) if moment.offset_s.is_some() || moment.file.is_none() => {
            format!("{source} {time}")
        }
        (file, ..) => file.as_deref().map(text::path).unwrap_or_default(),
    }
}

/// A command line that plays a moment, where there is something to play.
fn play_command(moment: &Placed) -> Option<String> {
    let length = (moment.end_s - moment.start_s).max(1.0);
    let file = text::shell(moment.file.as_ref()?);
    Some(format!("ffplay -autoexit -ss {} -t {length:.1} {file}", position(moment)))
}

/// Where the moment starts, as players count.
fn position(moment: &Placed) -> String {
    let start = moment.start.saturating_sub(moment.players_zero).as_secs_f64();
    format!("{:.1}", moment.offset_s.unwrap_or(start))
}

/// Starts the first available player at the start of the moment.
fn play(moment: &Placed) -> anyhow::Result<()> {
    let Some(file) = &moment.file else {
        bail!("there is nothing to play: the stream was not recorded (record = true in its [[source]] table)");
    };
    let start = position(moment);
    let players: [(&str, Vec<String>); 3] = [
        ("ffplay", vec!["-loglevel".into(), "error".into(), "-ss".into(), start.clone()]),
        ("mpv", vec![format!("--start={start}")]),
        ("xdg-open", Vec::new()),
    ];
    for (player, arguments) in players {
        let mut command = Command::new(player);
        command.args(arguments).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        match command.spawn() {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(format!("cannot start {player}")),
        }
    }
    bail!("no player found: install ffplay (package ffmpeg) or mpv")
}

/// Writes the best moments as clips. False if one could not be written, which is said.
async fn save(app: &App, dir: &Path, count: usize, moments: &mut [Shown]) -> anyhow::Result<bool> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let cutter = Cutter::open(app).await?;
    let (mut names, mut all) = (HashSet::new(), true);
    for Shown { placed, clip, .. } in moments.iter_mut().take(count) {
        let end = placed.end.max(placed.start + Duration::from_secs(1));
        let mut name = names::clip(placed, Span { start: placed.start, end });
        // Files of the same name may lie in several folders.
        for number in 2.. {
            if names.insert(name.clone()) {
                break;
            }
            name = format!("{} {number}.mp4", name.trim_end_matches(".mp4"));
        }
        let (start_s, end_s) = (Some(placed.start.as_secs_f64()), Some(end.as_secs_f64()));
        let file = dir.join(name);
        match cutter.write(&Wanted { id: placed.id, start_s, end_s, exact: false }, &file).await {
            Ok(()) => *clip = Some(file.display().to_string()),
            Err(error) => {
                app.say(format_args!("not saved: {}: {error:#}", text::path(&file)));
                all = false;
            }
        }
    }
    Ok(all)
}

fn write_thumbnails(app: &App, dir: &Path, moments: &mut [Shown]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let thumbs = Thumbs::open(app.settings.thumbs_dir())?;
    for (rank, Shown { placed, thumbnail, .. }) in (1..).zip(moments) {
        if let Some(picture) = thumbs.nearest(&placed.pictures, placed.peak, placed.window_end)? {
            let file = dir.join(format!("{rank:03}.jpg"));
            std::fs::write(&file, picture.0).with_context(|| format!("cannot write {}", file.display()))?;
            *thumbnail = Some(file.display().to_string());
        }
    }
    Ok(())
}
