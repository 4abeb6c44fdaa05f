//! Who may do what, over the network. The socket in the data folder is its owner's alone and asks nobody.
//!
//! What must hold:
//!
//! - Without a token in the settings the daemon listens on this machine only (`config` sees to it), and whoever is here may do
//!   everything. With one, nobody may do anything without it but load the page.
//! - Tokens are compared by their digests, all of them, in a time that says nothing of where they differ.
//! - A browser gets in by a link that works once: it gets a session, which is kept in memory and ends with the daemon.
//! - Pages of other sites cannot do anything: not by a name of their own for this machine, not by a form, not by a script.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::error::{Problem, Problems};
use super::query;
use crate::clock::Clock;
use crate::config::{Role, Settings};
use crate::service::Service;

pub(super) const COOKIE: &str = "clipseek";
/// How long a link waits to be used, and a session lasts.
const LINK_FOR: Duration = Duration::from_secs(15 * 60);
const SESSION_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Links and sessions at once; the oldest goes first.
const MOST: usize = 1000;

type Digested = [u8; 32];

pub struct Access {
    tokens: Vec<(Role, Digested)>,
    /// Only this machine is listened to.
    is_loopback: bool,
    /// Connections are encrypted.
    pub(super) is_secure: bool,
    links: Mutex<HashMap<Digested, Granted>>,
    sessions: Mutex<HashMap<Digested, Granted>>,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Granted {
    role: Role,
    until: Duration,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    Role(Role),
}

impl Access {
    /// The settings have been checked.
    pub fn new(settings: &Settings, clock: Clock) -> Arc<Self> {
        let tokens = settings.token.iter().filter_map(|token| Some((token.role, token.digest()?))).collect();
        Arc::new(Self {
            tokens,
            is_loopback: settings.serve.listen.ip().is_loopback(),
            is_secure: settings.serve.tls_cert.is_some(),
            links: Mutex::default(),
            sessions: Mutex::default(),
            clock,
        })
    }

