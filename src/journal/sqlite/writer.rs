//! The writer thread: drains its queue into one transaction, commits, and only then answers.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rusqlite::{Connection, DropBehavior, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::desk::{Work, Worked};
use super::gather::Gather;
use super::rows::Fault;
use super::statements::Prepared;
use super::{statements, turns};
use crate::journal::{
    Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, JournalError, Listing, Log, LogId,
    Post, Posted, Prune, Pulse, Release,
};
use crate::rt;

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
    Work(Work, Reply<Worked>),
    Look(Append, Reply<bool>),
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
        !matches!(self, Self::Load(..) | Self::List(..) | Self::Look(..))
    }

    const fn is_work(&self) -> bool {
        matches!(self, Self::Work(..))
    }
}

/// Serves the queue until its last sender is gone or the store has to stop.
pub(super) fn run(connection: Connection, ops: &Receiver<Op>, counts: &Counts) {
    let Err(stopped) = serve(&connection, ops, counts) else {
        return;
    };
    // What the disk holds is unknown from here on. Closing the connection rolls back what is open.
    drop(connection);
    ops.iter().for_each(|op| refuse(op, &stopped));
}

fn serve(connection: &Connection, ops: &Receiver<Op>, counts: &Counts) -> Result<(), JournalError> {
    let mut prepared =
        Prepared::new(connection).map_err(|error| JournalError::Closed(Some(Arc::new(error))))?;
    let mut intake = Intake::new(ops);
    // Where nobody asks for anything, rows that lag are written for their own sake.
    while intake.wait(prepared.heads.due_in(rt::now())) {
        // From then on each step's work alone, so that it spoils no other's.
        intake.apart |= commit(&mut prepared, &mut intake, counts)? == Batch::Spoilt;
    }
    if prepared.heads.are_untouched() {
        return Ok(());
    }
    // Whoever opens the file would do it otherwise, so nobody is kept waiting for a shell that holds it.
    connection
        .busy_timeout(Duration::ZERO)
        .map_err(JournalError::backend)?;
    prepared.begin.execute([]).map_err(JournalError::backend)?;
    let written = prepared.heads.reckon(prepared.connection);
    written
        .and_then(|()| prepared.commit.execute([]).map(drop))
        .map_err(JournalError::backend)
}

/// What is to be done, and which of it shares a commit.
struct Intake<'q> {
    ops: &'q Receiver<Op>,
    /// Taken from the queue already.
    waiting: VecDeque<Op>,
    /// Whether a step's work shares its commit with no other's.
    apart: bool,
    gather: Gather,
    /// Of the batch under way: how many there are, and of what kind.
    taken: usize,
    writes: usize,
    works: bool,
}

impl<'q> Intake<'q> {
    fn new(ops: &'q Receiver<Op>) -> Self {
        Self {
            ops,
            waiting: VecDeque::with_capacity(BATCH),
            apart: false,
            gather: Gather::default(),
            taken: 0,
            writes: 0,
            works: false,
        }
    }

