//! The journal of several instances: tables in a PostgreSQL database (14 or later), reached through the caller's pool.
//!
//! # When to use
//!
//! When the same sagas run in more than one process, or a service has a database and no disk of its own. One process
//! with a disk is better off with the `sqlite` feature: no server to wait for, no pool to size.
//!
//! ```text
//!  begin, append ──> writer 1..n ──> one statement per batch ─┐
//!  claim, load, list, beat, post ─────────────────────────────┼──> pool ──> PostgreSQL: log, record, mail, instance
//!  changed <── the listener <── LISTEN, a connection of its own ┘
//! ```
//!
//! # What is promised, and by what
//!
//! | promise | kept by |
//! |---|---|
//! | acknowledged work survives the server's crash | `fsync`, `full_page_writes` and `synchronous_commit` are read when the journal is opened; an answer is sent after the commit |
//! | one writer per log | an append moves the head only where epoch and position are the expected ones, and writes its record only where the head moved, both in one statement |
//! | a lost reply is no second record | the same append again finds its own record, and the same begin its log |
//! | two instances never hold one log | a claim locks what it takes (`FOR UPDATE SKIP LOCKED`) and raises the epoch |
//! | clocks of the instances do not matter | leases, parking and pruning go by the server's clock |
//! | concurrent sagas share one commit | each writer drains its queue into one statement (group commit, no lingering); begins and appends of one batch are one transaction |
//! | one record that the server refuses spoils no other | a batch that is refused is written again one by one |
//! | ended logs cost nothing | claims and lists go by partial indexes that ended logs are not in |
//! | nothing hangs | a call takes at most [`patience`](PostgresConfig::patience), then its connection is thrown away |
//!
//! After [`JournalError::Backend`] the same call may be made again: if the server had done the work, it is found.
//!
//! # The tables
//!
//! [`PostgresJournal::migrations`] prints them, for whoever reviews or runs them by hand; [`PostgresJournal::migrate`]
//! runs what is missing. Opening runs nothing: it refuses with [`JournalError::Schema`]. The role of the service needs
//! `USAGE` on the schema and `SELECT`, `INSERT`, `UPDATE`, `DELETE` on its tables; only who migrates needs more.
//!
//! ```sql
//! SELECT id, kind, key, status, stage, owner FROM mainstay.log WHERE status <> 'ended';
//! SELECT seq, to_timestamp(at / 1000.0), body FROM mainstay.record WHERE log = 17 ORDER BY seq;
//! ```
//!
//! # How a log is claimed
//!
//! Logs that nobody carries on lie in three places, each with a partial index: free ones (`log_free`), parked ones that
//! are due (`log_parked`), and those whose owner's lease is over (`log_owned`, found by hopping from owner to owner, so
//! that the logs of the living are not read). Of each the oldest are locked, those that another claim has locked are
//! passed over, and the oldest of all are taken under a new epoch.
//!
//! ```sql
//! SELECT id FROM mainstay.log
//! WHERE status = 'running' AND owner IS NULL AND wake IS NULL AND id > $1
//!   AND version::text || ' ' || kind = ANY ($2) AND tenant <> ALL ($3)
//! ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
//! ```
//!
//! Free logs of kinds that the caller does not know, or of tenants that it has enough of, are read and passed over.
//!
//! # Running many instances
//!
//! Each instance opens a journal of its own over its own pool, of at least [`writers`](PostgresConfig::writers) + 2
//! connections, and one more for each [step in the journal's transaction](crate::saga::tx::postgres) that is to run at
//! the same time. Let it lend the connection that came back last (`QueueMode::Lifo`), whose plans are made and whose
//! server process is awake: by turns, as is its default, 64 sagas at a time were a tenth slower. [`listen`](PostgresJournal::listen) makes a log that becomes free known at once to all of them; without
//! it they find it when they next look. Behind pgbouncer in transaction mode everything works but that: give `listen` a
//! direct address (and see [`prepared`](PostgresConfig::prepared)). Keep other programs' long transactions away from the
//! database: the tables' rows are rewritten often, and vacuum cannot pass a transaction that is open. On a server with
//! synchronous standbys a failover loses nothing; with asynchronous ones it loses what they had not received, and sagas
//! then repeat steps under the same keys.
//!
//! # The driver
//!
//! tokio-postgres: PostgreSQL's protocol in Rust, with pipelining, and no C. Its types are in this module's interface,
//! and the pool is deadpool-postgres'. sqlx was the other candidate: its lock file brings `libsqlite3-sys` into programs
//! that may only have one, rusqlite's, and it does not pipeline.
//!
//! # Example
//!
//! ```no_run
//! use deadpool_postgres::{Manager, Pool, QueueMode};
//! use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
//! use tokio_postgres::NoTls;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let address: tokio_postgres::Config = "host=db.internal user=billing dbname=billing".parse()?;
//! let manager = Manager::new(address.clone(), NoTls);
//! let pool = Pool::builder(manager).max_size(8).queue_mode(QueueMode::Lifo).build()?;
//! let config = PostgresConfig::new();
//!
//! PostgresJournal::migrate(&pool, &config).await?; // or by hand, with what `migrations` prints
//! let journal = PostgresJournal::open(pool, config).await?.listen(address, NoTls);
//! # drop(journal);
//! # Ok(())
//! # }
//! ```

