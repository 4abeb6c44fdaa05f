//! The parent's side of a decoding process: starts it, reads its frames, ends it.

use std::ffi::OsStr;
use std::io::{self, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;

use super::process::{Ending, Process};
use super::wire::{self, Message, Task};
use super::{DecodeError, Decoder, Frame, Frames, Outcome, Probe, Request, Survey};

/// The hidden subcommand. Behind it stands the number of threads that a decoder may have.
pub const SUBCOMMAND: &str = "decode-child";
/// Threads of one decoder. Several cost more processor time altogether than one, so a decoder gets many only while there are fewer
/// media than cores. With one alone libav loses pictures behind damage that it gives with two.
const LEAST_THREADS: usize = 2;
const MOST_THREADS: usize = 4;
/// A process that says nothing for so long will not say anything any more.
const STALL: Duration = Duration::from_secs(60);

/// What a decoding process inherits of the environment: what the loader, the C library, GStreamer, its plug-ins and the
/// drivers of GPUs read. Whoever takes a decoder over by means of a crafted file can read its environment, so all else
/// stays behind: above all the keys and tokens that are for this process alone (`CLIPSEEK__STORE__API_KEY`, `HF_TOKEN`),
/// and those of other programs. Names are listed and not forbidden, since nobody knows all names of secrets.
const INHERITED: [&str; 9] =
    ["PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE", "GLIBC_TUNABLES"];
/// The same by the beginnings of names. Whoever preloads a library (`LD_PRELOAD`) means all processes.
const INHERITED_FAMILIES: [&str; 9] = ["LC_", "LD_", "XDG_", "GST_", "ORC_", "LIBVA_", "VDPAU_", "CUDA_", "MALLOC_"];

/// Settings of the C library's memory: from these sizes on (bytes), memory that is freed goes back to the system. By itself the
/// library raises both after the first large table, and then a long file costs the memory of its tables twice.
const MEMORY: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "1048576"), ("MALLOC_TRIM_THRESHOLD_", "1048576")];

fn is_inherited(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        INHERITED.contains(&name) || INHERITED_FAMILIES.iter().any(|family| name.starts_with(family))
    })
}

/// Decodes each file in a process of its own, which is this executable with another entry point.
#[derive(Clone, Debug)]
pub struct ChildDecoder {
    exe: PathBuf,
    stall: Duration,
    /// Number of processes. Clones count together.
    running: Arc<AtomicUsize>,
}

/// Counts a process for as long as it runs.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }

    /// Threads for this one, where all share the cores.
    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (cores / self.0.load(Relaxed).max(1)).clamp(LEAST_THREADS, MOST_THREADS)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl ChildDecoder {
    pub fn new(exe: PathBuf) -> Self {
        Self { exe, stall: STALL, running: Arc::default() }
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
                Message::End(outcome) => return outcome.map(|_| survey),
                other => {
                    return Err(child.died(&wire::invalid(format!("it sent {} in place of times", describe(&other)))));
                }
            }
        }
    }
}

impl ChildDecoder {
    /// Returns once the medium is recognised.
    pub(super) fn start(&self, task: &Task, stop: CancellationToken) -> Result<ChildFrames, DecodeError> {
        if stop.is_cancelled() {
            return Err(DecodeError::Stopped);
        }
        let mut command = Command::new(&self.exe);
        let inherited = std::env::vars_os().filter(|(name, _)| is_inherited(name));
        let running = Running::begin(&self.running);
        command.arg(SUBCOMMAND).arg(running.threads().to_string()).env_clear().envs(MEMORY).envs(inherited);
        let process = Process::start(&mut command, self.stall, &stop)
            .map_err(|error| DecodeError::Setup(format!("cannot start {}: {error}", self.exe.display())))?;
        let mut frames = ChildFrames {
            pipe: Some(BufReader::new(process)),
            stall: self.stall,
            stop,
            probe: Probe::default(),
            latest: None,
            outcome: None,
            _running: running,
        };
        frames.start(task)?;
        Ok(frames)
    }
}

pub(super) struct ChildFrames {
    /// None once the end was reached.
    pipe: Option<BufReader<Process>>,
    stall: Duration,
    stop: CancellationToken,
    pub(super) probe: Probe,
    /// Time of the last frame.
    pub(super) latest: Option<Duration>,
    outcome: Option<Outcome>,
    _running: Running,
}

