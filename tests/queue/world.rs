//! What is called, and what it is called through.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mainstay::degrade::{Component, Degrade, Fact, Gate, Ladder, Level, Mode, Order, When};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{
    Answer, Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, Journal, JournalError, Log,
    LogId, Pulse, pass_on,
};
use mainstay::queue::{Captured, Codec, Draft, Entry, Lane, QueueError, Receipt, Verdict};
use tower::{BoxError, Service};

/// Amounts to add to accounts.
#[derive(Clone, Debug)]
pub(crate) struct Posting {
    pub(crate) key: Option<String>,
    pub(crate) account: i64,
    pub(crate) n: i64,
    pub(crate) token: u64,
}

pub(crate) fn posting(account: i64, n: i64) -> Posting {
    Posting {
        key: Some(format!("{account}-{n}")),
        account,
        n,
        token: 0,
    }
}

impl Posting {
    pub(crate) fn draft(&self) -> Result<Draft, QueueError> {
        let key = self.key.as_deref().ok_or(QueueError::NoKey)?;
        let lane = Lane::new(self.account.to_string());
        Ok(Draft::new(key, lane, self.n.to_string().into_bytes())?)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let lengths = [
            self.key.as_ref().unwrap().len(),
            self.account.to_string().len(),
        ];
        (lengths.iter().sum::<usize>() + self.n.to_string().len()) as u64
    }

    pub(crate) fn without_key(mut self) -> Self {
        self.key = None;
        self
    }

    pub(crate) fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Postings;

/// How a world refuses.
#[derive(Debug)]
struct Said(Says);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Said {}

impl Codec<Posting, &'static str, BoxError> for Postings {
    fn lane(&self, posting: &Posting) -> Lane {
        Lane::new(posting.account.to_string())
    }

    fn capture(&self, posting: Posting) -> Captured {
        Box::pin(async move { posting.draft() })
    }

    fn restore(&self, entry: &Entry) -> Option<Posting> {
        Some(Posting {
            key: Some(entry.key().to_owned()),
            account: entry.lane().as_str().parse().ok()?,
            n: std::str::from_utf8(entry.payload()).ok()?.parse().ok()?,
            token: entry.token(),
        })
    }

    fn queued(&self, _: &Receipt) -> Result<&'static str, BoxError> {
        Ok("queued")
    }

    fn refused(&self, error: &QueueError) -> Result<&'static str, BoxError> {
        Err(error.clone().into())
    }

    fn judge(&self, result: Result<&&'static str, &BoxError>) -> Verdict {
        match result {
            Ok(_) => Verdict::Applied,
            Err(error) => match error.downcast_ref() {
                Some(Said(Says::Refused)) => Verdict::Refused,
                Some(Said(Says::Away)) => Verdict::AWAY,
                _ => Verdict::FAILED,
            },
        }
    }
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Done,
    Refused,
    Failed,
    Away,
    Panics,
}

#[derive(Default)]
struct Books {
    calls: Vec<(i64, i64, u64)>,
    seen: BTreeSet<String>,
    applied: BTreeMap<i64, Vec<i64>>,
    says: BTreeMap<(i64, i64), Says>,
    hangs: BTreeSet<(i64, i64)>,
    waiting: Vec<tokio::sync::oneshot::Sender<Option<Says>>>,
    takes: Duration,
}

/// The callee. It applies a key once.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<Books>>);

impl World {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }

    pub(crate) fn says(&self, account: i64, n: i64, says: Says) {
        self.books().hangs.remove(&(account, n));
        self.books().says.insert((account, n), says);
    }

    /// Calls of this hang, until they are let go on.
    pub(crate) fn hang(&self, account: i64, n: i64) {
        self.books().hangs.insert((account, n));
    }

    pub(crate) fn go_on(&self) {
        self.go_on_with(&[]);
    }

    /// In the order in which they came, each with an answer of its own.
    pub(crate) fn go_on_with(&self, answers: &[Says]) {
        let mut books = self.books();
        books.hangs.clear();
        for (n, waiting) in books.waiting.drain(..).enumerate() {
            // One that was dropped does not go on.
            let _gone = waiting.send(answers.get(n).copied());
        }
    }

    pub(crate) fn takes(&self, time: Duration) {
        self.books().takes = time;
    }

    pub(crate) fn calls(&self) -> Vec<(i64, i64)> {
        self.books()
            .calls
            .iter()
            .map(|call| (call.0, call.1))
            .collect()
    }

    pub(crate) fn tokens(&self) -> Vec<u64> {
        self.books().calls.iter().map(|call| call.2).collect()
    }

    pub(crate) fn applied(&self, account: i64) -> Vec<i64> {
        self.books()
            .applied
            .get(&account)
            .cloned()
            .unwrap_or_default()
    }

    pub(crate) fn service(
        &self,
    ) -> impl Service<Posting, Response = &'static str, Error = BoxError, Future: Send>
    + Clone
    + Send
    + 'static {
        let world = self.clone();
        tower::service_fn(move |posting: Posting| {
            let world = world.clone();
            async move { world.call(posting).await }
        })
    }

    async fn call(&self, posting: Posting) -> Result<&'static str, BoxError> {
        let at = (posting.account, posting.n);
        let (takes, hung) = {
            let mut books = self.books();
            books
                .calls
                .push((posting.account, posting.n, posting.token));
            let hung = books.hangs.contains(&at).then(|| {
                let (sender, receiver) = tokio::sync::oneshot::channel();
                books.waiting.push(sender);
                receiver
            });
            (books.takes, hung)
        };
        let mut answer = None;
        match hung {
            Some(hung) => answer = hung.await.unwrap_or_default(),
            None => tokio::time::sleep(takes).await,
        }
        let mut books = self.books();
        let says = answer.or_else(|| books.says.get(&at).copied());
        match says.unwrap_or(Says::Done) {
            Says::Done => {
                if books.seen.insert(posting.key.unwrap()) {
                    books
                        .applied
                        .entry(posting.account)
                        .or_default()
                        .push(posting.n);
                }
                Ok("done")
            }
            Says::Panics => {
                drop(books);
                panic!("that was expected")
            }
            says => Err(Said(says).into()),
        }
    }
}

