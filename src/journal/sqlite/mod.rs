//! The embedded journal: one SQLite file, one writer thread, one sync for all that wait.
//!
//! # What is promised, and by what
//!
//! | promise | kept by |
//! |---|---|
//! | acknowledged work survives `kill -9` and loss of power | WAL with `synchronous = FULL`, **read back** after opening; an answer is sent after the commit |
//! | a store that cannot know what is on its disk stops | any failed statement, commit or sync closes the store for good; it is never retried. A file that is busy before a transaction begins is a passing fault, since nothing is in doubt |
//! | one writer | `<file>-lock`, an exclusive SQLite transaction on a file of its own, held until the journal is dropped |
//! | concurrent sagas share one sync | the writer does what comes in one transaction until all who write are in it, or a quarter of a sync is over (group commit; who writes alone never waits) |
//! | what has ended costs nobody who asks for what has not | each question that is asked all the time has an index of the logs that it is about; nothing but a listing reads others |
//! | a record costs one write | what it says of its log's head is written to the head's row later, a second at most, and from the records after a crash (`heads`) |
//! | a log is read whole or not at all | records count 1, 2, 3 up to the number that the head knows; a text that is none damages its own log and no other |
//! | nobody else reads the payloads | the file is created 0600; SQLite gives `-wal` and `-shm` the same mode |
//!
//! The lock is a file beside the journal, and not a lock of the journal itself, so that `sqlite3` can look at a running
//! journal (and only look: a shell that holds a write transaction keeps everybody waiting, and after ten seconds with
//! [`JournalError::Backend`]). Do not delete it while a program runs, nor open and close it from within the program (to
//! back it up, say): a POSIX lock is lost with either, and a second program could then open the journal. A hard link is
//! another name that the lock does not see.
//!
//! # What to look at with `sqlite3`
//!
//! Of a running log `records`, `stage` and `updated` are about a second behind at most, and after a crash until the file is
//! opened again; its records, and all else, are as they are.
//!
//! ```sql
//! SELECT id, kind, key, status FROM log WHERE status <> 'ended';
//! SELECT seq, body FROM record WHERE log = 17 ORDER BY seq;
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::journal::sqlite::SqliteJournal;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("sagas.sqlite");
//! let journal = SqliteJournal::open(&path)?;
//! assert!(SqliteJournal::open(&path).is_err(), "one writer at a time");
//! drop(journal);
//! SqliteJournal::open(&path)?;
//! # Ok(())
//! # }
//! ```

mod desk;
mod file;
mod gather;
mod heads;
mod rows;
mod schema;
mod statements;
mod turns;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

pub(crate) use self::desk::{Desk, Worked};
use self::writer::{Counts, Op, Reply};
use super::error::JournalError;
use super::log::{Head, InstanceId, Log, LogId};
use super::port::{Answer, Journal};
use super::request::{
    Append, Beat, Begin, Begun, Claim, Join, Listing, Post, Posted, Prune, Pulse, Release,
};
use super::transactions::Transactions;
use super::vitals::Vitals;
use crate::rt;

/// A journal in one SQLite file. Share it as `Arc<dyn Journal>`.
pub struct SqliteJournal {
    path: PathBuf,
    /// `None` only while dropping: the writer ends when its queue has no sender.
    queue: Option<Arc<mpsc::Sender<Op>>>,
    desk: Arc<Desk>,
    writer: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What a journal has written since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Operations that asked for a write.
    pub operations: u64,
    /// Transactions that they shared, a sync each.
    pub commits: u64,
}

impl SqliteJournal {
    /// Opens the journal at `path`, creating it with mode 0600 when it is not there.
    ///
    /// Blocks for a few syncs; a program opens its journal before it serves.
    ///
    /// # Errors
    ///
    /// [`JournalError::InUse`] when another process or another opening has it, [`JournalError::Schema`] when it was
    /// written by a later version of this crate or is not a journal, [`JournalError::Unsafe`] when SQLite does not
    /// confirm WAL and full syncs (network file systems), [`JournalError::Backend`] for everything else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let path = file::create(path.as_ref())?;
        let lock = file::lock(&path)?;
        let connection = schema::open(&path)?;
        let (queue, ops) = mpsc::channel();
        let queue = Arc::new(queue);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let writer = rt::thread("mainstay-journal", move || {
            writer::run(connection, &ops, &counted);
            // Released last: whoever opens next finds nothing under way.
            drop(lock);
        })
        .map_err(JournalError::backend)?;
        Ok(Self {
            path,
            desk: Arc::new(Desk::new(&queue)),
            queue: Some(queue),
            writer: Some(writer),
            counts,
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How much was written, in how many commits: their quotient is how many writers share a sync.
    #[must_use]
    pub fn written(&self) -> Written {
        Written {
            operations: self.counts.writes.load(Ordering::Relaxed),
            commits: self.counts.commits.load(Ordering::Relaxed),
        }
    }

    fn ask<T: Send + 'static>(&self, op: impl FnOnce(Reply<T>) -> Op) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let sent = self
            .queue
            .as_ref()
            .is_some_and(|queue| queue.send(op(reply)).is_ok());
        Box::pin(async move {
            if !sent {
                return Err(JournalError::Closed(None));
            }
            // The writer answers everything it takes; no answer means that it is gone.
            answer.await.unwrap_or(Err(JournalError::Closed(None)))
        })
    }
}

/// Waits for the writer, so that the file is free when the drop is over.
impl Drop for SqliteJournal {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody, and there is nobody left to tell.
            drop(writer.join());
        }
    }
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Journal for SqliteJournal {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.ask(|reply| Op::Begin(begin, reply))
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.ask(|reply| Op::Append(append, reply))
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        self.ask(|reply| Op::Claim(claim, reply))
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        self.ask(|reply| Op::Load(id, reply))
    }

    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        self.ask(|reply| Op::List(listing, reply))
    }

    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        self.ask(|reply| Op::Join(join, reply))
    }

    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        self.ask(|reply| Op::Beat(beat, reply))
    }

    fn leave(&self, instance: InstanceId) -> Answer<'_, ()> {
        self.ask(|reply| Op::Leave(instance, reply))
    }

    fn release(&self, release: Release) -> Answer<'_, ()> {
        self.ask(|reply| Op::Release(release, reply))
    }

    fn post(&self, post: Post) -> Answer<'_, Posted> {
        self.ask(|reply| Op::Post(post, reply))
    }

    fn prune(&self, prune: Prune) -> Answer<'_, usize> {
        self.ask(|reply| Op::Prune(prune, reply))
    }

    fn vitals(&self) -> Vitals {
        let written = self.written();
        Vitals::of("sqlite").written(written.operations, written.commits)
    }

    fn transactions(&self) -> Option<Transactions> {
        Some(Transactions::new(Arc::clone(&self.desk)))
    }
}
