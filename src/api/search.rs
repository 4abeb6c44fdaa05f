//! Searching. A picture to search by is the body of a `POST` with its own content type; the rest of the request is then
//! in the query.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Binary;
use super::access::{self, Asker};
use super::error::{Problem, Problems};
use super::query::{self, Kind};
use crate::search::{Answer, Exact, Placed, SearchRequest};
use crate::service::Service;

/// Asks for an [`Answered`] instead.
pub(super) const EXACT: &str = "application/vnd.clipseek.answer+json";

/// What the command line needs of an answer beyond the JSON that it prints.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answered {
    #[serde(flatten)]
    pub(super) answer: Answer,
    /// Of each moment.
    pub(super) exact: Vec<Exact>,
}

const KINDS: [(&str, Kind); 8] = [
    ("limit", Kind::Number),
    ("rerank", Kind::Number),
    ("min_confidence", Kind::Number),
    ("diversity", Kind::Number),
    ("group", Kind::Bool),
    ("texts", Kind::List),
    ("not", Kind::List),
    ("tags", Kind::List),
];

#[utoipa::path(get, path = "/v1/search", operation_id = "search", tag = "search", params(SearchRequest), responses((status = 200, body = Answer, description = "moments, best first"), Problems))]
pub(super) async fn get(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request: SearchRequest = query::read(query.as_deref(), &KINDS)?;
    access::check_model(asker.as_ref(), request.model.as_deref())?;
    answer(&service, request, &headers).await
}

#[utoipa::path(post, path = "/v1/search", operation_id = "search_by", tag = "search", request_body(content((SearchRequest = "application/json"), (inline(Binary) = "image/*")), description = "What is looked for. A picture to search by (JPEG, PNG or WebP) is the whole body; the rest of the request is then in the query."), responses((status = 200, body = Answer, description = "moments, best first"), Problems))]
pub(super) async fn post(
    State(service): State<Arc<Service>>,
    RawQuery(query): RawQuery,
    asker: Option<Extension<Asker>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let request: SearchRequest = if kind.starts_with("application/json") {
        serde_json::from_slice(&body).map_err(|error| Problem::bad_request(error.to_string()))?
    } else if kind.starts_with("image/") {
        let request: SearchRequest = query::read(query.as_deref(), &KINDS)?;
        SearchRequest { picture: Some(body.to_vec()), ..request }
    } else {
        return Err(Problem::bad_request(
            "the body must be application/json, or a picture (image/jpeg, image/png, image/webp)",
        ));
    };
    access::check_model(asker.as_ref(), request.model.as_deref())?;
    answer(&service, request, &headers).await
}

async fn answer(service: &Service, request: SearchRequest, headers: &HeaderMap) -> Result<Response, Problem> {
    let limit = service.parts.settings.serve.query_secs;
    let answer = tokio::time::timeout(Duration::from_secs_f64(limit), service.search(request)).await;
    let answer = answer.map_err(|_| {
        Problem::unavailable(format!("the search took longer than {limit} s (serve.query_secs): ask for less"))
    })??;
    if headers.get(header::ACCEPT).is_some_and(|accepted| accepted == EXACT) {
        let exact = answer.moments.iter().map(Placed::exact).collect();
        return Ok(Json(Answered { answer, exact }).into_response());
    }
    // As a value: scores then have the same digits as the command line prints.
    Ok(Json(json!(answer)).into_response())
}
