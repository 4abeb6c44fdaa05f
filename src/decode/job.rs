//! One decoding job, inside the child process: file to frames, or to the times of all frames.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::complete::missing_bytes;
use super::cut::{CutRequest, Piece};
use super::flv::Flv;
use super::gate::{Gate, Released};
use super::gif::Gif;
use super::gst::{self, Coded, Decoding, Input, Pictures, Reader, Source, decoders_for, init, take_messages};
use super::ivf::Ivf;
use super::matroska::Remains;
use super::mjpeg::Jpegs;
use super::mp4::Mended;
use super::obu::is_bare_av1;
use super::pixels::{Orientation, Shrinker};
use super::plan::{Packet, Rule, Targets, end, first_shown, shown, uniform};
use super::ps::Program;
use super::tracks::Tracks;
use super::ts::Stream;
use super::wire::Message;
use super::{DecodeError, Frame, Outcome, Probe, Problem, ProblemKind, Request, Sampling, Want, Zero};

/// A broken decoder or file is not worth more tries.
const MOST_DECODERS: usize = 2;
/// Some decoders (AV1's) break on a bad frame instead of leaving it out, so they are started again behind it; after so
/// many starts in a row without a picture that is over.
const MOST_BARREN_STARTS: u32 = 8;
/// Not worth a word, if the video is so much shorter than the file promises. Sound may go on after the pictures, so a file
/// may well be longer without anything missing: where it is not known how far the sound goes, this is said only if less
/// than half was found.
const LONGER_SOUND: Duration = Duration::from_secs(2);
/// How long the last pictures are waited for before looking whether the decoder broke.
const GLANCE: Duration = Duration::from_millis(20);

/// Where messages go; false when nobody listens any more.
pub(super) trait Listener: Sync {
    fn hear(&self, message: &Message) -> bool;
    /// Called often while work goes on; the listener decides whether to tell.
    fn progress(&self, amount: u64);
}

/// `threads`: those of the decoder, where every frame goes to it.
pub(super) fn run(request: &Request, threads: u32, listener: &dyn Listener) -> Result<Outcome, DecodeError> {
    openable(&request.path)?;
    init()?;
    let tracks = Tracks::read(&request.path, request.track)?;
    let own = own_source(&request.path, &tracks);
    let mut job = Job { request, threads, tracks, listener, frames: AtomicU64::new(0), probe_sent: false };
    let mut first_error = None;
    if let Some(own) = own {
        let result = job.read(&own);
        if result.is_ok() || job.frame_count() > 0 || matches!(result, Err(DecodeError::Stopped)) {
            return result;
        }
        first_error = result.err();
    }
    let result = job.read(&as_it_is(&request.path)?);
    if matches!(result, Err(DecodeError::Damaged(_)))
        && job.frame_count() == 0
        && let Some(remains) = Remains::find(&request.path).ok().flatten()
        && let Ok(outcome) = job.read(&Source::Remains(remains))
    {
        return Ok(outcome);
    }
    // The reader that knew the container says better what is wrong with it than one that found nothing.
    match (result, first_error) {
        (Err(DecodeError::Damaged(_) | DecodeError::NoVideoTrack(_)), Some(error)) => Err(error),
        (result, _) => result,
    }
}

/// Lists the times of all frames, from the same source that [`run`] would read.
pub(super) fn survey(path: &Path, listener: &dyn Listener) -> Result<Outcome, DecodeError> {
    openable(path)?;
    init()?;
    let tracks = Tracks::read(path, None)?;
    let own = own_source(path, &tracks).map(|own| packets(&own, &tracks, listener));
    let Coding { probe, packets, .. } = match own {
        Some(Ok(found)) if !found.packets.is_empty() => found,
        _ => packets(&as_it_is(path)?, &tracks, listener)?,
    };
    let duration = |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    let times = shown(&packets);
    let end = duration(end(&packets, &times));
    let times = times.into_iter().map(duration).collect();
    if !listener.hear(&Message::Probe(probe)) || !listener.hear(&Message::Times { times, end }) {
        return Err(DecodeError::Stopped);
    }
    Ok(Outcome { packets: packets.len() as u64, end, ..Outcome::default() })
}

