//! `[serve]`, `[watch]` and `[[source]]`: what the daemon listens on and watches.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 7700)), drain_secs: 20.0 }
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSettings {
    pub name: String,
    /// A folder that is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// A live stream. Refused, because there are none yet; the key is known so that the message can say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<SecretUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub tags: Vec<String>,
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
        let plain: String = last.chars().map(|c| if is_plain(c) { c } else { '-' }).take(MOST_NAME - 8).collect();
        let taken = |name: &str| others.iter().any(|other| other.name == name);
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let name = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
        Self { name, path: Some(path), ..Self::default() }
    }

    fn check(&self, number: usize, problems: &mut Vec<String>) {
        let key = if self.name.is_empty() { format!("source {number}") } else { format!("source {:?}", self.name) };
        if self.name.is_empty() || self.name.chars().count() > MOST_NAME || !self.name.chars().all(is_plain) {
            problems.push(format!(
                "{key}: name may have up to {MOST_NAME} letters and digits of any script, '_', '-' and '.', and at least one"
            ));
        }
        match (&self.path, &self.uri) {
            (_, Some(uri)) => problems.push(format!("{key}: {uri}: live streams are not built yet, only folders")),
            (None, None) => problems.push(format!("{key}: path is needed: the folder to watch")),
            (Some(path), None) if !path.is_absolute() => {
                problems.push(format!("{key}: path is {}, it must begin with /", path.display()));
            }
            (Some(_), None) => {}
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

pub(super) fn check(serve: &ServeSettings, watch: &WatchSettings, sources: &[SourceSettings]) -> Vec<String> {
    let mut problems = Vec::new();
    if !serve.listen.ip().is_loopback() {
        problems.push(format!(
            "serve.listen is {}: the API has no access control yet, so it listens on this machine only (127.0.0.1 or [::1])",
            serve.listen
        ));
    }
    let seconds = [
        ("serve.drain_secs", serve.drain_secs),
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
        source.check(number, &mut problems);
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
        check(&ServeSettings::default(), &WatchSettings::default(), sources).join("; ")
    }

    #[test]
    fn a_source_has_a_name_of_its_own_and_a_folder_of_its_own() {
        assert_eq!(problems(&[folder("a", "/v/a"), folder("b", "/v")]), "");
        assert!(problems(&[folder("a", "/v/a"), folder("a", "/v/b")]).contains("two of this name"));
        assert!(problems(&[folder("a", "/v/a"), folder("b", "/v/a")]).contains("that of source \"a\""));
        assert!(problems(&[folder("", "/v/a")]).contains("source 1: name"));
        assert!(problems(&[folder("a", "v")]).contains("must begin with /"));
        assert!(problems(&[SourceSettings { path: None, ..folder("a", "/") }]).contains("path is needed"));
        assert!(problems(&[SourceSettings { include: vec!["[".into()], ..folder("a", "/v") }]).contains("include"));
    }

    #[test]
    fn a_stream_is_refused_without_showing_its_password() {
        let uri = Some(SecretUrl::new("rtsp://me:sesame@camera/1"));
        let said = problems(&[SourceSettings { path: None, uri, ..folder("a", "/") }]);
        assert!(said.contains("live streams are not built yet") && !said.contains("sesame"), "{said}");
    }

    #[test]
    fn only_this_machine_is_listened_on() {
        let check = |listen: &str| {
            let serve = ServeSettings { listen: listen.parse().unwrap(), ..ServeSettings::default() };
            super::check(&serve, &WatchSettings::default(), &[]).join("; ")
        };
        assert_eq!(check("127.0.0.1:0") + &check("[::1]:1"), "");
        assert!(check("0.0.0.0:7700").contains("this machine only"));
    }

    #[test]
    fn a_folder_of_the_command_line_is_named_by_its_last_part() {
        let first = SourceSettings::of_path("/v/My Videos".into(), &[]);
        assert_eq!(first.name, "My-Videos");
        assert_eq!(SourceSettings::of_path("/w/My Videos".into(), std::slice::from_ref(&first)).name, "My-Videos-2");
        assert_eq!(SourceSettings::of_path("/".into(), &[first]).name, "root");
    }
}
