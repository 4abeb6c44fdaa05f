//! How the commands speak to a running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use uuid::Uuid;

use super::error::Problem;
use super::links::{Link, LinkRequest};
use super::search::{Answered, EXACT};
use super::socket;
use crate::config::Role;
use crate::media::{ListedPage, RemoveRequest, Removed, Shown};
use crate::search::{Answer, SearchRequest};
use crate::service::jobs::{JobRequest, JobRow};
use crate::service::news::News;
use crate::service::sources::SourceRow;

/// How long a daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What the daemon says, in the words of the command.
    #[error("{detail}")]
    Problem { status: u16, detail: String },
    #[error("the daemon at {socket} {problem}")]
    Daemon { socket: PathBuf, problem: String },
    #[error("cannot write {path}: {error}")]
    Output { path: PathBuf, error: io::Error },
}

/// A daemon that answers.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon of this data folder; `None`: none is running.
    pub async fn find(data_dir: &Path) -> Result<Option<Self>, ClientError> {
        // Without a place for its socket there is no daemon.
        let Ok(socket) = socket::path(data_dir) else { return Ok(None) };
        let client = Self { socket };
        match UnixStream::connect(&client.socket).await {
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(client.error(format!("cannot be reached: {error}"))),
        }
        let live = client.json::<serde_json::Value>(Method::GET, "/livez", None::<&()>);
        match tokio::time::timeout(PATIENCE, live).await {
            Ok(live) => live.map(|_| Some(client)),
            Err(_) => Err(client.error(format!("does not answer within {} s", PATIENCE.as_secs()))),
        }
    }

    fn error(&self, problem: impl Into<String>) -> ClientError {
        ClientError::Daemon { socket: self.socket.clone(), problem: problem.into() }
    }

    fn gone(&self, error: impl std::fmt::Display) -> ClientError {
        self.error(format!("broke off: {error}"))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Incoming, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.gone(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.gone(error))?;
        // Ends with the answer; an error shows there too.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(|error| self.gone(error))?;
        let (status, body) = (response.status(), response.into_body());
        if status.is_success() {
            return Ok(body);
        }
        let bytes = body.collect().await.map_err(|error| self.gone(error))?.to_bytes();
        Err(match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => ClientError::Problem { status: status.as_u16(), detail: problem.detail },
            Err(_) => self.error(format!("answers {status}")),
        })
    }

    fn request(&self, method: Method, target: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(target).header(header::HOST, "localhost")
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let request = self.request(method, target).header(header::CONTENT_TYPE, "application/json");
        let bytes = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| self.error(format!("cannot be asked: {error}")))?,
            None => Vec::new(),
        };
        self.read(request.body(Full::from(bytes))).await
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ClientError> {
        self.json(Method::GET, target, None::<&()>).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        request: Result<Request<Full<Bytes>>, axum::http::Error>,
    ) -> Result<T, ClientError> {
        let request = request.map_err(|error| self.error(format!("cannot be asked: {error}")))?;
        let body = self.send(request).await?.collect().await.map_err(|error| self.gone(error))?;
        serde_json::from_slice(&body.to_bytes())
            .map_err(|error| self.error(format!("is of another version: {error}: start it again")))
    }

    pub async fn search(&self, request: &SearchRequest) -> Result<Answer, ClientError> {
        let picture = request.picture.clone();
        let (target, kind, body) = match picture {
            Some(picture) => (format!("/v1/search?{}", query_of(request)), "image/*", picture),
            None => {
                let body = serde_json::to_vec(request);
                let body = body.map_err(|error| self.error(format!("cannot be asked: {error}")))?;
                ("/v1/search".to_owned(), "application/json", body)
            }
        };
        let request = self.request(Method::POST, &target).header(header::ACCEPT, EXACT);
        let request = request.header(header::CONTENT_TYPE, kind).body(Full::from(body));
        let Answered { answer, exact } = self.read(request).await?;
        let moments = answer.moments.into_iter().zip(exact).map(|(placed, exact)| placed.with(exact)).collect();
        Ok(Answer { moments, ..answer })
    }

    pub async fn media(&self, after: Option<&str>, failed: bool) -> Result<ListedPage, ClientError> {
        let after = after.map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
        self.get(&format!("/v1/media?failed={failed}{after}")).await
    }

    /// `medium` is an id or an absolute path.
    pub async fn medium(&self, medium: &str) -> Result<Shown, ClientError> {
        self.get(&format!("/v1/media/{}", encoded(medium))).await
    }

    pub async fn remove(&self, request: &RemoveRequest) -> Result<Removed, ClientError> {
        self.json(Method::POST, "/v1/media/remove", Some(request)).await
    }

    pub async fn export(&self, model: Option<&str>, vectors: bool) -> Result<Lines, ClientError> {
        let model = model.map(|model| format!("&model={}", encoded(model))).unwrap_or_default();
        let request = self.request(Method::GET, &format!("/v1/media/export?vectors={vectors}{model}"));
        let request = request.body(Full::default()).map_err(|error| self.error(format!("cannot be asked: {error}")))?;
        Ok(Lines { socket: self.socket.clone(), body: self.send(request).await?, rest: Vec::new() })
    }

    /// Writes a clip of a moment to this path. `span`: its start and end in seconds, where they are not those of the window.
    pub async fn clip(
        &self,
        id: Uuid,
        span: (Option<f64>, Option<f64>),
        exact: bool,
        output: &Path,
    ) -> Result<(), ClientError> {
        let number = |name: &str, value: Option<f64>| value.map(|value| format!("&{name}={value}")).unwrap_or_default();
        let span = number("start_s", span.0) + &number("end_s", span.1);
        let request = self.request(Method::GET, &format!("/v1/moments/{id}/clip?exact={exact}{span}"));
        let request = request.body(Full::default()).map_err(|error| self.error(format!("cannot be asked: {error}")))?;
        let mut body = self.send(request).await?;
        let disk = |error: io::Error| ClientError::Output { path: output.to_path_buf(), error };
        let mut file = tokio::fs::File::create(output).await.map_err(disk)?;
        while let Some(frame) = body.frame().await.transpose().map_err(|error| self.gone(error))? {
            if let Some(data) = frame.data_ref() {
                file.write_all(data).await.map_err(disk)?;
            }
        }
        file.flush().await.map_err(disk)
    }

    pub async fn sources(&self) -> Result<Vec<SourceRow>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Sources {
            sources: Vec<SourceRow>,
        }
        Ok(self.get::<Sources>("/v1/sources").await?.sources)
    }

    /// A link by which a browser gets in once.
    pub async fn link(&self, role: Role) -> Result<String, ClientError> {
        Ok(self.json::<Link>(Method::POST, "/v1/links", Some(&LinkRequest { role })).await?.link)
    }

    pub async fn ask(&self, request: &JobRequest) -> Result<JobRow, ClientError> {
        self.json(Method::POST, "/v1/jobs", Some(request)).await
    }

    /// All that the daemon remembers, the oldest first, without results.
    pub async fn jobs(&self) -> Result<Vec<JobRow>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Jobs {
            jobs: Vec<JobRow>,
        }
        Ok(self.get::<Jobs>("/v1/jobs").await?.jobs)
    }

    pub async fn job(&self, id: u64) -> Result<JobRow, ClientError> {
        self.get(&format!("/v1/jobs/{id}")).await
    }

    /// News from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let request = self.request(Method::GET, "/v1/events").body(Full::default());
        let request = request.map_err(|error| self.error(format!("cannot be asked: {error}")))?;
        Ok(Events(Lines { socket: self.socket.clone(), body: self.send(request).await?, rest: Vec::new() }))
    }
}