mod calls;
mod columns;
mod config;
mod desk;
mod fault;
mod listen;
mod row;
mod schema;
mod session;
mod statements;
mod writer;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::Socket;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};

pub use self::config::{PostgresConfig, SchemaName};
pub(crate) use self::desk::{Desk, Left};
pub use self::fault::PostgresError;
pub use self::schema::Migration;
use self::statements::Statements;
use self::writer::{Op, Reply};
use super::error::JournalError;
use super::log::{Head, InstanceId, Log, LogId};
use super::port::{Answer, Journal};
use super::request::{
    Append, Beat, Begin, Begun, Claim, Join, Listing, Post, Posted, Prune, Pulse, Release,
};
use super::transactions::Transactions;
use super::vitals::Vitals;
use crate::rt;

/// How many operations wait for one writer before callers wait to hand theirs in.
const QUEUE: usize = 1024;

/// A journal in a PostgreSQL database. Share it as `Arc<dyn Journal>`.
///
/// It lives on the runtime on which it was opened: when that ends, every call answers [`JournalError::Closed`].
pub struct PostgresJournal {
    store: Arc<Store>,
    desk: Arc<Desk>,
    queues: Vec<mpsc::Sender<Op>>,
    /// Begins have no log yet, so they go round.
    turn: AtomicUsize,
    tasks: Vec<JoinHandle<()>>,
}

/// What the journal and its tasks share.
struct Store {
    pool: Pool,
    schema: SchemaName,
    say: Statements,
    batch: NonZeroU32,
    patience: Duration,
    prepared: bool,
    changed: Notify,
    /// Whether changes are heard from the server, this journal's own among them.
    listening: AtomicBool,
    operations: AtomicU64,
    commits: AtomicU64,
}

impl Store {
    /// Tells those who wait in this process of a change that it made itself, unless the server tells them.
    fn nudge(&self) {
        if !self.listening.load(Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }
}

/// What a journal has written since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// Begins and appends.
    pub operations: u64,
    /// Batches that they shared, a commit each.
    pub commits: u64,
}

impl PostgresJournal {
    /// The steps that make the tables, in order, for this configuration's schema.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};
    ///
    /// for step in PostgresJournal::migrations(&PostgresConfig::new()) {
    ///     println!("{step}");
    /// }
    /// ```
    #[must_use]
    pub fn migrations(config: &PostgresConfig) -> Vec<Migration> {
        schema::steps(&config.schema)
    }

    /// Runs the steps that the database does not have yet, in one transaction. Several programs may do so at once.
    ///
    /// # Errors
    ///
    /// [`JournalError::Schema`] when the tables are of a later version, [`JournalError::Refused`] without the right to
    /// make them, [`JournalError::Backend`] when the server cannot be reached.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the tables as they were or as they are to be.
    pub async fn migrate(pool: &Pool, config: &PostgresConfig) -> Result<(), JournalError> {
        schema::migrate(pool, &config.schema).await
    }

    /// Opens the journal, which has to be [migrated](Self::migrate), and starts its writers on the current runtime. Tables of
    /// an earlier version do, where all that they lack are indexes: version 1 does.
    ///
    /// # Errors
    ///
    /// [`JournalError::Schema`] when the tables are of another version (0: there are none), [`JournalError::Unsafe`]
    /// when the server, the database or the role is set not to sync what it commits, [`JournalError::Refused`] and
    /// [`JournalError::Backend`] as any call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its timer enabled.
    pub async fn open(pool: Pool, config: PostgresConfig) -> Result<Self, JournalError> {
        let check = schema::check(&pool, &config.schema);
        tokio::select! {
            checked = check => checked?,
            () = rt::sleep(config.patience) => return Err(fault::silent(config.patience)),
        }
        let store = Arc::new(Store {
            pool,
            say: Statements::new(&config.schema),
            schema: config.schema,
            batch: config.batch,
            patience: config.patience,
            prepared: config.prepared,
            changed: Notify::new(),
            listening: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        });
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..config.writers.get() {
            let (queue, ops) = mpsc::channel(QUEUE);
            queues.push(queue);
            tasks.push(rt::spawn(writer::run(Arc::clone(&store), ops)));
        }
        let desk = Arc::new(Desk::new(Arc::clone(&store), queues.len()));
        Ok(Self {
            store,
            desk,
            queues,
            turn: AtomicUsize::new(0),
            tasks,
        })
    }

