//! What clipseek gives of a file, and what of it is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clipseek::decode::{ChildDecoder, Decoder, Interpolation, PixelSpec, Request, Resize, Sampling, Want, Zero};
use tokio_util::sync::CancellationToken;

use super::picture::{SIDE, spelled};
use super::recipe::Recipe;
use crate::support::EXE;

/// Time stamps of the coarsest containers are whole milliseconds.
const NEAR: Duration = Duration::from_millis(1);

fn request(path: &Path, sampling: Sampling, interval: Duration) -> Request {
    let side = SIDE as u32 / 2;
    Request {
        path: path.to_path_buf(),
        track: None,
        decode: true,
        want: Want::Every(interval),
        zero: Zero::Medium,
        sampling,
        tolerance: 0.0,
        from: Duration::ZERO,
        pixels: PixelSpec {
            width: side,
            height: side,
            resize: Resize::Stretch,
            interpolation: Interpolation::Bilinear,
            antialias: true,
        },
        thumbnail_px: None,
    }
}

/// Number and time of each frame that comes out.
fn given(path: &Path, sampling: Sampling, interval: Duration) -> Result<Vec<(Option<u32>, Duration)>, String> {
    let decoder = ChildDecoder::new(PathBuf::from(EXE));
    let request = request(path, sampling, interval);
    let frames = decoder.open(&request, CancellationToken::new()).map_err(|error| error.to_string())?;
    let frames = frames.map(|frame| frame.map(|frame| (spelled(&frame), frame.pts)));
    frames.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// What is wrong with a file, in words that are the same for the same fault.
pub(super) fn fault(recipe: &Recipe, path: &Path) -> Option<String> {
    let expected = recipe.times();
    let every = Duration::from_nanos(1);
    for sampling in [Sampling::All, Sampling::Gop, Sampling::Auto, Sampling::Keyframes] {
        let frames = match given(path, sampling, every) {
            Ok(frames) => frames,
            Err(error) => return Some(format!("{sampling}: {error}")),
        };
        if let Some(fault) = fault_of(&frames, &expected, sampling == Sampling::Keyframes) {
            return Some(format!("{sampling}: {fault}"));
        }
    }
    // Fewer frames are the same pictures at the same times, whatever is decoded to get them.
    let few = Duration::from_millis(330);
    match (given(path, Sampling::All, few), given(path, Sampling::Gop, few)) {
        (Ok(all), Ok(gop)) if all == gop => fault_of(&all, &expected, true).map(|fault| format!("few: {fault}")),
        (all, gop) => Some(format!("few: all and gop differ: {all:?} and {gop:?}")),
    }
}

/// `some`: not every frame has to be there.
fn fault_of(frames: &[(Option<u32>, Duration)], expected: &[Duration], some: bool) -> Option<String> {
    let damaged = frames.iter().filter(|(number, _)| number.is_none()).count();
    if damaged > 0 {
        return Some(format!("{damaged} of {} pictures are damaged", frames.len()));
    }
    let numbers: Vec<usize> = frames.iter().filter_map(|(number, _)| number.map(|number| number as usize)).collect();
    if numbers.is_empty() || !some && numbers.len() != expected.len() {
        return Some(format!("{} of {} frames", numbers.len(), expected.len()));
    }
    if !numbers.is_sorted_by(|a, b| a < b) || numbers.last().is_some_and(|last| *last >= expected.len()) {
        return Some("pictures in another order".to_owned());
    }
    let shift = |(number, time): (&usize, &Duration)| time.as_secs_f64() - expected[*number].as_secs_f64();
    let times: Vec<Duration> = frames.iter().map(|(_, time)| *time).collect();
    let shifts: Vec<f64> = numbers.iter().zip(&times).map(shift).collect();
    let near = |shift: &f64, to: f64| (shift - to).abs() <= NEAR.as_secs_f64();
    if shifts.iter().all(|shift| near(shift, 0.0)) {
        return None;
    }
    match shifts.iter().all(|shift| near(shift, shifts[0])) {
        true => Some("all times are shifted".to_owned()),
        false => Some("some times are wrong".to_owned()),
    }
}
