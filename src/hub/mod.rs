//! A client for model hubs with Hugging Face's protocol: lists a repository and downloads its files, resuming
//! interrupted downloads and checking them against the hub's digests ([`download`]). [`named`] knows models by short
//! names.
//!
//! Endpoint and token come from the same places as for other tools: `HF_ENDPOINT`; `HF_TOKEN`, else the file `token` in
//! `HF_HOME` (default `~/.cache/huggingface`). The token is sent to the endpoint only and never shown.

pub mod download;
pub mod named;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;

use crate::secret::{Secret, redacted};

const ENDPOINT: &str = "https://huggingface.co";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that sends nothing for this long is considered broken.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A repository at a revision (branch, tag or commit), as the user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoName {
    /// `owner/name`
    pub repo: String,
    pub revision: String,
}

impl std::str::FromStr for RepoName {
    type Err = HubError;

    /// `hf:owner/name` or `hf:owner/name@revision`
    fn from_str(text: &str) -> Result<Self, HubError> {
        let name = text.strip_prefix("hf:").unwrap_or(text);
        let (repo, revision) = name.split_once('@').unwrap_or((name, "main"));
        let part = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        match repo.split_once('/') {
            Some((owner, model)) if part(owner) && part(model) && revision.split('/').all(part) => {
                Ok(Self { repo: repo.to_owned(), revision: revision.to_owned() })
            }
            _ => Err(HubError::Name(text.to_owned())),
        }
    }
}

/// The contents of a repository at one commit.
#[derive(Clone, Debug)]
pub struct Repository {
    pub repo: String,
    pub commit: String,
    /// Licence named in the model card.
    pub licence: String,
    pub files: Vec<RemoteFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    pub path: String,
    pub bytes: u64,
    pub digest: Digest,
}

/// The hub's digest of a file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256, for files in large file storage.
    Sha256(String),
    /// SHA-1 of the git blob, for other files.
    GitBlob(String),
}

#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{0:?} names no repository: write hf:owner/name or hf:owner/name@revision")]
    Name(String),
    #[error(
        "{repo}: {endpoint} knows no such model or revision (for a private or gated one set HF_TOKEN; \
         HF_ENDPOINT chooses another hub)"
    )]
    NotFound { repo: String, endpoint: String },
    #[error(
        "{repo}: {endpoint} refuses access ({status}): accept the model's terms there, and set HF_TOKEN to a token \
         that may read it"
    )]
    Refused { repo: String, endpoint: String, status: u16 },
    #[error("cannot fetch from {endpoint}: {problem}; downloaded parts are kept, the same command resumes")]
    Unreachable { endpoint: String, problem: String },
    #[error("HF_ENDPOINT is not the address of a hub: {0}")]
    Endpoint(String),
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
    #[error("the answer of {endpoint} is not understood: {problem}")]
    Answer { endpoint: String, problem: String },
    #[error("{file}: not what the hub announced ({expected}, arrived {found}); it was thrown away, try again")]
    Digest { file: String, expected: String, found: String },
    #[error("{path} is being fetched by another clipseek process")]
    Busy { path: PathBuf },
    #[error("{path}: {error}")]
    Disk { path: PathBuf, error: io::Error },
}

pub struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<Secret>,
}

