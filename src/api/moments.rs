//! Moments: their pictures and their footage.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tower_http::services::ServeFile;
use uuid::Uuid;

use super::error::{Problem, Problems};
use super::query::{self, Kind};
use super::{Binary, Shared};
use crate::clock::seconds;
use crate::decode::LATEST;
use crate::play::{Found, How, ShownMoment, Span};
use crate::service::Service;

/// Pictures and stretches of a moment stay what they are.
const KEPT: HeaderValue = HeaderValue::from_static("private, max-age=3600");

/// What is asked for of a moment.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct SpanQuery {
    /// The span of the moment, where it is wider than the best window; in seconds.
    start_s: Option<f64>,
    end_s: Option<f64>,
    /// Of a thumbnail: when.
    at_s: Option<f64>,
    /// Of a playback: the least effort.
    how: How,
    /// Of a video: which one.
    made: Option<String>,
    /// Of a clip: whether it begins exactly with the span.
    exact: bool,
}

const KINDS: [(&str, Kind); 4] =
    [("start_s", Kind::Number), ("end_s", Kind::Number), ("at_s", Kind::Number), ("exact", Kind::Bool)];

/// The moment that a request names, and what it asks for of it.
pub(super) struct Asked {
    found: Found,
    query: SpanQuery,
}

impl Asked {
    fn span(&self) -> Result<Span, Problem> {
        Ok(self.found.span(self.query.start_s, self.query.end_s)?)
    }
}

impl FromRequestParts<Shared> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Asked, Problem> {
        let Path(id): Path<Uuid> = Path::from_request_parts(parts, shared).await?;
        let query = query::read(parts.uri.query(), &KINDS)?;
        Ok(Asked { found: shared.service.player.find(id).await?, query })
    }
}

#[utoipa::path(get, path = "/v1/moments/{id}", operation_id = "show_moment", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = ShownMoment, description = "the moment"), Problems))]
pub(super) async fn show(State(service): State<Arc<Service>>, asked: Asked) -> Result<Json<ShownMoment>, Problem> {
    let span = asked.span()?;
    Ok(Json(service.player.show(&asked.found, span).await?))
}

#[utoipa::path(get, path = "/v1/moments/{id}/thumbnail", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = inline(Binary), content_type = "image/jpeg", description = "a picture"), (status = 304, description = "it is as you know it"), Problems))]
pub(super) async fn thumbnail(
    State(service): State<Arc<Service>>,
    asked: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let at = asked.query.at_s.map(|at| {
        let time = Duration::try_from_secs_f64(at).ok().filter(|time| *time <= LATEST);
        time.ok_or_else(|| Problem::bad_request(format!("at_s is {at}, it must be a time in seconds")))
    });
    let picture = service.player.thumbnail(&asked.found, at.transpose()?).await?;
    let picture = picture.ok_or_else(|| Problem::not_found("there is no picture of this moment (yet)"))?;
    let digest: String = Sha256::digest(&picture.0)[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{digest}\"");
    let shown = HeaderValue::from_str(&tag).map_err(|error| Problem::internal(error.to_string()))?;
    let caching = [(header::ETAG, shown), (header::CACHE_CONTROL, KEPT)];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, "image/jpeg")], picture.0).into_response())
}

#[utoipa::path(get, path = "/v1/moments/{id}/preview", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = inline(Binary), content_type = "video/mp4", description = "small, silent, at most 8 s"), (status = 206, body = inline(Binary), content_type = "video/mp4", description = "a part of it"), (status = 304, description = "it is as you know it"), (status = 416, description = "there is no such part"), Problems))]
pub(super) async fn preview(
    State(service): State<Arc<Service>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    let span = asked.span()?;
    let path = service.player.preview(&asked.found, span).await?;
    served(&path, "video/mp4", request).await
}

/// How a `<video>` element shows a moment.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Playback)]
pub(super) struct Shown {
    /// For its `src`.
    video: String,
    how: How,
    /// The element's time t is this much plus t in the medium.
    begins_s: f64,
    /// Where the element begins to play, on its own clock.
    seek_s: f64,
    /// Where the video ends in the medium, if it is known.
    ends_s: Option<f64>,
}

