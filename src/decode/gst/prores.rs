//! ProRes in Matroska: frames lie there without the head that decoders want, and GStreamer's demuxer puts it before them, also
//! where a file has it already.

use gstreamer as gst;

/// Behind the length of the frame.
const MARK: &[u8] = b"icpf";
const HEAD: usize = 8;

/// The frame with one head, if it has two.
pub(super) fn with_one_head(frame: &gst::Buffer) -> Option<gst::Buffer> {
    let has_mark = |data: &[u8], at: usize| data.get(at..at + MARK.len()) == Some(MARK);
    let has_two = frame.map_readable().is_ok_and(|data| has_mark(&data, 4) && has_mark(&data, HEAD + 4));
    has_two.then(|| frame.copy_region(gst::BUFFER_COPY_ALL, HEAD..).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_two_heads_is_taken_off() {
        gst::init().unwrap();
        let two = gst::Buffer::from_slice(*b"\0\0\0\x1cicpf\0\0\0\x14icpf\0\x04data");
        let one = with_one_head(&two).unwrap();
        assert_eq!(one.map_readable().unwrap().as_slice(), b"\0\0\0\x14icpf\0\x04data");
        assert!(with_one_head(&one).is_none());
        assert!(with_one_head(&gst::Buffer::new()).is_none());
    }
}