impl Hub {
    /// The hub that the environment names.
    pub fn from_env() -> Result<Self, HubError> {
        let endpoint = std::env::var("HF_ENDPOINT").ok().filter(|url| !url.is_empty());
        let endpoint = endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/');
        let endpoint = Url::parse(endpoint).map_err(|error| HubError::Endpoint(error.to_string()))?;
        let client = Client::builder()
            .user_agent(concat!("clipseek/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()
            .map_err(HubError::Client)?;
        Ok(Self { client, endpoint, token: token() })
    }

    /// Lists a repository at a revision.
    pub async fn repository(&self, name: &RepoName) -> Result<Repository, HubError> {
        let RepoName { repo, revision } = name;
        let revision = revision.replace('/', "%2F");
        let request = self.get(&format!("api/models/{repo}/revision/{revision}?blobs=true"));
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let answer = self.accept(repo, answer)?;
        let body = answer.bytes().await.map_err(|error| self.unreachable(&error))?;
        let model: Model = serde_json::from_slice(&body).map_err(|error| self.odd(error.to_string()))?;
        // Checked because the commit becomes a folder of the cache and part of a URL.
        if !is_commit(&model.sha) {
            return Err(self.odd(format!("the commit {:?}, which is not 40 or 64 hexadecimal digits", model.sha)));
        }
        let files = model.siblings.into_iter().map(|file| self.remote_file(file)).collect::<Result<_, _>>()?;
        let card = model.card.unwrap_or_default();
        let licence = card.license_name.or(card.license.map(License::text)).unwrap_or_else(|| "unknown".to_owned());
        Ok(Repository { repo: repo.clone(), commit: model.sha, licence, files })
    }

    fn remote_file(&self, file: Sibling) -> Result<RemoteFile, HubError> {
        // Checked because the names become paths below the cache.
        if file.rfilename.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(self.odd(format!("a file called {:?}", file.rfilename)));
        }
        let (bytes, digest) = match (file.lfs, file.size, file.blob_id) {
            (Some(lfs), _, _) => (lfs.size, Digest::Sha256(lfs.sha256)),
            (None, Some(size), Some(id)) => (size, Digest::GitBlob(id)),
            _ => return Err(self.odd(format!("{} has no digest", file.rfilename))),
        };
        Ok(RemoteFile { path: file.rfilename, bytes, digest })
    }

    fn get(&self, path: &str) -> RequestBuilder {
        let request = self.client.get(format!("{}/{path}", self.endpoint.as_str().trim_end_matches('/')));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    fn accept(&self, repo: &str, answer: reqwest::Response) -> Result<reqwest::Response, HubError> {
        let (repo, endpoint, status) = (repo.to_owned(), self.shown(), answer.status());
        match status {
            _ if status.is_success() => Ok(answer),
            // The hub answers the same for unknown repositories and for those one may not see.
            StatusCode::UNAUTHORIZED if self.token.is_none() => Err(HubError::NotFound { repo, endpoint }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(HubError::Refused { repo, endpoint, status: status.as_u16() })
            }
            StatusCode::NOT_FOUND => Err(HubError::NotFound { repo, endpoint }),
            _ => Err(HubError::Unreachable { endpoint, problem: format!("it answers {status}") }),
        }
    }

    /// The endpoint without user and password.
    fn shown(&self) -> String {
        redacted(self.endpoint.as_str().trim_end_matches('/'))
    }

    fn unreachable(&self, error: &reqwest::Error) -> HubError {
        HubError::Unreachable { endpoint: self.shown(), problem: innermost(error) }
    }

    fn odd(&self, problem: String) -> HubError {
        HubError::Answer { endpoint: self.shown(), problem }
    }
}

/// Whether it is a SHA-1 or SHA-256 in hexadecimal, as git names commits.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The innermost cause says what happened; the outer ones repeat the URL, which may hold a password.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

fn token() -> Option<Secret> {
    let said = std::env::var("HF_TOKEN").ok();
    let stored = || {
        let home = std::env::var_os("HF_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/huggingface")))?;
        std::fs::read_to_string(home.join("token")).ok()
    };
    said.or_else(stored).map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()).map(Secret::new)
}

/// The parts of the hub's answer that are used.
#[derive(Deserialize)]
struct Model {
    sha: String,
    #[serde(rename = "cardData")]
    card: Option<Card>,
    siblings: Vec<Sibling>,
}

#[derive(Default, Deserialize)]
struct Card {
    license: Option<License>,
    license_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum License {
    One(String),
    Several(Vec<String>),
}

impl License {
    fn text(self) -> String {
        match self {
            Self::One(name) => name,
            Self::Several(names) => names.join(", "),
        }
    }
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_hexadecimal_and_of_gits_lengths() {
        assert!(is_commit(&"0aF9".repeat(10)) && is_commit(&"0aF9".repeat(16)));
        for wrong in ["", "main", "../../../etc", &"0".repeat(39), &"0".repeat(41), &"g".repeat(40), &"/".repeat(64)] {
            assert!(!is_commit(wrong), "{wrong}");
        }
    }

    #[test]
    fn repositories_are_named_with_or_without_a_revision() {
        let name = |text: &str| text.parse::<RepoName>().map(|name| (name.repo, name.revision));
        assert_eq!(name("hf:a/b.c-d_e").unwrap(), ("a/b.c-d_e".into(), "main".into()));
        assert_eq!(name("hf:a/b@refs/pr/1").unwrap(), ("a/b".into(), "refs/pr/1".into()));
        for wrong in ["hf:a", "hf:a/b/c", "hf:../b", "hf:a/b@", "hf:a/..", "hf:a b/c", "hf:"] {
            assert!(name(wrong).unwrap_err().to_string().contains("hf:owner/name"), "{wrong}");
        }
    }
}
