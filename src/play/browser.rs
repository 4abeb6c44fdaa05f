//! What browsers play as it is. Pure.
//!
//! Chromium and Firefox with the codecs that they have on every system; whoever has another browser, or a file that is not
//! what its header says, asks again for more effort ([`super::How`]).

use std::path::Path;

use crate::decode::{Probe, TrackKind};

const MP4: &str = "video/mp4";
const WEBM: &str = "video/webm";

/// Video and sound that browsers take in each container.
const IN_MP4: [&[&str]; 2] = [&["h264", "av1", "vp9"], &["aac", "mp3", "opus", "flac"]];
const IN_WEBM: [&[&str]; 2] = [&["vp8", "vp9", "av1"], &["opus", "vorbis"]];

/// The media type of a file that browsers play.
pub(super) fn plays(probe: &Probe, path: &Path) -> Option<&'static str> {
    let kind = container(probe, path)?;
    let [videos, sounds] = if kind == MP4 { IN_MP4 } else { IN_WEBM };
    let mut video = 0;
    for track in &probe.tracks {
        match track.kind {
            TrackKind::Video if videos.contains(&track.codec.as_str()) => video += 1,
            TrackKind::Sound if sounds.contains(&track.codec.as_str()) => {}
            TrackKind::Video | TrackKind::Sound => return None,
            TrackKind::Picture | TrackKind::Text | TrackKind::Other => {}
        }
    }
    // Of several it might show another one than was indexed.
    (video == 1).then_some(kind)
}

/// The media type of a file, whether browsers play it or not.
pub(super) fn kind(probe: &Probe, path: &Path) -> &'static str {
    container(probe, path).unwrap_or("application/octet-stream")
}

fn container(probe: &Probe, path: &Path) -> Option<&'static str> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let told = probe.container.as_deref().unwrap_or_default().to_lowercase();
    let is_mp4 = ["mp4", "quicktime", "iso", "3gp", "m4v"].iter().any(|word| told.contains(word));
    match ending.as_str() {
        "mp4" | "m4v" | "mov" | "3gp" if is_mp4 => Some(MP4),
        "webm" if told.contains("webm") || told.contains("matroska") => Some(WEBM),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Track;

    fn plays(name: &str, container: &str, tracks: &[(TrackKind, &str)]) -> bool {
        let track =
            |(kind, codec): &(TrackKind, &str)| Track { kind: *kind, codec: (*codec).into(), ..Track::default() };
        let tracks = tracks.iter().map(track).collect();
        let probe = Probe { container: Some(container.to_owned()), tracks, ..Probe::default() };
        super::plays(&probe, Path::new(name)).is_some()
    }

    #[test]
    fn what_browsers_play() {
        use TrackKind::{Sound, Text, Video};
        assert!(plays("/v/a.MP4", "ISO MP4/M4A", &[(Video, "h264"), (Sound, "aac"), (Text, "tx3g")]));
        assert!(plays("/v/a.webm", "WebM", &[(Video, "vp9"), (Sound, "opus")]));
        assert!(!plays("/v/a.mp4", "ISO MP4/M4A", &[(Video, "h264"), (Sound, "ac3")]));
        assert!(!plays("/v/a.mp4", "ISO MP4/M4A", &[(Video, "hevc")]));
        assert!(!plays("/v/a.mp4", "ISO MP4/M4A", &[(Video, "h264"), (Video, "h264")]), "which one?");
        assert!(!plays("/v/a.mkv", "Matroska", &[(Video, "h264")]));
        assert!(!plays("/v/a.mp4", "AVI", &[(Video, "h264")]), "it is not what it is called");
    }
}