/// A ladder with the capability `writes`.
pub(crate) fn levels() -> (Degrade, Gate) {
    let ladder = Ladder::new("test")
        .component(Component::new("primary"))
        .level(Level::new("all"))
        .level(Level::new("primary down").cell("writes", Mode::Queued))
        .fact(Fact::new(
            "primary down",
            When::down("primary"),
            "primary down",
        ))
        .build()
        .unwrap();
    let degrade = Degrade::new(ladder);
    let gate = degrade.gate("writes").unwrap();
    (degrade, gate)
}

pub(crate) fn order() -> Order {
    Order::new("ann", "drill")
}

pub(crate) async fn sleep(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

/// A store that can be disturbed.
#[derive(Debug)]
pub(crate) struct Broken {
    inner: Arc<MemoryJournal>,
    no_beats: AtomicBool,
    deaf: AtomicBool,
    hangs: AtomicBool,
    no_claims: AtomicBool,
    no_records: AtomicBool,
    damaged: AtomicU64,
    loads: AtomicU64,
}

impl Broken {
    pub(crate) fn new(inner: Arc<MemoryJournal>) -> Self {
        Self {
            inner,
            no_beats: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            no_claims: AtomicBool::new(false),
            no_records: AtomicBool::new(false),
            damaged: AtomicU64::new(0),
            loads: AtomicU64::new(0),
        }
    }

    /// Whether it hears who lives.
    pub(crate) fn beats(&self, hears: bool) {
        self.no_beats.store(!hears, Ordering::SeqCst);
    }

    /// Writes, and then says that it failed.
    pub(crate) fn loses_answers(&self, loses: bool) {
        self.deaf.store(loses, Ordering::SeqCst);
    }

    /// Claims, and then says that it failed.
    pub(crate) fn loses_claims(&self, loses: bool) {
        self.no_claims.store(loses, Ordering::SeqCst);
    }

    /// Adds records, and then says that it failed.
    pub(crate) fn loses_records(&self, loses: bool) {
        self.no_records.store(loses, Ordering::SeqCst);
    }

    /// This log does not read.
    pub(crate) fn damage(&self, log: u64) {
        self.damaged.store(log, Ordering::SeqCst);
    }

    /// How often the damaged log was asked for.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Begins nothing, and says nothing.
    pub(crate) fn hangs(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }

    fn answers<T>(&self, answer: Result<T, JournalError>) -> Result<T, JournalError> {
        if self.deaf.load(Ordering::SeqCst) {
            return Err(failed());
        }
        answer
    }
}

fn failed() -> JournalError {
    JournalError::backend(std::io::Error::other("the line went dead"))
}

impl Journal for Broken {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let begun = self.inner.begin(begin).await;
            self.answers(begun)
        })
    }

    fn append(&self, append: Append) -> Answer<'_, ()> {
        Box::pin(async move {
            let appended = self.inner.append(append).await;
            match self.no_records.load(Ordering::SeqCst) {
                true => Err(failed()),
                false => self.answers(appended),
            }
        })
    }

    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        match self.no_beats.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(failed()) }),
            false => self.inner.join(join),
        }
    }

    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        match self.no_beats.load(Ordering::SeqCst) {
            true => Box::pin(async { Err(failed()) }),
            false => self.inner.beat(beat),
        }
    }

    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        Box::pin(async move {
            let claimed = self.inner.claim(claim).await;
            match self.no_claims.load(Ordering::SeqCst) {
                true => Err(failed()),
                false => claimed,
            }
        })
    }

    fn load(&self, id: LogId) -> Answer<'_, Log> {
        if id.get() == self.damaged.load(Ordering::SeqCst) {
            self.loads.fetch_add(1, Ordering::SeqCst);
            return Box::pin(async move { Err(JournalError::damaged(id, "a record is missing")) });
        }
        self.inner.load(id)
    }

    pass_on!(inner: list leave release post prune changed);
}
