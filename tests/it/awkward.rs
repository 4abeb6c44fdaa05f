//! What comes out of a file is what went in, at its time.
//!
//! Files are drawn by number from what containers, codecs and programs do: orders of frames, rates, gaps, sound before or
//! beside the video, late starts, two tracks, pictures of two fields, hidden frames, none but coded frames. Every picture spells its number in black and white blocks, so a picture that is
//! lost, doubled, damaged or at another one's time is told. The same number is the same file everywhere.
//! `CLIPSEEK_AWKWARD_FILES` says how many are made, `CLIPSEEK_AWKWARD_KEEP` names a folder where those are kept that are
//! not what went in.

mod bits;
mod check;
mod gif;
mod h264_fields;
mod make;
mod mpeg2_fields;
mod picture;
mod recipe;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use gstreamer as gst;

use check::fault;
use recipe::{Codec, Recipe};

const FILES: usize = 60;
const THREADS: usize = 4;

/// Faults that are known, each with its reason; what is repaired is taken off the list.
fn known(recipe: &Recipe, fault: &str) -> Option<&'static str> {
    let Recipe { codec, gap, .. } = *recipe;
    if matches!(codec, Codec::Vp8 { .. }) && gap.is_some() && fault.starts_with("keyframes: ") {
        return Some("key frames of VP8 behind a gap give pictures of other frames");
    }
    None
}

#[test]
fn what_comes_out_is_what_went_in_at_its_time() {
    gst::init().unwrap();
    let files = std::env::var("CLIPSEEK_AWKWARD_FILES").map_or(FILES, |number| number.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let faults = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= files {
                        break;
                    }
                    let recipe = Recipe::numbered(number);
                    let path = dir.path().join(format!("{number}.{}", recipe.ending()));
                    recipe.make(&path);
                    if let Some(fault) = fault(&recipe, &path) {
                        if let Some(keep) = std::env::var_os("CLIPSEEK_AWKWARD_KEEP").map(PathBuf::from) {
                            std::fs::copy(&path, keep.join(path.file_name().unwrap())).unwrap();
                        }
                        faults.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (recipe, fault));
                    }
                    let _ = std::fs::remove_file(&path);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    let (known_ones, new): (Vec<_>, Vec<_>) =
        faults.iter().partition(|(_, (recipe, fault))| known(recipe, fault).is_some());
    for (number, (recipe, fault)) in known_ones {
        println!("{number}: {fault} (known: {}): {recipe:?}", known(recipe, fault).unwrap());
    }
    for (number, (recipe, fault)) in &new {
        println!("{number}: {fault}: {recipe:?}");
    }
    assert!(new.is_empty(), "{} of {files} files are not what went in", new.len());
}
