//! The writer thread: drains its queue into one transaction, commits, and only then answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::rows::Fault;
use super::{statements, turns};
use crate::journal::{
    Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, JournalError, Listing, Log, LogId,
    Post, Posted, Prune, Pulse, Release,
};

/// At most so many operations share a commit, so that the first of a long queue does not wait for the last.
const BATCH: usize = 512;

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What the writer is asked to do.
pub(super) enum Op {
    Begin(Begin, Reply<Begun>),
    Append(Append, Reply<()>),
    Claim(Claim, Reply<Vec<Head>>),
    Load(LogId, Reply<Log>),
    List(Listing, Reply<Vec<Head>>),
    Join(Join, Reply<InstanceId>),
    Beat(Beat, Reply<Pulse>),
    Leave(InstanceId, Reply<()>),
    Release(Release, Reply<()>),
    Post(Post, Reply<Posted>),
    Prune(Prune, Reply<usize>),
}

/// An operation that is done but for the commit. Given the reason when the commit did not happen.
type Waiting = Box<dyn FnOnce(Option<&JournalError>)>;

/// What the writer has done, for those who look.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Operations that wrote.
    pub(super) writes: AtomicU64,
    /// Commits that synced.
    pub(super) commits: AtomicU64,
}

impl Op {
    /// Whether it can change anything, and so costs a sync.
    const fn writes(&self) -> bool {
        !matches!(self, Self::Load(..) | Self::List(..))
    }
}

/// Serves the queue until its last sender is gone or the store has to stop.
pub(super) fn run(connection: Connection, ops: &Receiver<Op>, counts: &Counts) {
    let mut connection = Some(connection);
    let mut stopped = JournalError::Closed(None);
    while let Ok(first) = ops.recv() {
        let mut batch = vec![first];
        batch.extend(ops.try_iter().take(BATCH.saturating_sub(1)));
        let Some(open) = connection.as_ref() else {
            batch.into_iter().for_each(|op| refuse(op, &stopped));
            continue;
        };
        let writes = batch.iter().filter(|op| op.writes()).count();
        // Counted before anybody is answered, so that who is answered sees it.
        counts.writes.fetch_add(writes as u64, Ordering::Relaxed);
        counts
            .commits
            .fetch_add(u64::from(writes > 0), Ordering::Relaxed);
        if let Err(cause) = commit(open, batch) {
            // What the disk holds is unknown from here on. Closing the connection rolls back what is open.
            stopped = cause;
            connection = None;
        }
    }
}

/// Carries a batch out in one transaction. An error has been told to everyone in the batch and stops the store.
fn commit(connection: &Connection, batch: Vec<Op>) -> Result<(), JournalError> {
    let mut waiting: Vec<Waiting> = Vec::with_capacity(batch.len());
    let mut ops = batch.into_iter();
    match connection.execute_batch("BEGIN IMMEDIATE") {
        // A shell holds the file. Nothing was begun, so nothing is in doubt, and the same may be asked again.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            let busy = JournalError::backend(error);
            ops.for_each(|op| refuse(op, &busy));
            return Ok(());
        }
        Err(error) => {
            let cause = JournalError::Closed(Some(Arc::new(error)));
            ops.for_each(|op| refuse(op, &cause));
            return Err(cause);
        }
        Ok(()) => {}
    }
    let outcome = (|| {
        for op in ops.by_ref() {
            waiting.push(perform(connection, op)?);
        }
        connection.execute_batch("COMMIT")
    })();
    match outcome {
        Ok(()) => {
            waiting.into_iter().for_each(|done| done(None));
            Ok(())
        }
        Err(error) => {
            let cause = JournalError::Closed(Some(Arc::new(error)));
            waiting.into_iter().for_each(|done| done(Some(&cause)));
            ops.for_each(|op| refuse(op, &cause));
            Err(cause)
        }
    }
}