/// Writes a stretch of some files to a file. Their times are those that [`run`] gives their frames.
pub(super) fn cut(request: &CutRequest, threads: u32, listener: &dyn Listener) -> Result<Outcome, DecodeError> {
    init()?;
    let mut inputs = Vec::with_capacity(request.pieces.len());
    for Piece { path, begins } in &request.pieces {
        openable(path)?;
        let tracks = Tracks::read(path, None)?;
        let own = own_source(path, &tracks);
        // The movie's own clock begins at zero, wherever its tracks begin.
        let zero = matches!(own, Some(Source::Mended(_))).then_some(0);
        // These have no sound, and GStreamer reads them wrongly.
        let own = own.filter(|own| matches!(own, Source::Gif(_) | Source::Jpegs(_)));
        let own = own.or(Some(as_it_is(path)?).filter(|source| matches!(source, Source::Obu(_))));
        inputs.push(Input { path: path.clone(), begins: *begins, tracks, own, zero });
    }
    let progress = |amount| listener.progress(amount);
    if !listener.hear(&Message::begun()) {
        return Err(DecodeError::Stopped);
    }
    let cut = gst::cut(request, inputs, threads, &progress)?;
    if !listener.hear(&Message::Cut(cut)) {
        return Err(DecodeError::Stopped);
    }
    Ok(Outcome { end: cut.ends, ..Outcome::default() })
}

fn openable(path: &Path) -> Result<(), DecodeError> {
    if std::fs::metadata(path).map_err(DecodeError::Unreadable)?.is_dir() {
        return Err(DecodeError::NotVideo("a folder".into()));
    }
    std::fs::File::open(path).map_err(DecodeError::Unreadable).map(drop)
}

/// All coded frames of a file, none of them decoded.
struct Coding {
    probe: Probe,
    packets: Vec<Packet>,
    /// As [`Reader::zero`].
    zero: Option<i64>,
}

fn packets(source: &Source, tracks: &Tracks, listener: &dyn Listener) -> Result<Coding, DecodeError> {
    let mut reader = Reader::open(source, tracks)?;
    let mut packets = Vec::new();
    while let Some((packet, _)) = reader.next()? {
        packets.push(packet);
        listener.progress(packets.len() as u64);
    }
    Ok(Coding { probe: reader.probe().clone(), packets, zero: reader.zero() })
}

/// Containers that are read here, and not by GStreamer.
fn own_source(path: &Path, tracks: &Tracks) -> Option<Source> {
    if let Some(mended) = Mended::open(path, tracks.wanted).ok().flatten() {
        return Some(Source::Mended(Arc::new(mended)));
    }
    let is_wanted =
        |flv: &Flv| tracks.wanted.is_none_or(|id| flv.tracks.iter().any(|track| track.taken && track.id == id));
    let flv = || Flv::find(path).ok().flatten().filter(is_wanted).map(Source::Flv);
    let ivf = || Ivf::find(path).ok().flatten().map(Source::Ivf);
    let gif = || Gif::find(path).ok().flatten().map(Source::Gif);
    let jpegs = || Jpegs::find(path).ok().flatten().map(Source::Jpegs);
    let program = || Program::find(path).ok().flatten().filter(|_| tracks.wanted.is_none()).map(Source::Program);
    let stream = Stream::find(path, tracks).ok().flatten().map(Source::Stream);
    stream.or_else(program).or_else(flv).or_else(ivf).or_else(gif).or_else(jpegs)
}

/// The file as it is.
fn as_it_is(path: &Path) -> Result<Source, DecodeError> {
    let is_bare_av1 = is_bare_av1(path).map_err(DecodeError::Unreadable)?;
    Ok(if is_bare_av1 { Source::Obu(path.to_path_buf()) } else { Source::File(path.to_path_buf()) })
}

struct Job<'a> {
    request: &'a Request,
    threads: u32,
    tracks: Tracks,
    listener: &'a dyn Listener,
    frames: AtomicU64,
    probe_sent: bool,
}

/// The feeding side of a job; it outlives a decoder that breaks.
struct Feed {
    gate: Gate<Coded>,
    /// How many pictures were asked for.
    wanted: usize,
    /// Let through by the gate, not yet given to a decoder.
    waiting: VecDeque<Released<Coded>>,
    /// A new decoder begins with a key frame.
    need_key: bool,
    /// The gate has given its last.
    ended: bool,
}

/// What the feeding side knows of the times of pictures and the taking side needs.
#[derive(Default)]
struct Shown {
    /// Where times are counted from.
    base: AtomicI64,
    /// Of pictures that are held: their times, and until when, as the packets have them.
    holds: Mutex<BTreeMap<i64, i64>>,
}

