//! What the decoding process and its parent say to each other.
//!
//! Parent → child, once: a greeting and a [`Task`]. Child → parent: a greeting, then [`Message`]s. A message is a kind
//! (one byte), a length (four bytes, little endian) and that many bytes. Neither side believes the other: lengths are
//! limited before anything is allocated, and whatever does not parse is an error, never a panic. Times beyond
//! [`LATEST`] do not parse, so that nobody behind this has to think of sums that overflow.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cut::{Cut, CutRequest};
use super::live::{LiveRequest, Recording};
use super::{DecodeError, Frame, Jpeg, LATEST, Outcome, PixelSpec, Probe, Request, Rgb, Sampling, Want, Zero};
use crate::secret::{Secret, SecretUrl};
use crate::source::stream::Login;

/// First on either pipe; the last byte is the version of everything below.
const GREETING: [u8; 4] = *b"csd\x08";
/// Longest message accepted: a picture of the largest size a bundle may ask for, and its thumbnail.
const LONGEST: usize = 64 << 20;
/// Header of a frame: time, until when it is held (zero: it is not), width, height.
const FRAME_HEADER: usize = 8 + 8 + 4 + 4;
/// The last millisecond of the year 9999: no calendar in a container goes beyond.
const LATEST_MS: i64 = 253_402_300_799_999;

/// What the parent asks for.
#[derive(Debug)]
pub enum Task {
    Frames(Request),
    /// The times of all frames of this file.
    Survey(PathBuf),
    /// A live stream, until it is no more.
    Live(Box<LiveRequest>),
    /// A stretch of some files into a file.
    Cut(CutRequest),
}

/// What the child says.
#[derive(Debug)]
pub enum Message {
    /// The medium is recognised.
    Probe(Probe),
    Frame(Frame),
    /// When every frame is shown, and when the last one ends.
    Times {
        times: Vec<Duration>,
        end: Duration,
    },
    /// Why a live stream is not recorded, where it should be; `None`: it is again.
    Recording(Option<String>),
    /// So many wanted frames of a live stream were dropped so far.
    Dropped(u64),
    /// So many coded frames of a live stream were given to its decoder so far; told every few seconds.
    Decoded(u64),
    /// A file was written.
    Cut(Cut),
    /// Work goes on though no frame came of it yet.
    Alive,
    /// The end: how it went, or why it could not be done.
    End(Result<Outcome, DecodeError>),
}

/// A [`Request`] as it travels: everything but the path, which is bytes.
#[derive(Serialize, Deserialize)]
struct SentRequest {
    track: Option<u32>,
    decode: bool,
    want: Want,
    zero: Zero,
    sampling: Sampling,
    /// Its bits: as text it might come back as its neighbour, and the choice of frames with it.
    tolerance: u64,
    from: Duration,
    pixels: PixelSpec,
    thumbnail_px: Option<u32>,
}

/// A [`LiveRequest`] as it travels, secrets included: nobody else reads this pipe.
#[derive(Serialize, Deserialize)]
struct SentLive {
    uri: String,
    login: Option<(String, String)>,
    template: String,
    interval: Duration,
    sampling: Sampling,
    tolerance: u64,
    pixels: PixelSpec,
    thumbnail_px: Option<u32>,
    recording: Option<SentRecording>,
}

#[derive(Serialize, Deserialize)]
struct SentRecording {
    /// Bytes of the path, which need not be UTF-8.
    dir: Vec<u8>,
    source: String,
    epoch: u64,
    segment: Duration,
    least_free: u64,
}

mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const PROBE: u8 = 2;
    pub(super) const FRAME: u8 = 3;
    pub(super) const ALIVE: u8 = 4;
    pub(super) const DONE: u8 = 5;
    pub(super) const FAILED: u8 = 6;
    pub(super) const SURVEY: u8 = 7;
    pub(super) const TIMES: u8 = 8;
    pub(super) const LIVE: u8 = 9;
    pub(super) const DROPPED: u8 = 10;
    pub(super) const RECORDING: u8 = 11;
    pub(super) const CUT: u8 = 12;
    pub(super) const WRITTEN: u8 = 13;
    pub(super) const DECODED: u8 = 14;
}

pub fn greet(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&GREETING)
}