    /// Whether anybody has to show a token.
    pub fn is_guarded(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// The path of a link by which a browser gets in once.
    pub fn link(&self, role: Role) -> String {
        let code = secret();
        self.keep(&self.links, &code, role, LINK_FOR);
        format!("/login?code={code}")
    }

    fn keep(&self, all: &Mutex<HashMap<Digested, Granted>>, secret: &str, role: Role, length: Duration) {
        let (now, mut all) = (self.clock.passed(), lock(all));
        all.retain(|_, granted| granted.until > now);
        while all.len() >= MOST {
            let Some(oldest) = all.iter().min_by_key(|(_, granted)| granted.until).map(|(key, _)| *key) else { break };
            all.remove(&oldest);
        }
        all.insert(digest(secret), Granted { role, until: now + length });
    }

    /// The session that a link's code gives.
    fn session(&self, code: &str) -> Option<String> {
        let granted = lock(&self.links).remove(&digest(code)).filter(|granted| granted.until > self.clock.passed())?;
        let session = secret();
        self.keep(&self.sessions, &session, granted.role, SESSION_FOR);
        Some(session)
    }

    /// What whoever sends these headers may do; `None`: nothing.
    fn role(&self, headers: &HeaderMap) -> Option<Role> {
        if !self.is_guarded() {
            return Some(Role::Admin);
        }
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        if let Some(token) = text(header::AUTHORIZATION).and_then(bearer) {
            let digest = digest(token);
            // All are compared, whichever fits.
            let fits = |(role, known): &(Role, Digested)| bool::from(known.ct_eq(&digest)).then_some(*role);
            return self.tokens.iter().map(fits).fold(None, |found, role| found.max(role));
        }
        // Looked up by its digest, of which a time says nothing.
        let session = text(header::COOKIE).and_then(cookie).map(digest)?;
        let granted = lock(&self.sessions).get(&session).copied()?;
        (granted.until > self.clock.passed()).then_some(granted.role)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 244 random bits.
pub fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// As the settings have it.
pub fn sha256_hex(secret: &str) -> String {
    digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(secret: &str) -> Digested {
    Sha256::digest(secret).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(header: &str) -> Option<&str> {
    let named = |pair: &str| pair.trim().split_once('=').is_some_and(|(name, _)| name == COOKIE);
    header.split(';').find(|pair| named(pair)).and_then(|pair| pair.trim().split_once('=')).map(|(_, value)| value)
}

fn need(method: &Method, path: &str) -> Need {
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    let is_data = path.starts_with("/v1/") || path == "/metrics";
    let is_asking = *method == Method::POST
        && (path == "/v1/search" || path.starts_with("/v1/media/") && path.ends_with("/scores"));
    match (is_reading, is_data) {
        (true, false) => Need::Nothing,
        (true, true) => Need::Role(Role::Read),
        (false, _) if is_asking => Need::Role(Role::Read),
        (false, _) => Need::Role(Role::Admin),
    }
}

pub(super) async fn check(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or(request.uri().authority().map(|place| place.as_str())).unwrap_or_default();
    if access.is_loopback && !is_here(host) {
        return Problem::forbidden(format!("this is no name of this machine: {host:?}")).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) && !is_same_site(headers, host) {
        return Problem::forbidden("pages of other sites may not ask for this").into_response();
    }
    let role = access.role(headers);
    if let Need::Role(needed) = need(request.method(), request.uri().path()) {
        match role {
            None => return unknown(),
            Some(role) if role < needed => {
                return Problem::forbidden("this token may only read: that needs one whose role is admin")
                    .into_response();
            }
            Some(_) => {}
        }
    }
    request.extensions_mut().insert(Asker { role, is_guarded: access.is_guarded() });
    next.run(request).await
}

fn unknown() -> Response {
    let remedy = "send a token (Authorization: Bearer …), or open the link that the daemon printed at its start; \
                  `clipseek token link` makes another";
    let mut response = Problem::unauthorized(format!("who is asking? {remedy}")).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Who asks, for handlers.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    role: Option<Role>,
    is_guarded: bool,
}

/// Whoever comes over the network names a model: only the owner, who comes by the socket, may name a folder of this machine.
pub(super) fn check_model(asker: Option<&Extension<Asker>>, model: Option<&str>) -> Result<(), Problem> {
    match model.filter(|model| asker.is_some() && model.contains(['/', '\\'])) {
        Some(model) => {
            Err(Problem::bad_request(format!("{model}: give the name of a model (`GET /v1/models` lists them)")))
        }
        None => Ok(()),
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Session {
    /// Null: nothing.
    role: Option<Role>,
    /// Whether anybody has to show a token.
    needs_token: bool,
    /// Whether the settings let whoever asks add some folder, and some stream.
    can_add_folders: bool,
    can_add_streams: bool,
}

/// What a page may offer to whoever looks at it. Over the socket there is nobody to ask.
#[utoipa::path(get, path = "/v1/session", operation_id = "session", tag = "daemon", responses((status = 200, body = Session, description = "what whoever asks may do"), Problems))]
pub(super) async fn asker(State(service): State<Arc<Service>>, asker: Option<Extension<Asker>>) -> Json<Session> {
    let Asker { role, is_guarded } = asker.map_or(Asker { role: Some(Role::Admin), is_guarded: false }, |it| it.0);
    let (serve, is_admin) = (&service.parts.settings.serve, role == Some(Role::Admin));
    Json(Session {
        role,
        needs_token: is_guarded,
        can_add_folders: is_admin && !serve.add_folders.is_empty(),
        can_add_streams: is_admin && !serve.add_schemes.is_empty() && !serve.add_hosts.is_empty(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LoginQuery {
    code: String,
}

/// The other end of a link.
pub(super) async fn login(State(access): State<Arc<Access>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let LoginQuery { code } = query::read(query.as_deref(), &[])?;
    let Some(session) = access.session(&code) else {
        let remedy = "`clipseek token link` makes another";
        return Err(Problem::unauthorized(format!("this link was used already, or is too old: {remedy}")));
    };
    let secure = if access.is_secure { "; Secure" } else { "" };
    let age = SESSION_FOR.as_secs();
    let cookie = format!("{COOKIE}={session}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}");
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Problem::internal(error.to_string()))?;
    let place = HeaderValue::from_static("/");
    let headers = [(header::SET_COOKIE, cookie), (header::LOCATION, place)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// Browsers say where a request comes from; other programs say nothing.
fn is_same_site(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, place)| place.eq_ignore_ascii_case(host));
    text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"))
        && text("origin").is_none_or(is_own)
}

fn is_here(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenSettings;

    fn access(tokens: &[(&str, Role)]) -> Arc<Access> {
        let token = |(secret, role): &(&str, Role)| TokenSettings {
            name: (*secret).to_owned(),
            role: *role,
            sha256: sha256_hex(secret),
        };
        let settings = Settings { token: tokens.iter().map(token).collect(), ..Settings::default() };
        Access::new(&settings, Clock::manual())
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "localhost:7700", "127.0.0.1:7700", "[::1]:7700", "[::1]", "127.0.0.2"] {
            assert!(is_here(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:7700", "192.168.0.1", "[2001:db8::1]:80"] {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn a_token_gives_its_role_and_nothing_else_does() {
        let none = access(&[]);
        assert_eq!(none.role(&HeaderMap::new()), Some(Role::Admin));
        let some = access(&[("phone", Role::Read), ("desk", Role::Admin)]);
        let role = |value: &str| some.role(&headers(header::AUTHORIZATION, value));
        assert_eq!(role("Bearer phone"), Some(Role::Read));
        assert_eq!(role("bearer desk"), Some(Role::Admin));
        for wrong in ["Bearer ", "Bearer phon", "Bearer phone2", "Basic phone", "phone"] {
            assert_eq!(role(wrong), None, "{wrong}");
        }
        assert_eq!(some.role(&HeaderMap::new()), None);
    }

    #[test]
    fn a_link_works_once_and_its_session_for_a_while() {
        let access = access(&[("desk", Role::Admin)]);
        let link = access.link(Role::Read);
        let code = link.split_once("code=").unwrap().1;
        let session = access.session(code).unwrap();
        assert!(access.session(code).is_none(), "used already");
        let of = |session: &str| access.role(&headers(header::COOKIE, &format!("a=b; {COOKIE}={session}")));
        assert_eq!(of(&session), Some(Role::Read));
        assert_eq!(of("x"), None);
        let late = access.link(Role::Read);
        access.clock.advance(LINK_FOR + Duration::from_secs(1));
        assert!(access.session(late.split_once("code=").unwrap().1).is_none(), "too old");
        access.clock.advance(SESSION_FOR);
        assert_eq!(of(&session), None);
    }

    #[test]
    fn what_changes_something_needs_an_admin() {
        let need = |method: &str, path: &str| need(&method.parse().unwrap(), path);
        for (method, path) in [("GET", "/"), ("GET", "/main.js"), ("GET", "/livez"), ("HEAD", "/login")] {
            assert_eq!(need(method, path), Need::Nothing, "{method} {path}");
        }
        let reading =
            [("GET", "/v1/search"), ("POST", "/v1/search"), ("POST", "/v1/media/x/scores"), ("GET", "/metrics")];
        for (method, path) in reading {
            assert_eq!(need(method, path), Need::Role(Role::Read), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/v1/jobs"),
            ("DELETE", "/v1/media/x"),
            ("PATCH", "/v1/media/x"),
            ("POST", "/v1/media/remove"),
            ("POST", "/v1/sources/x/pause"),
            ("POST", "/"),
        ] {
            assert_eq!(need(method, path), Need::Role(Role::Admin), "{method} {path}");
        }
    }

    #[test]
    fn other_sites_change_nothing() {
        let same = |headers: &HeaderMap| is_same_site(headers, "127.0.0.1:7700");
        assert!(same(&HeaderMap::new()), "a program");
        assert!(same(&headers(header::ORIGIN, "http://127.0.0.1:7700")));
        assert!(!same(&headers(header::ORIGIN, "http://evil.example")));
        assert!(!same(&headers(header::ORIGIN, "null")));
        let fetched = |site: &str| same(&headers(header::HeaderName::from_static("sec-fetch-site"), site));
        assert!(fetched("same-origin") && fetched("none") && !fetched("cross-site") && !fetched("same-site"));
    }
}
