//! A child process that is spoken to through pipes and never waited for without a limit.
//!
//! Nothing here looks at a clock again and again: whoever reads or writes sleeps until there is something to read or
//! write, the child's patience is used up, or the job is stopped. The child leads a process group of its own, so that
//! Ctrl-C in a terminal reaches the parent alone, and the whole group is killed with it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio_util::sync::CancellationToken;

/// What is kept of the error stream: its end.
const STDERR_KEPT: usize = 4096;
/// How long the end of the error stream is waited for. A process that the child has started may hold it open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Reads are from the child's standard output, writes go to its standard input. Errors of their own are `TimedOut`, when
/// the child let `patience` pass, and `ConnectionAborted`, when the job was stopped.
pub(super) struct Process {
    child: Child,
    /// Kept open: the child ends when it closes.
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// None once it has ended.
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
    patience: Duration,
    group: Arc<Group>,
    /// Hangs up when the job is stopped.
    stopped: PipeReader,
    /// Cancelled with the job, or by us when it is over.
    stop: CancellationToken,
}

/// How a child ended, and the end of what it said on its error stream.
pub(super) struct Ending {
    pub(super) status: io::Result<ExitStatus>,
    pub(super) said: String,
}

impl Process {
    /// Processor time that it has used, where the kernel says it.
    pub(super) fn cpu(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The second field is the name in brackets, in which anything may be; user and system time are the 14th and 15th.
        let fields = stat.rsplit(") ").next()?.split(' ').skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
        Some(Duration::from_secs_f64(ticks as f64 / a_second as f64))
    }

    /// Starts `command`. From then on it is killed the moment `stop` is cancelled, whatever this side is doing.
    pub(super) fn start(command: &mut Command, patience: Duration, stop: &CancellationToken) -> io::Result<Self> {
        let (stopped, not_stopped) = io::pipe()?;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
        let group = Arc::new(Group::of(&child));
        let piped = "all three streams are piped";
        let process = Self {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect(piped),
            stderr: child.stderr.take(),
            child,
            said: Vec::new(),
            patience,
            group,
            stopped,
            stop: stop.child_token(),
        };
        // Whoever writes must be able to give up, so a full pipe is an error and not a wait.
        fcntl(process.stdin.as_ref().expect(piped), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        kill_when_stopped(process.stop.clone(), process.group.clone(), not_stopped)?;
        Ok(process)
    }

    /// Ends the child. One that closed its output is about to end by itself: it is given a moment for its last words and
    /// its own exit status.
    pub(super) fn end(&mut self, by_itself: bool) -> Ending {
        self.stdin = None;
        let deadline = Instant::now() + LAST_WORDS;
        if by_itself {
            self.listen_until(deadline);
        }
        let status = self.group.end(&mut self.child);
        self.stop.cancel();
        self.listen_until(deadline);
        Ending { status, said: String::from_utf8_lossy(&self.said).trim().to_string() }
    }

    /// Sleeps until `stream` can be used, and takes in meanwhile what the child says on its error stream.
    fn wait(&mut self, stream: Stream) -> io::Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            let (fd, flags) = match stream {
                Stream::Output => (self.stdout.as_fd(), PollFlags::POLLIN),
                Stream::Input => (self.stdin.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.as_fd(), PollFlags::POLLOUT),
            };
            let mut ends = vec![PollFd::new(fd, flags), PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
            ends.extend(self.stderr.as_ref().map(|stderr| PollFd::new(stderr.as_fd(), PollFlags::POLLIN)));
            if !sleep_until(deadline, &mut ends)? {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let used: Vec<bool> = ends.iter().map(|end| end.any().unwrap_or(true)).collect();
            if used[1] {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if used.get(2) == Some(&true) {
                self.listen();
            }
            if used[0] {
                return Ok(());
            }
        }
    }

    /// Takes in what lies in the pipe of the error stream.
    fn listen(&mut self) {
        let mut chunk = [0; STDERR_KEPT];
        match self.stderr.as_mut().map(|stderr| stderr.read(&mut chunk)) {
            Some(Ok(count @ 1..)) => {
                self.said.extend_from_slice(&chunk[..count]);
                let excess = self.said.len().saturating_sub(STDERR_KEPT);
                self.said.drain(..excess);
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.stderr = None,
        }
    }

    fn listen_until(&mut self, deadline: Instant) {
        while let Some(stderr) = &self.stderr
            && Instant::now() < deadline
        {
            let mut end = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
            if matches!(sleep_until(deadline, &mut end), Ok(true)) {
                self.listen();
            }
        }
    }
}

impl Read for Process {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(Stream::Output)?;
        self.stdout.read(buffer)
    }
}

impl Write for Process {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait(Stream::Input)?;
            match self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.group.end(&mut self.child);
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Output,
    Input,
}

/// The child and what it has started. None once the child has been waited for: its number may then be another's.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(Mutex::new(i32::try_from(child.id()).ok().map(Pid::from_raw)))
    }

    fn kill(&self) {
        if let Some(pid) = *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }

    /// Kills all that is left of the group and waits for the child.
    fn end(&self, child: &mut Child) -> io::Result<ExitStatus> {
        self.kill();
        let mut pid = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let status = child.wait();
        *pid = None;
        status
    }
}

/// A thread that sleeps until `stop` is cancelled: nothing else could end a child while this side waits for something
/// that has nothing to do with it, such as a consumer that takes its time.
fn kill_when_stopped(stop: CancellationToken, group: Arc<Group>, not_stopped: PipeWriter) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let work = move || {
        runtime.block_on(stop.cancelled());
        // Told first: whoever reads would take a child that is killed for one that came to its end.
        drop(not_stopped);
        group.kill();
    };
    std::thread::Builder::new().name("decode-stop".into()).spawn(work).map(drop)
}