pub fn expect_greeting(from: &mut impl Read) -> io::Result<()> {
    let mut bytes = [0; GREETING.len()];
    from.read_exact(&mut bytes)?;
    if bytes == GREETING { Ok(()) } else { Err(invalid(format!("greeting {bytes:?}, not {GREETING:?}"))) }
}

pub fn write_task(to: &mut impl Write, task: &Task) -> io::Result<()> {
    match task {
        Task::Frames(request) => {
            let job = SentRequest {
                track: request.track,
                decode: request.decode,
                want: request.want.clone(),
                zero: request.zero,
                sampling: request.sampling,
                tolerance: request.tolerance.to_bits(),
                from: request.from,
                pixels: request.pixels,
                thumbnail_px: request.thumbnail_px,
            };
            let job = serde_json::to_vec(&job)?;
            let path = request.path.as_os_str().as_bytes();
            write_parts(to, kind::REQUEST, &[&(job.len() as u32).to_le_bytes(), &job, path])
        }
        Task::Survey(path) => write_parts(to, kind::SURVEY, &[path.as_os_str().as_bytes()]),
        Task::Live(request) => {
            let login = request.login.as_ref();
            let job = SentLive {
                uri: request.uri.expose().to_owned(),
                login: login.map(|login| (login.user.expose().to_owned(), login.password.expose().to_owned())),
                template: request.template.clone(),
                interval: request.interval,
                sampling: request.sampling,
                tolerance: request.tolerance.to_bits(),
                pixels: request.pixels,
                thumbnail_px: request.thumbnail_px,
                recording: request.recording.as_ref().map(|recording| SentRecording {
                    dir: recording.dir.as_os_str().as_bytes().to_vec(),
                    source: recording.source.clone(),
                    epoch: recording.epoch,
                    segment: recording.segment,
                    least_free: recording.least_free,
                }),
            };
            write_parts(to, kind::LIVE, &[&serde_json::to_vec(&job)?])
        }
        Task::Cut(request) => write_parts(to, kind::CUT, &[&serde_json::to_vec(request)?]),
    }
}

