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
//! - [`clock`]: what time it is, for what waits or dates; real, or set by a test.
//! - [`shutdown`]: whether the process is asked to end.
//! - [`secret`]: keys, tokens and addresses that hide themselves wherever they are printed. Pure.
//! - [`linspace`]: indices spread evenly, the rounding of the published systems. Pure.
//! - [`source`]: what to read and what it is called: walking folders, fingerprints, [`source::MediaId`].
//! - [`decode`]: a file in, sampled [`decode::Frame`]s out, from GStreamer in a child process.
//! - [`window`]: which frames (or features) one vector stands for. Pure.
//! - [`embed`]: model bundles and their ONNX Runtime sessions: frames, windows and texts to unit vectors, windows to captions,
//!   a text and a window's frames to a score.
//! - [`hub`]: model files from a hub, resumable and checked.
//! - [`store`]: records in, nearest records out: embedded Qdrant, a Qdrant server, exact in memory; a catalogue of the
//!   collections in each.
//! - [`config`]: typed settings: defaults < file < environment < flags.
//! - [`ledger`]: SQLite on a thread of its own; what each path stands for in each collection, how far its records are,
//!   why one failed.
//! - [`thumbs`]: the pictures shown beside moments, one pack file per medium and collection.
//! - [`archive`]: ledger, store and pictures together: what changes more than one of them, in the order that keeps them
//!   true whenever the process dies.
//! - [`verify`]: the invariants between the three, checked and mended.
//! - [`ingest`]: one medium through every stage, many media side by side; resumes and switches.
//! - [`search`]: the one way to ask: a request becomes moments, by vectors, by the words of captions, by both, with a second
//!   look; one searcher per collection, kept warm.
//! - [`eval`]: retrieval measured on the public data sets, beside the published figures.
//! - [`parts`]: settings become ledger, store, models, decoder, searchers, ingest: the one place where parts meet.
//! - [`cli`]: the commands: they parse and print, nothing else; the only place that speaks to the terminal.
//!
//! # What outlives a process
//!
//! ```text
//! ingest ──begin──▶ ledger   a row "writing" for (medium, collection, plan), before its first record
//!        ──upsert─▶ store    records, whose ids follow from content, window, plan and bundle
//!        ──flush──▶ store
//!        ──finish─▶ ledger   "done", with number and digest of the records; other plans and contents "leaving"
//! archive settles:  store deletes what is leaving and confirms, pictures go, the ledger forgets
//! ```
//!
//! So whatever dies in between, each record has an owner, the old records are shown until the new ones are whole, and what
//! is left to do is written down. [`verify`] lists the invariants; `tests/it/archive.rs` and `tests/it/kill.rs` drive them
//! with faults and kills.
//!
//! # How a query travels
//!
//! ```text
//! cli::search ─SearchRequest─▶ search::warm ─▶ search::searcher ─Query─▶ store
//!             ◀─Answer─────────────────────── search::place ◀─ moments ◀─ hits ┘
//! ```
//!
//! # Rooms for what comes
//!
//! What a daemon adds has its place: watching folders and streams in `source`, live decoding and recording in
//! `decode::gst`, one stream through every stage and its reconnections in `ingest` (beside `batch`), start, supervision and
//! stop in `daemon` (on [`parts`], [`clock`] and [`shutdown`]), HTTP and the page in `api` (a file per resource, asking
//! [`search::Searchers`]), every metric in `metrics`, jobs across machines in `fleet`.
//!
//! # Boundaries
//!
//! GStreamer types stay in `decode::gst`, `ort` and tensors in `embed`, Qdrant types in `store`, SQL in `ledger`,
//! `reqwest` in `hub`, `clap` in `cli`, `anyhow` in `cli`, [`parts`] and `main`. `tests/it/tidy.rs` checks it.
//!
//! # Deliberately absent
//!
//! No cache of answers (of text vectors there is one), no HTTP server yet, no plug-in system: a new model is a bundle (data), a new container or
//! codec is a GStreamer plug-in.

pub mod archive;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decode;
pub mod embed;
#[cfg(feature = "eval")]
pub mod eval;
pub mod hub;
pub mod ingest;
pub mod ledger;
pub mod linspace;
pub mod parts;
mod points;
pub mod search;
pub mod secret;
pub mod shutdown;
mod side_by_side;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod thumbs;
pub mod verify;
pub mod window;
