//! Which tracks a file has and which of them is the video, told by the container's own header (MP4, Matroska, AVI,
//! ASF, transport streams). Demuxers tell of tracks one after the other and say nothing of defaults, so the choice is made before they
//! begin. Of other containers nothing is known here: there the first video track counts.

mod asf;
mod avi;
pub(super) mod ebml;
mod mp4;
pub(super) mod ts;

use std::fs::File;
use std::path::Path;

use super::pixels::Orientation;
use super::{DecodeError, Track, TrackKind};

#[derive(Clone, Debug, Default)]
pub(super) struct Tracks {
    /// In the container's order; empty where its header is not understood here.
    pub(super) all: Vec<Track>,
    /// The track that is wanted: by its id, or where the header is not understood by its index. None: the first video.
    pub(super) wanted: Option<u32>,
    /// How the header says that the wanted track is to be turned, where the demuxer does not read it.
    pub(super) orientation: Option<Orientation>,
    /// What the demuxer adds to the ids.
    pub(super) added: u32,
}

/// What a header told of one track.
#[derive(Clone, Debug, Default)]
struct Entry {
    track: Track,
    orientation: Option<Orientation>,
    /// It needs a key.
    encrypted: bool,
}

impl Tracks {
    /// Reads the header and chooses. `asked`: the id of the track to take. A header that cannot be read is no error: the
    /// demuxer has words for it.
    pub(super) fn read(path: &Path, asked: Option<u32>) -> Result<Self, DecodeError> {
        let file = File::open(path).map_err(DecodeError::Unreadable)?;
        let readers = [mp4::read, ebml::read, avi::read, asf::read, ts::read];
        let entries = readers.iter().find_map(|read| read(&file));
        let tracks = Self::choose(entries.unwrap_or_default(), asked)?;
        Ok(Self { added: if avi::is_avi(&file) { avi::ADDED } else { 0 }, ..tracks })
    }

    /// Whether the demuxer calls the wanted track so.
    pub(super) fn is_wanted(&self, number: u32) -> bool {
        self.wanted.is_none_or(|wanted| wanted.checked_add(self.added) == Some(number))
    }

    fn choose(entries: Vec<Entry>, asked: Option<u32>) -> Result<Self, DecodeError> {
        if entries.is_empty() {
            return Ok(Self { wanted: asked, ..Self::default() });
        }
        let videos = || entries.iter().enumerate().filter(|(_, entry)| entry.track.kind == TrackKind::Video);
        let taken = match asked {
            Some(id) => match videos().find(|(_, entry)| entry.track.id == id) {
                Some((index, _)) => Some(index),
                None => {
                    let there: Vec<String> = videos().map(|(_, entry)| entry.track.id.to_string()).collect();
                    return Err(DecodeError::NoSuchTrack { asked: id, there: there.join(", ") });
                }
            },
            None => {
                // The first program that has video, of transport streams.
                let program = videos().next().and_then(|(_, entry)| entry.track.program);
                let rank = |(index, Entry { track, .. }): &(usize, &Entry)| {
                    let area = u64::from(track.width.unwrap_or(0)) * u64::from(track.height.unwrap_or(0));
                    // Of several defaults the first, as players do.
                    (track.default, if track.default { 0 } else { area }, std::cmp::Reverse(*index))
                };
                videos().filter(|(_, entry)| entry.track.program == program).max_by_key(rank).map(|(index, _)| index)
            }
        };
        let Some(taken) = taken else {
            return match entries.iter().any(|entry| entry.track.kind == TrackKind::Picture) {
                true => Err(DecodeError::StillPicture("the file has no other track".to_owned())),
                // The demuxer may know a codec that is not known here.
                false => Ok(Self { all: entries.into_iter().map(|entry| entry.track).collect(), ..Self::default() }),
            };
        };
        if entries[taken].encrypted {
            return Err(DecodeError::Encrypted(entries[taken].track.codec.clone()));
        }
        let (wanted, orientation) = (Some(entries[taken].track.id), entries[taken].orientation);
        let mut all: Vec<Track> = entries.into_iter().map(|entry| entry.track).collect();
        all[taken].taken = true;
        Ok(Self { all, wanted, orientation, ..Self::default() })
    }

    /// Video tracks beside the wanted one, for people: id, codec and size, and of which program.
    pub(super) fn left_out(&self) -> Vec<String> {
        let others = self.all.iter().filter(|track| track.kind == TrackKind::Video && !track.taken);
        let name = |track: &Track| {
            let mut name = format!("{} ({}", track.id, track.codec);
            if let (Some(width), Some(height)) = (track.width, track.height) {
                name.push_str(&format!(", {width}x{height}"));
            }
            if let Some(program) = track.program {
                name.push_str(&format!(", program {program}"));
            }
            name + ")"
        };
        if self.all.iter().any(|track| track.taken) { others.map(name).collect() } else { Vec::new() }
    }