pub fn read_task(from: &mut impl Read) -> io::Result<Task> {
    let (kind, body) = read_parts(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match kind {
        kind::REQUEST => {
            let mut rest = body.as_slice();
            let length = take_u32(&mut rest)? as usize;
            let job: SentRequest = serde_json::from_slice(take(&mut rest, length)?)?;
            Ok(Task::Frames(Request {
                path: PathBuf::from(OsString::from_vec(rest.to_vec())),
                track: job.track,
                decode: job.decode,
                want: job.want,
                zero: job.zero,
                sampling: job.sampling,
                tolerance: f64::from_bits(job.tolerance),
                from: job.from,
                pixels: job.pixels,
                thumbnail_px: job.thumbnail_px,
            }))
        }
        kind::SURVEY => Ok(Task::Survey(PathBuf::from(OsString::from_vec(body)))),
        kind::LIVE => {
            let job: SentLive = parsed(&body)?;
            Ok(Task::Live(Box::new(LiveRequest {
                uri: SecretUrl::new(job.uri),
                login: job
                    .login
                    .map(|(user, password)| Login { user: Secret::new(user), password: Secret::new(password) }),
                template: job.template,
                interval: job.interval,
                sampling: job.sampling,
                tolerance: f64::from_bits(job.tolerance),
                pixels: job.pixels,
                thumbnail_px: job.thumbnail_px,
                recording: job.recording.map(|recording| Recording {
                    dir: PathBuf::from(OsString::from_vec(recording.dir)),
                    source: recording.source,
                    epoch: recording.epoch,
                    segment: recording.segment,
                    least_free: recording.least_free,
                }),
            })))
        }
        kind::CUT => Ok(Task::Cut(parsed(&body)?)),
        other => Err(invalid(format!("message {other} in place of a task"))),
    }
}

pub fn write_message(to: &mut impl Write, message: &Message) -> io::Result<()> {
    match message {
        Message::Probe(probe) => write_parts(to, kind::PROBE, &[&serde_json::to_vec(probe)?]),
        Message::Frame(frame) => {
            let mut header = Vec::with_capacity(FRAME_HEADER);
            header.extend_from_slice(&(frame.pts.as_nanos() as u64).to_le_bytes());
            header.extend_from_slice(&(frame.until.unwrap_or_default().as_nanos() as u64).to_le_bytes());
            header.extend_from_slice(&frame.pixels.width.to_le_bytes());
            header.extend_from_slice(&frame.pixels.height.to_le_bytes());
            let thumbnail = frame.thumbnail.as_ref().map_or(&[][..], |jpeg| &jpeg.0);
            write_parts(to, kind::FRAME, &[&header, &frame.pixels.data, thumbnail])
        }
        Message::Times { times, end } => {
            let mut nanos = Vec::with_capacity(8 * (times.len() + 1));
            for time in std::iter::once(end).chain(times) {
                nanos.extend_from_slice(&(time.as_nanos() as u64).to_le_bytes());
            }
            write_parts(to, kind::TIMES, &[&nanos])
        }
        Message::Recording(trouble) => write_parts(to, kind::RECORDING, &[&serde_json::to_vec(trouble)?]),
        Message::Dropped(count) => write_parts(to, kind::DROPPED, &[&count.to_le_bytes()]),
        Message::Decoded(count) => write_parts(to, kind::DECODED, &[&count.to_le_bytes()]),
        Message::Cut(cut) => write_parts(to, kind::WRITTEN, &[&serde_json::to_vec(cut)?]),
        Message::Alive => write_parts(to, kind::ALIVE, &[]),
        Message::End(Ok(outcome)) => write_parts(to, kind::DONE, &[&serde_json::to_vec(outcome)?]),
        Message::End(Err(error)) => write_parts(to, kind::FAILED, &[&serde_json::to_vec(error)?]),
    }
}

/// `None`: the other side closed the pipe between two messages.
pub fn read_message(from: &mut impl Read) -> io::Result<Option<Message>> {
    let Some((kind, body)) = read_parts(from)? else { return Ok(None) };
    let message = match kind {
        kind::PROBE => Message::Probe(checked_probe(parsed(&body)?)?),
        kind::FRAME => Message::Frame(read_frame(&body)?),
        kind::TIMES => read_times(&body)?,
        kind::RECORDING => Message::Recording(parsed(&body)?),
        kind::DROPPED => Message::Dropped(read_count(&body)?),
        kind::DECODED => Message::Decoded(read_count(&body)?),
        kind::WRITTEN => Message::Cut(checked_cut(parsed(&body)?)?),
        kind::ALIVE => Message::Alive,
        kind::DONE => Message::End(Ok(checked_outcome(parsed(&body)?)?)),
        kind::FAILED => Message::End(Err(parsed(&body)?)),
        other => return Err(invalid(format!("message of unknown kind {other}"))),
    };
    Ok(Some(message))
}

fn read_frame(body: &[u8]) -> io::Result<Frame> {
    let mut rest = body;
    let pts = take_time(&mut rest)?;
    let until = Some(take_time(&mut rest)?).filter(|until| *until > pts);
    let (width, height) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
    let size = u64::from(width) * u64::from(height) * 3;
    let data = take(&mut rest, usize::try_from(size).map_err(|_| invalid("picture too large".into()))?)?.to_vec();
    let thumbnail = (!rest.is_empty()).then(|| Jpeg(rest.to_vec()));
    Ok(Frame { pts, until, pixels: Rgb { width, height, data }.into(), thumbnail })
}

fn read_count(body: &[u8]) -> io::Result<u64> {
    let bytes = body.try_into().map_err(|_| invalid(format!("a count of {} bytes", body.len())))?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_times(body: &[u8]) -> io::Result<Message> {
    let (chunks, rest) = body.as_chunks::<8>();
    let mut times = chunks.iter().map(|nanos| checked(Duration::from_nanos(u64::from_le_bytes(*nanos))));
    let Some(end) = times.next().transpose()?.filter(|_| rest.is_empty()) else {
        return Err(invalid("times that are none".into()));
    };
    let times = times.collect::<io::Result<Vec<_>>>()?;
    if !times.is_sorted_by(|a, b| a < b) || times.last().is_some_and(|last| *last > end) {
        return Err(invalid("times out of order".into()));
    }
    Ok(Message::Times { times, end })
}

/// A text that ends too early is nonsense like any other: the pipe was not closed.
fn parsed<T: for<'de> Deserialize<'de>>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))
}