/// Lines that come one by one.
pub struct Lines {
    socket: PathBuf,
    body: Incoming,
    /// What came of the lines that are not complete yet.
    rest: Vec<u8>,
}

impl Lines {
    /// Whole lines, as many as there are; `None`: it ended.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            let frame = self.body.frame().await.transpose().map_err(|error| ClientError::Daemon {
                socket: self.socket.clone(),
                problem: format!("broke off: {error}"),
            })?;
            let Some(frame) = frame else {
                let rest = std::mem::take(&mut self.rest);
                return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
            };
            self.rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            if let Some(last) = self.rest.iter().rposition(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(last + 1);
                let lines = std::mem::replace(&mut self.rest, rest);
                return Ok(Some(String::from_utf8_lossy(&lines).into_owned()));
            }
        }
    }
}

pub struct Events(Lines);

impl Events {
    /// The next news, as many as came at once; what this version does not know is left out. `None`: the daemon has ended.
    pub async fn next(&mut self) -> Result<Option<Vec<News>>, ClientError> {
        let Some(lines) = self.0.next().await? else { return Ok(None) };
        let data = lines.lines().filter_map(|line| line.strip_prefix("data:"));
        Ok(Some(data.filter_map(|data| serde_json::from_str(data.trim_start()).ok()).collect()))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The request as a query: values that are set, lists as several values.
fn query_of(request: &SearchRequest) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let fields = serde_json::to_value(request).unwrap_or_default();
    for (key, value) in fields.as_object().into_iter().flatten() {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::String(text) => drop(query.append_pair(key, &text)),
                other => drop(query.append_pair(key, &other.to_string())),
            }
        }
    }
    query.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_travels_as_a_query() {
        let request = SearchRequest {
            not: vec!["rain & snow".into(), "fog".into()],
            label: Some("garage".into()),
            limit: 3,
            ..SearchRequest::default()
        };
        let query = query_of(&request);
        assert!(query.contains("not=rain+%26+snow&not=fog") && query.contains("limit=3"), "{query}");
        assert!(!query.contains("like") && query.contains("label=garage"), "{query}");
    }
}
