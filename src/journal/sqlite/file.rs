//! The file, its mode and its lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::journal::JournalError;

/// How long SQLite waits for somebody's `sqlite3` shell that holds the file for a moment.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What holds the journal for this opening: an open exclusive transaction, released when dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, never used")] Connection);

/// Creates the file if it is not there, and returns its one name.
pub(super) fn create(path: &Path) -> Result<PathBuf, JournalError> {
    touch(path).map_err(JournalError::backend)?;
    // A file whose name is lost with the power is a journal that was never there. Also when it was there already: the
    // process that created it may have died before it came to this line.
    sync_folder(path).map_err(JournalError::backend)?;
    // Two names of one file (a link, a relative path) must find the same lock.
    path.canonicalize().map_err(JournalError::backend)
}

/// Takes the lock, or says that somebody has it.
///
/// It is SQLite's own lock on an empty database: the standard library's `File::try_lock` needs Rust 1.89, and this one
/// works wherever the journal does. The operating system drops it when the process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<Lock, JournalError> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let name = PathBuf::from(name);
    touch(&name).map_err(JournalError::backend)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&name, flags).map_err(JournalError::backend)?;
    connection
        .busy_timeout(Duration::ZERO)
        .map_err(JournalError::backend)?;
    match connection.execute_batch("BEGIN EXCLUSIVE") {
        Ok(()) => Ok(Lock(connection)),
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
            ) =>
        {
            Err(JournalError::InUse(path.to_owned()))
        }
        Err(error) => Err(JournalError::backend(error)),
    }
}

/// Creates an empty file for its owner only, unless it is there.
fn touch(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(file) => file.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in the file's folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
