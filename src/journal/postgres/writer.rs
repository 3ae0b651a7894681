//! The writer tasks: each drains its queue into one statement, and answers when that is committed.
//!
//! A log is always written by the same task, so that its records keep their order. What waits while a batch is under
//! way is the next batch; nothing lingers to fill one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;

use super::Store;
use super::columns::{Appendings, Beginnings};
use super::fault;
use super::row::{self, HEAD_COLUMNS, micros, signed, unsigned};
use super::session::{Fault, Session, Value, get};
use crate::journal::{Append, Begin, Begun, Epoch, Head, JournalError, LogId, Place};
use crate::rt;

/// A batch ends when its records have so many bytes, so that one commit stays a matter of milliseconds.
const BYTES: usize = 1 << 20;

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// To each its own.
type Answers<T> = Vec<Result<T, JournalError>>;

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

/// What a writer is asked to do.
pub(super) enum Op {
    Begin(Box<Begin>, Reply<Begun>),
    Append(Box<Append>, Reply<()>),
}

#[derive(Default)]
struct Batch {
    begins: Vec<(Box<Begin>, Reply<Begun>)>,
    appends: Vec<(Box<Append>, Reply<()>)>,
    /// A statement changes a row once.
    logs: HashSet<LogId>,
    keys: HashSet<(String, Arc<str>, String)>,
    bytes: usize,
}

impl Batch {
    fn len(&self) -> usize {
        self.begins.len().saturating_add(self.appends.len())
    }

    /// Takes an operation in, or gives it back for the next batch.
    fn take(&mut self, op: Op) -> Result<(), Op> {
        match op {
            Op::Begin(begin, reply) => {
                let key = (
                    begin.labels.tenant.clone(),
                    Arc::clone(&begin.kind),
                    begin.key.clone(),
                );
                if !self.keys.insert(key) {
                    return Err(Op::Begin(begin, reply));
                }
                self.bytes = self.bytes.saturating_add(begin.body.len());
                self.begins.push((begin, reply));
            }
            Op::Append(append, reply) => {
                if !self.logs.insert(append.id) {
                    return Err(Op::Append(append, reply));
                }
                self.bytes = self.bytes.saturating_add(append.body.len());
                self.appends.push((append, reply));
            }
        }
        Ok(())
    }
}

/// Serves the queue until its last sender is gone.
pub(super) async fn run(store: Arc<Store>, mut ops: mpsc::Receiver<Op>) {
    let most = usize::try_from(store.batch.get()).unwrap_or(usize::MAX);
    let mut left: Option<Op> = None;
    loop {
        let first = match left.take() {
            Some(op) => op,
            None => match ops.recv().await {
                Some(op) => op,
                None => return,
            },
        };
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(op) = next {
            if let Err(op) = batch.take(op) {
                left = Some(op);
                break;
            }
            if batch.len() >= most || batch.bytes >= BYTES {
                break;
            }
            next = ops.try_recv().ok();
        }
        // Those whom the last batch answered are about to come with more. Not a pause: whoever can run runs first.
        let busy = batch.len() > 1;
        // Counted before anybody is answered, so that who is answered sees it.
        store
            .operations
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        store.commits.fetch_add(1, Ordering::Relaxed);
        match store.session().await {
            Ok(session) => write(&session, &store, batch).await,
            Err(cause) => {
                refuse(batch.begins, &cause);
                refuse(batch.appends, &cause);
            }
        }
        if busy {
            rt::yield_now().await;
        }
    }
}

async fn write(session: &Session<'_>, store: &Store, batch: Batch) {
    let Batch {
        begins,
        mut appends,
        ..
    } = batch;
    // Two instances that write to the same logs then wait for each other, and not crosswise.
    appends.sort_unstable_by_key(|(append, _)| append.id);
    if begins.is_empty() || appends.is_empty() {
        begin_all(session, store, begins).await;
        append_all(session, store, appends).await;
        return;
    }
    // One commit for both, so one sync.
    let beginning: Vec<&Begin> = begins.iter().map(|(begin, _)| &**begin).collect();
    let appending: Vec<&Append> = appends.iter().map(|(append, _)| &**append).collect();
    let (made, written) = (Beginnings::of(&beginning), Appendings::of(&appending));
    let rows = session
        .together(
            BEGIN,
            [
                (&store.say.begin, &made.values()[..]),
                // For what comes after it: begins are planned as the server sees fit.
                (&store.say.by_index, &[]),
                (&store.say.append_many, &written.values()[..]),
            ],
        )
        .await;
    match rows {
        Ok(rows) => {
            let [made, _, moved] = rows;
            let begun = finish_begin(session, store, &beginning, &made).await;
            let appended = finish_append(session, store, &appending, &moved).await;
            tell(begins, begun);
            tell(appends, appended);
        }
        Err(fault) if fault.answer.is_transient() => {
            refuse(begins, &fault.answer);
            refuse(appends, &fault.answer);
        }
        // One of them cannot be written, and so none was.
        Err(_) => {
            begin_all(session, store, begins).await;
            append_all(session, store, appends).await;
        }
    }
}

