//! What one run of `index` asks for in place of the settings: flags of the command line, or fields of a job.

use serde::{Deserialize, Serialize};

use super::IndexSettings;
use crate::decode::Sampling;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    pub window: Option<WindowLength>,
    pub stride_secs: Option<f64>,
    /// Frames per window.
    pub frames: Option<usize>,
    pub sampling: Option<Sampling>,
}

/// Seconds, or the whole file as one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowLength {
    Whole,
    Secs(f64),
}

impl std::str::FromStr for WindowLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            Ok(seconds) => Ok(Self::Secs(seconds)),
            Err(_) if text == "whole" => Ok(Self::Whole),
            Err(_) => Err("a number of seconds, or \"whole\"".to_owned()),
        }
    }
}

impl Overrides {
    pub fn apply(&self, index: &mut IndexSettings) {
        match self.window {
            Some(WindowLength::Whole) => {
                index.window_whole = true;
                (index.window_secs, index.stride_secs, index.stride_frames) = (None, None, None);
            }
            Some(WindowLength::Secs(seconds)) => {
                index.window_whole = false;
                index.window_secs = Some(seconds);
            }
            None => {}
        }
        if let Some(stride) = self.stride_secs {
            (index.stride_secs, index.stride_frames) = (Some(stride), None);
        }
        index.frames = self.frames.or(index.frames);
        index.sampling = self.sampling.unwrap_or(index.sampling);
    }
}