    /// Hears at once of logs that become free and of mail, whichever instance caused it, over a connection of its own to
    /// `address`, which must lead to the server itself and not to a pooler in transaction mode. A connection that is lost
    /// is made again; until then instances find what there is when they next look.
    #[must_use]
    pub fn listen<T>(mut self, address: tokio_postgres::Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let store = Arc::clone(&self.store);
        self.tasks.push(rt::spawn(listen::run(store, address, tls)));
        self
    }

    /// Whether changes are heard from the server at the moment.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.store.listening.load(Ordering::Relaxed)
    }

    /// How much was written, in how many commits: their quotient is how many writers share one.
    #[must_use]
    pub fn written(&self) -> Written {
        Written {
            operations: self.store.operations.load(Ordering::Relaxed),
            commits: self.store.commits.load(Ordering::Relaxed),
        }
    }

    fn write<T: Send + 'static>(
        &self,
        shard: usize,
        op: impl FnOnce(Reply<T>) -> Op + Send + 'static,
    ) -> Answer<'_, T> {
        let queue = shard
            .checked_rem(self.queues.len())
            .and_then(|at| self.queues.get(at));
        Box::pin(async move {
            let queue = queue.ok_or(JournalError::Closed(None))?;
            let (reply, answer) = oneshot::channel();
            let gone = |_| JournalError::Closed(None);
            queue.send(op(reply)).await.map_err(gone)?;
            // The writer answers everything it takes; no answer means that its runtime is gone.
            answer.await.unwrap_or(Err(JournalError::Closed(None)))
        })
    }
}

/// Stops the tasks. Nobody waits for them any more: whoever does has borrowed the journal.
impl Drop for PostgresJournal {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Neither the address nor the password.
impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresJournal")
            .field("schema", &self.store.schema.as_str())
            .field("writers", &self.queues.len())
            .field("listening", &self.is_listening())
            .finish_non_exhaustive()
    }
}

fn refuse<T: Send + 'static>(refusal: JournalError) -> Answer<'static, T> {
    Box::pin(std::future::ready(Err(refusal)))
}

/// The first of the texts that PostgreSQL cannot hold.
fn unwritable(texts: &[(&'static str, Option<&str>)]) -> Option<JournalError> {
    let mut texts = texts.iter();
    let found = texts.find(|(_, text)| text.is_some_and(|text| text.contains('\0')));
    found.map(|(field, _)| fault::unwritable(field))
}

impl Journal for PostgresJournal {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        let refused = unwritable(&[
            ("tenant", Some(&begin.labels.tenant)),
            ("subject", begin.labels.subject.as_deref()),
            ("key_id", begin.labels.key_id.as_deref()),
            ("kind", Some(&begin.kind)),
            ("stage", Some(&begin.stage)),
            ("key", Some(&begin.key)),
            ("digest", Some(&begin.digest)),
            ("body", Some(&begin.body)),
        ]);
        if let Some(refused) = refused {
            return refuse(refused);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.write(turn, |reply| Op::Begin(Box::new(begin), reply))
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        if let Some(refused) = unwritable(&writer::texts(&append)) {
            return refuse(refused);
        }
        let shard = usize::try_from(append.id.get()).unwrap_or(usize::MAX);
        self.write(shard, |reply| Op::Append(Box::new(append), reply))
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        Box::pin(self.store.claim(claim))
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        Box::pin(self.store.load(id))
    }

    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        Box::pin(self.store.list(listing))
    }

    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        Box::pin(self.store.join(join))
    }

    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        Box::pin(self.store.beat(beat))
    }

    fn leave(&self, instance: InstanceId) -> Answer<'_, ()> {
        Box::pin(self.store.leave(instance))
    }

    fn release(&self, release: Release) -> Answer<'_, ()> {
        Box::pin(self.store.release(release))
    }

    fn post(&self, post: Post) -> Answer<'_, Posted> {
        Box::pin(self.store.post(post))
    }

    fn prune(&self, prune: Prune) -> Answer<'_, usize> {
        Box::pin(self.store.prune(prune))
    }

    fn vitals(&self) -> Vitals {
        let written = self.written();
        let vitals = Vitals::of("postgres").written(written.operations, written.commits);
        // A task beside the writers is the listener.
        if self.tasks.len() > self.queues.len() {
            vitals.listening(self.is_listening())
        } else {
            vitals
        }
    }

    fn changed(&self) -> Answer<'_, ()> {
        // Made before the first poll: what happens between this call and that is not missed.
        let changed = self.store.changed.notified();
        Box::pin(async move {
            changed.await;
            Ok(())
        })
    }

    fn transactions(&self) -> Option<Transactions> {
        Some(Transactions::new(Arc::clone(&self.desk)))
    }
}
