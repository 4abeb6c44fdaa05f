//! Listening: on the socket that only its owner can open, and on an address of this machine.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::error::Problem;

pub struct Listeners {
    socket: UnixListener,
    tcp: TcpListener,
    pub path: PathBuf,
    pub address: SocketAddr,
}

impl Listeners {
    /// Whoever calls this holds the lock of the data folder: a socket that is there was left by a daemon that was killed.
    pub async fn bind(path: PathBuf, address: SocketAddr) -> Result<Self, String> {
        let on = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("cannot listen on {address}: another program does: choose another address with --listen")
            }
            _ => format!("cannot listen on {address}: {error}"),
        };
        let tcp = TcpListener::bind(address).await.map_err(on)?;
        let address = tcp.local_addr().map_err(on)?;
        let socket = bind(&path).map_err(|error| format!("cannot make the socket {}: {error}", path.display()))?;
        Ok(Self { socket, tcp, path, address })
    }

    /// Answers until `stop` is cancelled and requests under way have been answered.
    pub async fn serve(self, router: Router, stop: CancellationToken) -> io::Result<()> {
        let Self { socket, tcp, path, .. } = self;
        let until = |stop: &CancellationToken| stop.clone().cancelled_owned();
        let guarded = router.clone().layer(middleware::from_fn(from_here));
        let (on_socket, on_address) = tokio::join!(
            axum::serve(socket, router).with_graceful_shutdown(until(&stop)),
            axum::serve(tcp, guarded).with_graceful_shutdown(until(&stop)),
        );
        let _ = std::fs::remove_file(&path);
        on_socket.and(on_address)
    }
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("there is a file of that name that is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // So that nobody else can open it at any time. Files that another thread makes in this moment are as private.
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Web pages of other sites must not speak to this machine under a name of their own (DNS rebinding).
async fn from_here(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if is_here(host) {
        return next.run(request).await;
    }
    Problem::forbidden(format!("this is no name of this machine: {host:?}")).into_response()
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

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "localhost:7700", "127.0.0.1:7700", "[::1]:7700", "[::1]", "127.0.0.2"] {
            assert!(is_here(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:7700", "192.168.0.1", "[2001:db8::1]:80"] {
            assert!(!is_here(host), "{host}");
        }
    }
}
