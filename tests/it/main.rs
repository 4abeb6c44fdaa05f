//! The only integration binary, a file per subject; it drives the real parts.

mod bad_input;
mod cli;
mod decode;
mod embed;
mod flow;
mod kill;
mod media;
mod store;
mod support;
mod tidy;
