//! The decoding process: reads one task from standard input, writes messages to standard output.
//!
//! It ends when the work is done, when nobody reads what it writes, or when its parent is gone (standard input closes).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::job::{self, Listener};
use super::live;
use super::wire::{self, Message, Task};
use super::{DecodeError, Outcome};

/// How often the parent hears that work goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Entry point of the hidden subcommand `decode-child`.
pub fn main() {
    let code = match talk() {
        Ok(()) => 0,
        Err(error) => {
            // The parent keeps the end of this and shows it.
            let _ = writeln!(io::stderr(), "decoding process: {error}");
            2
        }
    };
    // Threads of decoders may still be running; there is nothing left to tidy.
    std::process::exit(code);
}

fn talk() -> io::Result<()> {
    // Libraries that print must not end up in the protocol: they get the error stream.
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    nix::unistd::dup2_stdout(io::stderr())?;
    let mut input = io::stdin().lock();
    wire::expect_greeting(&mut input)?;
    let task = wire::read_task(&mut input)?;
    drop(input);
    exit_with_parent()?;
    let mut out = BufWriter::new(pipe);
    wire::greet(&mut out)?;
    let pipe = Pipe { state: Mutex::new(State { out, last: Instant::now(), amount: 0 }) };
    let result = match &task {
        Task::Frames(request) => job::run(request, threads(), &pipe),
        Task::Survey(path) => job::survey(path, &pipe),
        Task::Live(request) => Err(live::job::run(request, &pipe)),
        Task::Cut(request) => job::cut(request, threads(), &pipe),
    };
    let result = result.map(with_usage);
    if !matches!(result, Err(DecodeError::Stopped)) {
        pipe.hear(&Message::End(result));
    }
    Ok(())
}

/// Two where nobody says how many.
fn threads() -> u32 {
    let told = std::env::args_os().nth(2).and_then(|threads| threads.to_str()?.parse().ok());
    told.filter(|threads| *threads > 0).unwrap_or(2)
}

fn exit_with_parent() -> io::Result<()> {
    let watch = || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    };
    std::thread::Builder::new().name("parent".into()).spawn(watch).map(drop)
}

fn with_usage(mut outcome: Outcome) -> Outcome {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        outcome.cpu_secs = seconds(usage.user_time()) + seconds(usage.system_time());
        // Linux counts it in KiB.
        outcome.peak_rss_bytes = u64::try_from(usage.max_rss()).unwrap_or(0) * 1024;
    }
    outcome
}

struct Pipe {
    state: Mutex<State>,
}

struct State {
    out: BufWriter<File>,
    last: Instant,
    amount: u64,
}

impl Pipe {
    fn write(state: &mut State, message: &Message) -> bool {
        state.last = Instant::now();
        wire::write_message(&mut state.out, message).is_ok()
    }
}

impl Listener for Pipe {
    fn hear(&self, message: &Message) -> bool {
        self.state.lock().is_ok_and(|mut state| Self::write(&mut state, message))
    }

    fn progress(&self, amount: u64) {
        // Whoever writes right now is sign of life enough.
        let Ok(mut state) = self.state.try_lock() else { return };
        if amount == state.amount {
            return;
        }
        state.amount = amount;
        if state.last.elapsed() >= SIGN_OF_LIFE && !Self::write(&mut state, &Message::Alive) {
            std::process::exit(0);
        }
    }
}
