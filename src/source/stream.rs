//! Live streams as sources: what kind an address is of, its credentials, and the names of its media. Pure.
//!
//! A stream has no end, so it is kept in media of an hour each: [`MediaId`]s that follow from the source's name, the epoch
//! and the hour ([`LiveHour`]). An epoch goes on over reconnections and restarts, and ends where the clock was set by more
//! than a window or the coding changed, so that footage never overwrites other footage. In the ledger an hour has a path
//! that is not absolute (`garage/2026-11-27T16Z/1795795392123`), so nobody looks for it on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{MEDIA, MediaId};
use crate::secret::{Secret, SecretUrl};

const HOUR: u64 = 3600;

/// How a stream comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// Over TCP, in one connection.
    Rtsp,
    /// With the video in UDP packets (`rtspu://`).
    RtspUdp,
    Rtmp,
    Srt,
    Hls,
    /// MPEG-TS in UDP packets.
    Udp,
    /// A webcam.
    V4l2,
}

impl StreamKind {
    /// By the address; `None`: a template has to be named.
    pub fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        Some(match scheme.to_ascii_lowercase().as_str() {
            "rtsp" | "rtsps" | "rtspt" | "rtspst" => Self::Rtsp,
            "rtspu" | "rtspsu" => Self::RtspUdp,
            "rtmp" | "rtmps" => Self::Rtmp,
            "srt" => Self::Srt,
            "http" | "https" if is_playlist(rest) => Self::Hls,
            "udp" => Self::Udp,
            "v4l2" => Self::V4l2,
            _ => return None,
        })
    }

    /// The name of the template that reads it.
    pub fn template(self) -> &'static str {
        match self {
            Self::Rtsp => "rtsp",
            Self::RtspUdp => "rtsp-udp",
            Self::Rtmp => "rtmp",
            Self::Srt => "srt",
            Self::Hls => "hls",
            Self::Udp => "udp",
            Self::V4l2 => "v4l2",
        }
    }
}

fn is_playlist(rest: &str) -> bool {
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    path.to_ascii_lowercase().ends_with(".m3u8")
}

/// Whether this argument of a command is a stream and no file.
pub fn is_stream(argument: &str) -> bool {
    argument.contains("://") && !argument.starts_with("file://")
}

/// User and password.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    pub user: Secret,
    pub password: Secret,
}

/// An address apart from the login in it: what is set apart cannot show in messages that quote the address.
pub fn without_login(uri: &SecretUrl) -> (SecretUrl, Option<Login>) {
    let all = uri.expose();
    let parts = all.split_once("://").and_then(|(scheme, rest)| {
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (place, query) = rest.split_at(end);
        // A password may have '/' or '@' in it although it should not, so the host begins behind the last '@'.
        let (login, place) = place.rsplit_once('@')?;
        Some((format!("{scheme}://{place}{query}"), login))
    });
    let Some((bare, login)) = parts else { return (uri.clone(), None) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let decoded = |text: &str| Secret::new(percent_decode_str(text).decode_utf8_lossy());
    (SecretUrl::new(bare), Some(Login { user: decoded(user), password: decoded(password) }))
}

/// An hour of an epoch of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveHour {
    pub source: String,
    /// When the epoch began, Unix milliseconds: its name.
    pub epoch: u64,
    /// Whole hours since the Unix epoch.
    pub hour: u64,
}

impl LiveHour {
    /// The hour that holds this time (Unix).
    pub fn at(source: &str, epoch: u64, time: Duration) -> Self {
        Self { source: source.to_owned(), epoch, hour: time.as_secs() / HOUR }
    }

    pub fn media_id(&self) -> MediaId {
        let Self { source, epoch, hour } = self;
        MediaId(Uuid::new_v5(&MEDIA, format!("live/{source}/{epoch}/{hour}").as_bytes()))
    }

    /// When it begins (Unix): its records count from here.
    pub fn begins(&self) -> Duration {
        Duration::from_secs(self.hour * HOUR)
    }