#[utoipa::path(get, path = "/v1/moments/{id}/playback", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = Shown, description = "what a video element is to play"), Problems))]
pub(super) async fn playback(State(service): State<Arc<Service>>, asked: Asked) -> Result<Json<Shown>, Problem> {
    let span = asked.span()?;
    let playback = service.player.playback(&asked.found, span, asked.query.how).await?;
    let video = match &playback.made {
        None => format!("/v1/media/{}/file", asked.found.payload.media_id),
        Some(made) => {
            let (id, start, end) = (asked.found.id, seconds(span.start), seconds(span.end));
            let how = if asked.query.how == How::Transcoded { "transcoded" } else { "remuxed" };
            format!("/v1/moments/{id}/video?start_s={start}&end_s={end}&how={how}&made={made}")
        }
    };
    Ok(Json(Shown {
        video,
        how: playback.how,
        begins_s: seconds(playback.begins),
        seek_s: seconds(playback.seek),
        ends_s: playback.ends.map(seconds),
    }))
}

#[utoipa::path(get, path = "/v1/moments/{id}/video", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = inline(Binary), content_type = "video/mp4", description = "a stretch around the moment"), (status = 206, body = inline(Binary), content_type = "video/mp4", description = "a part of it"), (status = 304, description = "it is as you know it"), (status = 416, description = "there is no such part"), Problems))]
pub(super) async fn video(
    State(service): State<Arc<Service>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    let span = asked.span()?;
    let path = service.player.video(&asked.found, span, asked.query.how, asked.query.made.as_deref()).await?;
    served(&path, "video/mp4", request).await
}

#[utoipa::path(get, path = "/v1/moments/{id}/clip", tag = "moments", params(("id" = Uuid, Path, description = "Id of a moment: that of its best window"), SpanQuery), responses((status = 200, body = inline(Binary), content_type = "video/mp4", description = "a file to keep"), (status = 206, body = inline(Binary), content_type = "video/mp4", description = "a part of it"), (status = 304, description = "it is as you know it"), (status = 416, description = "there is no such part"), Problems))]
pub(super) async fn clip(
    State(service): State<Arc<Service>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    let span = asked.span()?;
    let (path, name) = service.player.clip(&asked.found, span, asked.query.exact).await?;
    let mut response = served(&path, "video/mp4", request).await?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, attachment(&name));
    Ok(response)
}

/// The header by which a file is saved under this name (RFC 6266): once for those who take any character, and before it for
/// others.
fn attachment(name: &str) -> HeaderValue {
    let plain: String = name
        .chars()
        .map(|c| if (c == ' ' || c.is_ascii_graphic()) && !"\"\\%".contains(c) { c } else { '_' })
        .collect();
    let exact = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let text = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("attachment"))
}

/// A file by ranges.
async fn served(path: &FilePath, kind: &'static str, request: Request) -> Result<Response, Problem> {
    let mut response = ranges(path, kind, request).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, KEPT);
    Ok(response)
}

/// The same where the file may change.
pub(super) async fn ranges(path: &FilePath, kind: &'static str, request: Request) -> Result<Response, Problem> {
    let kind = kind.parse().map_err(|_| Problem::internal(format!("{kind}: not a media type")))?;
    let served = ServeFile::new_with_mime(path, &kind).try_call(request).await;
    let served = served.map_err(|error| Problem::internal(format!("the footage cannot be read: {error}")))?;
    if served.status() == StatusCode::NOT_FOUND {
        return Err(Problem::not_found("this footage was removed just now: ask for it again"));
    }
    Ok(served.map(Body::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attachments_are_safe() {
        let header = attachment("a \"b\" ü\r\n%.mp4");
        let text = header.to_str().unwrap();
        assert!(text.starts_with("attachment; filename=\"a _b_ _"), "{text}");
        assert!(text.ends_with("filename*=UTF-8''a%20%22b%22%20%C3%BC%0D%0A%25%2Emp4"), "{text}");
    }
}
