//! The parent's side of a decoding process: starts it, reads its frames, ends it.

use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::wire::{self, Message, Task};
use super::{DecodeError, Decoder, Frame, Frames, Outcome, Probe, Request, Survey};

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "decode-child";
/// A process that says nothing for so long will not say anything any more.
const STALL: Duration = Duration::from_secs(60);
/// How soon a cancelled job ends.
const GLANCE: Duration = Duration::from_millis(50);
/// What is kept of the error stream: its end.
const STDERR_KEPT: usize = 4096;

/// Decodes each file in a process of its own, which is this executable with another entry point.
#[derive(Clone, Debug)]
pub struct ChildDecoder {
    exe: PathBuf,
    stall: Duration,
}

impl ChildDecoder {
    pub fn new(exe: PathBuf) -> Self {
        Self { exe, stall: STALL }
    }

    /// How long a process may be silent before it is given up.
    pub fn stall_after(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }
}

impl Decoder for ChildDecoder {
    fn open(&self, request: &Request, stop: CancellationToken) -> Result<Box<dyn Frames>, DecodeError> {
        Ok(Box::new(self.start(&Task::Frames(request.clone()), stop)?))
    }

    fn survey(&self, path: &Path, stop: CancellationToken) -> Result<Survey, DecodeError> {
        let mut child = self.start(&Task::Survey(path.to_path_buf()), stop)?;
        let mut survey = Survey { probe: child.probe.clone(), ..Survey::default() };
        loop {
            match child.read()? {
                Message::Times { times, end } => (survey.times, survey.end) = (times, end),
                Message::Alive => {}
                Message::End(outcome) => {
                    let _ = child.end();
                    return outcome.map(|_| survey);
                }
                other => return Err(child.died(&format!("instead of times it sent {}", describe(&other)))),
            }
        }
    }
}

impl ChildDecoder {
    /// Returns once the medium is recognised.
    fn start(&self, task: &Task, stop: CancellationToken) -> Result<ChildFrames, DecodeError> {
        if stop.is_cancelled() {
            return Err(DecodeError::Stopped);
        }
        let mut child = Command::new(&self.exe)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| DecodeError::Setup(format!("cannot start {}: {error}", self.exe.display())))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take().map(keep_end);
        let shared = Arc::new(Shared { state: Mutex::new(State::new(child)), changed: Condvar::new() });
        let watched = shared.clone();
        let stall = self.stall;
        let watchdog = std::thread::spawn(move || watched.watch(&stop, stall));
        let mut frames = ChildFrames {
            stdin,
            stdout: stdout.map(BufReader::new),
            shared,
            watchdog: Some(watchdog),
            stderr,
            probe: Probe::default(),
            outcome: None,
        };
        frames.start(task)?;
        Ok(frames)
    }
}

/// A child that was killed, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Stopped,
    Stalled,
}

struct State {
    child: Child,
    /// Set while the parent waits for a message.
    waiting_since: Option<Instant>,
    verdict: Option<Verdict>,
    over: bool,
}