fn checked(time: Duration) -> io::Result<Duration> {
    if time <= LATEST { Ok(time) } else { Err(invalid(format!("a time of {} s", time.as_secs()))) }
}

fn checked_cut(cut: Cut) -> io::Result<Cut> {
    checked(cut.begins)?;
    checked(cut.ends)?;
    Ok(cut)
}

fn checked_probe(probe: Probe) -> io::Result<Probe> {
    probe.duration.map(checked).transpose()?;
    match probe.recorded_at_ms {
        Some(at) if !(-LATEST_MS..=LATEST_MS).contains(&at) => Err(invalid(format!("recorded {at} ms after 1970"))),
        _ => Ok(probe),
    }
}

fn checked_outcome(outcome: Outcome) -> io::Result<Outcome> {
    checked(outcome.end)?;
    let latest = LATEST.as_secs_f64();
    let mut times = outcome.problems.iter().flat_map(|problem| problem.start_s.into_iter().chain(problem.end_s));
    match times.find(|time| !(0.0..=latest).contains(time)) {
        Some(time) => Err(invalid(format!("a problem at {time} s"))),
        None => Ok(outcome),
    }
}

fn write_parts(to: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length > LONGEST {
        return Err(invalid(format!("message of {length} bytes")));
    }
    to.write_all(&[kind])?;
    to.write_all(&(length as u32).to_le_bytes())?;
    for part in parts {
        to.write_all(part)?;
    }
    to.flush()
}