    /// Waits until there is something to do, for so long at most; `false` when there never will be.
    fn wait(&mut self, patience: Option<Duration>) -> bool {
        if self.waiting.is_empty() {
            let op = match patience {
                None => self.ops.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(patience) => self.ops.recv_timeout(patience),
            };
            match op {
                Ok(op) => self.waiting.push_back(op),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        self.drain();
        self.gather.begin(rt::now());
        (self.taken, self.writes) = (0, 0);
        self.works = self.waiting.iter().any(Op::is_work);
        true
    }

    /// Takes what is in the queue, as far as it fits into one batch.
    fn drain(&mut self) {
        while self.waiting.len() < BATCH
            && let Ok(op) = self.ops.try_recv()
        {
            self.waiting.push_back(op);
        }
    }

    /// The next operation of the batch; `None` when it is to be committed.
    fn next(&mut self, worked: bool) -> Option<Op> {
        if self.taken >= BATCH {
            return None;
        }
        if self.waiting.is_empty() {
            let op = self.ops.try_recv().ok().or_else(|| {
                // Who only reads waits for no sync, and nobody's company.
                let patience = match self.writes {
                    0 => None,
                    _ => self.gather.hold(self.writes, rt::now()),
                };
                self.ops.recv_timeout(patience?).ok()
            });
            self.waiting.push_back(op?);
        }
        let op = self.waiting.front()?;
        // Work needs a transaction that can be lent; and alone it spoils nobody else's.
        if op.is_work() && (!self.works || (self.apart && worked)) {
            return None;
        }
        self.taken += 1;
        self.writes += usize::from(op.writes());
        self.waiting.pop_front()
    }

    /// Refuses what was taken, and what came meanwhile.
    fn refuse(&mut self, cause: &JournalError) {
        self.drain();
        self.waiting.drain(..).for_each(|op| refuse(op, cause));
    }
}

/// How a batch ended without the store having to stop.
#[derive(Debug, PartialEq, Eq)]
enum Batch {
    Done,
    /// It was rolled back because of a step's work in it, and everybody may ask again.
    Spoilt,
}

/// Why a batch is not committed.
enum Failure {
    /// What the disk holds is unknown.
    Store(rusqlite::Error),
    /// A step's work ended the transaction, or left it so that it cannot be committed.
    Work(JournalError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

/// Carries a batch out in one transaction. An error has been told to everyone in the batch and stops the store.
fn commit(
    prepared: &mut Prepared<'_>,
    intake: &mut Intake<'_>,
    counts: &Counts,
) -> Result<Batch, JournalError> {
    let works = intake.works;
    // Steps are lent a transaction, and not the connection.
    let begun = if works {
        let behaviour = TransactionBehavior::Immediate;
        Transaction::new_unchecked(prepared.connection, behaviour).map(|mut transaction| {
            // It is committed below.
            transaction.set_drop_behavior(DropBehavior::Ignore);
            Some(transaction)
        })
    } else {
        prepared.begin.execute([]).map(|_| None)
    };
    let transaction = match begun {
        // A shell holds the file. Nothing was begun, so nothing is in doubt, and the same may be asked again.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
            if intake.waiting.is_empty() {
                // Rows were to be written. Who came meanwhile has not waited for as long as it may.
                return Ok(Batch::Done);
            }
            intake.refuse(&JournalError::backend(error));
            return Ok(Batch::Done);
        }
        Err(error) => {
            let cause = JournalError::Closed(Some(Arc::new(error)));
            intake.refuse(&cause);
            return Err(cause);
        }
        Ok(transaction) => transaction,
    };
    let mut waiting: Vec<Waiting> = Vec::with_capacity(BATCH);
    let mut sync = None;
    let outcome = (|| {
        let mut worked = false;
        prepared.heads.begun(prepared.connection, rt::now())?;
        // Done as they come: by the time the first are, others have come.
        while let Some(op) = intake.next(worked) {
            waiting.push(match (op, &transaction) {
                (Op::Work(work, reply), Some(transaction)) => {
                    worked = true;
                    self::work(prepared, transaction, work, reply)?
                }
                (op, _) => perform(prepared, op)?,
            });
        }
        let writes = intake.writes;
        // Counted before anybody is answered, so that who is answered sees it.
        counts.writes.fetch_add(writes as u64, Ordering::Relaxed);
        counts
            .commits
            .fetch_add(u64::from(writes > 0), Ordering::Relaxed);
        let began = rt::now();
        match prepared.commit.execute([]) {
            // Nothing was committed and the transaction is still open: a constraint of a step's table that is only
            // checked now. The journal has none.
            Err(error)
                if works && error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
            {
                Err(Failure::Work(JournalError::backend(error)))
            }
            Err(error) => Err(error.into()),
            Ok(_) => {
                sync = (writes > 0).then(|| rt::now().since(began));
                Ok(())
            }
        }
    })();
    let outcome = match outcome {
        Err(Failure::Work(cause)) => roll_back(prepared)
            .map(|()| Some(cause))
            .map_err(Failure::Store),
        Err(failure) => Err(failure),
        Ok(()) => Ok(None),
    };
    // Before anybody is answered: who comes after that is another matter.
    intake.drain();
    if intake.taken > 0 {
        // Nobody waits for who only reads, so they are counted neither as here nor as missing.
        let came = intake.waiting.iter().filter(|op| op.writes()).count();
        intake.gather.committed(intake.writes, came, sync);
    }
    match outcome {
        Ok(None) => {
            waiting.into_iter().for_each(|done| done(None));
            Ok(Batch::Done)
        }
        Ok(Some(cause)) => {
            // What was not begun yet has its turn with the next.
            waiting.into_iter().for_each(|done| done(Some(&cause)));
            Ok(Batch::Spoilt)
        }
        Err(Failure::Store(error)) => {
            let cause = JournalError::Closed(Some(Arc::new(error)));
            waiting.into_iter().for_each(|done| done(Some(&cause)));
            intake.refuse(&cause);
            Err(cause)
        }
        // Handled above.
        Err(Failure::Work(cause)) => Err(cause),
    }
}

fn roll_back(prepared: &mut Prepared<'_>) -> rusqlite::Result<()> {
    prepared.heads.rolled_back();
    if prepared.connection.is_autocommit() {
        Ok(())
    } else {
        prepared.connection.execute_batch("ROLLBACK")
    }
}

/// Does a step's work under a savepoint, with the record of it or not at all.
fn work(
    prepared: &mut Prepared<'_>,
    transaction: &Transaction<'_>,
    work: Work,
    reply: Reply<Worked>,
) -> Result<Waiting, Failure> {
    let connection = prepared.connection;
    // What is taken back is taken back in the tables.
    prepared.heads.let_go()?;
    connection.execute_batch("SAVEPOINT mainstay_step")?;
    // What the work shares with others is for its owner to keep whole; of the journal's it can only break the
    // transaction, and that is looked at.
    let done = catch_unwind(AssertUnwindSafe(|| work(transaction)));
    let (outcome, end) = match done {
        Ok(None) => (Ok(Worked::RolledBack), TAKE_BACK),
        Err(_) => (Ok(Worked::Panicked), TAKE_BACK),
        Ok(Some(_)) if connection.is_autocommit() => (Ok(Worked::Broke), TAKE_BACK),
        // Only a new record will do: one that is there already belongs to an effect that is there already.
        Ok(Some(append)) => match statements::add(prepared, &append) {
            Ok(true) => (Ok(Worked::Recorded), "RELEASE mainstay_step"),
            Ok(false) => {
                let elsewhere = match statements::look(prepared, &append) {
                    Ok(_) => {
                        JournalError::conflict(append.id, append.expect, append.expect.after())
                    }
                    Err(Fault::Answer(refusal)) => refusal,
                    Err(Fault::Store(error)) => return Err(error.into()),
                };
                (Err(elsewhere), TAKE_BACK)
            }
            Err(Fault::Answer(refusal)) => (Err(refusal), TAKE_BACK),
            Err(Fault::Store(error)) => return Err(error.into()),
        },
    };
    if connection.is_autocommit() || connection.execute_batch(end).is_err() {
        drop(reply.send(Ok(Worked::Broke)));
        let cause = std::io::Error::other("a step ended the journal's transaction");
        return Err(Failure::Work(JournalError::backend(cause)));
    }
    Ok(answer(reply, outcome))
}

const TAKE_BACK: &str = "ROLLBACK TO mainstay_step; RELEASE mainstay_step";

/// Does one operation inside the transaction. An answer waits for the commit; a fault of the store ends the batch, and
/// the operation that met it is told by the drop of its reply.
fn perform(prepared: &mut Prepared<'_>, op: Op) -> Result<Waiting, rusqlite::Error> {
    let connection = prepared.connection;
    Ok(match op {
        Op::Begin(begin, reply) => hold(reply, statements::begin(prepared, &begin))?,
        Op::Append(append, reply) => hold(reply, statements::append(prepared, &append))?,
        Op::Claim(claim, reply) => hold(reply, turns::claim(prepared, &claim))?,
        Op::Load(id, reply) => hold(reply, statements::load(prepared, id))?,
        Op::List(listing, reply) => hold(reply, statements::list(prepared, &listing))?,
        Op::Join(join, reply) => hold(reply, turns::join(connection, &join))?,
        Op::Beat(beat, reply) => hold(reply, turns::beat(connection, &beat))?,
        Op::Leave(instance, reply) => hold(reply, turns::leave(connection, instance))?,
        Op::Release(release, reply) => hold(reply, turns::release(prepared, &release))?,
        Op::Post(post, reply) => hold(reply, statements::post(connection, &post))?,
        Op::Prune(prune, reply) => hold(reply, statements::prune(connection, &prune))?,
        Op::Look(append, reply) => hold(reply, statements::look(prepared, &append))?,
        // A batch with work has a transaction to lend.
        Op::Work(_, reply) => answer(reply, Err(JournalError::Closed(None))),
    })
}

fn hold<T: 'static>(reply: Reply<T>, result: Result<T, Fault>) -> Result<Waiting, rusqlite::Error> {
    let answer = match result {
        Ok(value) => Ok(value),
        Err(Fault::Answer(refusal)) => Err(refusal),
        Err(Fault::Store(error)) => return Err(error),
    };
    Ok(self::answer(reply, answer))
}

fn answer<T: 'static>(reply: Reply<T>, answer: Result<T, JournalError>) -> Waiting {
    // A caller that no longer listens is no reason to do anything else.
    Box::new(move |failed| {
        drop(reply.send(failed.map_or(answer, |cause| Err(cause.clone()))));
    })
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
        Op::Work(_, reply) => drop(reply.send(Err(cause))),
        Op::Look(_, reply) => drop(reply.send(Err(cause))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::sqlite::schema;
    use crate::journal::{Labels, Status};
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
        let mut prepared = Prepared::new(&connection).unwrap();
        let shell = Connection::open(&path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (queue, ops) = std::sync::mpsc::channel();
        let mut intake = Intake::new(&ops);
        let counts = Counts::default();
        let mut served = || {
            let (op, answer) = begin();
            queue.send(op).unwrap();
            assert!(intake.wait(None));
            let done = commit(&mut prepared, &mut intake, &counts);
            assert!(done.is_ok(), "the store goes on");
            answer
        };
        let refused = served().try_recv().unwrap().unwrap_err();
        assert!(refused.is_transient(), "{refused:?}");
        shell.execute_batch("COMMIT").unwrap();
        let begun = served().try_recv().unwrap().unwrap();
        assert!(matches!(begun, Begun::Created(_)), "{begun:?}");
    }

    /// A writer without a thread, and who asks it.
    struct Bench<'c> {
        prepared: Prepared<'c>,
        queue: std::sync::mpsc::Sender<Op>,
    }

    impl Bench<'_> {
        fn serve(&mut self, intake: &mut Intake<'_>) -> Batch {
            assert!(intake.wait(None));
            commit(&mut self.prepared, intake, &Counts::default()).unwrap()
        }

        fn append(&self, head: &Head) -> oneshot::Receiver<Result<(), JournalError>> {
            let (reply, answer) = oneshot::channel();
            self.queue.send(Op::Append(next(head), reply)).unwrap();
            answer
        }

        fn work(&self, work: Work) -> oneshot::Receiver<Result<Worked, JournalError>> {
            let (reply, answer) = oneshot::channel();
            self.queue.send(Op::Work(work, reply)).unwrap();
            answer
        }

        /// How many records a log has, read as everybody reads it.
        fn records(&self, head: &Head) -> usize {
            statements::load(&self.prepared, head.id).map_or(0, |log| log.records.len())
        }
    }

