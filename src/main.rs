//! Parses, starts, and turns errors into exit codes; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The decoding process is this same program; it knows nothing of the command line.
    #[cfg(feature = "gst")]
    if std::env::args_os().nth(1).is_some_and(|argument| argument == clipseek::decode::SUBCOMMAND) {
        clipseek::decode::child::main();
    }
    clipseek::cli::main()
}
