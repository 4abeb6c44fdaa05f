//! Diagnostics on standard error. `CLIPSEEK_LOG` takes the usual filter syntax (`clipseek=debug,ort=warn`).

use tracing_subscriber::EnvFilter;

/// `verbosity`: -1 errors only, 0 warnings, 1 what happens, 2 and more everything.
pub fn init(verbosity: i8) {
    let level = match verbosity {
        ..=-1 => "error",
        0 => "warn,ort=error",
        1 => "info,ort=warn",
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
