//! The only integration binary, a file per subject; it drives the real parts. Files that drive the whole program are for
//! builds with all that a run goes through; the others need what they test.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test that could not run says so")]

mod archive;
#[cfg(feature = "gst")]
mod awkward;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod bad_input;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod captions;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge", feature = "eval"))]
mod cli;
mod dashboards;
#[cfg(feature = "gst")]
mod decode;
#[cfg(feature = "onnx")]
mod embed;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge", feature = "eval"))]
mod eval;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod flow;
#[cfg(feature = "onnx")]
mod gpu;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod held;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod hub;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod kill;
#[cfg(not(all(feature = "gst", feature = "onnx", feature = "eval")))]
mod left_out;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod media;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod openapi;
mod output;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod probe;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod scale;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod search;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod second_look;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod secrets;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod serve;
#[cfg(all(feature = "gst", feature = "onnx", feature = "edge"))]
mod state;
mod store;
#[cfg_attr(
    not(all(feature = "gst", feature = "onnx", feature = "edge", feature = "eval")),
    allow(dead_code, reason = "for the tests of what is left out")
)]
mod support;
#[cfg(feature = "onnx")]
mod systems;
mod tidy;
