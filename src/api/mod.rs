//! The HTTP API of the daemon, a file per resource. [`error`] turns every error into a problem (RFC 9457), [`server`]
//! listens, [`client`] is what the commands use to speak to a daemon, over the socket that [`socket`] finds.
//!
//! | resource | what it does |
//! |---|---|
//! | `GET /livez`, `GET /readyz` | it runs; every source has been looked through once, or is away |
//! | `GET /metrics` | [`crate::metrics`] in Prometheus' text format |
//! | `GET`, `POST /v1/search` | what `search --json` prints |
//! | `GET /v1/media`, `/v1/media/{id or path}`, `/v1/media/export` | what `media list`, `show`, `export` print |
//! | `POST /v1/media/remove` | `media remove` |
//! | `GET /v1/sources` | what `sources --json` prints |
//! | `GET`, `POST /v1/jobs`, `GET`, `DELETE /v1/jobs/{id}` | `index`, `media retry`, `verify` |
//! | `GET /v1/events` | server-sent events: [`News`](crate::service::news::News) |

pub mod client;
mod error;
mod events;
mod health;
mod jobs;
mod media;
mod metrics;
mod query;
mod search;
pub mod server;
pub mod socket;
mod sources;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::service::Service;
use error::Problem;

/// Largest body: a picture to search by.
const MOST_BYTES: usize = 64 << 20;

pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::text))
        .route("/v1/search", get(search::get).post(search::post))
        .route("/v1/media", get(media::list))
        .route("/v1/media/export", get(media::export))
        .route("/v1/media/remove", post(media::remove))
        .route("/v1/media/{medium}", get(media::show))
        .route("/v1/sources", get(sources::list))
        .route("/v1/jobs", get(jobs::list).post(jobs::ask))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/v1/events", get(events::stream))
        .fallback(|| async { Problem::not_found("there is nothing at this address") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(service)
}
