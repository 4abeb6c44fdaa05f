//! Every error as a problem in JSON (RFC 9457). `detail` is what the command line would print.

use std::error::Error;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as OpenApiResponse, ResponseBuilder};

use crate::ledger::LedgerError;
use crate::media::MediaError;
use crate::play::PlayError;
use crate::search::SearchError;
use crate::service::RemoveError;
use crate::service::added::SourceError;
use crate::service::jobs::JobError;

/// Seconds after which it is worth asking again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct Problem {
    pub(super) title: String,
    pub(super) status: u16,
    pub(super) detail: String,
}

impl Problem {
    fn new(status: StatusCode, detail: String) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Self { title, status: status.as_u16(), detail }
    }

    fn of(status: StatusCode, error: &dyn Error) -> Self {
        Self::new(status, chain(error))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail.into())
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail.into())
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not take this method".to_owned())
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail.into())
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail.into())
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail.into())
    }

    pub(super) fn too_many(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail.into())
    }

    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail.into())
    }

    /// An error that is nobody's fault but ours or the machine's.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail.into())
    }
}

/// Whatever cannot be answered as it was asked, for the description of the API.
pub(super) struct Problems;

impl utoipa::IntoResponses for Problems {
    fn responses() -> std::collections::BTreeMap<String, RefOr<OpenApiResponse>> {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = ResponseBuilder::new()
            .description("a problem (RFC 9457): `detail` says what to do instead")
            .content("application/problem+json", content)
            .build();
        [("default".to_owned(), RefOr::T(response))].into()
    }
}

/// An error with its causes, as the command line prints it.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text += &format!(": {cause}");
        next = cause.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(status = self.status, "{}", self.detail);
        }
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        let status = match &error {
            SearchError::Invalid(_) | SearchError::NoFeatures { .. } => StatusCode::BAD_REQUEST,
            SearchError::QueueFull { .. } | SearchError::QueuedTooLong { .. } => StatusCode::SERVICE_UNAVAILABLE,
            SearchError::NoCollection(_) => StatusCode::NOT_FOUND,
            SearchError::Expired => StatusCode::GONE,
            SearchError::Bundle(_)
            | SearchError::Embed(_)
            | SearchError::Store(_)
            | SearchError::Ledger(_)
            | SearchError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl From<PlayError> for Problem {
    fn from(error: PlayError) -> Self {
        let status = match &error {
            PlayError::NoSuchMoment(_) | PlayError::NoSuchMedium(_) | PlayError::NoFootage(_) => StatusCode::NOT_FOUND,
            PlayError::Invalid(_) => StatusCode::BAD_REQUEST,
            PlayError::Unplayable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            PlayError::QueueFull { .. } | PlayError::QueuedTooLong { .. } | PlayError::TookTooLong { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            PlayError::Store(_) | PlayError::Ledger(_) | PlayError::Disk { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl From<MediaError> for Problem {
    fn from(error: MediaError) -> Self {
        let status = match &error {
            MediaError::NotIndexed(_) | MediaError::NoSuchMedium(_) | MediaError::NoCollection(_) => {
                StatusCode::NOT_FOUND
            }
            MediaError::NoPlace(_) => StatusCode::BAD_REQUEST,
            MediaError::SaidBySource(_) | MediaError::NotAgain(..) => StatusCode::CONFLICT,
            MediaError::Archive(_) | MediaError::Ledger(_) | MediaError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        let status = match &error {
            JobError::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            JobError::NoSuchJob(_) => StatusCode::NOT_FOUND,
            JobError::Busy { .. } => StatusCode::CONFLICT,
        };
        Self::of(status, &error)
    }
}

impl From<RemoveError> for Problem {
    fn from(error: RemoveError) -> Self {
        match error {
            RemoveError::Busy(error) => error.into(),
            RemoveError::Media(error) => error.into(),
        }
    }
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        let status = match &error {
            SourceError::NoSuchSource(_) => StatusCode::NOT_FOUND,
            SourceError::Taken(_) | SourceError::Configured(_) => StatusCode::CONFLICT,
            SourceError::NotAllowed(_) => StatusCode::FORBIDDEN,
            SourceError::Secret(_) | SourceError::Settings(_) => StatusCode::UNPROCESSABLE_ENTITY,
            SourceError::Sources(_) | SourceError::Ledger(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        Self::of(StatusCode::INTERNAL_SERVER_ERROR, &error)
    }
}

impl From<JsonRejection> for Problem {
    fn from(error: JsonRejection) -> Self {
        let text = error.body_text();
        let JsonRejection::JsonDataError(_) = error else { return Self::new(error.status(), text) };
        // What is wrong with a value stands behind the library's own words, before a place in a body of one line.
        let text = text.strip_prefix("Failed to deserialize the JSON body into the target type: ").unwrap_or(&text);
        let text = text.split(" at line 1 column ").next().unwrap_or(text);
        Self::new(error.status(), text.to_owned())
    }
}

impl From<BytesRejection> for Problem {
    fn from(error: BytesRejection) -> Self {
        Self::new(error.status(), error.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(error: PathRejection) -> Self {
        Self::new(error.status(), error.body_text())
    }
}
