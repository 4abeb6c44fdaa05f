//! What the commands print, for readers that may leave before the end, as `head -1` does.
//!
//! `println!` of the standard library panics when nobody reads any more. Those defined here stand in its place in all of
//! `cli`: when the reader has left, what is printed goes nowhere, and the command does the rest of its work and ends with
//! its own exit code, 0 where all is well. (The signal SIGPIPE is ignored, as Rust programs do: by default it would end
//! the whole process, also for a connection to a Qdrant server or a pipe to a decoding process that breaks.) Any other
//! failure to write, such as a full disk, makes the command fail: see [`close`].

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// Why nothing is written to standard output any more.
static BROKEN: OnceLock<io::Error> = OnceLock::new();

pub(super) fn print(text: Arguments<'_>) {
    if is_open()
        && let Err(error) = io::stdout().write_fmt(text)
    {
        // Another thread may have met the end first: one reason is enough.
        let _ = BROKEN.set(error);
    }
}

/// There is nobody to tell when standard error cannot be written.
pub(super) fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Whether it is worth to go on printing.
pub(super) fn is_open() -> bool {
    BROKEN.get().is_none()
}

/// Writes what is left. Fails where anything could not be written, but not because the reader has left.
pub(super) fn close() -> Result<(), String> {
    if is_open()
        && let Err(error) = io::stdout().flush()
    {
        let _ = BROKEN.set(error);
    }
    match BROKEN.get() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write the output: {error}")),
        _ => Ok(()),
    }
}

macro_rules! print {
    ($($text:tt)*) => { $crate::cli::output::print(format_args!($($text)*)) };
}

macro_rules! println {
    () => { println!("") };
    ($($text:tt)*) => { $crate::cli::output::print(format_args!("{}\n", format_args!($($text)*))) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::cli::output::print_error(format_args!($($text)*)) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { $crate::cli::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}
