//! A live stream inside the decoding process.
//!
//! The thread that reads the connection never waits for anybody else: it pushes to the [`Ring`]. One thread feeds the
//! decoder, one takes its pictures and writes them to the pipe, where it may wait for the parent, and one tells the parent
//! what else there is to tell.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::super::gst::{Coded, Decoding, LiveFrame, LiveReader, Pictures, Pulled, Recorder, decoders_for, init};
use super::super::job::Listener;
use super::super::pixels::Shrinker;
use super::super::wire::Message;
use super::super::{DecodeError, Frame, LiveCause, Probe, TimeSource};
use super::LiveRequest;
use super::clock::WallClock;
use super::gate::LiveGate;
use super::ring::Ring;

/// How often the parent hears that the process works.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// How often it is looked whether there is something to tell.
const GLANCE: Duration = Duration::from_millis(100);
/// A thread for a decoder that keeps pictures back until all its threads have work would delay every picture.
const DECODER_THREADS: u32 = 1;
/// By so much the clock of this machine may be corrected without a word.
const CLOCK_SET: Duration = Duration::from_secs(2);
/// Time that goes back by more than frames are shuffled.
const BACK: i64 = 1_000_000_000;

/// What the threads share.
struct Shared {
    ring: Ring<Coded>,
    /// Coded frames that the decoder was given.
    decoded: AtomicU64,
    /// Not told yet.
    probe: Mutex<Option<Probe>>,
    recording: Mutex<Option<Message>>,
    /// Why the pictures ended.
    broken: Mutex<Option<DecodeError>>,
    over: AtomicBool,
}

/// Reads the stream until it is no more; tells why.
pub(in crate::decode) fn run(request: &LiveRequest, listener: &dyn Listener) -> DecodeError {
    match read(request, listener) {
        Ok(never) => never,
        Err(error) => error,
    }
}

fn read(request: &LiveRequest, listener: &dyn Listener) -> Result<DecodeError, DecodeError> {
    init()?;
    let mut reader = LiveReader::open(request)?;
    let first = first_frame(&mut reader, listener)?;
    let decoders = decoders_for(&first.coded.caps)?;
    let decoder = decoders.first().expect("an unknown codec is an error");
    let interval = i64::try_from(request.interval.as_nanos()).unwrap_or(i64::MAX);
    let (mut decoding, mut pictures) = Decoding::start(decoder, DECODER_THREADS, interval / 2)?;
    // What the sender says of its clock comes later.
    let probe = Probe { clock: Some(TimeSource::Arrival), ..reader.probe(&first.coded) };
    if !listener.hear(&Message::Probe(probe.clone())) {
        return Err(DecodeError::Stopped);
    }
    let shared = Shared {
        ring: Ring::new(),
        decoded: AtomicU64::new(0),
        probe: Mutex::new(None),
        recording: Mutex::new(None),
        broken: Mutex::new(None),
        over: AtomicBool::new(false),
    };
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| feed(&shared, &mut decoding));
        scope.spawn(|| take(request, &shared, &mut pictures, listener));
        scope.spawn(|| tell(&shared, listener));
        let error = follow(request, &mut reader, first, probe, &shared);
        shared.over.store(true, Ordering::Release);
        shared.ring.close();
        error
    }))
}

fn first_frame(reader: &mut LiveReader, listener: &dyn Listener) -> Result<LiveFrame, DecodeError> {
    let mut told = Instant::now();
    loop {
        match reader.pull() {
            Pulled::Frame(frame) => return Ok(frame),
            Pulled::Lost(error) => return Err(error),
            Pulled::Nothing => {}
        }
        if told.elapsed() >= SIGN_OF_LIFE {
            told = Instant::now();
            if !listener.hear(&Message::Alive) {
                return Err(DecodeError::Stopped);
            }
        }
    }
}

