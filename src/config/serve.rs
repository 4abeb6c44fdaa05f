//! `[serve]`, `[watch]` and `[[source]]`: what the daemon listens on and watches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::LiveSettings;
use crate::decode::Sampling;
use crate::secret::SecretUrl;
use crate::source::glob::PathGlob;
pub use crate::source::watch::Poll;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Address of the HTTP API, besides the socket in the data folder.
    pub listen: SocketAddr,
    /// Seconds that running work has to come to a checkpoint when the daemon is asked to end.
    pub drain_secs: f64,
    /// The certificate (with those above it) and the key by which the address is encrypted, as PEM files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Requests at once over the address; further ones are refused.
    pub requests: usize,
    /// Requests of one client in a second, on average; 0: any number. And how many may come at once.
    pub rate_per_sec: u32,
    pub rate_burst: u32,
    /// Seconds that a search may take.
    pub query_secs: f64,
    /// What may be added as a source while the daemon runs: folders below these, and streams with both one of these schemes
    /// and one of these hosts (patterns).
    pub add_folders: Vec<PathBuf>,
    pub add_schemes: Vec<String>,
    pub add_hosts: Vec<String>,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            drain_secs: 20.0,
            tls_cert: None,
            tls_key: None,
            requests: 256,
            rate_per_sec: 200,
            rate_burst: 1000,
            query_secs: 30.0,
            add_folders: Vec::new(),
            add_schemes: Vec::new(),
            add_hosts: Vec::new(),
        }
    }
}

