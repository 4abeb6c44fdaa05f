//! `[live]`, `[recording]`, and what of a `[[source]]` is about a live stream.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SourceSettings;
use crate::decode::template;
use crate::ingest::supervisor::Patience;
use crate::secret::{Secret, SecretUrl};
use crate::source::stream::{Login, StreamKind, without_login};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiveSettings {
    /// Seconds to the first frame of a connection.
    pub connect_secs: f64,
    /// A connected stream without a frame for so many seconds is stalled; after as many more it is called again.
    pub stall_secs: f64,
    /// Seconds before a lost stream is called again: at first, and at the most.
    pub backoff_secs: f64,
    pub max_backoff_secs: f64,
    /// Folder with launch templates of the user's own.
    pub templates: Option<PathBuf>,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self { connect_secs: 20.0, stall_secs: 10.0, backoff_secs: 1.0, max_backoff_secs: 30.0, templates: None }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingSettings {
    /// Length of a segment.
    pub segment_secs: f64,
    /// Hours of live streams older than this leave, recorded or not; unset: they stay.
    pub keep_days: Option<f64>,
    /// The oldest hours leave where recordings are larger than this; unset: they may fill the disk up to `min_free_gib`.
    pub max_gib: Option<f64>,
    /// The oldest recorded hours leave, and nothing is recorded, where less is free on the disk.
    pub min_free_gib: f64,
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { segment_secs: 60.0, keep_days: None, max_gib: None, min_free_gib: 2.0 }
    }
}

/// Bytes of a GiB.
const GIB: f64 = (1_u64 << 30) as f64;

impl RecordingSettings {
    /// In bytes.
    pub fn least_free(&self) -> u64 {
        (self.min_free_gib * GIB) as u64
    }

    /// In bytes.
    pub fn most(&self) -> Option<u64> {
        self.max_gib.map(|gib| (gib * GIB) as u64)
    }

    pub fn keep(&self) -> Option<Duration> {
        self.keep_days.map(|days| Duration::from_secs_f64(days * 86_400.0))
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let ranges = [
            ("recording.segment_secs", Some(self.segment_secs), 1.0..=3600.0),
            ("recording.keep_days", self.keep_days, 0.001..=100_000.0),
            ("recording.max_gib", self.max_gib, 0.001..=1e9),
            ("recording.min_free_gib", Some(self.min_free_gib), 0.0..=1e9),
        ];
        for (key, value, range) in ranges {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                problems.push(format!("{key} is {value}, it must lie between {} and {}", range.start(), range.end()));
            }
        }
    }
}

impl LiveSettings {
    pub fn patience(&self) -> Patience {
        Patience {
            connect: Duration::from_secs_f64(self.connect_secs),
            stall: Duration::from_secs_f64(self.stall_secs),
            least_backoff: Duration::from_secs_f64(self.backoff_secs),
            most_backoff: Duration::from_secs_f64(self.max_backoff_secs),
        }
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let seconds = [
            ("live.connect_secs", self.connect_secs),
            ("live.stall_secs", self.stall_secs),
            ("live.backoff_secs", self.backoff_secs),
            ("live.max_backoff_secs", self.max_backoff_secs),
        ];
        for (key, value) in seconds {
            if !(0.1..=3600.0).contains(&value) {
                problems.push(format!("{key} is {value}, it must lie between 0.1 and 3600 seconds"));
            }
        }
        if self.backoff_secs > self.max_backoff_secs {
            problems.push("live.backoff_secs is larger than live.max_backoff_secs".to_owned());
        }
        if let Some(folder) = self.templates.as_ref().filter(|folder| !folder.is_dir()) {
            problems.push(format!("live.templates: {} is no folder", folder.display()));
        }
    }
}

impl SourceSettings {
    /// A stream given on the command line, named by its host, in a way that no other source is.
    pub fn of_uri(uri: SecretUrl, others: &[Self]) -> Self {
        let shown = uri.to_string();
        let place = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let host = place.split(['/', '?', '#']).next().unwrap_or_default();
        Self { uri: Some(uri), ..Self::named_like(if host.is_empty() { "stream" } else { host }, others) }
    }

    /// Text of the launch template of a stream.
    pub fn template(&self, live: &LiveSettings) -> Result<String, String> {
        let of_uri = || StreamKind::of(self.uri.as_ref()?.expose()).map(|kind| kind.template().to_owned());
        let name = self.template.clone().or_else(of_uri).ok_or_else(|| {
            "what kind of stream it is cannot be told from its uri: name a template with the key `template`".to_owned()
        })?;
        template::stream(&name, live.templates.as_deref())
    }

