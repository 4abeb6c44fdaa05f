//! The only place that knows GStreamer: one graph from a file ([`reader`]) or a stream ([`live`]) to coded frames, one from
//! coded frames to pictures ([`pictures`]). All come from launch templates.

mod connect;
mod cut;
mod decoders;
mod facts;
mod libav;
mod live;
mod log;
mod mended;
mod pictures;
mod prores;
mod rare;
mod reader;
mod record;
mod start;
mod units;

use std::sync::{Mutex, MutexGuard};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::DecodeError;

pub(super) use cut::{Input, run as cut};
pub(super) use decoders::decoders_for;
pub use decoders::{Inventory, inventory};
pub(super) use live::{LiveFrame, LiveReader, Pulled};
pub(super) use log::{collect_messages, take_messages};
pub(super) use pictures::{Decoding, Pictures};
pub(super) use reader::{Coded, Reader, Source};
pub(super) use record::Recorder;

pub(super) fn init() -> Result<(), DecodeError> {
    gst::init().map_err(|error| DecodeError::Setup(error.to_string()))?;
    collect_messages();
    Ok(())
}

fn launch(graph: &str) -> Result<gst::Pipeline, DecodeError> {
    let missing = |error: gst::glib::Error| {
        DecodeError::Setup(format!(
            "{error}; install the GStreamer plug-ins base, good, bad, ugly and libav (graph: {graph})"
        ))
    };
    gst::parse::launch(graph)
        .map_err(missing)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| DecodeError::Setup(format!("the template is a single element: {graph}")))
}

fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Result<T, DecodeError> {
    let missing = || DecodeError::Setup(format!("the launch template has no fitting element called {name}"));
    pipeline.by_name(name).ok_or_else(missing)?.downcast::<T>().map_err(|_| missing())
}

/// The next error a graph reports within this time, if any.
fn reported_error(bus: &gst::Bus, wait: gst::ClockTime) -> Option<gst::glib::Error> {
    // Without time to wait the binding's timed variant does not even look.
    let kinds = [gst::MessageType::Error];
    let message = if wait.is_zero() { bus.pop_filtered(&kinds)? } else { bus.timed_pop_filtered(wait, &kinds)? };
    match message.view() {
        gst::MessageView::Error(error) => Some(error.error()),
        _ => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
