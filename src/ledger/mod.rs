//! The durable record of what is indexed, how far and under which plan: one SQLite file behind a thread of its own, so
//! that nothing waits for a disk on an async worker.
//!
//! It moves only behind the store: a row of `progress` is there before the first record it counts is written, and goes
//! after the last one has left; it is called done only after the store has confirmed all records. So after a crash
//! nothing in the store is unknown to the ledger, and the ledger never claims more than is there.
//!
//! ```text
//! files (path, collection) ──media_id, next_media_id──▶ media ◀── progress (medium, collection, plan)
//!                                                                 writing → done → leaving → gone
//! ```
//!
//! [`files`] changes what paths stand for, [`paths`] finds them by name, [`progress`] has how far records are; what no path stands for any more is set to
//! leaving in the same transaction that takes its last path away.

mod audit;
mod error;
mod files;
mod paths;
mod progress;
mod rows;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use rusqlite_migration::{M, Migrations};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use audit::Claim;
pub use error::LedgerError;
pub use files::{Began, Writing};
pub use rows::{Failure, FailureKind, FileRow, FileState, MediaRow, Owned, Progress, ProgressState, Said};

use error::explain;

use crate::points;

pub type Result<T, E = LedgerError> = std::result::Result<T, E>;

const SCHEMAS: [&str; 2] = [include_str!("migrations/1-begin.sql"), include_str!("migrations/2-paths.sql")];

static MIGRATIONS: LazyLock<Migrations<'static>> =
    LazyLock::new(|| Migrations::from_iter(SCHEMAS.iter().map(|schema| M::up(schema))));

/// Marks the file as ours (SQLite's `application_id`); development versions before 0.1.0 left it at 0.
const APPLICATION_ID: i64 = 0x636c_7331;
/// Calls that may wait for the thread; more wait with their callers.
const QUEUE: usize = 64;
/// How long another process may hold the file, such as a search while an index runs.
const BUSY: Duration = Duration::from_secs(10);

type Command = Box<dyn FnOnce(&mut Connection) + Send>;

pub struct Ledger {
    path: PathBuf,
    owner: Uuid,
    /// `None` only while dropping.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Ledger {
    /// Opens the file, making it where it is missing.
    pub async fn open(path: &Path) -> Result<Self> {
        let (commands, mut queue) = mpsc::channel::<Command>(QUEUE);
        let (opened, owner) = oneshot::channel();
        let place = path.to_path_buf();
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
            let (mut connection, owner) = match open(&place) {
                Ok(open) => open,
                Err(error) => {
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(owner));
            while let Some(command) = queue.blocking_recv() {
                command(&mut connection);
            }
        });
        let thread = thread.map_err(|error| sqlite(path, format!("no thread for it: {error}")))?;
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

    /// All of it or nothing; on disk when it returns.
    async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.call(|connection| {
            // Immediate: a transaction that first reads and then finds another process writing could not be repeated.
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
        let command: Command = Box::new(move |connection| {
            // Nobody listens where the caller was cancelled; what was written stands all the same.
            let _ = reply.send(work(connection));
        });
        self.commands.as_ref().ok_or_else(gone)?.send(command).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(|error| explain(&self.path, &error))
    }
}

impl Drop for Ledger {
    /// Waits until the last call is on disk.
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook, and to the callers as an error.
            let _ = thread.join();
        }
    }
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
    // A write-ahead log: readers are not stopped, and what was committed survives `kill -9`; synced at each commit, since
    // a record that the store has and the ledger lost in a power failure would be unknown.
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
    // Two processes may open a new folder at once: the first one's id counts.
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
