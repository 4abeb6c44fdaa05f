//! The only integration binary, a file per subject; it drives the real parts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test that could not run says so")]

mod bad_input;
mod cli;
mod decode;
mod embed;
mod eval;
mod flow;
mod hub;
mod kill;
mod media;
mod store;
mod support;
mod systems;
mod tidy;