    /// Address of a stream and the login for it, as they are now: a file or the environment may have them.
    pub fn address(&self) -> Result<(SecretUrl, Option<Login>), String> {
        let Some(uri) = &self.uri else { return Err("it has no uri".to_owned()) };
        let (bare, in_uri) = without_login(uri);
        let user = match (&self.user, &self.user_env) {
            (Some(user), _) => Some(Secret::new(user.clone())),
            (None, Some(name)) => Some(variable(name)?),
            (None, None) => in_uri.as_ref().map(|login| login.user.clone()),
        };
        let password = match (&self.password_env, &self.password_file) {
            (Some(name), _) => Some(variable(name)?),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("password_file {}: {error}", path.display()))?;
                Some(Secret::new(text.trim_end_matches(['\r', '\n'])))
            }
            (None, None) => in_uri.map(|login| login.password),
        };
        let login = user.map(|user| Login { user, password: password.unwrap_or_else(|| Secret::new("")) });
        Ok((bare, login))
    }

    pub(super) fn check_stream(&self, key: &str, live: &LiveSettings, problems: &mut Vec<String>) {
        if let Err(problem) = self.template(live) {
            problems.push(format!("{key}: {problem}"));
        }
        if self.user.is_some() && self.user_env.is_some() {
            problems.push(format!("{key}: user and user_env exclude each other"));
        }
        if self.password_env.is_some() && self.password_file.is_some() {
            problems.push(format!("{key}: password_env and password_file exclude each other"));
        }
        let has_user = self.user.is_some()
            || self.user_env.is_some()
            || self.uri.as_ref().is_some_and(|uri| without_login(uri).1.is_some());
        if (self.password_env.is_some() || self.password_file.is_some()) && !has_user {
            problems.push(format!("{key}: there is a password and no user: set user or user_env"));
        }
        if !self.include.is_empty() || !self.exclude.is_empty() {
            problems.push(format!("{key}: include and exclude are for folders"));
        }
    }

    /// Keys that a folder has no use for.
    pub(super) fn stream_keys(&self) -> Vec<&'static str> {
        let keys = [
            ("template", self.template.is_some()),
            ("user", self.user.is_some()),
            ("user_env", self.user_env.is_some()),
            ("password_env", self.password_env.is_some()),
            ("password_file", self.password_file.is_some()),
            ("record", self.record),
        ];
        keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect()
    }
}

fn variable(name: &str) -> Result<Secret, String> {
    std::env::var(name).map(Secret::new).map_err(|error| format!("the environment variable {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(uri: &str) -> SourceSettings {
        SourceSettings { name: "a".into(), uri: Some(SecretUrl::new(uri)), ..SourceSettings::default() }
    }

    fn problems(source: &SourceSettings) -> String {
        let mut problems = Vec::new();
        source.check_stream("source \"a\"", &LiveSettings::default(), &mut problems);
        problems.join("; ")
    }

    #[test]
    fn a_stream_is_named_by_its_host() {
        let first = SourceSettings::of_uri(SecretUrl::new("rtsp://me:sesame@camera/1"), &[]);
        assert_eq!(first.name, "camera");
        let second = SourceSettings::of_uri(SecretUrl::new("rtsp://camera/2"), std::slice::from_ref(&first));
        assert_eq!(second.name, "camera-2");
        assert_eq!(SourceSettings::of_uri(SecretUrl::new("v4l2:///dev/video0"), &[]).name, "stream");
        assert_eq!(SourceSettings::of_uri(SecretUrl::new("rtsp://10.0.0.7:8554/a"), &[]).name, "10.0.0.7-8554");
    }

    #[test]
    fn problems_never_show_the_password() {
        assert_eq!(problems(&stream("rtsp://me:sesame@camera/1")), "");
        let said = problems(&SourceSettings { password_env: Some("X".into()), ..stream("gopher://camera/1") });
        assert!(said.contains("name a template") && said.contains("no user"), "{said}");
        let said = problems(&SourceSettings { template: Some("ndi".into()), ..stream("ndi://me:sesame@camera") });
        assert!(said.contains("no template \"ndi\"") && !said.contains("sesame"), "{said}");
    }

    #[test]
    fn a_login_comes_from_where_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "open sesame\n").unwrap();
        let login = |source: &SourceSettings| {
            let (uri, login) = source.address().unwrap();
            let login = login.map(|login| (login.user.expose().to_owned(), login.password.expose().to_owned()));
            (uri.expose().to_owned(), login)
        };
        let own = Some(("me".to_owned(), "sesame".to_owned()));
        assert_eq!(login(&stream("rtsp://me:sesame@camera/1")), ("rtsp://camera/1".to_owned(), own));
        let of_file =
            SourceSettings { user: Some("you".into()), password_file: Some(file), ..stream("rtsp://camera/1") };
        let expected = Some(("you".to_owned(), "open sesame".to_owned()));
        assert_eq!(login(&of_file), ("rtsp://camera/1".to_owned(), expected));
        let gone = SourceSettings { password_file: Some("/nowhere/at/all".into()), ..of_file };
        assert!(gone.address().unwrap_err().contains("/nowhere/at/all"));
    }
}