/// False at the deadline.
fn sleep_until(deadline: Instant, ends: &mut [PollFd<'_>]) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, or the last millisecond would be spent asking.
        let left = if left.is_zero() { left } else { left + Duration::from_millis(1) };
        match poll(ends, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Only what needs no video: the rest is tested through the decoder.
#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience_ms: u64, stop: &CancellationToken) -> Process {
        let patience = Duration::from_millis(patience_ms);
        Process::start(Command::new("sh").args(["-c", script]), patience, stop).unwrap()
    }

    fn read_all(process: &mut Process) -> io::Result<String> {
        let mut text = String::new();
        process.read_to_string(&mut text).map(|_| text)
    }

    fn is_there(pid: &str) -> bool {
        // A zombie is not there: nobody may have waited for it yet.
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    }

    /// Returns once it is so.
    fn soon(what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_child_that_ends_by_itself_is_quoted_with_its_own_status() {
        let mut process = shell("echo out; echo oops >&2; exit 3", 5000, &CancellationToken::new());
        assert_eq!(read_all(&mut process).unwrap(), "out\n");
        let Ending { status, said } = process.end(true);
        assert_eq!((status.unwrap().code(), said.as_str()), (Some(3), "oops"));
        // It closes its output first and thinks about its end for a while.
        let mut process = shell("exec >&-; sleep 0.1; exit 4", 5000, &CancellationToken::new());
        assert_eq!(read_all(&mut process).unwrap(), "");
        assert_eq!(process.end(true).status.unwrap().code(), Some(4));
    }

    #[test]
    fn silence_has_a_limit_when_reading_and_when_writing() {
        let started = Instant::now();
        let mut process = shell("exec sleep 100", 100, &CancellationToken::new());
        assert_eq!(read_all(&mut process).unwrap_err().kind(), io::ErrorKind::TimedOut);
        // More than any pipe holds, and nobody reads it.
        let error = process.write_all(&vec![0; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_error_stream_never_blocks_the_child_and_its_end_is_kept() {
        let talks = "i=0; while [ $i -lt 20000 ]; do echo line $i >&2; i=$((i+1)); done; echo done";
        let mut process = shell(talks, 20_000, &CancellationToken::new());
        assert_eq!(read_all(&mut process).unwrap(), "done\n");
        let said = process.end(true).said;
        assert!(said.ends_with("line 19999") && said.len() <= STDERR_KEPT, "{}", said.len());
    }

    #[test]
    fn the_child_leads_a_group_that_dies_with_it() {
        let mut process = shell("sleep 100 & echo $!; exec >&-; wait", 5000, &CancellationToken::new());
        let grandchild = {
            let mut text = String::new();
            let mut byte = [0];
            while process.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
                text.push(byte[0] as char);
            }
            text
        };
        let pid = Pid::from_raw(process.child.id() as i32);
        assert_eq!(nix::unistd::getpgid(Some(pid)).unwrap(), pid);
        assert!(is_there(&grandchild));
        drop(process);
        soon("the grandchild is killed", || !is_there(&grandchild));
    }

    #[test]
    fn one_that_left_the_group_and_holds_the_streams_is_not_waited_for() {
        let script = "setsid sleep 5 & echo $!; exit 3";
        let mut process = shell(script, 200, &CancellationToken::new());
        let started = Instant::now();
        // It holds the output open, so nothing but the limit tells that there will be no more.
        assert_eq!(read_all(&mut process).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(process.end(true).status.unwrap().code(), Some(3));
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }

    #[test]
    fn a_stopped_child_is_killed_and_its_reader_told_though_the_output_is_held_open() {
        let stop = CancellationToken::new();
        let mut process = shell("setsid sleep 5 & exec sleep 5", 60_000, &stop);
        let reader = std::thread::spawn(move || (read_all(&mut process).unwrap_err().kind(), process));
        std::thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        stop.cancel();
        let (kind, mut process) = reader.join().unwrap();
        assert_eq!(kind, io::ErrorKind::ConnectionAborted);
        process.end(false).status.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }

    /// A consumer that takes its time: nobody reads or writes, and the child goes nevertheless.
    #[test]
    fn a_stopped_child_is_killed_though_nobody_looks() {
        let stop = CancellationToken::new();
        let process = shell("exec sleep 100", 60_000, &stop);
        let pid = process.child.id().to_string();
        assert!(is_there(&pid));
        stop.cancel();
        soon("the child is killed", || !is_there(&pid));
    }

    #[test]
    fn waiting_costs_nothing() {
        let task = || std::fs::read_link("/proc/thread-self").unwrap();
        let (told, tasks) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let mut process = shell("exec sleep 100", 60_000, &stop);
        let reader = std::thread::spawn(move || {
            told.send(task()).unwrap();
            read_all(&mut process).unwrap_err().kind()
        });
        let reading = tasks.recv().unwrap();
        let wakes = |task: &std::path::Path| {
            let status = std::fs::read_to_string(std::path::Path::new("/proc").join(task).join("status")).unwrap();
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_string();
            line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
        };
        // On a busy machine it takes the reader a while to get to its wait.
        soon("the reader is woken though nothing happens", || {
            let before = wakes(&reading);
            std::thread::sleep(Duration::from_millis(500));
            wakes(&reading) == before
        });
        stop.cancel();
        assert_eq!(reader.join().unwrap(), io::ErrorKind::ConnectionAborted);
    }
}