fn read_parts(from: &mut impl Read) -> io::Result<Option<(u8, Vec<u8>)>> {
    let mut kind = [0];
    loop {
        match from.read(&mut kind) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(invalid(format!("message of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some((kind[0], body)))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> io::Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length).ok_or_else(|| invalid("message too short".into()))?;
    *rest = tail;
    Ok(head)
}

fn take_time(rest: &mut &[u8]) -> io::Result<Duration> {
    let nanos = u64::from_le_bytes(take(rest, 8)?.try_into().expect("eight bytes were taken"));
    checked(Duration::from_nanos(nanos))
}

fn take_u32(rest: &mut &[u8]) -> io::Result<u32> {
    Ok(u32::from_le_bytes(take(rest, 4)?.try_into().expect("four bytes were taken")))
}

pub(super) fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Errors of the operating system by their number, so that they are told apart on the other side.
pub(super) mod os_error {
    use std::io;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    enum Told {
        Code(i32),
        Text(String),
    }

    pub(in crate::decode) fn serialize<S: Serializer>(error: &io::Error, serializer: S) -> Result<S::Ok, S::Error> {
        error.raw_os_error().map_or_else(|| Told::Text(error.to_string()), Told::Code).serialize(serializer)
    }

    pub(in crate::decode) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<io::Error, D::Error> {
        Ok(match Told::deserialize(deserializer)? {
            Told::Code(code) => io::Error::from_raw_os_error(code),
            Told::Text(text) => io::Error::other(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::cut::{Copied, Encoding, Piece};
    use crate::decode::{Interpolation, Problem, ProblemKind, Resize};

    proptest! {
        #[test]
        fn requests_survive_the_pipe(
            path in prop::collection::vec(1u8.., 1..60),
            nanos in 1u64..1 << 50,
            count in 1usize..1000,
            times in prop::collection::vec(0u64..1 << 50, 0..20),
            kind in 0..3,
            uniform: bool,
            tolerance in 0.0f64..1.0,
            from in 0u64..1 << 50,
            thumbnail_px in prop::option::of(1u32..4000),
        ) {
            let request = Request {
                path: PathBuf::from(OsString::from_vec(path)),
                track: thumbnail_px,
                decode: uniform,
                want: match kind {
                    0 => Want::Uniform(count),
                    1 => Want::Every(Duration::from_nanos(nanos)),
                    _ => Want::At(times.into_iter().map(Duration::from_nanos).collect()),
                },
                zero: if uniform { Zero::FirstFrame } else { Zero::Medium },
                sampling: Sampling::Gop,
                tolerance,
                from: Duration::from_nanos(from),
                pixels: PixelSpec {
                    width: 224,
                    height: 128,
                    resize: Resize::ShortestEdge,
                    interpolation: Interpolation::BicubicA075,
                    antialias: uniform,
                },
                thumbnail_px,
            };
            let mut pipe = Vec::new();
            let cut = CutRequest {
                pieces: vec![Piece { path: request.path.clone(), begins: request.from }],
                start: request.from,
                end: LATEST,
                copy: uniform.then_some(Copied::ForBrowsers),
                encoding: Encoding {
                    most_width: thumbnail_px,
                    most_frames: None,
                    sound: uniform,
                    careful: true,
                    longest: Duration::from_nanos(nanos),
                },
                output: request.path.clone(),
            };
            for task in [Task::Survey(request.path.clone()), Task::Frames(request), Task::Cut(cut)] {
                pipe.clear();
                write_task(&mut pipe, &task).unwrap();
                let back = read_task(&mut pipe.as_slice()).unwrap();
                prop_assert_eq!(format!("{back:?}"), format!("{task:?}"));
            }
        }

        #[test]
        fn streams_survive_the_pipe(password in "\\PC{0,20}", dir in prop::collection::vec(1u8.., 1..60), epoch: u64, tolerance in 0.0f64..1.0) {
            let request = LiveRequest {
                uri: SecretUrl::new(format!("rtsp://camera/{epoch}")),
                login: Some(Login { user: Secret::new("me"), password: Secret::new(password) }),
                template: "videotestsrc ! appsink name=frames".to_owned(),
                interval: Duration::from_nanos(epoch),
                sampling: Sampling::Auto,
                tolerance,
                pixels: PixelSpec {
                    width: 64,
                    height: 64,
                    resize: Resize::Stretch,
                    interpolation: Interpolation::Bilinear,
                    antialias: true,
                },
                thumbnail_px: None,
                recording: Some(Recording {
                    dir: PathBuf::from(OsString::from_vec(dir)),
                    source: "door".to_owned(),
                    epoch,
                    segment: Duration::from_secs(60),
                    least_free: epoch,
                }),
            };
            let mut pipe = Vec::new();
            write_task(&mut pipe, &Task::Live(Box::new(request.clone()))).unwrap();
            match read_task(&mut pipe.as_slice()).unwrap() {
                Task::Live(back) => {
                    prop_assert_eq!(&back.login, &request.login);
                    prop_assert_eq!(format!("{back:?}"), format!("{request:?}"));
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn times_survive_the_pipe(nanos in prop::collection::btree_set(0..=LATEST.as_nanos() as u64, 1..50)) {
            let mut times: Vec<Duration> = nanos.into_iter().map(Duration::from_nanos).collect();
            let end = times.pop().unwrap();
            let mut pipe = Vec::new();
            write_message(&mut pipe, &Message::Times { times: times.clone(), end }).unwrap();
            match read_message(&mut pipe.as_slice()).unwrap() {
                Some(Message::Times { times: back, end: back_end }) => {
                    prop_assert_eq!(back, times);
                    prop_assert_eq!(back_end, end);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn frames_survive_the_pipe(
            width in 1u32..40,
            height in 1u32..40,
            nanos in 0..=LATEST.as_nanos() as u64,
            seed: u8,
            held: bool,
            thumbnail in prop::option::of(prop::collection::vec(any::<u8>(), 1..200)),
        ) {
            let data = (0..width * height * 3).map(|i| (i as u8).wrapping_mul(seed)).collect();
            let frame = Frame {
                pts: Duration::from_nanos(nanos),
                until: held.then_some(Duration::from_nanos(nanos.saturating_add(seed.into()).saturating_add(1))).filter(|until| *until <= LATEST),
                pixels: Rgb { width, height, data }.into(),
                thumbnail: thumbnail.map(Jpeg),
            };
            let mut pipe = Vec::new();
            write_message(&mut pipe, &Message::Frame(frame.clone())).unwrap();
            write_message(&mut pipe, &Message::Alive).unwrap();
            let mut pipe = pipe.as_slice();
            match read_message(&mut pipe).unwrap() {
                Some(Message::Frame(back)) => prop_assert_eq!(back, frame),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(matches!(read_message(&mut pipe).unwrap(), Some(Message::Alive)));
            prop_assert!(read_message(&mut pipe).unwrap().is_none());
        }

        #[test]
        fn nonsense_is_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_message(&mut bytes.as_slice());
            let _ = read_task(&mut bytes.as_slice());
        }
    }

    fn sent(message: &Message) -> io::Result<Message> {
        let mut pipe = Vec::new();
        write_message(&mut pipe, message).unwrap();
        read_message(&mut pipe.as_slice()).map(Option::unwrap)
    }

    #[test]
    fn the_end_survives_the_pipe() {
        let problem = Problem::new(ProblemKind::CutShort, "cut short").between(Duration::ZERO, Duration::from_secs(3));
        let outcome = Outcome { packets: 7, problems: vec![problem], cpu_secs: 0.25, ..Outcome::default() };
        assert!(matches!(sent(&Message::End(Ok(outcome.clone()))).unwrap(), Message::End(Ok(back)) if back == outcome));
    }

    #[test]
    fn every_kind_of_error_survives_the_pipe() {
        let text = || "in words".to_owned();
        for error in [
            DecodeError::Unreadable(io::Error::from_raw_os_error(13)),
            DecodeError::Unreadable(io::Error::other("odd")),
            DecodeError::NotVideo(text()),
            DecodeError::StillPicture(text()),
            DecodeError::Encrypted(text()),
            DecodeError::NoVideoTrack(text()),
            DecodeError::NoSuchTrack { asked: 3, there: text() },
            DecodeError::NoDecoder { codec: "video/x-odd".into(), remedy: text() },
            DecodeError::Damaged(text()),
            DecodeError::Crashed(text()),
            DecodeError::Stalled(text()),
            DecodeError::Setup(text()),
            DecodeError::Stopped,
        ] {
            let before = (std::mem::discriminant(&error), error.to_string());
            let Message::End(Err(back)) = sent(&Message::End(Err(error))).unwrap() else { panic!("{before:?}") };
            assert_eq!((std::mem::discriminant(&back), back.to_string()), before);
            if let DecodeError::Unreadable(back) = back {
                assert!(matches!(back.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Other), "{back:?}");
            }
        }
    }

    #[test]
    fn times_that_no_medium_has_are_refused() {
        let too_late = LATEST + Duration::from_nanos(1);
        let ends = |end| sent(&Message::End(Ok(Outcome { end, ..Outcome::default() })));
        let lasts = |duration| sent(&Message::Probe(Probe { duration: Some(duration), ..Probe::default() }));
        let shows = |pts| {
            let pixels = Rgb { width: 0, height: 0, data: Vec::new() }.into();
            sent(&Message::Frame(Frame { pts, until: None, pixels, thumbnail: None }))
        };
        let lists = |times: &[u64], end| {
            let times = times.iter().map(|time| Duration::from_nanos(*time)).collect();
            sent(&Message::Times { times, end })
        };
        assert!(ends(LATEST).is_ok() && lasts(LATEST).is_ok() && shows(LATEST).is_ok() && lists(&[], LATEST).is_ok());
        assert!(lists(&[0, 1, 5], Duration::from_nanos(5)).is_ok());
        let recorded = |recorded_at_ms| sent(&Message::Probe(Probe { recorded_at_ms, ..Probe::default() }));
        assert!(recorded(Some(0)).is_ok());
        let problem = |start_s| {
            let problem = Problem { start_s: Some(start_s), ..Problem::new(ProblemKind::TimeGap, "") };
            sent(&Message::End(Ok(Outcome { problems: vec![problem], ..Outcome::default() })))
        };
        assert!(problem(0.0).is_ok());
        for refused in [
            ends(too_late),
            lasts(too_late),
            lasts(Duration::MAX),
            shows(too_late),
            lists(&[], too_late),
            lists(&[3, 2], LATEST),
            lists(&[2, 2], LATEST),
            lists(&[2], Duration::ZERO),
            recorded(Some(i64::MAX)),
            recorded(Some(i64::MIN)),
            problem(-1.0),
            problem(1e300),
        ] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_allocated() {
        let mut pipe = vec![kind::FRAME];
        pipe.extend_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_message(&mut pipe.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn another_version_is_refused() {
        assert!(expect_greeting(&mut &b"csd\x02"[..]).is_err());
        let mut pipe = Vec::new();
        greet(&mut pipe).unwrap();
        assert!(expect_greeting(&mut pipe.as_slice()).is_ok());
    }
}