    /// The program of the wanted track.
    pub(super) fn program(&self) -> Option<u16> {
        self.all.iter().find(|track| track.taken)?.program
    }
}

/// The usual short name of a codec that a container or GStreamer calls so; what is not known keeps its name.
pub(super) fn codec_name(word: &str) -> String {
    let known = match word {
        "avc1" | "avc2" | "h264" | "x264" | "avc3" | "avc4" | "V_MPEG4/ISO/AVC" | "video/x-h264" => "h264",
        "hvc1" | "hev1" | "dvh1" | "dvhe" | "V_MPEGH/ISO/HEVC" | "video/x-h265" => "hevc",
        "vp08" | "V_VP8" | "video/x-vp8" => "vp8",
        "vp09" | "V_VP9" | "video/x-vp9" => "vp9",
        "av01" | "V_AV1" | "video/x-av1" => "av1",
        "mp4v" | "xvid" | "divx" | "dx50" | "fmp4" | "V_MPEG4/ISO/ASP" | "V_MPEG4/ISO/SP" => "mpeg4",
        "V_MPEG2" | "mp2v" => "mpeg2",
        "jpeg" | "mjpg" | "mjpa" | "mjpb" | "V_MJPEG" | "image/jpeg" => "mjpeg",
        "apch" | "apcn" | "apcs" | "apco" | "ap4h" | "ap4x" | "V_PRORES" | "video/x-prores" => "prores",
        "mp4a" | "A_AAC" => "aac",
        "A_MPEG/L3" | ".mp3" => "mp3",
        "ac-3" | "A_AC3" | "audio/x-ac3" => "ac3",
        "ec-3" | "A_EAC3" | "audio/x-eac3" => "eac3",
        "Opus" | "A_OPUS" | "audio/x-opus" => "opus",
        "A_VORBIS" | "audio/x-vorbis" => "vorbis",
        "fLaC" | "A_FLAC" | "audio/x-flac" => "flac",
        "tx3g" | "S_TEXT/UTF8" => "text",
        other => other.trim_end(),
    };
    known.to_owned()
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u32, kind: TrackKind, default: bool, size: (u32, u32)) -> Entry {
        let track = Track { id, kind, default, width: Some(size.0), height: Some(size.1), ..Track::default() };
        Entry { track, ..Entry::default() }
    }

    fn chosen(entries: &[Entry], asked: Option<u32>) -> Option<u32> {
        Tracks::choose(entries.to_vec(), asked).unwrap().wanted
    }

    #[test]
    fn the_default_track_is_taken_else_the_largest() {
        use TrackKind::{Picture, Sound, Video};
        let sound = entry(1, Sound, true, (0, 0));
        let (small, large) = (entry(2, Video, false, (64, 48)), entry(3, Video, false, (640, 480)));
        assert_eq!(chosen(&[sound.clone(), small.clone(), large.clone()], None), Some(3));
        let default = entry(4, Video, true, (32, 24));
        assert_eq!(chosen(&[sound.clone(), small.clone(), large, default], None), Some(4));
        let cover = entry(5, Picture, true, (3000, 3000));
        assert_eq!(chosen(&[cover.clone(), small.clone()], None), Some(2));
        assert_eq!(chosen(&[entry(7, Video, true, (8, 8)), entry(6, Video, true, (16, 16))], None), Some(7));
        assert_eq!(chosen(&[sound.clone(), small.clone()], Some(2)), Some(2));
        let error = Tracks::choose(vec![sound, small], Some(1)).unwrap_err().to_string();
        assert_eq!(error, "there is no video track 1 (video tracks: 2)");
        assert!(matches!(Tracks::choose(vec![cover], None), Err(DecodeError::StillPicture(_))));
        let locked = Entry { encrypted: true, ..entry(1, Video, true, (64, 48)) };
        assert!(matches!(Tracks::choose(vec![locked], None), Err(DecodeError::Encrypted(_))));
        assert_eq!(chosen(&[], Some(1)), Some(1));
    }

    #[test]
    fn of_programs_the_first_with_video_counts() {
        let of = |program, id, kind, size| {
            let mut entry = entry(id, kind, true, size);
            entry.track.program = Some(program);
            entry
        };
        let radio = of(1, 0x101, TrackKind::Sound, (0, 0));
        let (first, second) = (of(2, 0x201, TrackKind::Video, (1, 1)), of(3, 0x301, TrackKind::Video, (9, 9)));
        let tracks = Tracks::choose(vec![radio, first, second], None).unwrap();
        assert_eq!((tracks.wanted, tracks.program()), (Some(0x201), Some(2)));
    }
}