/// Reads frame after frame, chooses, and leaves them to the other threads.
fn follow(
    request: &LiveRequest,
    reader: &mut LiveReader,
    first: LiveFrame,
    mut probe: Probe,
    shared: &Shared,
) -> DecodeError {
    let interval = i64::try_from(request.interval.as_nanos()).unwrap_or(i64::MAX);
    let mut gate = LiveGate::new(interval, request.sampling, request.tolerance);
    let (mut clock, machine) = (WallClock::default(), Machine::now());
    let (mut next, mut latest) = (Pulled::Frame(first), i64::MIN);
    let mut recorder = request.recording.clone().map(Recorder::new);
    let mut trouble = None;
    loop {
        if let Some(error) = lock(&shared.broken).take() {
            return error;
        }
        if let Some(by) = machine.was_set() {
            let detail = format!("by {by:.1} s, so that its times would not fit those before");
            return DecodeError::Live { cause: LiveCause::ClockSet, detail };
        }
        match std::mem::replace(&mut next, Pulled::Nothing) {
            Pulled::Frame(LiveFrame { mut packet, coded, sender }) => {
                packet.pts = clock.place(packet.pts, unix_now(), sender);
                if packet.pts < latest.saturating_sub(BACK) {
                    let by = (latest - packet.pts) as f64 / 1e9;
                    let detail = format!("its clock went back by {by:.1} s");
                    return DecodeError::Live { cause: LiveCause::Changed, detail };
                }
                latest = latest.max(packet.pts);
                if probe.clock != Some(clock.source()) {
                    probe.clock = Some(clock.source());
                    *lock(&shared.probe) = Some(probe.clone());
                }
                if let Some(recorder) = &mut recorder {
                    recorder.push(&packet, &coded);
                    if recorder.trouble() != trouble.as_deref() {
                        trouble = recorder.trouble().map(str::to_owned);
                        *lock(&shared.recording) = Some(Message::Recording(trouble.clone()));
                    }
                }
                if let Some(chosen) = gate.push(packet, coded) {
                    shared.ring.push(chosen);
                }
            }
            Pulled::Lost(error) => return error,
            Pulled::Nothing => {}
        }
        next = reader.pull();
    }
}

fn feed(shared: &Shared, decoding: &mut Decoding) {
    while let Ok(next) = shared.ring.pop(GLANCE) {
        let Some(chosen) = next else { continue };
        if chosen.wanted {
            decoding.want(&[chosen.released.packet.pts]);
        }
        if let Err(problem) = decoding.push(chosen.released, &|_| {}) {
            let detail = format!("the decoder gave up: {problem}");
            lock(&shared.broken).get_or_insert(DecodeError::Damaged(detail));
            break;
        }
        shared.decoded.fetch_add(1, Ordering::Relaxed);
        if chosen.lone {
            decoding.drain();
        }
        // What was damaged in the air is nothing to keep a list of for months.
        decoding.lost();
    }
    decoding.finish();
}

fn take(request: &LiveRequest, shared: &Shared, pictures: &mut Pictures, listener: &dyn Listener) {
    let mut shrinker = Shrinker::default();
    let mut latest = None;
    while let Some(next) = pictures.next(Default::default(), |pts, picture| Frame {
        pts: Duration::from_nanos(u64::try_from(pts).unwrap_or(0)),
        until: None,
        pixels: shrinker.pixels(picture, &request.pixels).into(),
        thumbnail: request.thumbnail_px.map(|longer| shrinker.thumbnail(picture, longer)),
    }) {
        match next {
            // Time stamps that repeat give the same time again.
            Ok(frame) if latest.is_some_and(|latest| frame.pts <= latest) => {}
            Ok(frame) => {
                latest = Some(frame.pts);
                if !listener.hear(&Message::Frame(frame)) {
                    lock(&shared.broken).get_or_insert(DecodeError::Stopped);
                    return;
                }
            }
            Err(problem) => {
                lock(&shared.broken).get_or_insert(DecodeError::Damaged(problem));
                return;
            }
        }
    }
}

fn tell(shared: &Shared, listener: &dyn Listener) {
    let (mut dropped, mut last) = (0, Instant::now());
    while !shared.over.load(Ordering::Acquire) {
        let probe = lock(&shared.probe).take().map(Message::Probe);
        let recording = if probe.is_none() { lock(&shared.recording).take() } else { None };
        let now_dropped = shared.ring.dropped();
        let message = match probe.or(recording) {
            Some(message) => Some(message),
            None if now_dropped != dropped => Some(Message::Dropped(now_dropped)),
            None => {
                let decoded = || Message::Decoded(shared.decoded.load(Ordering::Relaxed));
                (last.elapsed() >= SIGN_OF_LIFE).then(decoded)
            }
        };
        match message {
            Some(message) => {
                if matches!(message, Message::Dropped(_)) {
                    dropped = now_dropped;
                }
                if !listener.hear(&message) {
                    return;
                }
                last = Instant::now();
            }
            None => std::thread::sleep(GLANCE),
        }
    }
}

/// Both clocks of the machine at one moment.
struct Machine {
    monotonic: Instant,
    wall: SystemTime,
}

impl Machine {
    fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// By how many seconds the wall clock was set since then, where that is more than a correction. A clock that is
    /// corrected all the time moves by little in the life of a connection, and what it moves by shows in every arrival.
    fn was_set(&self) -> Option<f64> {
        let passed = self.monotonic.elapsed().as_secs_f64();
        let wall = match SystemTime::now().duration_since(self.wall) {
            Ok(later) => later.as_secs_f64(),
            Err(earlier) => -earlier.duration().as_secs_f64(),
        };
        let by = wall - passed;
        (by.abs() > CLOCK_SET.as_secs_f64()).then_some(by)
    }
}

fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