impl ServeSettings {
    /// `guarded`: there is a token.
    pub(super) fn check(&self, guarded: bool, problems: &mut Vec<String>) {
        if !self.listen.ip().is_loopback() && !guarded {
            problems.push(format!(
                "serve.listen is {}: without a [[token]] the daemon listens on this machine only (127.0.0.1 or [::1]); \
                 `clipseek token new --role admin --name NAME` makes one",
                self.listen
            ));
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            problems.push("serve.tls_cert and serve.tls_key belong together: set both or none".to_owned());
        }
        if !(1..=100_000).contains(&self.requests) {
            problems.push("serve.requests must lie between 1 and 100000".to_owned());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchSettings {
    /// A file whose size and time have not changed for so many seconds is complete.
    pub settle_secs: f64,
    /// So is one that was closed by whoever wrote it so many seconds ago.
    pub closed_secs: f64,
    pub poll: Poll,
    /// Seconds between two looks through a folder that is polled.
    pub poll_secs: f64,
    /// Which of the files that were there when a folder was looked through come first.
    pub backlog: BacklogOrder,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            settle_secs: 5.0,
            closed_secs: 1.0,
            poll: Poll::Auto,
            poll_secs: 30.0,
            backlog: BacklogOrder::NewestFirst,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BacklogOrder {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// One `[[source]]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSettings {
    pub name: String,
    /// A folder that is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<PathBuf>,
    /// A live stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub uri: Option<SecretUrl>,
    /// The launch template that reads the stream; unset: by its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Who asks for the stream, or the environment variable that has it; unset: as the address says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_env: Option<String>,
    /// The environment variable or the file that has the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub tags: Vec<String>,
    /// Keep the stream's footage.
    pub record: bool,
    /// Unset: `index.sampling`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Sampling>,
    /// Patterns of the files that are taken; none: all video files.
    pub include: Vec<String>,
    /// Patterns of files that are not.
    pub exclude: Vec<String>,
}

impl SourceSettings {
    /// A folder given on the command line, named by its last part, in a way that no other source is.
    pub fn of_path(path: PathBuf, others: &[Self]) -> Self {
        let last = path.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
        Self { path: Some(path), ..Self::named_like(&last, others) }
    }

    /// Its name and its folder; `None`: it is a stream.
    pub fn folder(&self) -> Option<(String, PathBuf)> {
        Some((self.name.clone(), self.path.clone()?))
    }

    /// With a name that resembles this text and is no other source's.
    pub(super) fn named_like(text: &str, others: &[Self]) -> Self {
        let plain: String = text.chars().map(|c| if is_plain(c) { c } else { '-' }).take(MOST_NAME - 8).collect();
        let taken = |name: &str| others.iter().any(|other| other.name == name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
        Self { name, ..Self::default() }
    }

    fn check(&self, number: usize, live: &LiveSettings, problems: &mut Vec<String>) {
        let key = if self.name.is_empty() { format!("source {number}") } else { format!("source {:?}", self.name) };
        if self.name.is_empty() || self.name.chars().count() > MOST_NAME || !self.name.chars().all(is_plain) {
            problems.push(format!(
                "{key}: name may have up to {MOST_NAME} letters and digits of any script, '_', '-' and '.', and at least one"
            ));
        }
        match (&self.path, &self.uri) {
            (Some(_), Some(_)) => problems.push(format!("{key}: path and uri exclude each other")),
            (None, Some(_)) => self.check_stream(&key, live, problems),
            (None, None) => problems.push(format!("{key}: path or uri is needed: the folder or the stream to watch")),
            (Some(path), None) if !path.is_absolute() => {
                problems.push(format!("{key}: path is {}, it must begin with /", path.display()));
            }
            (Some(_), None) => {}
        }
        if self.uri.is_none() {
            problems.extend(self.stream_keys().iter().map(|name| format!("{key}: {name} is for streams")));
        }
        for (list, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for pattern in patterns {
                if let Err(error) = PathGlob::new(pattern) {
                    problems.push(format!("{key}: {list}: {error}"));
                }
            }
        }
    }
}

/// Characters of a source's name.
const MOST_NAME: usize = 64;

fn is_plain(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-' | '.')
}

pub(super) fn check(
    serve: &ServeSettings,
    watch: &WatchSettings,
    live: &LiveSettings,
    sources: &[SourceSettings],
) -> Vec<String> {
    let mut problems = Vec::new();
    live.check(&mut problems);
    serve.check_added(&mut problems);
    let seconds = [
        ("serve.drain_secs", serve.drain_secs),
        ("serve.query_secs", serve.query_secs),
        ("watch.settle_secs", watch.settle_secs),
        ("watch.closed_secs", watch.closed_secs),
        ("watch.poll_secs", watch.poll_secs),
    ];
    for (key, value) in seconds {
        if !(0.01..=86_400.0).contains(&value) {
            problems.push(format!("{key} is {value}, it must lie between 0.01 and 86400 seconds"));
        }
    }
    for (number, source) in (1..).zip(sources) {
        source.check(number, live, &mut problems);
        let earlier = &sources[..number - 1];
        if earlier.iter().any(|other| other.name == source.name) {
            problems.push(format!("source {:?}: there are two of this name", source.name));
        }
        let place = source.path.as_deref().map(resolved);
        let twin = earlier.iter().find(|other| place.is_some() && other.path.as_deref().map(resolved) == place);
        if let Some(twin) = twin {
            problems.push(format!("source {:?}: its folder is that of source {:?}", source.name, twin.name));
        }
    }
    problems
}

/// With links resolved, where the folder is there.
fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, path: &str) -> SourceSettings {
        SourceSettings { name: name.into(), path: Some(path.into()), ..SourceSettings::default() }
    }

    fn problems(sources: &[SourceSettings]) -> String {
        check(&ServeSettings::default(), &WatchSettings::default(), &LiveSettings::default(), sources).join("; ")
    }

    #[test]
    fn a_source_has_a_name_of_its_own_and_a_folder_of_its_own() {
        assert_eq!(problems(&[folder("a", "/v/a"), folder("b", "/v")]), "");
        assert!(problems(&[folder("a", "/v/a"), folder("a", "/v/b")]).contains("two of this name"));
        assert!(problems(&[folder("a", "/v/a"), folder("b", "/v/a")]).contains("that of source \"a\""));
        assert!(problems(&[folder("", "/v/a")]).contains("source 1: name"));
        assert!(problems(&[folder("a", "v")]).contains("must begin with /"));
        assert!(problems(&[SourceSettings { path: None, ..folder("a", "/") }]).contains("path or uri is needed"));
        assert!(problems(&[SourceSettings { include: vec!["[".into()], ..folder("a", "/v") }]).contains("include"));
    }

    #[test]
    fn a_source_is_a_folder_or_a_stream() {
        let uri = Some(SecretUrl::new("rtsp://me:sesame@camera/1"));
        let stream = SourceSettings { path: None, uri: uri.clone(), ..folder("a", "/") };
        assert_eq!(problems(std::slice::from_ref(&stream)), "");
        let said = problems(&[SourceSettings { uri, ..folder("a", "/") }]);
        assert!(said.contains("exclude each other") && !said.contains("sesame"), "{said}");
        assert!(
            problems(&[SourceSettings { user: Some("me".into()), ..folder("a", "/v") }]).contains("is for streams")
        );
        assert!(problems(&[SourceSettings { include: vec!["*".into()], ..stream }]).contains("are for folders"));
    }

    #[test]
    fn only_this_machine_is_listened_on_without_a_token() {
        let check = |listen: &str, guarded| {
            let mut problems = Vec::new();
            let serve = ServeSettings { listen: listen.parse().unwrap(), ..ServeSettings::default() };
            serve.check(guarded, &mut problems);
            problems.join("; ")
        };
        assert_eq!(check("127.0.0.1:0", false) + &check("[::1]:1", false) + &check("0.0.0.0:7700", true), "");
        assert!(check("0.0.0.0:7700", false).contains("this machine only"));
    }

    #[test]
    fn a_folder_of_the_command_line_is_named_by_its_last_part() {
        let first = SourceSettings::of_path("/v/My Videos".into(), &[]);
        assert_eq!(first.name, "My-Videos");
        assert_eq!(SourceSettings::of_path("/w/My Videos".into(), std::slice::from_ref(&first)).name, "My-Videos-2");
        assert_eq!(SourceSettings::of_path("/".into(), &[first]).name, "root");
    }
}
