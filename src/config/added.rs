//! Which sources may be added while the daemon runs, by whoever may ask it to.

use std::path::{Component, Path};

use globset::GlobBuilder;

use super::{ServeSettings, SourceSettings};
use crate::source::names::real;
use crate::source::stream::without_login;

/// Why a source may not be added; both say what to do instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its address has something secret in it, which would be kept.
    Secret(String),
    NotAllowed(String),
}

/// Keys of a query whose values are secrets.
const SECRET_KEYS: [&str; 9] = ["pass", "pwd", "token", "secret", "key", "auth", "sig", "login", "credential"];

impl ServeSettings {
    pub fn admits(&self, source: &SourceSettings) -> Result<(), Refusal> {
        if let Some(path) = &source.path {
            return self.admits_folder(path);
        }
        let Some(uri) = &source.uri else { return Ok(()) };
        let (bare, login) = without_login(uri);
        let (address, query) = bare.expose().split_once('?').unwrap_or((bare.expose(), ""));
        let is_secret = |key: &str| SECRET_KEYS.iter().any(|word| key.to_ascii_lowercase().contains(word));
        if login.is_some() || form_urlencoded::parse(query.as_bytes()).any(|(key, _)| is_secret(&key)) {
            return Err(Refusal::Secret(
                "the uri has a login or a key in it, which would be kept as it is: leave it out, and name user and \
                 password_env or password_file, which the daemon reads for each connection"
                    .to_owned(),
            ));
        }
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        if !self.add_schemes.iter().any(|allowed| allowed.eq_ignore_ascii_case(scheme)) {
            let remedy = format!("add {scheme:?} to serve.add_schemes in the settings of the daemon");
            return Err(Refusal::NotAllowed(format!("streams of the scheme {scheme:?} may not be added: {remedy}")));
        }
        let host = host_of(rest);
        let matches = |pattern: &String| {
            let glob = GlobBuilder::new(pattern).case_insensitive(true).build();
            glob.is_ok_and(|glob| glob.compile_matcher().is_match(host))
        };
        if !self.add_hosts.iter().any(matches) {
            let remedy = format!("add {host:?} or a pattern of it to serve.add_hosts in the settings of the daemon");
            return Err(Refusal::NotAllowed(format!("streams of the host {host:?} may not be added: {remedy}")));
        }
        Ok(())
    }

    fn admits_folder(&self, path: &Path) -> Result<(), Refusal> {
        let path = real(path);
        // Only what is there has a real path; of the rest nobody knows where `..` leads.
        let is_plain = !path.components().any(|part| part == Component::ParentDir);
        if is_plain && self.add_folders.iter().any(|folder| path.starts_with(real(folder))) {
            return Ok(());
        }
        let remedy = "add it or a folder above it to serve.add_folders in the settings of the daemon";
        Err(Refusal::NotAllowed(format!("the folder {} may not be added: {remedy}", path.display())))
    }

    pub(super) fn check_added(&self, problems: &mut Vec<String>) {
        for folder in self.add_folders.iter().filter(|folder| !folder.is_absolute()) {
            problems.push(format!("serve.add_folders: {} must begin with /", folder.display()));
        }
        for pattern in &self.add_hosts {
            if let Err(error) = GlobBuilder::new(pattern).build() {
                problems.push(format!("serve.add_hosts: {error}"));
            }
        }
    }
}

/// The host in what stands behind the scheme, without its port.
fn host_of(rest: &str) -> &str {
    let place = rest.split(['/', '#']).next().unwrap_or_default();
    match place.strip_prefix('[').and_then(|v6| v6.split_once(']')) {
        Some((host, _)) => host,
        None => place.rsplit_once(':').map_or(place, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretUrl;

    fn stream(uri: &str) -> SourceSettings {
        SourceSettings { uri: Some(SecretUrl::new(uri)), ..SourceSettings::default() }
    }

    fn folder(path: &str) -> SourceSettings {
        SourceSettings { path: Some(path.into()), ..SourceSettings::default() }
    }

    #[test]
    fn only_what_the_settings_allow_is_added() {
        let nothing = ServeSettings::default();
        for source in [stream("rtsp://camera/1"), folder("/srv")] {
            assert!(matches!(nothing.admits(&source), Err(Refusal::NotAllowed(_))));
        }
        let some = ServeSettings {
            add_schemes: vec!["rtsp".into()],
            add_hosts: vec!["*.lan".into(), "10.0.0.*".into(), "::1".into()],
            add_folders: vec!["/nowhere/videos".into()],
            ..ServeSettings::default()
        };
        for source in [
            stream("rtsp://door.lan:554/1?channel=1"),
            stream("RTSP://10.0.0.7/1"),
            stream("rtsp://[::1]:8554/a"),
            folder("/nowhere/videos"),
            folder("/nowhere/videos/garage"),
        ] {
            assert_eq!(some.admits(&source), Ok(()), "{source:?}");
        }
        for source in [
            stream("rtsps://door.lan/1"),
            stream("rtsp://door.lan.evil.example/1"),
            stream("rtsp://evil.example/door.lan"),
            folder("/nowhere/videos2"),
            folder("/nowhere/videos/../secret"),
        ] {
            assert!(matches!(some.admits(&source), Err(Refusal::NotAllowed(_))), "{source:?}");
        }
        for source in [stream("rtsp://me:sesame@door.lan/1"), stream("rtsp://door.lan/1?Password=sesame")] {
            let Err(Refusal::Secret(said)) = some.admits(&source) else { panic!("{source:?}") };
            assert!(said.contains("password_env") && !said.contains("sesame"), "{said}");
        }
    }
}
