//! A SQLite file with one writer: what is answered is on the disk, and calls that come together share one fsync.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

/// Runs inside the open transaction and returns how to answer, which is called after the commit.
type Job = Box<dyn FnOnce(&Connection) -> Box<dyn FnOnce() + Send> + Send>;

/// At most so many writes share one commit.
const BATCH: usize = 128;

/// The writer of one SQLite file. Clones share it.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::SyncSender<Job>,
}

impl Writer {
    /// Opens or creates the file and starts its thread.
    pub(crate) fn open(path: &Path, schema: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // NORMAL would survive a `kill -9`, but not the loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(schema)?;
        let (jobs, queue) = mpsc::sync_channel(1024);
        std::thread::spawn(move || commit_batches(&connection, &queue));
        Ok(Self { jobs })
    }

    /// Runs `work` in a transaction and returns when it is durable. Nothing of it stays when it returns an error.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = within_savepoint(connection, work);
            // A caller that has gone away does not want the answer.
            Box::new(move || drop(answer.send(result)))
        });
        let closed = || E::from(rusqlite::Error::InvalidQuery);
        // The queue is longer than callers are many; a full one means that the disk has stopped.
        self.jobs.try_send(job).map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn commit_batches(connection: &Connection, queue: &mpsc::Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let answers = connection.execute_batch("BEGIN IMMEDIATE").map(|()| {
            let batch = std::iter::once(first).chain(queue.try_iter()).take(BATCH);
            batch.map(|job| job(connection)).collect::<Vec<_>>()
        });
        match answers.and_then(|answers| connection.execute_batch("COMMIT").map(|()| answers)) {
            Ok(answers) => answers.into_iter().for_each(|answer| answer()),
            // The answers were dropped, so every caller of the batch hears that it failed. What a failed commit or
            // fsync left behind is for SQLite's recovery to find out: the process ends and is started again.
            Err(error) => {
                eprintln!("the store failed: {error}");
                std::process::exit(1);
            }
        }
    }
}

fn within_savepoint<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.execute_batch("SAVEPOINT job")?;
    let result = work(connection);
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO job")?;
    }
    connection.execute_batch("RELEASE job")?;
    result
}

/// Opens a file to look at it. Fails where there is none.
pub(crate) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

/// Holds a file for as long as this process lives, however it ends: the lock is the system's, on an open SQLite file.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Connection,
}

impl Lock {
    /// Waits up to `patience` for whoever holds it. `None` when they still do.
    pub(crate) fn acquire(path: &Path, patience: Duration) -> rusqlite::Result<Option<Self>> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(patience)?;
        match connection.execute_batch("BEGIN EXCLUSIVE") {
            Ok(()) => Ok(Some(Self { _held: connection })),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