/// Does one operation inside the transaction. An answer waits for the commit; a fault of the store ends the batch, and
/// the operation that met it is told by the drop of its reply.
fn perform(connection: &Connection, op: Op) -> Result<Waiting, rusqlite::Error> {
    Ok(match op {
        Op::Begin(begin, reply) => hold(reply, statements::begin(connection, &begin))?,
        Op::Append(append, reply) => hold(reply, statements::append(connection, &append))?,
        Op::Claim(claim, reply) => hold(reply, turns::claim(connection, &claim))?,
        Op::Load(id, reply) => hold(reply, statements::load(connection, id))?,
        Op::List(listing, reply) => hold(reply, statements::list(connection, &listing))?,
        Op::Join(join, reply) => hold(reply, turns::join(connection, &join))?,
        Op::Beat(beat, reply) => hold(reply, turns::beat(connection, &beat))?,
        Op::Leave(instance, reply) => hold(reply, turns::leave(connection, instance))?,
        Op::Release(release, reply) => hold(reply, turns::release(connection, &release))?,
        Op::Post(post, reply) => hold(reply, statements::post(connection, &post))?,
        Op::Prune(prune, reply) => hold(reply, statements::prune(connection, &prune))?,
    })
}

fn hold<T: 'static>(reply: Reply<T>, result: Result<T, Fault>) -> Result<Waiting, rusqlite::Error> {
    let answer = match result {
        Ok(value) => Ok(value),
        Err(Fault::Answer(refusal)) => Err(refusal),
        Err(Fault::Store(error)) => return Err(error),
    };
    // A caller that no longer listens is no reason to do anything else.
    Ok(Box::new(move |failed| {
        drop(reply.send(failed.map_or(answer, |cause| Err(cause.clone()))));
    }))
}

fn refuse(op: Op, cause: &JournalError) {
    let cause = cause.clone();
    match op {
        Op::Begin(_, reply) => drop(reply.send(Err(cause))),
        Op::Append(_, reply) => drop(reply.send(Err(cause))),
        Op::Claim(_, reply) => drop(reply.send(Err(cause))),
        Op::Load(_, reply) => drop(reply.send(Err(cause))),
        Op::List(_, reply) => drop(reply.send(Err(cause))),
        Op::Join(_, reply) => drop(reply.send(Err(cause))),
        Op::Beat(_, reply) => drop(reply.send(Err(cause))),
        Op::Leave(_, reply) => drop(reply.send(Err(cause))),
        Op::Release(_, reply) => drop(reply.send(Err(cause))),
        Op::Post(_, reply) => drop(reply.send(Err(cause))),
        Op::Prune(_, reply) => drop(reply.send(Err(cause))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::Labels;
    use crate::journal::sqlite::schema;
    use crate::time::Timestamp;

    fn begin() -> (Op, oneshot::Receiver<Result<Begun, JournalError>>) {
        let (reply, answer) = oneshot::channel();
        let labels = Arc::new(Labels::new("acme"));
        let at = Timestamp::from_millis(0);
        let begin = Begin::new(labels, "pay", "1", "digest", 1, "[]", at);
        (Op::Begin(begin, reply), answer)
    }

    /// A shell with a write transaction delays everybody, and stops nobody.
    #[test]
    fn a_busy_file_is_a_fault_that_passes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        std::fs::File::create(&path).unwrap();
        let connection = schema::open(&path).unwrap();
        connection.busy_timeout(Duration::ZERO).unwrap();
        let shell = Connection::open(&path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (op, mut answer) = begin();
        assert!(commit(&connection, vec![op]).is_ok(), "the store goes on");
        let refused = answer.try_recv().unwrap().unwrap_err();
        assert!(refused.is_transient(), "{refused:?}");
        shell.execute_batch("COMMIT").unwrap();
        let (op, mut answer) = begin();
        assert!(commit(&connection, vec![op]).is_ok());
        let begun = answer.try_recv().unwrap().unwrap();
        assert!(matches!(begun, Begun::Created(_)), "{begun:?}");
    }
}