    /// The hour by its name in a path.
    pub fn hour_of(name: &str) -> Option<u64> {
        let hour = name.strip_suffix('Z')?;
        let time = NaiveDateTime::parse_from_str(&format!("{hour}:00"), "%Y-%m-%dT%H:%M").ok()?.and_utc();
        u64::try_from(time.timestamp()).ok().map(|secs| secs / HOUR)
    }

    /// Its path in the ledger.
    pub fn path(&self) -> PathBuf {
        let time = i64::try_from(self.hour * HOUR).ok().and_then(|secs| DateTime::from_timestamp(secs, 0));
        let hour = time.map(|time| time.format("%Y-%m-%dT%HZ").to_string()).unwrap_or_default();
        [self.source.as_str(), &hour, &self.epoch.to_string()].iter().collect()
    }
}

/// Whether a path of the ledger is that of a live hour, so that no file lies there.
pub fn is_live(path: &Path) -> bool {
    path.is_relative()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_kinds() {
        for (uri, kind) in [
            ("rtsp://me:x@cam/1", Some(StreamKind::Rtsp)),
            ("RTSPS://cam/1", Some(StreamKind::Rtsp)),
            ("rtspu://cam/1", Some(StreamKind::RtspUdp)),
            ("rtmp://host/live/key", Some(StreamKind::Rtmp)),
            ("srt://:9000?mode=listener", Some(StreamKind::Srt)),
            ("https://host/a/B.M3U8?token=x", Some(StreamKind::Hls)),
            ("https://host/a.mp4", None),
            ("udp://239.0.0.1:5000", Some(StreamKind::Udp)),
            ("v4l2:///dev/video0", Some(StreamKind::V4l2)),
            ("/videos", None),
            ("gopher://host", None),
        ] {
            assert_eq!(StreamKind::of(uri), kind, "{uri}");
        }
        assert!(is_stream("gopher://host") && !is_stream("file:///v") && !is_stream("/v"));
    }

    #[test]
    fn logins_are_taken_out_of_addresses() {
        let take = |uri: &str| {
            let (bare, login) = without_login(&SecretUrl::new(uri));
            let login = login.map(|login| (login.user.expose().to_owned(), login.password.expose().to_owned()));
            (bare.expose().to_owned(), login)
        };
        let login = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(take("rtsp://cam:554/1?a=b@c"), ("rtsp://cam:554/1?a=b@c".into(), None));
        assert_eq!(take("rtsp://me:p%40ss@cam/1"), ("rtsp://cam/1".into(), login("me", "p@ss")));
        assert_eq!(take("rtsp://me:p@ss/w@cam/1?x=1"), ("rtsp://cam/1?x=1".into(), login("me", "p@ss/w")));
        assert_eq!(take("rtsp://me@cam/1"), ("rtsp://cam/1".into(), login("me", "")));
    }

    #[test]
    fn every_hour_of_every_epoch_is_a_medium_of_its_own() {
        let time = Duration::from_secs(1_795_795_392);
        let hour = LiveHour::at("garage", 1_795_795_392_123, time);
        assert_eq!(hour.path(), Path::new("garage/2026-11-27T16Z/1795795392123"));
        assert_eq!(hour.begins(), Duration::from_secs(1_795_795_200));
        assert_eq!((LiveHour::hour_of("2026-11-27T16Z"), LiveHour::hour_of("x")), (Some(hour.hour), None));
        assert!(is_live(&hour.path()) && !is_live(Path::new("/v/a.mp4")));
        let others = [
            LiveHour::at("garden", hour.epoch, time),
            LiveHour::at("garage", hour.epoch + 1, time),
            LiveHour::at("garage", hour.epoch, time + Duration::from_secs(3600)),
        ];
        for other in others {
            assert_ne!(hour.media_id(), other.media_id(), "{other:?}");
            assert_ne!(hour.path(), other.path(), "{other:?}");
        }
        assert_eq!(hour.media_id(), LiveHour::at("garage", hour.epoch, hour.begins()).media_id());
    }
}