/// Gives everybody the answer.
fn tell<T, A>(all: Vec<(T, Reply<A>)>, answers: Result<Answers<A>, Fault>) {
    match answers {
        Ok(answers) => {
            for ((_, reply), answer) in all.into_iter().zip(answers) {
                drop(reply.send(answer));
            }
        }
        Err(fault) => refuse(all, &fault.answer),
    }
}

fn refuse<T, A>(all: Vec<(T, Reply<A>)>, cause: &JournalError) {
    for (_, reply) in all {
        // Whoever no longer listens is no reason to do anything else.
        drop(reply.send(Err(cause.clone())));
    }
}

// === begin ===

async fn begin_all(session: &Session<'_>, store: &Store, all: Vec<(Box<Begin>, Reply<Begun>)>) {
    if all.is_empty() {
        return;
    }
    let begins: Vec<&Begin> = all.iter().map(|(begin, _)| &**begin).collect();
    match begin(session, store, &begins).await {
        Ok(answers) => {
            for ((_, reply), answer) in all.into_iter().zip(answers) {
                drop(reply.send(answer));
            }
        }
        // One of them cannot be written: each for itself, so that the others can.
        Err(fault) if all.len() > 1 && !fault.answer.is_transient() => {
            for (begun, reply) in all {
                let answer = begin(session, store, &[&*begun]).await;
                let answer = answer.map(|mut answers| answers.pop().unwrap_or_else(unanswered));
                drop(reply.send(answer.unwrap_or_else(|fault| Err(fault.answer))));
            }
        }
        Err(fault) => refuse(all, &fault.answer),
    }
}

fn unanswered<T>() -> Result<T, JournalError> {
    Err(JournalError::Closed(None))
}

/// The answer to each, in their order.
async fn begin(
    session: &Session<'_>,
    store: &Store,
    all: &[&Begin],
) -> Result<Answers<Begun>, Fault> {
    let rows = session
        .query(&store.say.begin, &Beginnings::of(all).values())
        .await?;
    finish_begin(session, store, all, &rows).await
}

/// The answers, given what the statement said.
async fn finish_begin(
    session: &Session<'_>,
    store: &Store,
    all: &[&Begin],
    rows: &[Row],
) -> Result<Answers<Begun>, Fault> {
    let made = made(store, all, rows)?;
    let mut answers: Vec<Option<Result<Begun, JournalError>>> = made
        .into_iter()
        .map(|head| head.map(|head| Ok(Begun::Created(head))))
        .collect();
    // A key that was taken when we came and free when we looked was pruned in between. That does not happen three times.
    for _ in 0..3 {
        let open: Vec<usize> = answers
            .iter()
            .enumerate()
            .filter_map(|(at, answer)| answer.is_none().then_some(at))
            .collect();
        let asked: Vec<&Begin> = open.iter().filter_map(|at| all.get(*at).copied()).collect();
        if asked.is_empty() {
            break;
        }
        let found = existing(session, store, &asked).await?;
        let gone: Vec<&Begin> = asked
            .iter()
            .zip(&found)
            .filter_map(|(begin, found)| found.is_none().then_some(*begin))
            .collect();
        let again = if gone.is_empty() {
            Vec::new()
        } else {
            let rows = session
                .query(&store.say.begin, &Beginnings::of(&gone).values())
                .await?;
            self::made(store, &gone, &rows)?
        };
        let mut again = again.into_iter();
        for (at, found) in open.into_iter().zip(found) {
            let answer = match found {
                Some(head) => Some(head.map(Begun::Existing)),
                None => again.next().flatten().map(|head| Ok(Begun::Created(head))),
            };
            if let Some(slot) = answers.get_mut(at) {
                *slot = answer;
            }
        }
    }
    let busy = || Err(fault::contested());
    Ok(answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(busy))
        .collect())
}

