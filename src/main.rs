//! Starts the command line, or the decoding process; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The decoding process is this same program, called without the command line's parser.
    #[cfg(feature = "gst")]
    if std::env::args_os().nth(1).is_some_and(|argument| argument == clipseek::decode::SUBCOMMAND) {
        clipseek::decode::child::main();
    }
    clipseek::cli::main()
}