    fn next(head: &Head) -> Append {
        let labels = Arc::clone(&head.labels);
        let at = Timestamp::from_millis(1);
        Append::new(head.id, head.place, Status::Running, labels, 1, "[1]", at)
    }

    /// A log with three records, of which its row knows one.
    fn lagging(bench: &mut Bench<'_>, intake: &mut Intake<'_>) -> Head {
        let (op, mut begun) = begin();
        bench.queue.send(op).unwrap();
        bench.serve(intake);
        let Begun::Created(mut head) = begun.try_recv().unwrap().unwrap() else {
            panic!("the key is free");
        };
        for _ in 0..2 {
            let mut written = bench.append(&head);
            bench.serve(intake);
            written.try_recv().unwrap().unwrap();
            head.place = head.place.after();
        }
        head
    }

    /// A row that lags is written before a step's work, and what the step takes back is not that.
    #[test]
    fn work_that_is_taken_back_takes_no_head_back() {
        let connection = schema::example();
        let prepared = Prepared::new(&connection).unwrap();
        let (queue, ops) = std::sync::mpsc::channel();
        let (mut bench, mut intake) = (Bench { prepared, queue }, Intake::new(&ops));
        let head = lagging(&mut bench, &mut intake);
        let mut stale = head.clone();
        stale.place.records = 1;
        let record = next(&stale);
        let mut late = bench.work(Box::new(move |_| Some(record)));
        assert_eq!(bench.serve(&mut intake), Batch::Done);
        let late = late.try_recv().unwrap();
        assert!(
            matches!(late, Err(JournalError::Conflict { .. })),
            "{late:?}"
        );
        assert_eq!(bench.records(&head), 3);
        // Nor does one that spoils the row, and then wants no record.
        let mut gone = bench.work(Box::new(|tx| {
            tx.execute_batch("UPDATE log SET records = 9, epoch = 9")
                .unwrap();
            None
        }));
        assert_eq!(bench.serve(&mut intake), Batch::Done);
        assert_eq!(gone.try_recv().unwrap().unwrap(), Worked::RolledBack);
        assert_eq!(bench.records(&head), 3);
        let mut written = bench.append(&head);
        bench.serve(&mut intake);
        written.try_recv().unwrap().unwrap();
        assert_eq!(bench.records(&head), 4);
    }

