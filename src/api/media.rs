//! What is indexed.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use uuid::Uuid;

use super::Binary;
use super::access::{self, Asker};
use super::error::{Problem, Problems};
use super::moments::ranges;
use super::query::{self, Kind};
use crate::media::{self, Export, ListedPage, PAGE, RemoveRequest, Removed, SaidChange, Shown};
use crate::search::{Scores, SearchRequest};
use crate::service::Service;
use crate::service::jobs::{JobRequest, JobRow};
use crate::source::MediaId;

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// `next` of the page before.
    after: Option<String>,
    /// Rows that are read.
    #[param(minimum = 1, maximum = 10000)]
    limit: Option<usize>,
    /// Only those that failed; a page may then be empty although there are more.
    failed: bool,
}

#[utoipa::path(get, path = "/v1/media", operation_id = "list_media", tag = "media", params(ListQuery), responses((status = 200, body = ListedPage, description = "a page of the files and hours of streams that are known"), Problems))]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListedPage>, Problem> {
    let kinds = [("limit", Kind::Number), ("failed", Kind::Bool)];
    let ListQuery { after, limit, failed } = query::read(query.as_deref(), &kinds)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=10 * PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must lie between 1 and {}", 10 * PAGE)));
    }
    Ok(Json(media::list(&service.archive.ledger, after.as_deref(), limit, failed).await?))
}

#[utoipa::path(get, path = "/v1/media/{medium}", operation_id = "show_medium", tag = "media", params(("medium" = String, Path, description = "Id of a medium, or the path of a file, percent-encoded")), responses((status = 200, body = Shown, description = "all that is known of it"), Problems))]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    medium: Result<Path<String>, PathRejection>,
) -> Result<Json<Shown>, Problem> {
    let Path(medium) = medium?;
    Ok(Json(media::show(&service.archive, &medium).await?))
}

type Id = Result<Path<Uuid>, PathRejection>;

/// The file by ranges.
#[utoipa::path(get, path = "/v1/media/{medium}/file", operation_id = "medium_file", tag = "media", params(("medium" = Uuid, Path, description = "Id of a medium")), responses((status = 200, body = inline(Binary), content_type = "video/mp4", description = "the file, by ranges"), (status = 206, body = inline(Binary), content_type = "video/mp4", description = "a part of it"), (status = 304, description = "it is as you know it"), (status = 416, description = "there is no such part"), Problems))]
pub(super) async fn file(State(service): State<Arc<Service>>, id: Id, request: Request) -> Result<Response, Problem> {
    let Path(id) = id?;
    let (media, kind) = service.player.file(MediaId(id)).await?;
    // Not by its path, which could lead elsewhere by now.
    let opened = PathBuf::from(format!("/proc/self/fd/{}", media.file.as_raw_fd()));
    let mut response = ranges(&opened, kind, request).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Changes label and tags.
#[utoipa::path(patch, path = "/v1/media/{medium}", operation_id = "annotate_medium", tag = "media", params(("medium" = Uuid, Path, description = "Id of a medium")), request_body = SaidChange, responses((status = 200, body = Shown, description = "as it is now"), Problems))]
pub(super) async fn annotate(
    State(service): State<Arc<Service>>,
    id: Id,
    change: Result<Json<SaidChange>, JsonRejection>,
) -> Result<Json<Shown>, Problem> {
    let (Path(id), Json(change)) = (id?, change?);
    let annotating = tokio::spawn(async move { service.annotate(MediaId(id), &change).await });
    let shown = annotating.await.map_err(|panic| Problem::internal(panic.to_string()))?;
    Ok(Json(shown?))
}

/// Removes it from the index; its files stay.
#[utoipa::path(delete, path = "/v1/media/{medium}", operation_id = "remove_medium", tag = "media", params(("medium" = Uuid, Path, description = "Id of a medium")), responses((status = 200, body = Removed, description = "it is no longer in the index; its files stay"), Problems))]
pub(super) async fn remove_one(State(service): State<Arc<Service>>, id: Id) -> Result<Json<Removed>, Problem> {
    let Path(id) = id?;
    let request = RemoveRequest { media: vec![id.to_string()], ..RemoveRequest::default() };
    let removing = tokio::spawn(async move { service.remove(&request).await });
    let removed = removing.await.map_err(|panic| Problem::internal(panic.to_string()))?;
    Ok(Json(removed?))
}

/// Has it indexed again.
#[utoipa::path(post, path = "/v1/media/{medium}/reindex", operation_id = "reindex_medium", tag = "media", params(("medium" = Uuid, Path, description = "Id of a medium")), responses((status = 202, body = JobRow, description = "it was asked for"), Problems))]
pub(super) async fn reindex(
    State(service): State<Arc<Service>>,
    id: Id,
) -> Result<(StatusCode, Json<JobRow>), Problem> {
    let Path(id) = id?;
    media::show(&service.archive, &id.to_string()).await?;
    let id = service.jobs.ask(JobRequest::Reindex { media: MediaId(id), model: None })?;
    Ok((StatusCode::ACCEPTED, Json(service.jobs.row(id)?)))
}

/// How well every window of a medium answers a request.
#[utoipa::path(post, path = "/v1/media/{medium}/scores", operation_id = "medium_scores", tag = "media", params(("medium" = Uuid, Path, description = "Id of a medium")), request_body = SearchRequest, responses((status = 200, body = Scores, description = "how well each window answers"), Problems))]
pub(super) async fn scores(
    State(service): State<Arc<Service>>,
    id: Id,
    asker: Option<Extension<Asker>>,
    request: Result<Json<SearchRequest>, JsonRejection>,
) -> Result<Json<Scores>, Problem> {
    let (Path(id), Json(request)) = (id?, request?);
    access::check_model(asker.as_ref(), request.model.as_deref())?;
    Ok(Json(service.searchers.scores(request, MediaId(id)).await?))
}

#[utoipa::path(post, path = "/v1/media/remove", operation_id = "remove_media", tag = "media", request_body = RemoveRequest, responses((status = 200, body = Removed, description = "what is no longer in the index"), Problems))]
pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    request: Result<Json<RemoveRequest>, JsonRejection>,
) -> Result<Json<Removed>, Problem> {
    let Json(request) = request?;
    // Not cut off if the client leaves in the middle.
    let removing = tokio::spawn(async move { service.remove(&request).await });
    let removed = removing.await.map_err(|panic| Problem::internal(panic.to_string()))?;
    Ok(Json(removed?))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
struct ExportQuery {
    model: Option<String>,
    vectors: bool,
}

/// A line of JSON per window.
#[utoipa::path(get, path = "/v1/media/export", operation_id = "export_media", tag = "media", params(ExportQuery), responses((status = 200, body = String, content_type = "application/x-ndjson", description = "a line of JSON per window"), Problems))]
pub(super) async fn export(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let ExportQuery { model, vectors } = query::read(query.as_deref(), &[("vectors", Kind::Bool)])?;
    let chosen = service.parts.choose(model.as_deref(), Some(&service.archive.ledger)).await;
    let chosen = chosen.map_err(|error| Problem::bad_request(format!("{error:#}")))?;
    let export = Export::begin(Arc::clone(&service.archive), chosen.outline.collection(), vectors).await?;
    let lines = stream::try_unfold(export, |mut export| async {
        let lines = export.next().await.inspect_err(|error| tracing::warn!(%error, "an export was broken off"))?;
        Ok::<_, media::MediaError>(lines.map(|lines| (lines, export)))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}
