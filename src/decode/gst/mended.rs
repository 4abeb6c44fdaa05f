//! Feeds a file whose header was written anew in memory to a graph.

use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer_app as gst_app;

use super::super::mp4::Mended;
use super::lock;

/// Answers what the graph asks of a mended file.
pub(super) fn serve(source: &gst_app::AppSrc, mended: &Arc<Mended>) {
    const LEAST: u32 = 64 << 10;
    source.set_size(mended.len() as i64);
    let position = Arc::new(Mutex::new(0u64));
    let (sought, file) = (position.clone(), mended.clone());
    source.set_callbacks(
        gst_app::AppSrcCallbacks::builder()
            .seek_data(move |_, offset| {
                *lock(&sought) = offset;
                true
            })
            .need_data(move |source, length| {
                let mut position = lock(&position);
                let length = if length == u32::MAX { LEAST } else { length };
                match file.read_at(*position, length as usize) {
                    Ok(data) if !data.is_empty() => {
                        let offset = *position;
                        *position += data.len() as u64;
                        let mut buffer = gst::Buffer::from_slice(data);
                        let fields = buffer.get_mut().expect("a new buffer has one owner");
                        fields.set_offset(offset);
                        drop(position);
                        let _ = source.push_buffer(buffer);
                    }
                    _ => {
                        drop(position);
                        let _ = source.end_of_stream();
                    }
                }
            })
            .build(),
    );
}
