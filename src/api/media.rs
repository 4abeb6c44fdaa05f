//! What is indexed.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Problem;
use super::query::{self, Kind};
use crate::media::{self, Export, ListedPage, PAGE, RemoveRequest, Removed};
use crate::service::Service;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ListQuery {
    /// [`ListedPage::next`] of the page before.
    after: Option<String>,
    limit: Option<usize>,
    failed: bool,
}

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

pub(super) async fn show(
    State(service): State<Arc<Service>>,
    medium: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(medium) = medium?;
    Ok(Json(json!(media::show(&service.archive, &medium).await?)))
}

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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ExportQuery {
    model: Option<String>,
    vectors: bool,
}

/// A line of JSON per window.
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
