//! Finds the file behind a name in an annotation file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::EvalError;
use crate::source::walk::walk;

/// The video files below a folder, by file name and by file name without extension.
#[derive(Debug)]
pub struct Videos {
    root: PathBuf,
    by_name: HashMap<String, PathBuf>,
    by_stem: HashMap<String, PathBuf>,
    pub files: usize,
    /// Paths that could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Videos {
    pub fn below(root: &Path) -> Result<Self, EvalError> {
        if !root.is_dir() {
            return Err(EvalError::Asked(format!("{}: no such folder of videos", root.display())));
        }
        let found = walk(&[root.to_owned()]);
        let (mut by_name, mut by_stem) = (HashMap::new(), HashMap::new());
        // Of files with the same name, the first in the order of paths counts.
        for path in found.files.iter().rev() {
            for (map, part) in [(&mut by_name, path.file_name()), (&mut by_stem, path.file_stem())] {
                if let Some(part) = part {
                    map.insert(part.to_string_lossy().into_owned(), path.clone());
                }
            }
        }
        Ok(Self { root: root.to_owned(), by_name, by_stem, files: found.files.len(), unreadable: found.unreadable })
    }

    /// The first match of: this path below the folder; a file of this name anywhere below it; one with another
    /// extension, because data sets are often re-encoded into other containers.
    pub fn find(&self, names: &[String]) -> Option<PathBuf> {
        names.iter().find_map(|name| {
            let path = self.root.join(name);
            if path.is_file() {
                return std::path::absolute(&path).ok();
            }
            let last = name.rsplit('/').next().unwrap_or(name);
            let stem = Path::new(last).file_stem().unwrap_or_default().to_string_lossy();
            let found = self.by_name.get(last).or_else(|| self.by_stem.get(last));
            found.or_else(|| self.by_stem.get(stem.as_ref())).cloned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("movie")).unwrap();
        for name in ["video1.mp4", "video2.webm", "movie/0001_A_00.00.51.926-00.00.54.129.avi", "x@N00_1.mov.mp4"] {
            std::fs::write(root.join(name), "").unwrap();
        }
        let videos = Videos::below(root).unwrap();
        assert_eq!(videos.files, 4);
        let find = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            videos.find(&names).map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        };
        for (names, file) in [
            (&["video1"][..], Some("video1.mp4")),
            (&["video2.mp4"], Some("video2.webm")),
            (&["0001_A_00.00.51.926-00.00.54.129"], Some("0001_A_00.00.51.926-00.00.54.129.avi")),
            (&["movie/0001_A_00.00.51.926-00.00.54.129.avi"], Some("0001_A_00.00.51.926-00.00.54.129.avi")),
            (&["x@N00_1.mov"], Some("x@N00_1.mov.mp4")),
            (&["a/b/video1"], Some("video1.mp4")),
            (&["nothing", "video2"], Some("video2.webm")),
            (&["video3"], None),
        ] {
            assert_eq!(find(names).as_deref(), file, "{names:?}");
        }
        assert!(Videos::below(&root.join("nowhere")).unwrap_err().to_string().contains("no such folder"));
    }
}