impl ChildFrames {
    fn start(&mut self, task: &Task) -> Result<(), DecodeError> {
        self.talk(|pipe| {
            let to = pipe.get_mut();
            wire::greet(to)?;
            wire::write_task(to, task)?;
            wire::expect_greeting(pipe)
        })?;
        loop {
            match self.read()? {
                Message::Probe(probe) => {
                    self.probe = probe;
                    return Ok(());
                }
                Message::Alive => {}
                Message::End(Err(error)) => return Err(error),
                other => return Err(self.died(&wire::invalid(format!("it began with {}", describe(&other))))),
            }
        }
    }

    /// Processor time that the child has used.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.pipe.as_ref()?.get_ref().cpu()
    }

    pub(super) fn read(&mut self) -> Result<Message, DecodeError> {
        self.talk(|pipe| wire::read_message(pipe)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }

    fn talk<T>(&mut self, what: impl FnOnce(&mut BufReader<Process>) -> io::Result<T>) -> Result<T, DecodeError> {
        let Some(pipe) = self.pipe.as_mut() else { return Err(DecodeError::Stopped) };
        what(pipe).map_err(|error| self.died(&error))
    }

    /// Ends the child and finds words for it.
    pub(super) fn died(&mut self, error: &io::Error) -> DecodeError {
        let Some(mut pipe) = self.pipe.take() else { return DecodeError::Stopped };
        let closed = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe);
        let Ending { status, said } = pipe.get_mut().end(closed);
        if self.stop.is_cancelled() {
            return DecodeError::Stopped;
        }
        let killed = status.as_ref().is_ok_and(|status| status.signal() == Some(Signal::SIGKILL as i32));
        let stalled = killed && error.kind() == io::ErrorKind::TimedOut;
        let how = match status {
            _ if stalled => format!("no sign of life for {} s", self.stall.as_secs_f64()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let problem = match error.kind() {
            io::ErrorKind::InvalidData => error.to_string(),
            _ => String::new(),
        };
        let parts: Vec<&str> = [how.as_str(), &problem, &said].into_iter().filter(|part| !part.is_empty()).collect();
        let text = parts.join("; ");
        if stalled { DecodeError::Stalled(text) } else { DecodeError::Crashed(text) }
    }
}

impl Iterator for ChildFrames {
    type Item = Result<Frame, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pipe.is_some() {
            let message = match self.read() {
                Ok(message) => message,
                Err(error) => return Some(Err(error)),
            };
            match message {
                Message::Frame(frame) if self.latest.is_some_and(|latest| frame.pts <= latest) => {
                    return Some(Err(self.died(&wire::invalid("frames out of order".into()))));
                }
                Message::Frame(frame) => {
                    self.latest = Some(frame.pts);
                    return Some(Ok(frame));
                }
                Message::Alive
                | Message::Probe(_)
                | Message::Times { .. }
                | Message::Cut(_)
                | Message::Dropped(_)
                | Message::Decoded(_)
                | Message::Recording(_) => {}
                Message::End(ended) => {
                    self.pipe = None;
                    match ended {
                        Ok(outcome) => self.outcome = Some(outcome),
                        Err(error) => return Some(Err(error)),
                    }
                }
            }
        }
        None
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

pub(super) fn describe(message: &Message) -> &'static str {
    match message {
        Message::Probe(_) => "a description",
        Message::Frame(_) => "a frame",
        Message::Times { .. } => "times",
        Message::Recording(_) => "news of a recording",
        Message::Dropped(_) => "a count of dropped frames",
        Message::Decoded(_) => "a count of decoded frames",
        Message::Cut(_) => "a file",
        Message::Alive => "a sign of life",
        Message::End(_) => "its end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gstreamer_needs_is_inherited_and_no_secret() {
        for name in ["PATH", "GST_PLUGIN_PATH", "LD_LIBRARY_PATH", "LC_ALL", "XDG_CACHE_HOME", "LIBVA_DRIVER_NAME"] {
            assert!(is_inherited(OsStr::new(name)), "{name}");
        }
        for name in [
            "CLIPSEEK__STORE__API_KEY",
            "CLIPSEEK__STORE__URL",
            "HF_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "NVIDIA_API_KEY",
            "https_proxy",
            "SSH_AUTH_SOCK",
            "MY_PATH",
        ] {
            assert!(!is_inherited(OsStr::new(name)), "{name}");
        }
    }
}
