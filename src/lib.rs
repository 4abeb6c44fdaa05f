//! clipseek: type what happens, get the moment.
//!
//! # Code map
//!
//! ```text
//! Source → Decoder ─Frame→ FrameEncoder ─Feature→ Windows ─Window→ Head ─Embedding→ VectorStore ← search ← cli
//!             └────── (models that need the whole window) Windows → VideoEncoder ──────┘
//! └ child process per file ┘ └──────── one thread per session, batches across media ───┘
//! ```
//!
//! The modules in the order a file passes through them; each knows only those above it:
//!
//! - [`linspace`]: indices spread evenly, the rounding of the published systems. Pure.
//! - [`source`]: what to read and what it is called: walking folders, fingerprints, [`source::MediaId`].
//! - [`decode`]: a file in, sampled [`decode::Frame`]s out, from GStreamer in a child process.
//! - [`window`]: which frames (or features) one vector stands for. Pure.
//! - [`embed`]: model bundles and their ONNX Runtime sessions: frames, windows and texts to unit vectors, windows to captions,
//!   a text and a window's frames to a score.
//! - [`hub`]: model files from a hub, resumable and checked.
//! - [`store`]: records in, nearest records out: embedded Qdrant, a Qdrant server, exact in memory.
//! - [`ledger`]: SQLite; which file is indexed, how far, with which bundle, and why one failed.
//! - [`thumbs`]: the pictures shown beside moments, one pack file per medium.
//! - [`ingest`]: one medium through every stage, many media side by side; resumes and switches.
//! - [`search`]: what is wanted to moments: by vectors, by the words of captions, by both; a second look.
//! - [`eval`]: retrieval measured on the public data sets, beside the published figures.
//! - [`config`]: typed settings: defaults < file < environment < flags.
//! - [`cli`]: the commands; the only place that speaks to the terminal.
//!
//! # Boundaries
//!
//! GStreamer types stay in `decode::gst`, `ort` and tensors in `embed`, Qdrant types in `store`, SQL in `ledger`,
//! `reqwest` in `hub`, `clap` in `cli`, `anyhow` in `cli` and `main`. `tests/it/tidy.rs` checks it.
//!
//! # Deliberately absent
//!
//! No cache of searches, no HTTP server yet, no plug-in system: a new model is a bundle (data), a new container or
//! codec is a GStreamer plug-in.

pub mod archive;
pub mod cli;
pub mod config;
pub mod decode;
pub mod embed;
pub mod eval;
pub mod hub;
pub mod ingest;
pub mod ledger;
pub mod linspace;
pub mod search;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod thumbs;
pub mod verify;
pub mod window;
