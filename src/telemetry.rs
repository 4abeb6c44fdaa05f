//! Diagnostics on standard error. `CLIPSEEK_LOG` takes the usual filter syntax (`clipseek=debug,ort=warn`).

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

const VARIABLE: &str = "CLIPSEEK_LOG";

/// `verbosity`: -1 errors, 0 warnings, 1 information, 2 and more debugging. A filter in the environment overrides it;
/// an invalid filter is reported on standard error and ignored.
pub fn init(verbosity: i8) {
    let level = match verbosity {
        ..=-1 => "error",
        // The embedded engine warns of flags that only its server sets, and logs each log file it opens.
        0 => "warn,ort=error,qdrant_edge=error",
        1 => "info,ort=warn,qdrant_edge=error",
        _ => "debug",
    };
    let asked = filter(std::env::var_os(VARIABLE).as_deref()).unwrap_or_else(|problem| {
        let _ = writeln!(io::stderr(), "{VARIABLE} is not followed: {problem}");
        None
    });
    tracing_subscriber::fmt()
        .with_env_filter(asked.unwrap_or_else(|| EnvFilter::new(level)))
        .with_writer(io::stderr)
        // Colours are for people: a log that goes to a file or a journal has none.
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        // Otherwise it would report them with a macro that panics when standard error is closed.
        .log_internal_errors(false)
        .without_time()
        .with_target(false)
        .init();
}

/// The filter of a variable's value, if it has one.
fn filter(value: Option<&OsStr>) -> Result<Option<EnvFilter>, String> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().ok_or_else(|| format!("{value:?} is not UTF-8"))?;
    EnvFilter::try_new(text).map(Some).map_err(|error| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_filter_is_followed_or_its_problem_told() {
        assert!(filter(None).unwrap().is_none() && filter(Some(OsStr::new(""))).unwrap().is_none());
        assert_eq!(filter(Some(OsStr::new("clipseek=debug"))).unwrap().unwrap().to_string(), "clipseek=debug");
        for wrong in [&b"clipseek=loud"[..], b"a=b=c", b"\xff"] {
            assert!(filter(Some(OsStr::from_bytes(wrong))).is_err(), "{wrong:?}");
        }
    }
}
