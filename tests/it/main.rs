//! The only integration binary, a file per subject; it drives the real parts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test that could not run says so")]

mod archive;
mod bad_input;
#[cfg(feature = "edge")]
mod captions;
mod cli;
mod decode;
mod embed;
mod eval;
mod flow;
mod gpu;
mod hub;
mod kill;
mod media;
mod output;
mod scale;
mod search;
mod second_look;
mod secrets;
mod state;
mod store;
mod support;
mod systems;
mod tidy;