/// The heads of those that are new.
fn made(store: &Store, all: &[&Begin], rows: &[Row]) -> Result<Vec<Option<Head>>, Fault> {
    let mut ids = HashMap::with_capacity(rows.len());
    for row in rows {
        ids.insert(get::<i64>(row, 0)?, LogId::new(unsigned(get(row, 1)?)));
    }
    let made = all
        .iter()
        .zip(1_i64..)
        .map(|(begin, n)| ids.get(&n).map(|id| Head::of(*id, begin)));
    let made: Vec<Option<Head>> = made.collect();
    if made.iter().flatten().any(|head| head.owner.is_none()) {
        store.nudge();
    }
    Ok(made)
}

/// The heads of those that were there.
async fn existing(
    session: &Session<'_>,
    store: &Store,
    all: &[&Begin],
) -> Result<Vec<Option<Result<Head, JournalError>>>, Fault> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let text = |of: fn(&Begin) -> &str| all.iter().map(|begin| of(begin)).collect::<Vec<_>>();
    let values = (
        text(|begin| &begin.labels.tenant),
        text(|begin| &begin.kind),
        text(|begin| &begin.key),
    );
    let rows = session
        .query(&store.say.existing, &[&values.0, &values.1, &values.2])
        .await?;
    let mut heads = HashMap::with_capacity(rows.len());
    for row in &rows {
        heads.insert(get::<i64>(row, HEAD_COLUMNS)?, row::head(row)?.whole());
    }
    Ok((1_i64..)
        .take(all.len())
        .map(|n| heads.remove(&n))
        .collect())
}

// === append ===

