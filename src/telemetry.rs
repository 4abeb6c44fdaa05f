//! Diagnostics on standard error. `CLIPSEEK_LOG` takes the usual filter syntax (`clipseek=debug,ort=warn`).

use tracing_subscriber::EnvFilter;

/// `verbosity`: -1 errors only, 0 warnings, 1 what happens, 2 and more everything.
pub fn init(verbosity: i8) {
    let level = match verbosity {
        ..=-1 => "error",
        // The engine warns of flags that only its server sets, and tells each log file it opens.
        0 => "warn,ort=error,qdrant_edge=error",
        1 => "info,ort=warn,qdrant_edge=error",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("CLIPSEEK_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
}
