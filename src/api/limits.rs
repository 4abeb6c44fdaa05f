//! How much may be asked over the network: requests at once, and requests of one client in a time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;

use super::error::Problem;
use crate::config::ServeSettings;

/// From so many clients on, those that have been quiet are forgotten.
const MANY_CLIENTS: usize = 10_000;

pub(super) struct Limits {
    at_once: Semaphore,
    rate: Option<DefaultKeyedRateLimiter<IpAddr>>,
}

impl Limits {
    pub(super) fn new(settings: &ServeSettings) -> Arc<Self> {
        let quota = NonZeroU32::new(settings.rate_per_sec).map(|rate| {
            let burst = NonZeroU32::new(settings.rate_burst).unwrap_or(rate).max(rate);
            Quota::per_second(rate).allow_burst(burst)
        });
        Arc::new(Self { at_once: Semaphore::new(settings.requests), rate: quota.map(RateLimiter::keyed) })
    }

    /// How long this client has to wait.
    fn wait(&self, client: IpAddr) -> Option<Duration> {
        let rate = self.rate.as_ref()?;
        if rate.len() > MANY_CLIENTS {
            rate.retain_recent();
        }
        rate.check_key(&network(client)).err().map(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

pub(super) async fn keep(
    State(limits): State<Arc<Limits>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(wait) = limits.wait(client.ip()) {
        let seconds = wait.as_secs() + 1;
        let mut response =
            Problem::too_many(format!("too many requests (serve.rate_per_sec): wait {seconds} s")).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return response;
    }
    let Ok(_one) = limits.at_once.try_acquire() else {
        return Problem::unavailable("too many requests at once (serve.requests): try again in a moment")
            .into_response();
    };
    next.run(request).await
}

/// Whoever has one address of version 6 has many of the same network.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(_) => client.to_canonical(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_rate_of_its_own() {
        let limits = Limits::new(&ServeSettings { rate_per_sec: 1, rate_burst: 2, ..ServeSettings::default() });
        let client = |text: &str| text.parse::<IpAddr>().unwrap();
        let waits = |text: &str| limits.wait(client(text)).is_some();
        assert!(!waits("10.0.0.1") && !waits("10.0.0.1") && waits("10.0.0.1"));
        assert!(waits("::ffff:10.0.0.1"), "the same, written otherwise");
        assert!(!waits("10.0.0.2"));
        assert!(!waits("2001:db8::1") && !waits("2001:db8::2") && waits("2001:db8::3"), "one network");
        let free = Limits::new(&ServeSettings { rate_per_sec: 0, ..ServeSettings::default() });
        assert!((0..5000).all(|_| free.wait(client("10.0.0.1")).is_none()));
    }
}
