//! Listening: on the socket that only its owner can open, and on an address, encrypted where there is a certificate.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use nix::sys::stat::{Mode, umask};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::config::ServeSettings;

/// How long a client may take to say what it wants.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);

pub struct Listeners {
    socket: UnixListener,
    tcp: TcpListener,
    tls: Option<RustlsConfig>,
    pub path: PathBuf,
    pub address: SocketAddr,
}

impl Listeners {
    /// Whoever calls this holds the lock of the data folder: a socket that is there was left by a daemon that was killed.
    pub async fn bind(path: PathBuf, settings: &ServeSettings) -> Result<Self, String> {
        let address = settings.listen;
        let on = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("cannot listen on {address}: another program does: choose another address with --listen")
            }
            _ => format!("cannot listen on {address}: {error}"),
        };
        let tls = match (&settings.tls_cert, &settings.tls_key) {
            (Some(cert), Some(key)) => Some(RustlsConfig::from_pem_file(cert, key).await.map_err(|error| {
                let (cert, key) = (cert.display(), key.display());
                format!("the certificate {cert} with the key {key} cannot be used: {error}")
            })?),
            _ => None,
        };
        let tcp = TcpListener::bind(address).map_err(on)?;
        tcp.set_nonblocking(true).map_err(on)?;
        let address = tcp.local_addr().map_err(on)?;
        let socket = bind(&path).map_err(|error| format!("cannot make the socket {}: {error}", path.display()))?;
        Ok(Self { socket, tcp, tls, path, address })
    }

    /// What a browser is told, without a path.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers until `stop` is cancelled and requests under way have been answered. `router` is for the owner, `guarded` for
    /// everybody else.
    pub async fn serve(self, router: Router, guarded: Router, stop: CancellationToken) -> io::Result<()> {
        let Self { socket, tcp, tls, path, .. } = self;
        let handle = Handle::new();
        let on_socket = axum::serve(socket, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let service = guarded.into_make_service_with_connect_info::<SocketAddr>();
        let on_address = async {
            match tls {
                Some(tls) => {
                    let mut server = axum_server::from_tcp_rustls(tcp, tls)?.handle(handle.clone());
                    patient(server.http_builder());
                    server.serve(service).await
                }
                None => {
                    let mut server = axum_server::from_tcp(tcp)?.handle(handle.clone());
                    patient(server.http_builder());
                    server.serve(service).await
                }
            }
        };
        let ending = async {
            stop.cancelled().await;
            handle.graceful_shutdown(None);
        };
        let (on_socket, on_address, ()) = tokio::join!(on_socket.into_future(), on_address, ending);
        let _ = std::fs::remove_file(&path);
        on_socket.and(on_address)
    }
}

/// Clients that open a connection and say nothing do not hold it for ever.
fn patient(builder: &mut hyper_util::server::conn::auto::Builder<hyper_util::rt::TokioExecutor>) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
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
