//! Which files of a watched folder are taken.

use std::path::{Path, PathBuf};

use super::Stat;
use super::glob::PathGlob;
use super::walk::{Found, clean, is_hidden, looks_like_video, walk_some};

/// A folder and the files in it that belong to one source.
#[derive(Clone, Debug)]
pub struct Folder {
    /// With its links resolved, as the paths of its files are.
    pub root: PathBuf,
    /// Folders in it that belong to other sources.
    pub others: Vec<PathBuf>,
    /// Files must match one of these, where there are any.
    pub include: Vec<PathGlob>,
    pub exclude: Vec<PathGlob>,
}

impl Folder {
    /// Whether a folder, or a file whatever its name, may be this source's.
    fn may_hold(&self, path: &Path) -> bool {
        !self.others.iter().any(|other| path.starts_with(other))
    }

    fn is_wanted(&self, file: &Path) -> bool {
        (self.include.is_empty() || self.include.iter().any(|glob| glob.matches(file)))
            && !self.exclude.iter().any(|glob| glob.matches(file))
    }

    /// Whether something that happened to this path may concern the source: it is below the root, and nothing on the
    /// way to it is hidden.
    pub fn concerns(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.root) else { return false };
        self.may_hold(path) && !below.iter().any(is_hidden)
    }

    /// The one path of a file, if it is to be taken.
    pub fn take(&self, path: &Path) -> Option<PathBuf> {
        let path = clean(path);
        (self.concerns(&path) && self.is_wanted(&path) && looks_like_video(&path).is_ok()).then_some(path)
    }

    /// Looks through `dir`, the root or a folder in it.
    pub fn walk(&self, dir: &Path) -> (Vec<(PathBuf, Stat)>, Found) {
        let mut found = walk_some(&[dir.to_path_buf()], &|path| self.may_hold(path));
        let files = std::mem::take(&mut found.files);
        let files = files.into_iter().filter(|path| self.is_wanted(path));
        // One that has vanished meanwhile is none.
        (files.filter_map(|path| Stat::of(&path).ok().map(|stat| (path, stat))).collect(), found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_other_sources_and_unwanted_patterns_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for name in ["a.mp4", "b.mkv", "notes.txt", ".c.mp4", ".d/e.mp4", "inner/f.mp4", "trash/g.mp4", "sub/h.mp4"] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        let glob = |pattern| PathGlob::new(pattern).unwrap();
        let folder = Folder {
            root: root.clone(),
            others: vec![root.join("inner")],
            include: vec![glob("*.mp4")],
            exclude: vec![glob("trash/**")],
        };
        let (files, _) = folder.walk(&root);
        let paths: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [root.join("a.mp4"), root.join("sub/h.mp4")]);
        let all = walk_some(std::slice::from_ref(&root), &|_| true).files;
        for path in all.iter().chain([&root.join(".c.mp4"), &root.join(".d/e.mp4"), &root.join("notes.txt")]) {
            assert_eq!(folder.take(path).is_some(), paths.contains(path), "{path:?}");
        }
        assert_eq!(folder.take(Path::new("/elsewhere/a.mp4")), None);
    }
}
