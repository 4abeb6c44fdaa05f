//! The names of watched folders: whose files are whose.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Names of sources that are folders. Clones share them: they change while a daemon runs.
#[derive(Clone, Debug, Default)]
pub struct FolderNames(Arc<RwLock<Vec<(String, PathBuf)>>>);

impl FolderNames {
    pub fn set(&self, folders: impl IntoIterator<Item = (String, PathBuf)>) {
        let folders = folders.into_iter().map(|(name, path)| (name, real(&path))).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = folders;
    }

    /// The folder of this name, and those in it that have names of their own.
    pub fn folder(&self, name: &str) -> Option<(PathBuf, Vec<PathBuf>)> {
        let folders = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (_, root) = folders.iter().find(|(other, _)| other == name)?;
        let inner = folders.iter().map(|(_, other)| other).filter(|other| *other != root && other.starts_with(root));
        Some((root.clone(), inner.cloned().collect()))
    }

    /// The name of the innermost folder that has this file in it.
    pub fn of(&self, file: &Path) -> Option<String> {
        let folders = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let holding = folders.iter().filter(|(_, root)| file.starts_with(root));
        holding.max_by_key(|(_, root)| root.as_os_str().len()).map(|(name, _)| name.clone())
    }
}

/// With links resolved as far as it is there, because the paths of files are.
pub fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_folder_has_the_file() {
        let names = FolderNames::default();
        let pair = |name: &str, path: &str| (name.to_owned(), PathBuf::from(path));
        names.set([pair("all", "/nowhere/v"), pair("inner", "/nowhere/v/in"), pair("beside", "/nowhere/vv")]);
        assert_eq!(names.of(Path::new("/nowhere/v/in/a.mp4")).as_deref(), Some("inner"));
        assert_eq!(names.of(Path::new("/nowhere/v/other/a.mp4")).as_deref(), Some("all"));
        assert_eq!(names.of(Path::new("/elsewhere/a.mp4")), None);
        assert_eq!(names.folder("all").unwrap().1, [PathBuf::from("/nowhere/v/in")]);
        assert!(names.folder("none").is_none());
    }
}
