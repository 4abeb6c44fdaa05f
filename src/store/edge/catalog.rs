//! The collections of an embedded store: one folder each, under a common folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::folder::Folder;
use super::stored::Stored;
use super::{EdgeStore, io_failed};
use crate::store::catalog::check_name;
use crate::store::{Catalog, CollectionSpec, Found, IndexParams, StoreError, VectorStore};

#[derive(Clone)]
pub struct EdgeCatalog {
    dir: PathBuf,
    namespace: String,
    index: IndexParams,
}

impl EdgeCatalog {
    pub fn new(dir: &Path, namespace: &str, index: IndexParams) -> Self {
        Self { dir: dir.to_owned(), namespace: namespace.to_owned(), index }
    }

    fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        check_name(name)?;
        Ok(self.dir.join(format!("{}{name}", self.namespace)))
    }

    fn found(&self) -> Result<Vec<Found>, StoreError> {
        let failed = |error: io::Error| io_failed(&self.dir, &error);
        let folders = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            folders => folders.map_err(failed)?,
        };
        let mut found = Vec::new();
        for folder in folders {
            let folder = folder.map_err(failed)?;
            let file_name = folder.file_name();
            let Some(name) = file_name.to_str().and_then(|name| name.strip_prefix(&self.namespace)) else { continue };
            if let Some(stored) = Stored::read(&folder.path())?.filter(|stored| stored.namespace == self.namespace) {
                found.push(stored.found(name));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn open_blocking(&self, collection: &CollectionSpec) -> Result<EdgeStore, StoreError> {
        let folder = Folder::lock(self.folder(&collection.name)?)?;
        let opened = folder.open(&self.namespace, collection, &self.index)?;
        EdgeStore::new(opened, self.index)
    }

    /// Runs on the blocking pool: the disk may be slow, and opening takes seconds for millions of records.
    async fn blocking<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(Self) -> Result<T, StoreError> + Send + 'static,
    {
        let catalog = self.clone();
        tokio::task::spawn_blocking(move || job(catalog)).await.map_err(|error| StoreError::Other(error.to_string()))?
    }
}

#[async_trait]
impl Catalog for EdgeCatalog {
    fn takes_any_owner(&self) -> bool {
        true
    }

    async fn list(&self) -> Result<Vec<Found>, StoreError> {
        self.blocking(|catalog| catalog.found()).await
    }

    async fn open(&self, collection: &CollectionSpec) -> Result<Arc<dyn VectorStore>, StoreError> {
        let collection = collection.clone();
        self.blocking(move |catalog| Ok(Arc::new(catalog.open_blocking(&collection)?) as Arc<dyn VectorStore>)).await
    }

    async fn open_existing(&self, name: &str, owner: Uuid) -> Result<Option<Arc<dyn VectorStore>>, StoreError> {
        let name = name.to_owned();
        self.blocking(move |catalog| {
            let Some(stored) = Stored::read(&catalog.folder(&name)?)? else { return Ok(None) };
            let collection = CollectionSpec { owner, ..stored.spec(&name) };
            Ok(Some(Arc::new(catalog.open_blocking(&collection)?) as Arc<dyn VectorStore>))
        })
        .await
    }

    async fn adopt(&self, name: &str, owner: Uuid) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.blocking(move |catalog| {
            let folder = catalog.folder(&name)?;
            if Stored::read(&folder)?.is_none() { Ok(()) } else { Folder::lock(folder)?.adopt(owner) }
        })
        .await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.blocking(move |catalog| {
            let folder = catalog.folder(&name)?;
            if folder.exists() { Folder::lock(folder)?.remove() } else { Ok(()) }
        })
        .await
    }
}
