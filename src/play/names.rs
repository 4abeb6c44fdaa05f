//! Names of clips: which file or source, and when. Pure.

use std::path::Path;
use std::time::Duration;

use super::Span;
use crate::search::Placed;

/// Bytes of the part that names the file; file systems take 255 altogether.
const LONGEST: usize = 120;

/// A name for the clip of a moment, such as `tape 00h00m05.0s-00h00m11.0s.mp4`, or of a live stream
/// `garage 2026-11-27T16h03m12Z.mp4`.
pub fn clip(moment: &Placed, span: Span) -> String {
    let (is_live, source) = (moment.offset_s.is_some() || moment.path.is_none(), moment.source.as_deref());
    if let (true, Some(source), Some(time)) = (is_live, source, &moment.time) {
        return format!("{} {}.mp4", plain(source), day_and_time(time));
    }
    let path = moment.file.as_deref().or(moment.path.as_deref().map(Path::new));
    let stem = path.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{} {}-{}.mp4", plain(&stem), clock(span.start), clock(span.end))
}

fn clock(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    let (seconds, minutes) = (tenths / 10 % 60, tenths / 600);
    format!("{:02}h{:02}m{seconds:02}.{}s", minutes / 60, minutes % 60, tenths % 10)
}

/// Of RFC 3339, without fractions and colons.
fn day_and_time(time: &str) -> String {
    let (seconds, zone) = time.split_at_checked(19).unwrap_or((time, ""));
    let zone = zone.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    plain(&format!("{}{zone}", seconds.replacen(':', "h", 1).replacen(':', "m", 1)))
}

/// Without what file systems or shells take amiss.
fn plain(text: &str) -> String {
    let kept = |c: char| !c.is_control() && !"/\\:*?\"<>|".contains(c);
    let mut plain: String = text.chars().map(|c| if kept(c) { c } else { '-' }).collect();
    while plain.len() > LONGEST {
        plain.pop();
    }
    let plain = plain.trim().trim_start_matches(['.', '-']);
    if plain.is_empty() { "clip".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_time_and_are_plain() {
        assert_eq!(clock(Duration::from_millis(3_725_250)), "01h02m05.2s");
        assert_eq!(day_and_time("2026-11-27T16:03:12.123Z"), "2026-11-27T16h03m12Z");
        assert_eq!(plain("../a/b:c\n"), "a-b-c-".trim_start_matches(['.', '-']));
        assert_eq!(plain("…"), "…");
        assert_eq!(plain("."), "clip");
        assert!(plain(&"ü".repeat(200)).len() <= LONGEST);
    }
}