impl Shown {
    fn hold(&self, holds: Vec<(i64, i64)>) {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).extend(holds);
    }

    fn until(&self, pts: i64) -> Option<i64> {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        // Pictures come in the order of their times.
        *holds = holds.split_off(&pts);
        holds.remove(&pts)
    }
}

/// The taking side.
struct Taken {
    orientation: Orientation,
    shrinker: Shrinker,
    /// Time of the last frame handed on.
    latest: Option<Duration>,
}

/// What the decoder did not give.
struct Gone {
    /// What it broke on first.
    broken: Option<String>,
    wanted: usize,
    /// Times of wanted pictures that did not come, as the packets have them.
    lost: Vec<i64>,
    /// Time of the first shown frame.
    base: i64,
}

impl Job<'_> {
    fn frame_count(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Reads the file, with another decoder if the best one gives nothing.
    fn read(&mut self, source: &Source) -> Result<Outcome, DecodeError> {
        let rule = self.rule(source)?;
        let mut reader = Reader::open(source, &self.tracks)?;
        let decoders = decoders_for(reader.codec().ok_or_else(|| DecodeError::Damaged("no frame".into()))?)?;
        self.tell_probe(reader.probe())?;
        if !self.request.decode {
            return self.look(&mut reader, rule);
        }
        let mut result = Err(DecodeError::Stopped);
        for (number, decoder) in decoders.iter().take(MOST_DECODERS).enumerate() {
            if number > 0 {
                reader = Reader::open(source, &self.tracks)?;
            }
            result = self.decode(&mut reader, decoder, rule.clone());
            if self.frame_count() > 0 || !matches!(result, Err(DecodeError::Damaged(_) | DecodeError::Setup(_))) {
                break;
            }
        }
        result
    }

    /// What the gate would let through, without decoding it.
    fn look(&self, reader: &mut Reader, rule: Rule) -> Result<Outcome, DecodeError> {
        let mut gate = Gate::new(rule).counting_from(self.zero(reader.zero()));
        let mut seen = 0;
        while let Some((packet, _)) = reader.next()? {
            gate.push(packet, ());
            seen += 1;
            self.listener.progress(seen);
        }
        let (promised, is_certain) = self.last_until(reader);
        gate.finish(promised, is_certain);
        let mut outcome = Outcome::default();
        gate.report(&mut outcome);
        let gone = Gone { broken: None, wanted: 0, lost: Vec::new(), base: gate.base().unwrap_or(0) };
        outcome.problems.extend(self.problems(reader, gone, outcome.end));
        Ok(outcome)
    }

    fn tell_probe(&mut self, probe: &Probe) -> Result<(), DecodeError> {
        if !std::mem::replace(&mut self.probe_sent, true) && !self.listener.hear(&Message::Probe(probe.clone())) {
            return Err(DecodeError::Stopped);
        }
        Ok(())
    }

    /// Where times are counted from; `None`: from the first frame shown.
    fn zero(&self, of_medium: Option<i64>) -> Option<i64> {
        of_medium.filter(|_| self.request.zero == Zero::Medium)
    }

    fn rule(&self, source: &Source) -> Result<Rule, DecodeError> {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / 8);
        let from = nanos(self.request.from);
        let targets = match self.request.want {
            Want::Every(interval) => Targets::Grid { interval: nanos(interval).max(1), from },
            Want::Uniform(count) => {
                let Coding { packets, zero, .. } = packets(source, &self.tracks, self.listener)?;
                let late = self.zero(zero).map_or(0, |zero| first_shown(&packets).unwrap_or(zero) - zero);
                let mut times: Vec<i64> = uniform(&packets, count).iter().map(|time| time + late).collect();
                times.retain(|time| *time >= from);
                Targets::Times(times)
            }
            Want::At(ref times) => {
                let mut times: Vec<i64> = times.iter().map(|time| nanos(*time)).filter(|time| *time >= from).collect();
                times.sort_unstable();
                Targets::Times(times)
            }
        };
        let tolerance = (targets.spacing() as f64 * self.request.tolerance.max(0.0)) as i64;
        Ok(Rule { targets, sampling: self.request.sampling, tolerance })
    }

    fn decode(&self, reader: &mut Reader, decoder: &str, rule: Rule) -> Result<Outcome, DecodeError> {
        // With key frames alone there is nothing to share out.
        let threads = if rule.sampling == Sampling::Keyframes { 1 } else { self.threads };
        let slack = (rule.targets.spacing() / 2).min(1_000_000_000);
        let mut taken = Taken { orientation: reader.orientation(), shrinker: Shrinker::default(), latest: None };
        let mut feed = Feed {
            gate: Gate::new(rule).counting_from(self.zero(reader.zero())),
            wanted: 0,
            waiting: VecDeque::new(),
            need_key: false,
            ended: false,
        };
        let shown = Shown::default();
        let (mut still_wanted, mut lost) = (Vec::new(), Vec::new());
        let (mut broken, mut barren) = (None, 0);
        loop {
            let (mut decoding, mut pictures) = Decoding::start(decoder, threads, slack)?;
            decoding.want(&still_wanted);
            let (fed, took, problem, made) = std::thread::scope(|scope| {
                // Its sender lives as long as the taker works.
                let (working, taker_ended) = std::sync::mpsc::channel::<()>();
                let taker = scope.spawn(|| {
                    let _working = working;
                    self.take_pictures(&mut pictures, &mut taken, &shown)
                });
                let fed = self.feed(reader, &mut feed, &mut decoding, &shown);
                if fed.is_ok() {
                    decoding.finish();
                }
                while fed.is_ok()
                    && decoding.check().is_ok()
                    && taker_ended.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout)
                {
                    self.listener.progress(decoding.pictures());
                }
                let problem = decoding.check().err();
                if problem.is_some() || fed.is_err() {
                    decoding.give_up();
                }
                // It takes what the decoder made before it broke, so this is known only behind it.
                let took = taker.join().unwrap_or_else(|_| Err(DecodeError::Crashed("a thread panicked".into())));
                let made = decoding.pictures();
                if problem.is_some() {
                    let mut left = decoding.unfinished();
                    feed.need_key = left.is_empty();
                    left.append(&mut feed.waiting);
                    feed.waiting = left;
                }
                still_wanted = decoding.still_wanted();
                lost.append(&mut decoding.lost());
                (fed, took, problem, made)
            });
            took?;
            fed?;
            let Some(problem) = problem else { break };
            broken.get_or_insert(problem);
            barren = if made == 0 { barren + 1 } else { 0 };
            if barren == MOST_BARREN_STARTS || feed.ended && feed.waiting.is_empty() {
                break;
            }
        }
        let Feed { gate, wanted, .. } = feed;
        let mut outcome = Outcome::default();
        gate.report(&mut outcome);
        lost.append(&mut still_wanted);
        let gone = Gone { broken, wanted, lost, base: gate.base().unwrap_or(0) };
        outcome.problems.extend(self.problems(reader, gone, outcome.end));
        if self.frame_count() == 0 && wanted > 0 {
            let mut text: Vec<String> = outcome.problems.iter().map(Problem::to_string).collect();
            text.push("no picture could be decoded".into());
            return Err(DecodeError::Damaged(text.join("; ")));
        }
        if outcome.packets == 0 {
            return Err(DecodeError::Damaged("there is no coded frame in it".into()));
        }
        Ok(outcome)
    }

    /// Coded frames through the gate to the decoder. A decoder that breaks is no error here: what it gave counts.
    fn feed(
        &self,
        reader: &mut Reader,
        feed: &mut Feed,
        decoding: &mut Decoding,
        shown: &Shown,
    ) -> Result<(), DecodeError> {
        let mut seen = 0;
        loop {
            while let Some(released) = feed.waiting.pop_front() {
                feed.need_key &= !released.packet.key;
                if feed.need_key {
                    continue;
                }
                let progress = |pictures| self.listener.progress(pictures);
                if decoding.push(released, &progress).is_err() {
                    return Ok(());
                }
            }
            if feed.ended {
                return Ok(());
            }
            let release = match reader.next()? {
                Some((packet, coded)) => feed.gate.push(packet, coded),
                None => {
                    feed.ended = true;
                    let (promised, is_certain) = self.last_until(reader);
                    feed.gate.finish(promised, is_certain)
                }
            };
            seen += 1;
            self.listener.progress(seen);
            if let Some(release) = release {
                shown.base.store(feed.gate.base().unwrap_or(0), Ordering::Release);
                shown.hold(release.holds);
                feed.wanted += release.wanted.len();
                decoding.want(&release.wanted);
                feed.waiting.extend(release.packets);
            }
        }
    }

    fn take_pictures(&self, pictures: &mut Pictures, taken: &mut Taken, shown: &Shown) -> Result<(), DecodeError> {
        let Taken { orientation, shrinker, latest } = taken;
        // Where file and codec disagree on the order of two frames, they come the wrong way round.
        let mut before: Option<Frame> = None;
        loop {
            let next = pictures.next(*orientation, |pts, picture| {
                let base = shown.base.load(Ordering::Acquire);
                let time = |pts: i64| Duration::from_nanos((pts - base).max(0) as u64);
                let thumbnail = self.request.thumbnail_px.map(|longer| shrinker.thumbnail(picture, longer));
                Frame {
                    pts: time(pts),
                    until: shown.until(pts).map(time),
                    pixels: shrinker.pixels(picture, &self.request.pixels).into(),
                    thumbnail,
                }
            });
            let (frame, rest) = match (before.take(), next.transpose().map_err(DecodeError::Damaged)?) {
                (None, None) => return Ok(()),
                (None, next) => (None, next),
                (Some(before), Some(next)) if next.pts < before.pts => (Some(next), Some(before)),
                (Some(before), next) => (Some(before), next),
            };
            before = rest;
            // Streams without proper times may come shuffled; order is part of the contract.
            let Some(frame) = frame.filter(|frame| latest.is_none_or(|latest| frame.pts > latest)) else { continue };
            *latest = Some(frame.pts);
            self.frames.fetch_add(1, Ordering::Relaxed);
            if !self.listener.hear(&Message::Frame(frame)) {
                return Err(DecodeError::Stopped);
            }
        }
    }

    /// When the medium ends on the packets' clock, as the container says, and whether that is certain.
    fn last_until(&self, reader: &Reader) -> (Option<i64>, bool) {
        let is_whole = reader.problem().is_none() && !matches!(missing_bytes(&self.request.path), Ok(Some(_)));
        let promised = reader.promised().filter(|_| is_whole).and_then(|end| i64::try_from(end.as_nanos()).ok());
        let end = promised.zip(reader.zero()).map(|(promised, zero)| zero.saturating_add(promised));
        (end, reader.keeps_promise() == Some(true))
    }

    /// What was not read as it should have been, one problem for each cause.
    fn problems(&self, reader: &Reader, gone: Gone, end: Duration) -> Vec<Problem> {
        let mut problems = reader.problems().to_vec();
        let others = self.tracks.left_out();
        if self.request.track.is_none() && !others.is_empty() {
            let detail = format!("not taken: video track {}; `--track ID` takes another", others.join(", "));
            problems.push(Problem::new(ProblemKind::TrackNotTaken, detail));
        }
        let told = problems.len();
        let promised = reader.promised().filter(|promised| *promised > end);
        let unread = |kind, detail: String| match promised {
            Some(promised) => Problem::new(kind, detail).between(end, promised),
            None => Problem::new(kind, detail),
        };
        if let Ok(Some(missing)) = missing_bytes(&self.request.path) {
            let detail = format!("the file is cut short: {missing} bytes are missing at its end");
            problems.push(unread(ProblemKind::CutShort, detail));
        }
        if let Some(problem) = reader.problem() {
            let detail = format!("the file could not be read to its end: {problem}");
            problems.push(unread(ProblemKind::Unreadable, detail));
        }
        // Both of the above end early as well.
        let is_broken = reader.keeps_promise() == Some(false);
        let longest = if is_broken { end + LONGER_SOUND } else { 2 * end + LONGER_SOUND };
        if problems.len() == told && promised.is_some_and(|promised| promised > longest) {
            problems.push(unread(ProblemKind::EndsEarly, "the file promises more video than there is".into()));
        }
        if let Some(problem) = gone.broken {
            problems.push(Problem::new(ProblemKind::DecoderFailed, format!("the decoder gave up: {problem}")));
        }
        let missing = (gone.wanted as u64).saturating_sub(self.frame_count());
        if missing > 0 {
            let detail = format!("{missing} of {} wanted frames could not be decoded", gone.wanted);
            let problem = Problem::new(ProblemKind::FramesMissing, detail);
            let time = |pts: &i64| Duration::from_nanos(u64::try_from(pts - gone.base).unwrap_or(0));
            problems.push(match (gone.lost.iter().min(), gone.lost.iter().max()) {
                (Some(first), Some(last)) => problem.between(time(first), time(last)),
                _ => problem,
            });
        }
        let (lines, count) = take_messages();
        if count > 0 {
            let times = if count == 1 { "once".to_owned() } else { format!("{count} times, first") };
            let detail = format!("the decoder complained {times}: {}", lines.join("; "));
            problems.push(Problem::new(ProblemKind::DamagedData, detail));
        }
        problems
    }
}