/// What of a record PostgreSQL might not hold.
pub(super) fn texts(append: &Append) -> [(&'static str, Option<&str>); 5] {
    [
        ("tenant", Some(&append.labels.tenant)),
        ("subject", append.labels.subject.as_deref()),
        ("key_id", append.labels.key_id.as_deref()),
        ("stage", append.stage.as_deref()),
        ("body", Some(&append.body)),
    ]
}

/// Whether a record is there, once whoever might have written it has committed or cannot any more; `false` when the log
/// ends where it was to follow.
pub(super) async fn look(store: &Store, append: &Append) -> Result<bool, JournalError> {
    let id = signed(append.id.get());
    let (ids, epochs) = (vec![id], vec![signed(append.expect.epoch.get())]);
    let bodies = vec![&*append.body];
    let (one, all): ([Value<'_>; 1], [Value<'_>; 3]) = ([&id], [&ids, &epochs, &bodies]);
    let session = store.session().await?;
    // Each statement sees what was committed before it, so the second what the first waited for.
    let [_, ends] = session
        .together(
            BEGIN,
            [(&store.say.lock, &one[..]), (&store.say.ends, &all[..])],
        )
        .await?;
    let row = ends.first().ok_or(JournalError::Missing(append.id))?;
    let (place, same) = end(row)?;
    if place == append.expect {
        return Ok(false);
    }
    if place == append.expect.after() && same {
        return Ok(true);
    }
    Err(JournalError::conflict(append.id, append.expect, place))
}

/// Where a log ends, and whether its last record is the one at hand.
fn end(row: &Row) -> Result<(Place, bool), JournalError> {
    let place = Place::new(Epoch::new(unsigned(get(row, 1)?)), unsigned(get(row, 2)?));
    Ok((place, get(row, 3)?))
}

async fn append_all(session: &Session<'_>, store: &Store, all: Vec<(Box<Append>, Reply<()>)>) {
    if all.is_empty() {
        return;
    }
    let appends: Vec<&Append> = all.iter().map(|(append, _)| &**append).collect();
    match append(session, store, &appends).await {
        Ok(answers) => {
            for ((_, reply), answer) in all.into_iter().zip(answers) {
                drop(reply.send(answer));
            }
        }
        Err(fault) if all.len() > 1 && !fault.answer.is_transient() => {
            for (one, reply) in all {
                let answer = append(session, store, &[&*one]).await;
                let answer = answer.map(|mut answers| answers.pop().unwrap_or_else(unanswered));
                drop(reply.send(answer.unwrap_or_else(|fault| Err(alone(&one, fault)))));
            }
        }
        Err(fault) => {
            for (one, reply) in all {
                let fault = Fault {
                    answer: fault.answer.clone(),
                    broken: fault.broken.clone(),
                };
                drop(reply.send(Err(alone(&one, fault))));
            }
        }
    }
}

/// Why one append was refused.
fn alone(append: &Append, fault: Fault) -> JournalError {
    if fault.broken.as_deref() == Some("record_pkey") {
        let seq = append.expect.after().records;
        return JournalError::damaged(
            append.id,
            format!("record {seq} is there, and its head does not know"),
        );
    }
    fault.answer
}

/// The answer to each, in their order.
async fn append(
    session: &Session<'_>,
    store: &Store,
    all: &[&Append],
) -> Result<Answers<()>, Fault> {
    let rows = match all {
        [one] => append_one(session, store, one).await?,
        many => {
            let values = Appendings::of(many);
            let [_, moved] = session
                .together(
                    BEGIN,
                    [
                        (&store.say.by_index, &[]),
                        (&store.say.append_many, &values.values()[..]),
                    ],
                )
                .await?;
            moved
        }
    };
    finish_append(session, store, all, &rows).await
}

/// The answers, given what the statement said.
async fn finish_append(
    session: &Session<'_>,
    store: &Store,
    all: &[&Append],
    rows: &[Row],
) -> Result<Answers<()>, Fault> {
    let written = moved(store, rows)?;
    if written.len() == all.len() {
        return Ok(all.iter().map(|_| Ok(())).collect());
    }
    let rest: Vec<&Append> = (1_i64..)
        .zip(all)
        .filter(|(n, _)| !written.contains(n))
        .map(|(_, append)| *append)
        .collect();
    let mut rest = elsewhere(session, store, &rest).await?.into_iter();
    let answers = (1_i64..).zip(all).map(|(n, _)| {
        if written.contains(&n) {
            Ok(())
        } else {
            rest.next().unwrap_or_else(unanswered)
        }
    });
    Ok(answers.collect())
}

async fn append_one(
    session: &Session<'_>,
    store: &Store,
    append: &Append,
) -> Result<Vec<Row>, Fault> {
    session
        .query(
            &store.say.append,
            &[
                &signed(append.id.get()),
                &signed(append.expect.epoch.get()),
                &signed(append.expect.records),
                &append.status.as_str(),
                &append.stage.as_deref(),
                &append.park.map(micros),
                &append.read.map(signed),
                &append.labels.tenant,
                &append.labels.subject,
                &append.labels.key_id,
                &append.at.as_millis(),
                &i32::from(append.format),
                &append.body,
                &append.version.map(i64::from),
            ],
        )
        .await
}

/// Which of the items were written.
fn moved(store: &Store, rows: &[Row]) -> Result<HashSet<i64>, Fault> {
    let mut moved = HashSet::with_capacity(rows.len());
    let mut freed = false;
    for row in rows {
        moved.insert(get(row, 0)?);
        freed |= get::<Option<&str>>(row, 1)?.is_some();
    }
    if freed {
        store.nudge();
    }
    Ok(moved)
}

/// What to say of appends that found their log elsewhere: the reply was lost, or somebody else wrote.
async fn elsewhere(
    session: &Session<'_>,
    store: &Store,
    all: &[&Append],
) -> Result<Answers<()>, Fault> {
    let ids: Vec<i64> = all.iter().map(|append| signed(append.id.get())).collect();
    let epochs: Vec<i64> = all
        .iter()
        .map(|append| signed(append.expect.epoch.get()))
        .collect();
    let bodies: Vec<&str> = all.iter().map(|append| &*append.body).collect();
    let rows = session
        .query(&store.say.ends, &[&ids, &epochs, &bodies])
        .await?;
    let mut ends = HashMap::with_capacity(rows.len());
    for row in &rows {
        ends.insert(get::<i64>(row, 0)?, end(row)?);
    }
    let answers = all
        .iter()
        .zip(1_i64..)
        .map(|(append, n)| match ends.get(&n) {
            None => Err(JournalError::Missing(append.id)),
            Some((place, same)) if *place == append.expect.after() && *same => Ok(()),
            Some((place, _)) => Err(JournalError::conflict(append.id, append.expect, *place)),
        });
    Ok(answers.collect())
}
