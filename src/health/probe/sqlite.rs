use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::one::One;
use super::{Probe, Seen};
use crate::health::sample::{Sample, Why};

/// How long a look waits for whoever holds the file.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at a SQLite file: that it is there, is a database, and can be read.
///
/// Each look opens it anew, for reading, so that a file that was moved or a disk that is gone shows. A file that somebody else
/// keeps locked for more than a second is a bad sample, and so is an empty one. Nothing is written into it; beside a file with
/// a write-ahead log SQLite makes the `-wal` and `-shm` files where they are missing, as for every reader, so the folder must
/// let it.
///
/// # Cancel safety
///
/// SQLite blocks, and a file system that hangs cannot be told to stop: a look that is dropped leaves at most one thread
/// behind, and once that is there for more than a second further looks are bad without another one. Clones share that: of two
/// looks at the same moment the second says nothing.
///
/// # Example
///
/// ```
/// use mainstay::health::{SqliteProbe, Watch};
///
/// let watch = Watch::new("journal", SqliteProbe::new("state/journal.sqlite"));
/// # drop(watch);
/// ```
#[derive(Clone)]
pub struct SqliteProbe {
    path: PathBuf,
    one: One,
}

impl SqliteProbe {
    /// The file at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            one: One::default(),
        }
    }
}

impl Probe for SqliteProbe {
    fn look(&self) -> impl Future<Output: Seen> + Send + 'static {
        let Self { path, one } = self.clone();
        async move {
            match one.run(move || ping(&path)).await {
                Ok(Some(Ok(0))) => Sample::down(Why::Malformed),
                Ok(Some(Ok(_))) => Sample::UP,
                Ok(Some(Err(error))) => Sample::down(why(&error)),
                Ok(None) => Sample::down(Why::Panicked),
                Err(busy) => busy.sample(),
            }
        }
    }
}

/// Reads the head of the file: how many pages it has.
fn ping(path: &Path) -> rusqlite::Result<i64> {
    // No address: a path with a question mark is one.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // Constants are answered without a look into the file; this is not.
    connection.query_row("PRAGMA schema_version", [], |row| row.get::<_, i64>(0))?;
    connection.query_row("PRAGMA page_count", [], |row| row.get(0))
}

fn why(error: &rusqlite::Error) -> Why {
    match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => Why::Unreachable,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Why::TimedOut,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Why::Malformed,
        _ => Why::Failed,
    }
}

impl fmt::Debug for SqliteProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteProbe")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
