//! What of a medium was not read as it should have been: data, not text, so that it can be listed, counted and shown
//! beside the span that it concerns.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = FootageProblem)]
pub struct Problem {
    pub kind: ProblemKind,
    /// From the start of the medium, in seconds; absent where the problem concerns no span that is known.
    pub start_s: Option<f64>,
    pub end_s: Option<f64>,
    /// What a person should know, in words.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The header was damaged and was read with repairs.
    HeaderRepaired,
    /// The edit list of an MP4 or MOV file asks for something that was not done.
    EditList,
    /// Bytes are missing at the end of the file.
    CutShort,
    /// Video was found up to a time well before the end that the container promises.
    EndsEarly,
    /// Reading stopped at an error before the end of the file.
    Unreadable,
    /// There is more video in the file than the track that was taken.
    TrackNotTaken,
    /// The decoder stopped and could not be started again.
    DecoderFailed,
    /// Frames that were wanted could not be decoded.
    FramesMissing,
    /// The decoder complained about damaged data.
    DamagedData,
    /// More than a day without a picture: the time stamps are broken, nothing is indexed in between.
    TimeGap,
    /// The model gave no vector with a direction for a window.
    NoDirection,
}

impl Problem {
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, start_s: None, end_s: None, detail: detail.into() }
    }

    pub fn between(self, start: Duration, end: Duration) -> Self {
        Self { start_s: Some(start.as_secs_f64()), end_s: Some(end.as_secs_f64()), ..self }
    }
}

impl std::fmt::Display for ProblemKind {
    /// As in JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)?;
        match (self.start_s, self.end_s) {
            (Some(start), Some(end)) => write!(f, " ({start:.1} s to {end:.1} s)"),
            _ => Ok(()),
        }
    }
}