impl State {
    fn new(child: Child) -> Self {
        Self { child, waiting_since: None, verdict: None, over: false }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Kills the child when the job is cancelled or gives no sign of life while one is waited for.
    fn watch(&self, stop: &CancellationToken, stall: Duration) {
        let mut state = self.lock();
        while !state.over {
            let verdict = if stop.is_cancelled() {
                Some(Verdict::Stopped)
            } else if state.waiting_since.is_some_and(|since| since.elapsed() >= stall) {
                Some(Verdict::Stalled)
            } else {
                None
            };
            if verdict.is_some() {
                state.verdict = verdict;
                let _ = state.child.kill();
                return;
            }
            state = self
                .changed
                .wait_timeout(state, GLANCE.min(stall))
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }
}

struct ChildFrames {
    /// Kept open: the child ends when it closes.
    stdin: Option<ChildStdin>,
    /// None once the end was reached.
    stdout: Option<BufReader<ChildStdout>>,
    shared: Arc<Shared>,
    watchdog: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    probe: Probe,
    outcome: Option<Outcome>,
}

impl ChildFrames {
    fn start(&mut self, task: &Task) -> Result<(), DecodeError> {
        let sent = self.stdin.as_mut().map(|stdin| {
            wire::greet(stdin)?;
            wire::write_task(stdin, task)?;
            stdin.flush()
        });
        if let Some(Err(error)) = sent {
            return Err(self.died(&error.to_string()));
        }
        self.shared.lock().waiting_since = Some(Instant::now());
        let greeted = self.stdout.as_mut().map(wire::expect_greeting);
        if let Some(Err(error)) = greeted {
            return Err(self.died(&error.to_string()));
        }
        loop {
            match self.read()? {
                Message::Probe(probe) => {
                    self.probe = probe;
                    return Ok(());
                }
                Message::Alive => {}
                Message::End(Err(error)) => return Err(error),
                other => return Err(self.died(&format!("it began with {}", describe(&other)))),
            }
        }
    }

    fn read(&mut self) -> Result<Message, DecodeError> {
        let Some(stdout) = self.stdout.as_mut() else { return Err(DecodeError::Stopped) };
        self.shared.lock().waiting_since = Some(Instant::now());
        let message = wire::read_message(stdout);
        self.shared.lock().waiting_since = None;
        match message {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(self.died("")),
            Err(error) => Err(self.died(&error.to_string())),
        }
    }

    /// Ends the child and finds words for it.
    fn died(&mut self, problem: &str) -> DecodeError {
        let (status, verdict) = self.end();
        if verdict == Some(Verdict::Stopped) {
            return DecodeError::Stopped;
        }
        let said = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).trim().to_string();
        let how = match (verdict, status) {
            (Some(Verdict::Stalled), _) => "it gave no sign of life and was killed".to_string(),
            (_, Ok(status)) => status.to_string(),
            (_, Err(error)) => error.to_string(),
        };
        let parts: Vec<&str> = [how.as_str(), problem, &said].into_iter().filter(|part| !part.is_empty()).collect();
        DecodeError::Crashed(parts.join("; "))
    }

    /// Kills the child unless it has ended, and waits for it.
    fn end(&mut self) -> (io::Result<ExitStatus>, Option<Verdict>) {
        self.stdin = None;
        self.stdout = None;
        let mut state = self.shared.lock();
        // A child that ended by itself gets a moment to do so, for its own exit status.
        let mut status = state.child.try_wait();
        for _ in 0..20 {
            if !matches!(status, Ok(None)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            status = state.child.try_wait();
        }
        if matches!(status, Ok(None)) {
            let _ = state.child.kill();
        }
        let status = state.child.wait();
        let verdict = state.verdict;
        state.over = true;
        drop(state);
        self.shared.changed.notify_all();
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
        (status, verdict)
    }
}

impl Iterator for ChildFrames {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.stdout.as_ref()?;
            let message = match self.read() {
                Ok(message) => message,
                Err(error) => return Some(Err(error)),
            };
            match message {
                Message::Frame(frame) => return Some(Ok(frame)),
                Message::Alive | Message::Probe(_) | Message::Times { .. } => {}
                Message::End(Ok(outcome)) => {
                    self.outcome = Some(outcome);
                    let _ = self.end();
                    return None;
                }
                Message::End(Err(error)) => {
                    let _ = self.end();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Frames for ChildFrames {
    fn probe(&self) -> &Probe {
        &self.probe
    }

    fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }
}

impl Drop for ChildFrames {
    fn drop(&mut self) {
        if self.watchdog.is_some() {
            let _ = self.shared.lock().child.kill();
            let _ = self.end();
        }
    }
}

fn describe(message: &Message) -> &'static str {
    match message {
        Message::Probe(_) => "a description",
        Message::Frame(_) => "a frame",
        Message::Times { .. } => "times",
        Message::Alive => "a sign of life",
        Message::End(_) => "its end",
    }
}

/// Reads the error stream to its end, which must not block the child, and keeps the last of it.
fn keep_end(mut stderr: std::process::ChildStderr) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut chunk = [0; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut chunk) {
            kept.extend_from_slice(&chunk[..count]);
            let excess = kept.len().saturating_sub(STDERR_KEPT);
            kept.drain(..excess);
        }
        kept
    })
}
