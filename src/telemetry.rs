//! Diagnostics on standard error, and traces to a collector. `CLIPSEEK_LOG` takes the usual filter syntax
//! (`clipseek=debug,ort=warn`).
//!
//! Spans: `request` for each request of the API, with `search` and its parts; `medium` for each file that is indexed, with
//! what the model and the store do for it. Those two are told with every message of theirs, the others only to a collector.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::TelemetrySettings;

const VARIABLE: &str = "CLIPSEEK_LOG";
/// Target of what a daemon tells people: where it listens, what becomes of its sources.
pub const TOLD: &str = "clipseek::told";

/// Who reads what is said on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    People,
    /// A line of JSON with the time for each message.
    Programs,
}

impl Reader {
    /// Of a daemon: people look at terminals, programs collect the rest.
    pub fn of_daemon() -> Self {
        if io::stderr().is_terminal() { Self::People } else { Self::Programs }
    }
}

/// `verbosity`: -1 errors, 0 warnings, 1 information, 2 and more debugging. A filter in the environment overrides it;
/// an invalid filter is reported on standard error and ignored. Call in a Tokio runtime.
///
/// # Errors
///
/// If traces cannot be sent to what the settings name.
pub fn init(verbosity: i8, reader: Reader, settings: &TelemetrySettings) -> Result<Traces, String> {
    let level = match verbosity {
        ..=-1 => "error",
        // The embedded engine warns of flags that only its server sets, and logs each log file it opens.
        0 => "warn,ort=error,qdrant_edge=error,clipseek::told=info",
        1 => "info,ort=warn,qdrant_edge=error,rusqlite_migration=warn",
        _ => "debug",
    };
    let asked = filter(std::env::var_os(VARIABLE).as_deref()).unwrap_or_else(|problem| {
        let _ = writeln!(io::stderr(), "{VARIABLE} is not followed: {problem}");
        None
    });
    let said = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        // Colours are for people: a log that goes to a file or a journal has none.
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
        // Otherwise it would report them with a macro that panics when standard error is closed.
        .log_internal_errors(false);
    let said = match reader {
        Reader::People => said.without_time().with_target(false).boxed(),
        Reader::Programs => said.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let (traces, exporter) = exporter(settings)?;
    tracing_subscriber::registry()
        .with(said.with_filter(asked.unwrap_or_else(|| EnvFilter::new(level))))
        .with(exporter)
        .init();
    Ok(traces)
}

/// The filter of a variable's value, if it has one.
fn filter(value: Option<&OsStr>) -> Result<Option<EnvFilter>, String> {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().ok_or_else(|| format!("{value:?} is not UTF-8"))?;
    EnvFilter::try_new(text).map(Some).map_err(|error| format!("{text:?}: {error}"))
}

pub use export::Traces;
use export::exporter;

#[cfg(feature = "otlp")]
mod export {
    use std::time::Duration;

    use opentelemetry::trace::TracerProvider;
    use opentelemetry_otlp::{SpanExporter, WithExportConfig};
    use opentelemetry_sdk::Resource;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::registry::LookupSpan;

    use super::TelemetrySettings;

    /// How long the last traces may take at the end of the program.
    const LAST_WITHIN: Duration = Duration::from_secs(5);

    /// Traces on their way to the collector.
    pub struct Traces(Option<SdkTracerProvider>);

    impl Traces {
        /// Sends what is left.
        pub async fn end(self) {
            let Some(provider) = self.0 else { return };
            let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WITHIN)).await;
            if let Ok(Err(error)) = ended {
                tracing::warn!(%error, "the last traces could not be sent");
            }
        }
    }

    type Exporter<S> = Box<dyn Layer<S> + Send + Sync>;

    pub(super) fn exporter<S>(settings: &TelemetrySettings) -> Result<(Traces, Option<Exporter<S>>), String>
    where
        S: tracing::Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    {
        let Some(url) = &settings.otlp_url else { return Ok((Traces(None), None)) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(url.expose()).build();
        let exporter = exporter.map_err(|error| format!("telemetry.otlp_url: {url} cannot be used: {error}"))?;
        let who = Resource::builder()
            .with_service_name("clipseek")
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(who).build();
        // Spans of the program itself: those of its libraries, the exporter's among them, are not asked for.
        let own = Targets::new().with_target("clipseek", tracing::Level::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("clipseek")).with_filter(own);
        Ok((Traces(Some(provider)), Some(layer.boxed())))
    }
}

#[cfg(not(feature = "otlp"))]
mod export {
    use tracing_subscriber::layer::Identity;

    use super::TelemetrySettings;

    /// None: this build sends no traces.
    pub struct Traces;

    impl Traces {
        pub async fn end(self) {}
    }

    pub(super) fn exporter(_: &TelemetrySettings) -> Result<(Traces, Identity), String> {
        Ok((Traces, Identity::new()))
    }
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
