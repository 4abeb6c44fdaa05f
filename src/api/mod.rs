//! The HTTP API of the daemon, a file per resource. [`error`] turns every error into a problem (RFC 9457), [`access`]
//! knows who may do what, `limits` how much, [`server`] listens, [`client`] is what the commands use to speak to a daemon, over the socket that [`socket`] finds.
//!
//! | resource | what it does |
//! |---|---|
//! | `GET /` and all that no other address answers | the web page ([`page`]) |
//! | `GET /livez`, `GET /readyz` | it runs; every source has been looked through once, or is away |
//! | `GET /metrics` | [`crate::metrics`] in Prometheus' text format |
//! | `GET`, `POST /v1/search` | what `search --json` prints |
//! | `GET /v1/media`, `/v1/media/{id or path}`, `/v1/media/export` | what `media list`, `show`, `export` print |
//! | `POST /v1/media/remove` | `media remove` |
//! | `PATCH`, `DELETE /v1/media/{id}`, `POST /v1/media/{id}/reindex` | another label, other tags; out of the index; again into it |
//! | `GET /v1/media/{id}/file` | the file itself, by ranges |
//! | `POST /v1/media/{id}/scores` | how well every window of it answers a request |
//! | `GET /v1/moments/{id}` | a moment, by the id of its best window; `?start_s=&end_s=` where it is wider |
//! | `GET /v1/moments/{id}/thumbnail`, `/preview`, `/clip` | a picture, a small silent video, a file to keep |
//! | `GET /v1/moments/{id}/playback`, `/video` | what a `<video>` element is to play, and that, where it is not the file |
//! | `GET /v1/sources` | what `sources --json` prints |
//! | `POST /v1/sources`, `DELETE /v1/sources/{name}`, `POST /v1/sources/{name}/pause`, `/resume` | sources besides those of the settings |
//! | `GET /v1/session`, `POST /v1/links` | what whoever asks may do; a link by which a browser gets in once |
//! | `GET /v1/models`, `/v1/version` | `model list`, and what runs here |
//! | `GET`, `POST /v1/jobs`, `GET`, `DELETE /v1/jobs/{id}` | `index`, `media retry`, `verify` |
//! | `GET /v1/events` | server-sent events: [`News`](crate::service::news::News) |

pub mod access;
pub mod client;
mod error;
mod events;
mod health;
mod jobs;
mod limits;
mod links;
mod media;
mod metrics;
mod models;
mod moments;
mod page;
mod query;
mod search;
pub mod server;
pub mod socket;
mod sources;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post};

use crate::service::Service;
use access::Access;
use error::Problem;
use limits::Limits;

/// Largest body, and largest picture to search by.
const MOST_BYTES: usize = 1 << 20;
const MOST_PICTURE: usize = 32 << 20;

/// The same for everybody but the owner.
pub fn guarded(service: Arc<Service>, access: &Arc<Access>) -> Router {
    let limits = Limits::new(&service.parts.settings.serve);
    let login = get(access::login).with_state(Arc::clone(access));
    // The last of these is the first that a request meets.
    router(service, access)
        .route("/login", login)
        .layer(middleware::from_fn_with_state(Arc::clone(access), access::check))
        .layer(middleware::from_fn_with_state(limits, limits::keep))
        .layer(middleware::map_response(page::with_rules))
}

/// For the owner, who comes by the socket.
pub fn router(service: Arc<Service>, access: &Arc<Access>) -> Router {
    let links = post(links::make).with_state((Arc::clone(&service), Arc::clone(access)));
    let search = get(search::get).post(search::post).layer(DefaultBodyLimit::max(MOST_PICTURE));
    Router::new()
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::text))
        .route("/v1/session", get(access::asker))
        .route("/v1/links", links)
        .route("/v1/search", search)
        .route("/v1/media", get(media::list))
        .route("/v1/media/export", get(media::export))
        .route("/v1/media/remove", post(media::remove))
        .route("/v1/media/{medium}", get(media::show).patch(media::annotate).delete(media::remove_one))
        .route("/v1/media/{medium}/reindex", post(media::reindex))
        .route("/v1/media/{medium}/file", get(media::file))
        .route("/v1/media/{medium}/scores", post(media::scores))
        .route("/v1/moments/{id}", get(moments::show))
        .route("/v1/moments/{id}/thumbnail", get(moments::thumbnail))
        .route("/v1/moments/{id}/preview", get(moments::preview))
        .route("/v1/moments/{id}/playback", get(moments::playback))
        .route("/v1/moments/{id}/video", get(moments::video))
        .route("/v1/moments/{id}/clip", get(moments::clip))
        .route("/v1/sources", get(sources::list).post(sources::add))
        .route("/v1/sources/{name}", delete(sources::remove))
        .route("/v1/sources/{name}/pause", post(sources::pause))
        .route("/v1/sources/{name}/resume", post(sources::resume))
        .route("/v1/models", get(models::list))
        .route("/v1/version", get(models::version))
        .route("/v1/jobs", get(jobs::list).post(jobs::ask))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::cancel))
        .route("/v1/events", get(events::stream))
        .fallback(page::file)
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .with_state(service)
}
