//! clipseek: type what happens, get the moment.
//!
//! # Code map
//!
//! ```text
//! Source → Decoder ─Frame→ FrameEncoder ─Feature→ Windows ─Window→ Head ─Embedding→ VectorStore ← search ← api, cli
//!             └────── (models that need the whole window) Windows → VideoEncoder ──────┘
//! └ child process per file ┘ └──────── one thread per session, batches across media ───┘
//! ```
//!
//! The modules in the order a file passes through them; each knows only those above it:
//!
//! - [`clock`]: the time, for code that waits or reads it; real, or set by a test.
//! - [`shutdown`]: whether the process has been asked to end.
//! - [`secret`]: keys, tokens and URLs that hide themselves when printed. Pure.
//! - [`linspace`]: indices spread evenly, with the rounding of the published systems. Pure.
//! - [`source`]: finding video files in folders, once or by watching, the identity of their content
//!   ([`source::MediaId`]), patterns over paths; addresses of live streams.
//! - [`decode`]: a file or a live stream in, sampled [`decode::Frame`]s out, from GStreamer in a child process.
//! - [`window`]: cuts a stream of frames (or features) into windows, each of which becomes one vector. Pure.
//! - [`embed`]: model bundles and their ONNX Runtime sessions: frames, windows and texts to unit vectors, windows to
//!   captions, a text and a window's frames to a score.
//! - [`hub`]: model files from a hub, resumable and checked.
//! - [`store`]: records in, nearest records out: embedded Qdrant, a Qdrant server, exact in memory; a catalogue of the
//!   collections in each.
//! - [`config`]: typed settings: defaults < file < environment < flags.
//! - [`ledger`]: SQLite on a thread of its own: the content of each path in each collection, how far its records are,
//!   why it failed.
//! - [`thumbs`]: the pictures shown with moments, one pack file per medium, collection and plan.
//! - [`footage`]: recordings of live streams, a folder of segments for each hour.
//! - [`archive`]: ledger, store, pictures and recordings together: makes changes to more than one of them, in an order that keeps
//!   them consistent if the process dies at any time.
//! - [`verify`]: checks and repairs the invariants between the three.
//! - [`ingest`]: one medium through every stage, many media side by side, in a run or for as long as there are sources;
//!   resumes and switches.
//! - [`media`]: what is indexed, as values: listing, showing, removing, exporting.
//! - [`search`]: turns a request into moments, by vectors, by the words of captions, or by both, with optional
//!   re-ranking; one searcher per collection, kept warm.
//! - [`play`]: shows moments: pictures, previews, files for players and clips, from the files that show them.
//! - [`eval`]: measures retrieval on the public data sets, and compares with the published figures.
//! - [`parts`]: builds ledger, store, models, decoder, searchers and ingest from the settings. Only this module
//!   connects them.
//! - [`metrics`]: every metric of the daemon: name, labels, help, and the method that counts it.
//! - [`service`]: what a daemon does: watches sources, does jobs, tells what happens.
//! - [`api`]: the HTTP API over the service, and the client by which commands speak to a daemon.
//! - [`systemd`]: what systemd is told of it.
//! - [`daemon`]: in which order the daemon starts and ends.
//! - [`cli`]: the commands, which only parse and print. Only this module prints to the terminal.
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
//! So if the process dies at any point, every record has an owner, the old records are shown until the new ones are
//! complete, and unfinished work is recorded. [`verify`] lists the invariants; `tests/it/archive.rs` and
//! `tests/it/kill.rs` test them with faults and kills.
//!
//! # How a query travels
//!
//! ```text
//! cli::search ─SearchRequest─▶ search::warm ─▶ search::searcher ─Query─▶ store
//!             ◀─Answer─────────────────────── search::place ◀─ moments ◀─ hits ┘
//! ```
//!
//! # How a file of a watched folder travels
//!
//! ```text
//! kernel, or a look through the folder ─▶ source::watch ─▶ source::settle (complete?) ─▶ service::sources
//!     ─▶ ledger (indexed as it is?) ─▶ ingest::backlog (which is next?) ─▶ ingest::steady ─▶ one medium, as above
//! ```
//!
//! # How a live stream travels
//!
//! ```text
//! camera ─▶ decode::live (its own process: clock, gate, ring, decoder; recording) ─▶ ingest::live (windows, an hour a medium)
//!     ─▶ store at once, ledger now and then          ingest::supervisor says when it is called again
//! ```
//!
//! # How a moment is shown
//!
//! ```text
//! api::moments, cli::clip ─id, span─▶ play ─▶ play::input (which file shows it; is it still the one that was indexed?)
//!     ─▶ play::browser (does a browser play it as it is?) ─▶ decode::cut (its own process: copied, or encoded anew) ─▶ play::cache
//! ```
//!
//! # Where future parts belong
//!
//! Jobs across machines: `fleet`.
//!
//! # Boundaries
//!
//! GStreamer types stay in `decode::gst`, `ort` and tensors in `embed`, Qdrant types in `store`, SQL in `ledger`,
//! `reqwest` in `hub`, `notify` in `source::watch`, `axum` and `hyper` in `api`,
//! `prometheus` in [`metrics`], `clap` in `cli`, `anyhow` in `cli`,
//! [`daemon`], [`parts`] and `main`. `tests/it/tidy.rs` checks it.
//!
//! # Deliberately absent
//!
//! No cache of answers (text vectors are cached), no plug-in system: a new model is a bundle
//! (data), a new container or codec is a GStreamer plug-in.

pub mod api;
pub mod archive;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decode;
pub mod embed;
#[cfg(feature = "eval")]
pub mod eval;
pub mod footage;
mod gate;
pub mod hub;
pub mod ingest;
pub mod ledger;
pub mod linspace;
pub mod media;
pub mod metrics;
pub mod parts;
pub mod play;
mod points;
pub mod search;
pub mod secret;
pub mod service;
pub mod shutdown;
mod side_by_side;
pub mod source;
pub mod store;
pub mod systemd;
pub mod telemetry;
pub mod thumbs;
pub mod verify;
pub mod window;
