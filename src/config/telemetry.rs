//! `[telemetry]`: where traces go.

use serde::{Deserialize, Serialize};

use crate::secret::SecretUrl;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Collector that traces are sent to, by OTLP over gRPC, such as `http://localhost:4317`; unset: no traces are made.
    pub otlp_url: Option<SecretUrl>,
}

impl TelemetrySettings {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let Some(url) = &self.otlp_url else { return };
        if cfg!(not(feature = "otlp")) {
            problems.push("telemetry.otlp_url: this clipseek was built without the feature \"otlp\"".to_owned());
        }
        if !["http://", "https://"].iter().any(|scheme| url.expose().starts_with(scheme)) {
            problems.push("telemetry.otlp_url must begin with http:// or https://".to_owned());
        }
    }
}
