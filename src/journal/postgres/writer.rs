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
use super::fault;
use super::row::{self, HEAD_COLUMNS, micros, signed, unsigned};
use super::session::{Fault, Session, get};
use crate::journal::{Append, Begin, Begun, Epoch, Head, JournalError, LogId, Place};

/// A batch ends when its records have so many bytes, so that one commit stays a matter of milliseconds.
const BYTES: usize = 1 << 20;

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
        // Counted before anybody is answered, so that who is answered sees it.
        let (begins, appends) = (!batch.begins.is_empty(), !batch.appends.is_empty());
        let commits = u64::from(begins).saturating_add(u64::from(appends));
        store
            .operations
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        store.commits.fetch_add(commits, Ordering::Relaxed);
        match store.session().await {
            Ok(session) => {
                // Two statements on one connection: they leave together.
                futures::join!(
                    begin_all(&session, &store, batch.begins),
                    append_all(&session, &store, batch.appends),
                );
            }
            Err(cause) => {
                refuse(batch.begins, &cause);
                refuse(batch.appends, &cause);
            }
        }
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
) -> Result<Vec<Result<Begun, JournalError>>, Fault> {
    let mut answers: Vec<Option<Result<Begun, JournalError>>> = all.iter().map(|_| None).collect();
    // A key that was taken when we came and free when we looked was pruned in between. That does not happen three times.
    for _ in 0..3 {
        let open: Vec<usize> = (0..all.len())
            .filter(|at| answers.get(*at).is_some_and(Option::is_none))
            .collect();
        let asked: Vec<&Begin> = open.iter().filter_map(|at| all.get(*at).copied()).collect();
        if asked.is_empty() {
            break;
        }
        let made = create(session, store, &asked).await?;
        let taken: Vec<&Begin> = asked
            .iter()
            .zip(&made)
            .filter(|(_, made)| made.is_none())
            .map(|(begin, _)| *begin)
            .collect();
        let mut existing = existing(session, store, &taken).await?.into_iter();
        for (at, made) in open.into_iter().zip(made) {
            let answer = match made {
                Some(head) => Some(Ok(Begun::Created(head))),
                None => existing
                    .next()
                    .flatten()
                    .map(|head| head.map(Begun::Existing)),
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
async fn create(
    session: &Session<'_>,
    store: &Store,
    all: &[&Begin],
) -> Result<Vec<Option<Head>>, Fault> {
    let text = |of: fn(&Begin) -> &str| all.iter().map(|begin| of(begin)).collect::<Vec<_>>();
    let maybe =
        |of: fn(&Begin) -> Option<&str>| all.iter().map(|begin| of(begin)).collect::<Vec<_>>();
    let number = |of: fn(&Begin) -> i64| all.iter().map(|begin| of(begin)).collect::<Vec<_>>();
    let owners: Vec<Option<i64>> = all
        .iter()
        .map(|begin| begin.owner.map(|owner| signed(owner.get())))
        .collect();
    let formats: Vec<i32> = all.iter().map(|begin| i32::from(begin.format)).collect();
    let rows = session
        .query(
            &store.say.begin,
            &[
                &text(|begin| &begin.labels.tenant),
                &text(|begin| &begin.kind),
                &number(|begin| i64::from(begin.version)),
                &text(|begin| &begin.key),
                &maybe(|begin| begin.labels.subject.as_deref()),
                &maybe(|begin| begin.labels.key_id.as_deref()),
                &text(|begin| &begin.digest),
                &text(|begin| &begin.stage),
                &owners,
                &number(|begin| begin.at.as_millis()),
                &formats,
                &text(|begin| &begin.body),
            ],
        )
        .await?;
    let mut ids = HashMap::with_capacity(rows.len());
    for row in &rows {
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

async fn append_all(session: &Session<'_>, store: &Store, mut all: Vec<(Box<Append>, Reply<()>)>) {
    if all.is_empty() {
        return;
    }
    // Two instances that write to the same logs then wait for each other, and not crosswise.
    all.sort_unstable_by_key(|(append, _)| append.id);
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
) -> Result<Vec<Result<(), JournalError>>, Fault> {
    let written = match all {
        [one] => append_one(session, store, one).await?,
        many => append_many(session, store, many).await?,
    };
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
) -> Result<HashSet<i64>, Fault> {
    let rows = session
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
            ],
        )
        .await?;
    moved(store, &rows)
}

async fn append_many(
    session: &Session<'_>,
    store: &Store,
    all: &[&Append],
) -> Result<HashSet<i64>, Fault> {
    let text = |of: fn(&Append) -> &str| all.iter().map(|append| of(append)).collect::<Vec<_>>();
    let maybe =
        |of: fn(&Append) -> Option<&str>| all.iter().map(|append| of(append)).collect::<Vec<_>>();
    let number = |of: fn(&Append) -> i64| all.iter().map(|append| of(append)).collect::<Vec<_>>();
    let some =
        |of: fn(&Append) -> Option<i64>| all.iter().map(|append| of(append)).collect::<Vec<_>>();
    let formats: Vec<i32> = all.iter().map(|append| i32::from(append.format)).collect();
    let rows = session
        .query(
            &store.say.append_many,
            &[
                &number(|append| signed(append.id.get())),
                &number(|append| signed(append.expect.epoch.get())),
                &number(|append| signed(append.expect.records)),
                &text(|append| append.status.as_str()),
                &maybe(|append| append.stage.as_deref()),
                &some(|append| append.park.map(micros)),
                &some(|append| append.read.map(signed)),
                &text(|append| &append.labels.tenant),
                &maybe(|append| append.labels.subject.as_deref()),
                &maybe(|append| append.labels.key_id.as_deref()),
                &number(|append| append.at.as_millis()),
                &formats,
                &text(|append| &append.body),
            ],
        )
        .await?;
    moved(store, &rows)
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
) -> Result<Vec<Result<(), JournalError>>, Fault> {
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
        let place = Place::new(Epoch::new(unsigned(get(row, 1)?)), unsigned(get(row, 2)?));
        ends.insert(get::<i64>(row, 0)?, (place, get::<bool>(row, 3)?));
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
