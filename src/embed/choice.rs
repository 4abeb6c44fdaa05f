//! Chooses the bundle to use.

use std::path::Path;

use super::BundleError;
use super::bundle::{Bundles, Outline, name_of_dir};

/// The bundle that comes with clipseek.
const SHIPPED: &str = "shapes";

/// A bundle that was chosen; only its manifest has been read.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The name to find it by later: its name, or the absolute path of its folder.
    pub name: String,
    pub outline: Outline,
    /// The models that were indexed with, if there are several and none was asked for.
    pub passed_over: Vec<String>,
}

impl Bundles {
    /// Chooses the bundle asked for; else the only one of `indexed_with`; else the shipped one.
    pub fn choose(&self, asked: Option<&str>, mut indexed_with: Vec<String>) -> Result<Chosen, BundleError> {
        indexed_with.sort();
        indexed_with.dedup();
        let (name, passed_over) = match (asked, indexed_with.as_slice()) {
            (Some(name), _) => (name.to_owned(), Vec::new()),
            (None, [only]) => (only.clone(), Vec::new()),
            (None, _) => (SHIPPED.to_owned(), indexed_with),
        };
        let outline = self.outline(&name)?;
        if !Path::new(&name).is_dir() {
            return Ok(Chosen { name, outline, passed_over });
        }
        // A folder is remembered by its absolute path, so that it is found from other folders.
        let unnamed = |error: std::io::Error| BundleError { bundle: name.clone(), problem: error.to_string() };
        let name = name_of_dir(Path::new(&name)).map_err(unnamed)?;
        Ok(Chosen { name, outline, passed_over })
    }
}
