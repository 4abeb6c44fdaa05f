//! The durable record of what is indexed, how far and under which plan: one SQLite file, used by a thread of its own so
//! that no async worker waits for the disk.
//!
//! The ledger follows the store. A row of `progress` exists before the first record that it counts is written, and is
//! deleted after the last one is. It is set to done only when the store has confirmed all records. So even after a
//! crash the ledger knows every record in the store, and never claims more than is there.
//!
//! ```text
//! files (path, collection) ──media_id, next_media_id──▶ media ◀── progress (medium, collection, plan)
//!                                                                 writing → done → leaving → gone
//! ```
//!
//! [`files`] changes which content a path shows, [`paths`] finds paths by name, [`progress`] tracks how far records
//! are, [`live`] knows the hours of streams, `sources` those that were added. The transaction that removes the last path of a content also sets its records to leaving.

mod audit;
mod error;
mod files;
mod live;
mod paths;
mod progress;
mod rows;
mod sources;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use audit::{Claim, Counts};
pub use error::LedgerError;
pub use files::{Began, Writing};
pub use live::{Epoch, OpenHour};
pub use rows::{Failure, FailureKind, FileRow, FileState, MediaRow, Owned, Progress, ProgressState, Said};

use error::explain;

use crate::points;

pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

const SCHEMAS: [&str; 4] = [
    include_str!("migrations/1-begin.sql"),
    include_str!("migrations/2-paths.sql"),
    include_str!("migrations/3-live.sql"),
    include_str!("migrations/4-sources.sql"),
];

static MIGRATIONS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::from_iter(SCHEMAS.iter().map(|schema| M::up(schema))));

/// Marks the file as ours (SQLite's `application_id`); development versions before 0.1.0 left it at 0.
const APPLICATION_ID: i64 = 0x636c_7331;
/// Calls that may wait for the thread; further callers wait for a free place.
const QUEUE: usize = 64;
/// How long to wait while another process holds the file, such as a search while an index runs.
const BUSY: Duration = Duration::from_secs(10);

type Command = Box<dyn FnOnce(&mut Opened) + Send>;

pub struct Ledger {
    path: PathBuf,
    owner: Uuid,
    /// `None` only while dropping.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the file, creating it if it is missing. Fails if it is damaged, or of a version that is not supported.
    pub async fn open(path: &Path) -> Result<Self> {
        let (commands, mut queue) = mpsc::channel::<Command>(QUEUE);
        let (opened, owner) = oneshot::channel();
        let place = path.to_path_buf();
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            let (mut ledger, owner) = match Opened::new(place) {
                Ok(new) => new,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(owner));
            while let Some(command) = queue.blocking_recv() {
                command(&mut ledger);
            }
        });
        let thread = thread.map_err(|error| sqlite(path, format!("cannot start its thread: {error}")))?;
        let owner = owner.await.map_err(|_| sqlite(path, "its thread ended".to_owned()))??;
        Ok(Self { path: path.to_path_buf(), owner, commands: Some(commands), thread: Some(thread) })
    }

    /// The id under which this ledger owns collections.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.call(|connection| work(connection)).await
    }

    /// Runs `work` in one transaction, which is on disk on return.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.call(|connection| {
            // Immediate: a transaction that reads first and writes later fails if another process writes in between.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            points::pass("before the ledger commits");
            transaction.commit()?;
            points::pass("after the ledger committed");
            Ok(value)
        })
        .await
    }

    async fn call<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let gone = || sqlite(&self.path, "its thread ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let command: Command = Box::new(move |ledger| {
            // Fails if the caller was cancelled; the write counts all the same.
            let _ = reply.send(ledger.call(work));
        });
        self.commands.as_ref().ok_or_else(gone)?.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for Ledger {
    /// Waits until the last call is on disk.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread, and callers got an error.
            let _ = thread.join();
        }
    }
}

/// What the thread has open.
struct Opened {
    path: PathBuf,
    connection: Connection,
    /// Device and inode.
    file: (u64, u64),
}

impl Opened {
    fn new(path: PathBuf) -> Result<(Self, Uuid)> {
        let (connection, owner) = open(&path)?;
        let file = identity(&path).map_err(|error| sqlite(&path, error.to_string()))?;
        Ok((Self { path, connection, file }, owner))
    }

    fn call<T>(&mut self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T> {
        // SQLite would go on with a file that has no name any more, and all that is written would end with the process.
        if identity(&self.path).ok() != Some(self.file) {
            return Err(LedgerError::Moved { path: self.path.clone() });
        }
        work(&mut self.connection).map_err(|error| explain(&self.path, &error))
    }
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    path.metadata().map(|file| (file.dev(), file.ino()))
}

fn open(path: &Path) -> Result<(Connection, Uuid)> {
    let explain = |error: rusqlite::Error| explain(path, &error);
    let mut connection = Connection::open(path).map_err(explain)?;
    connection.busy_timeout(BUSY).map_err(explain)?;
    let pragma = |connection: &Connection, name: &str| {
        connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(explain)
    };
    let (ours, version) = (pragma(&connection, "application_id")?, pragma(&connection, "user_version")?);
    if ours != APPLICATION_ID && version != 0 {
        return Err(LedgerError::Outdated { path: path.to_path_buf() });
    }
    // With a write-ahead log, readers are not blocked and commits survive `kill -9`. Each commit is synced: if a power
    // failure took a commit back, the store would hold records that the ledger does not know.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(explain)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(explain)?;
    if version == 0 {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(explain)?;
    }
    match MIGRATIONS.to_latest(&mut connection) {
        Ok(()) => {}
        Err(rusqlite_migration::Error::MigrationDefinition(_)) => {
            let path = path.to_path_buf();
            return Err(LedgerError::Later { path, found: version, known: SCHEMAS.len() });
        }
        Err(rusqlite_migration::Error::RusqliteError { err, .. }) => return Err(explain(err)),
        Err(error) => return Err(sqlite(path, error.to_string())),
    }
    let owner = owner(&mut connection).map_err(explain)?;
    Ok((connection, owner))
}

fn owner(connection: &mut Connection) -> rusqlite::Result<Uuid> {
    use rusqlite::OptionalExtension;
    let known = |db: &Connection| db.query_row("SELECT owner FROM ledger", [], |row| row.get(0)).optional();
    if let Some(owner) = known(connection)? {
        return Ok(owner);
    }
    // Two processes may open a new folder at once; the id that is written first counts.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let owner = match known(&transaction)? {
        Some(owner) => owner,
        None => {
            let owner = Uuid::new_v4();
            transaction.execute("INSERT INTO ledger VALUES (?)", [owner])?;
            owner
        }
    };
    transaction.commit()?;
    Ok(owner)
}

fn sqlite(path: &Path, problem: String) -> LedgerError {
    LedgerError::Sqlite { path: path.to_path_buf(), problem }
}

#[cfg(test)]
mod tests;
