//! Output to readers that may close the pipe early, like `head -1`.
//!
//! The standard library's `println!` panics when the pipe is closed. The macros defined here replace it in all of
//! `cli`: once the reader has left, output is discarded, and the command finishes its work and ends with its own exit
//! code. (Rust programs ignore the signal SIGPIPE. Its default action would end the whole process, also when a
//! connection to a Qdrant server or a pipe to a decoding process breaks.) Any other failure to write, such as a full
//! disk, makes the command fail: see [`close`].

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// The error after which nothing more is written to standard output.
static BROKEN: OnceLock<io::Error> = OnceLock::new();

pub(super) fn print(text: Arguments<'_>) {
    if is_open()
        && let Err(error) = io::stdout().write_fmt(text)
    {
        // Another thread may have set it first; one reason is enough.
        let _ = BROKEN.set(error);
    }
}

/// Ignores failures: there is no way to report them.
pub(super) fn print_error(text: Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}

/// Whether output is still written.
pub(super) fn is_open() -> bool {
    BROKEN.get().is_none()
}

/// Flushes the output. Fails if anything could not be written, except because the reader has left.
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
