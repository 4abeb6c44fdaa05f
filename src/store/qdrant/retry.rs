//! Retries requests that failed transiently, and turns the client's errors into ours.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use qdrant_client::QdrantError;

use crate::secret::{Secret, SecretUrl};
use crate::store::StoreError;

/// Six retries over 10 to 20 s: a restarting server is back by then.
fn patient() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(150))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(6)
        .with_jitter()
}

/// One retry: at the start somebody is waiting to hear that the address is wrong.
fn brief() -> ExponentialBuilder {
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(300)).with_max_times(1).with_jitter()
}

/// Status codes of the gRPC specification.
mod code {
    pub(super) const CANCELLED: i32 = 1; // also: timed out on our side
    pub(super) const UNKNOWN: i32 = 2; // the connection broke
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const ABORTED: i32 = 10;
    pub(super) const INTERNAL: i32 = 13; // also: could not connect
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

#[derive(Clone)]
pub(super) struct Server {
    /// Redacted.
    url: String,
    /// Removed from messages.
    secrets: Vec<Secret>,
}

impl Server {
    pub(super) fn new(url: &SecretUrl, api_key: Option<&Secret>) -> Self {
        let mut secrets: Vec<Secret> = api_key.cloned().into_iter().chain(url.secrets()).collect();
        secrets.retain(|secret| !secret.expose().is_empty());
        Self { url: url.to_string(), secrets }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn call<T, F>(&self, request: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.try_with(patient(), request).await
    }

    /// For the first request to this server.
    pub(super) async fn connect<T, F>(&self, request: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.try_with(brief(), request).await
    }

    async fn try_with<T, F>(&self, waits: ExponentialBuilder, request: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        let told = |error: &QdrantError, wait| {
            tracing::debug!(url = self.url, error = %self.describe(error), ?wait, "trying again");
        };
        request.retry(waits).when(is_transient).notify(told).await.map_err(|error| self.describe(&error))
    }

    pub(super) fn describe(&self, error: &QdrantError) -> StoreError {
        let problem = match error {
            // Only the message: the whole status includes headers.
            QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
                status.message().to_owned()
            }
            other => other.to_string(),
        };
        let problem = self.without_secrets(innermost(&problem));
        let url = self.url.clone();
        match code_of(error) {
            Some(code::PERMISSION_DENIED | code::UNAUTHENTICATED) => StoreError::Refused { url, problem },
            Some(code::RESOURCE_EXHAUSTED | code::ABORTED) => StoreError::Busy { url, problem },
            Some(code::UNAVAILABLE | code::CANCELLED | code::DEADLINE_EXCEEDED | code::UNKNOWN) => {
                StoreError::Unreachable { problem: with_hint(&url, problem), url }
            }
            Some(code::INTERNAL) if status_says(error, "Failed to connect") || status_says(error, "h2 protocol") => {
                StoreError::Unreachable { problem: with_hint(&url, problem), url }
            }
            Some(_) if status_says(error, "No space left") || status_says(error, "disk space") => {
                StoreError::DiskFull { place: format!("Qdrant at {url}"), problem }
            }
            _ => StoreError::Other(format!("Qdrant at {url}: {problem}")),
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"))
    }
}

/// The client describes a failed connection as nested Rust values; only the innermost text helps a person.
fn innermost(problem: &str) -> &str {
    if !problem.starts_with("Failed to connect") {
        return problem;
    }
    for opening in ["message: \"", "error: \""] {
        let text = problem.rsplit_once(opening).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((text, _)) = text {
            return text;
        }
    }
    problem
}

fn with_hint(url: &str, problem: String) -> String {
    if url.trim_end_matches('/').ends_with(":6333") {
        return format!("{problem} (6333 is usually its HTTP port; the gRPC port is usually 6334)");
    }
    problem
}

fn is_transient(error: &QdrantError) -> bool {
    match code_of(error) {
        Some(code) => [
            code::CANCELLED,
            code::UNKNOWN,
            code::DEADLINE_EXCEEDED,
            code::RESOURCE_EXHAUSTED,
            code::ABORTED,
            code::INTERNAL,
            code::UNAVAILABLE,
        ]
        .contains(&code),
        None => false,
    }
}

pub(super) fn is_not_found(error: &QdrantError) -> bool {
    code_of(error) == Some(code::NOT_FOUND)
}

pub(super) fn is_there_already(error: &QdrantError) -> bool {
    // Older servers return a general code.
    code_of(error) == Some(code::ALREADY_EXISTS) || status_says(error, "already exists")
}

fn status_says(error: &QdrantError, text: &str) -> bool {
    matches!(error, QdrantError::ResponseError { status } if status.message().contains(text))
}

fn code_of(error: &QdrantError) -> Option<i32> {
    match error {
        QdrantError::ResponseError { status } | QdrantError::ResourceExhaustedError { status, .. } => {
            Some(status.code().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        let url = SecretUrl::new("https://me:pass@host:6334");
        let server = Server::new(&url, Some(&Secret::new("k-123")));
        assert_eq!(server.url(), "https://***@host:6334");
        let told = server.without_secrets("Failed to connect to https://me:pass@host:6334 with k-123");
        assert_eq!(told, "Failed to connect to https://***@host:6334 with ***");
    }

    #[test]
    fn a_failed_connection_is_told_in_words() {
        let tcp = r#"Failed to connect to http://a:1/: Error(Transport, ConnectError(ConnectError("tcp connect error", Os { code: 111, kind: ConnectionRefused, message: "Connection refused" })))"#;
        assert_eq!(innermost(tcp), "Connection refused");
        let dns = r#"Failed to connect to http://b/: Error(ConnectError("dns error", Custom { kind: Uncategorized, error: "failed to lookup address" }))"#;
        assert_eq!(innermost(dns), "failed to lookup address");
        assert_eq!(innermost("Failed to connect to c: TLS"), "Failed to connect to c: TLS");
        assert_eq!(innermost("the error: \"x\""), "the error: \"x\"");
    }

    #[test]
    fn the_wrong_port_gets_a_hint() {
        assert!(with_hint("http://localhost:6333/", "broken".into()).contains("usually 6334"));
        assert_eq!(with_hint("http://localhost:6334", "broken".into()), "broken");
    }
}
