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
//! | `GET /openapi.json` | all of this for programs ([`document`]) |
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
use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::handler::Handler;
use axum::http::header;
use axum::middleware;
use axum::routing::get;
use tower_http::compression::CompressionLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi, ToSchema, openapi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
use access::Access;
use error::Problem;
use limits::Limits;

/// Largest body, and largest picture to search by.
const MOST_BYTES: usize = 1 << 20;
const MOST_PICTURE: usize = 32 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "clipseek",
        description = "Type what happens, get the moment. Errors are problems (RFC 9457) whose `detail` says what to do instead. \
                       Where the daemon has tokens, each request needs one: `Authorization: Bearer …`, or the session that a \
                       browser gets by a link of the daemon."
    ),
    components(schemas(Problem)),
    modifiers(&Tokens),
    security((), ("token" = []), ("session" = []))
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("token", token);
        let session = SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(access::COOKIE)));
        components.add_security_scheme("session", session);
    }
}

/// For everybody but the owner.
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

fn span(request: &Request) -> Span {
    tracing::warn_span!("request", method = %request.method(), path = request.uri().path(), otel.kind = "server")
}

/// For the owner, who comes by the socket.
pub fn router(service: Arc<Service>, access: &Arc<Access>) -> Router {
    let (router, document) = described();
    let text = document.to_json().unwrap_or_default();
    let described = get(|| async { ([(header::CONTENT_TYPE, "application/json")], text) });
    router
        .route("/openapi.json", described)
        .fallback(page::file.layer(CompressionLayer::new()))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        // What is asked for may be private, so no query is told.
        .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
        .with_state(Shared { service, access: Arc::clone(access) })
}

/// The description of the API (OpenAPI 3.1), as `GET /openapi.json` answers it.
pub fn document() -> String {
    described().1.to_pretty_json().unwrap_or_default()
}

/// Every address, with what is answered there.
fn described() -> (Router<Shared>, openapi::OpenApi) {
    let (router, mut document) = resources().split_for_parts();
    merge_tagged(&mut document);
    (router, document)
}

fn resources() -> OpenApiRouter<Shared> {
    let search = OpenApiRouter::new().routes(routes!(search::get, search::post));
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::text))
        .merge(search.layer(DefaultBodyLimit::max(MOST_PICTURE)))
        .routes(routes!(media::list))
        .routes(routes!(media::export))
        .routes(routes!(media::remove))
        .routes(routes!(media::show, media::annotate, media::remove_one))
        .routes(routes!(media::reindex))
        .routes(routes!(media::file))
        .routes(routes!(media::scores))
        .routes(routes!(moments::show))
        .routes(routes!(moments::thumbnail))
        .routes(routes!(moments::preview))
        .routes(routes!(moments::playback))
        .routes(routes!(moments::video))
        .routes(routes!(moments::clip))
        .routes(routes!(sources::list, sources::add))
        .routes(routes!(sources::remove))
        .routes(routes!(sources::pause))
        .routes(routes!(sources::resume))
        .routes(routes!(jobs::list, jobs::ask))
        .routes(routes!(jobs::show, jobs::cancel))
        .routes(routes!(events::stream))
        .routes(routes!(models::list))
        .routes(routes!(models::version))
        .routes(routes!(access::asker))
        .routes(routes!(links::make))
}

/// The bytes of a picture or a video, in descriptions.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
struct Binary(#[expect(dead_code, reason = "it only describes")] Vec<u8>);

/// A variant of a tagged enum that is a struct of its own is described as "all of" the struct and an object with the tag.
/// A struct that allows no other keys does not allow the tag then, and generators of clients give up: it becomes one object.
fn merge_tagged(document: &mut openapi::OpenApi) {
    let Some(components) = &mut document.components else { return };
    let known = components.schemas.clone();
    let object = |part: &RefOr<Schema>| match part {
        RefOr::T(Schema::Object(object)) => Some(object.clone()),
        RefOr::T(_) => None,
        RefOr::Ref(to) => match known.get(to.ref_location.rsplit('/').next()?) {
            Some(RefOr::T(Schema::Object(object))) => Some(object.clone()),
            _ => None,
        },
    };
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::OneOf(one_of)) = schema else { continue };
        for variant in &mut one_of.items {
            let RefOr::T(Schema::AllOf(all_of)) = variant else { continue };
            let Some(parts) = all_of.items.iter().map(object).collect::<Option<Vec<_>>>() else { continue };
            let merged = parts.into_iter().reduce(|mut merged, part| {
                merged.properties.extend(part.properties);
                merged.required.extend(part.required);
                merged
            });
            if let Some(mut merged) = merged {
                merged.title = all_of.title.take();
                *variant = RefOr::T(Schema::Object(merged));
            }
        }
    }
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    access: Arc<Access>,
}

impl FromRef<Shared> for Arc<Service> {
    fn from_ref(shared: &Shared) -> Self {
        Arc::clone(&shared.service)
    }
}

impl FromRef<Shared> for Arc<Access> {
    fn from_ref(shared: &Shared) -> Self {
        Arc::clone(&shared.access)
    }
}