    /// What was in a batch that a step spoilt is not known, and what was before it is.
    #[test]
    fn a_spoilt_batch_is_forgotten() {
        let connection = schema::example();
        let prepared = Prepared::new(&connection).unwrap();
        let (queue, ops) = std::sync::mpsc::channel();
        let (mut bench, mut intake) = (Bench { prepared, queue }, Intake::new(&ops));
        let head = lagging(&mut bench, &mut intake);
        let mut refused = bench.append(&head);
        let mut broke = bench.work(Box::new(|tx| {
            tx.execute_batch("ROLLBACK").unwrap();
            None
        }));
        assert_eq!(bench.serve(&mut intake), Batch::Spoilt);
        assert_eq!(broke.try_recv().unwrap().unwrap(), Worked::Broke);
        assert!(refused.try_recv().unwrap().unwrap_err().is_transient());
        let mut again = bench.append(&head);
        bench.serve(&mut intake);
        again.try_recv().unwrap().unwrap();
        assert_eq!(bench.records(&head), 4);
    }

    /// Who only reads comes and goes as it likes: a lone writer beside readers is complete alone.
    #[test]
    fn a_lone_writer_waits_for_no_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        std::fs::File::create(&path).unwrap();
        let connection = schema::open(&path).unwrap();
        let mut prepared = Prepared::new(&connection).unwrap();
        let (queue, ops) = std::sync::mpsc::channel();
        let mut intake = Intake::new(&ops);
        // Two, since it is held by what the last two syncs took.
        for _ in 0..2 {
            queue.send(begin().0).unwrap();
            for id in 1..=5 {
                let (reply, _) = oneshot::channel();
                queue.send(Op::Load(LogId::new(id), reply)).unwrap();
            }
            assert!(intake.wait(None));
            let done = commit(&mut prepared, &mut intake, &Counts::default());
            assert!(done.is_ok_and(|batch| batch == Batch::Done));
        }
        let now = rt::now();
        intake.gather.begin(now);
        assert_eq!(intake.gather.hold(1, now), None);
        // The control: two who wrote are awaited.
        intake.gather.committed(2, 0, Some(Duration::from_secs(1)));
        intake.gather.committed(2, 0, Some(Duration::from_secs(1)));
        intake.gather.begin(now);
        assert!(intake.gather.hold(1, now).is_some());
    }
}
