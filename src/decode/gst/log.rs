//! What decoders complain about goes to GStreamer's log; here it is collected, a few lines and a count.

use std::sync::Mutex;

use gstreamer as gst;

const MOST_LINES: usize = 3;

static MESSAGES: Mutex<(Vec<String>, u64)> = Mutex::new((Vec::new(), 0));

/// Only what says that a picture is damaged; a decoder started in the middle complains of more.
const TELLING: [&str; 5] = ["error while decoding", "concealing", "nvalid", "corrupt", "truncat"];

pub(in crate::decode) fn collect_messages() {
    if std::env::var_os("GST_DEBUG").is_some() {
        return;
    }
    gst::log::remove_default_log_function();
    gst::log::set_threshold_for_name("libav", gst::DebugLevel::Error);
    gst::log::add_log_function(|category, _, _, _, _, _, message| {
        if !category.name().starts_with("libav") {
            return;
        }
        let text = message.get().map(|text| text.trim().to_string()).unwrap_or_default();
        if TELLING.iter().any(|word| text.contains(word))
            && let Ok(mut messages) = MESSAGES.lock()
        {
            messages.1 += 1;
            if messages.0.len() < MOST_LINES {
                messages.0.push(text);
            }
        }
    });
}

/// The first lines since the last call, and how many there were.
pub(in crate::decode) fn take_messages() -> (Vec<String>, u64) {
    MESSAGES.lock().map(|mut messages| std::mem::take(&mut *messages)).unwrap_or_default()
}
