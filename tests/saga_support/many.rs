//! Several instances on one journal, each in a process that can be stopped and woken, and a receiver of their effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{
    Answer, Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, Journal,
};
use mainstay::journal::{JournalError, Listing, Log, LogId, Post, Posted, Prune, Pulse, Release};
use mainstay::rng::Rng;
use mainstay::saga::{Cx, Saga, Sagas, Step, StepError};
use mainstay::time::Timestamp;
use tokio::sync::watch;

/// A process that can be stopped: its calls of the journal and of the receiver hang until it is woken.
#[derive(Debug, Default)]
pub struct Process {
    stopped: watch::Sender<bool>,
    /// Places that were passed: before and after each call that matters.
    passed: AtomicUsize,
    stop_at: Option<usize>,
    /// How often an effect was begun.
    pub begun: AtomicUsize,
    /// How far its wall clock is off, in milliseconds.
    skew: i64,
}

impl Process {
    pub fn new(stop_at: Option<usize>, skew: i64) -> Arc<Self> {
        Arc::new(Self {
            stop_at,
            skew,
            ..Self::default()
        })
    }

    pub fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub fn wake(&self) {
        self.stopped.send_replace(false);
    }

    pub fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// A place at which it may be stopped.
    pub async fn place(&self) {
        let place = self.passed.fetch_add(1, Ordering::SeqCst);
        if self.stop_at == Some(place) {
            self.stop();
        }
        self.runs().await;
    }

    /// Waits while it is stopped.
    pub async fn runs(&self) {
        let mut stopped = self.stopped.subscribe();
        drop(stopped.wait_for(|stopped| !*stopped).await);
    }

    fn wall(&self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis() + self.skew)
    }
}

/// The journal as one process sees it.
#[derive(Debug)]
pub struct Line {
    pub inner: MemoryJournal,
    pub process: Arc<Process>,
}

impl Line {
    fn place<'a, T: Send + 'a>(&'a self, work: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            self.process.place().await;
            let answer = work.await;
            self.process.place().await;
            answer
        })
    }

    fn call<'a, T: Send + 'a>(&'a self, work: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            self.process.runs().await;
            let answer = work.await;
            self.process.runs().await;
            answer
        })
    }
}

impl Journal for Line {
    fn begin(&self, mut begin: Begin) -> Answer<'_, Begun> {
        begin.at = self.process.wall(begin.at);
        self.place(self.inner.begin(begin))
    }
    fn append(&self, mut append: Append) -> Answer<'_, ()> {
        append.at = self.process.wall(append.at);
        self.place(self.inner.append(append))
    }
    fn load(&self, id: LogId) -> Answer<'_, Log> {
        self.call(self.inner.load(id))
    }
    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        self.call(self.inner.claim(claim))
    }
    fn list(&self, listing: Listing) -> Answer<'_, Vec<Head>> {
        self.call(self.inner.list(listing))
    }
    fn join(&self, join: Join) -> Answer<'_, InstanceId> {
        self.call(self.inner.join(join))
    }
    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        self.call(self.inner.beat(beat))
    }
    fn leave(&self, instance: InstanceId) -> Answer<'_, ()> {
        self.call(self.inner.leave(instance))
    }
    fn release(&self, release: Release) -> Answer<'_, ()> {
        self.call(self.inner.release(release))
    }
    fn post(&self, post: Post) -> Answer<'_, Posted> {
        self.call(self.inner.post(post))
    }
    fn prune(&self, prune: Prune) -> Answer<'_, usize> {
        self.call(self.inner.prune(prune))
    }
    fn changed(&self) -> Answer<'_, ()> {
        self.call(self.inner.changed())
    }
}

/// A receiver that applies a key once, refuses what was undone, and may refuse tokens that are not the newest.
#[derive(Debug, Default)]
pub struct Ledger {
    checks_tokens: bool,
    books: Mutex<BTreeMap<String, Books>>,
}

/// What became of one saga.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    pub standing: BTreeMap<String, String>,
    tombstones: BTreeSet<String>,
    pub events: Vec<String>,
    newest: u64,
    /// Calls with an older token than one that was seen before: done, and refused.
    pub stale: usize,
    pub refused: usize,
}

impl Ledger {
    pub fn new(checks_tokens: bool) -> Arc<Self> {
        Arc::new(Self {
            checks_tokens,
            ..Self::default()
        })
    }

    pub fn books(&self, saga: &str) -> Books {
        self.books
            .lock()
            .unwrap()
            .get(saga)
            .cloned()
            .unwrap_or_default()
    }

    pub fn all(&self) -> BTreeMap<String, Books> {
        self.books.lock().unwrap().clone()
    }

    fn call(&self, cx: &C, what: &str) -> Result<(), StepError> {
        let mut all = self.books.lock().unwrap();
        let name = format!("{}/{}", cx.tenant(), cx.business_key());
        let books = all.entry(name).or_default();
        let token = cx.fencing_token();
        if token < books.newest {
            if self.checks_tokens {
                books.refused += 1;
                return Err(StepError::halt("a stale token"));
            }
            books.stale += 1;
        }
        books.newest = books.newest.max(token);
        match cx.undoes() {
            None if books.tombstones.contains(cx.idempotency_key()) => {
                Err(StepError::refused("it was undone"))
            }
            None => {
                let key = cx.idempotency_key().to_owned();
                if books.standing.insert(key, cx.step().to_owned()).is_none() {
                    books.events.push(format!("+{what}"));
                }
                Ok(())
            }
            Some(undoes) => {
                if books.standing.remove(undoes).is_some() {
                    books.events.push(format!("-{what}"));
                }
                books.tombstones.insert(undoes.to_owned());
                Ok(())
            }
        }
    }
}

/// What a step gets: the receiver, and the process that it runs in.
pub struct World {
    pub ledger: Arc<Ledger>,
    pub process: Arc<Process>,
    pub luck: Arc<Luck>,
}

/// What goes wrong by chance, while it may.
#[derive(Debug, Default)]
pub struct Luck {
    rng: Mutex<Option<Rng>>,
    /// How often something went wrong.
    pub struck: AtomicUsize,
}

impl Luck {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(Some(Rng::new(seed))),
            ..Self::default()
        })
    }

    /// From now on nothing goes wrong.
    pub fn end(&self) {
        *self.rng.lock().unwrap() = None;
    }

    /// One of `kinds` misfortunes, each once in `chances`; without luck or without one, `None`.
    pub fn strikes(&self, kinds: u64, chances: u64) -> Option<u64> {
        let mut rng = self.rng.lock().unwrap();
        let drawn = rng.as_mut()?.next_u64() % chances;
        let struck = (drawn < kinds).then_some(drawn);
        self.struck
            .fetch_add(usize::from(struck.is_some()), Ordering::SeqCst);
        struck
    }
}

/// How an attempt ends that has had no effect.
fn unlucky_before(cx: &C) -> Option<StepError> {
    Some(match cx.app().luck.strikes(3, 24)? {
        0 if cx.undoes().is_none() => StepError::fail("unlucky"),
        1 => StepError::retry_after("unlucky", Duration::from_secs(90)),
        _ => StepError::retry("unlucky"),
    })
}

/// How an attempt ends that has had its effect.
fn unlucky_after(cx: &C) -> Option<StepError> {
    Some(match cx.app().luck.strikes(3, 24)? {
        0 => StepError::unknown("unlucky"),
        1 => StepError::retry_after("unlucky", Duration::from_secs(40)),
        _ => StepError::retry("unlucky"),
    })
}

pub type C = Cx<World, u32>;

/// One that takes as many milliseconds as the input has hundreds, and fails when the input's last digit is its number.
pub async fn effect(cx: C, (): ()) -> Result<(), StepError> {
    let process = Arc::clone(&cx.app().process);
    process.begun.fetch_add(1, Ordering::SeqCst);
    process.place().await;
    let slow = u64::from(cx.input() / 100);
    if slow > 0 {
        tokio::time::sleep(Duration::from_millis(slow)).await;
        // One that was stopped meanwhile sends it when it is woken.
        process.runs().await;
    }
    let number = match cx.step() {
        "a" => 1,
        "b" => 2,
        "settle" => 3,
        _ => 4,
    };
    let done = if cx.undoes().is_none() && cx.input() % 10 == number {
        // Of a point of no return only this leaves no doubt once an earlier attempt is lost.
        Err(if number == 3 {
            StepError::refused("no")
        } else {
            StepError::fail("no")
        })
    } else if let Some(unlucky) = unlucky_before(&cx) {
        Err(unlucky)
    } else {
        cx.app().ledger.call(&cx, cx.step())
    };
    process.place().await;
    match unlucky_after(&cx).filter(|_| done.is_ok()) {
        Some(unlucky) => Err(unlucky),
        None => done,
    }
}

pub async fn undo(cx: C, _: Option<()>) -> Result<(), StepError> {
    effect(cx, ()).await
}

/// Two steps, a point of no return, and what must follow.
pub fn transfer() -> Saga<World, u32, ()> {
    let step = || Step::new(effect).timeout(Duration::from_secs(3_600));
    let undo = || Step::new(undo).timeout(Duration::from_secs(3_600));
    Saga::builder("transfer")
        .step("a", step())
        .undo(undo())
        .step("b", step())
        .undo(undo())
        .pivot("settle", step())
        .then("notify", step())
        .build()
        .unwrap()
}

/// What an undisturbed run of [`transfer`] leaves.
pub fn expected(input: u32) -> &'static [&'static str] {
    match input % 10 {
        1 => &[],
        2 => &["+a", "-a"],
        3 => &["+a", "+b", "-b", "-a"],
        _ => &["+a", "+b", "+settle", "+notify"],
    }
}

/// An engine in a process of its own.
pub async fn instance(
    journal: &MemoryJournal,
    ledger: &Arc<Ledger>,
    process: &Arc<Process>,
    saga: &Saga<World, u32, ()>,
) -> Sagas<World> {
    let line = Line {
        inner: journal.clone(),
        process: Arc::clone(process),
    };
    let world = World {
        ledger: Arc::clone(ledger),
        process: Arc::clone(process),
        luck: Arc::default(),
    };
    Sagas::builder(Arc::new(line), world)
        .register(saga)
        .name("test")
        .start()
        .await
        .unwrap()
}

/// A process's journal from which replies are lost, before and after the work is done.
#[derive(Debug)]
pub struct Unlucky {
    pub line: Line,
    pub luck: Arc<Luck>,
}

impl Unlucky {
    fn call<'a, T: Send + 'a>(&'a self, work: Answer<'a, T>) -> Answer<'a, T> {
        Box::pin(async move {
            let lost = || JournalError::backend(std::io::Error::other("the line went dead"));
            match self.luck.strikes(2, 20) {
                Some(0) => Err(lost()),
                Some(_) => work.await.and(Err(lost())),
                None => work.await,
            }
        })
    }
}

impl Journal for Unlucky {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        self.call(self.line.begin(begin))
    }
    fn append(&self, append: Append) -> Answer<'_, ()> {
        self.call(self.line.append(append))
    }
    fn load(&self, id: LogId) -> Answer<'_, Log> {
        self.call(self.line.load(id))
    }
    fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
        self.call(self.line.claim(claim))
    }
    fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
        self.call(self.line.beat(beat))
    }
    fn release(&self, release: Release) -> Answer<'_, ()> {
        self.call(self.line.release(release))
    }
    fn post(&self, post: Post) -> Answer<'_, Posted> {
        self.call(self.line.post(post))
    }
    mainstay::journal::pass_on!(line: list join leave prune changed);
}

/// An engine in a process of its own, to which things happen.
pub async fn unlucky(
    journal: &MemoryJournal,
    ledger: &Arc<Ledger>,
    process: &Arc<Process>,
    luck: &Arc<Luck>,
    saga: &Saga<World, u32, ()>,
) -> Sagas<World> {
    let line = Line {
        inner: journal.clone(),
        process: Arc::clone(process),
    };
    let world = World {
        ledger: Arc::clone(ledger),
        process: Arc::clone(process),
        luck: Arc::clone(luck),
    };
    let luck = Arc::clone(luck);
    Sagas::builder(Arc::new(Unlucky { line, luck }), world)
        .register(saga)
        .name("test")
        .start()
        .await
        .unwrap()
}

/// Begins as many sagas as another one that has just begun, which nobody carries on.
pub async fn unfinished(
    journal: &dyn Journal,
    like: LogId,
    tenant: &str,
    keys: impl Iterator<Item = String>,
) -> Vec<LogId> {
    let log = journal.load(like).await.unwrap();
    let first = &log.records[0];
    let labels = Arc::new(mainstay::journal::Labels::new(tenant));
    let mut ids = Vec::new();
    for keys in keys.collect::<Vec<_>>().chunks(1_000) {
        let begun = keys.iter().map(|key| {
            let head = &log.head;
            let begin = Begin::new(
                Arc::clone(&labels),
                Arc::clone(&head.kind),
                key.clone(),
                head.digest.clone(),
                first.format,
                first.body.clone(),
                head.begun,
            );
            journal.begin(begin.version(head.version))
        });
        for begun in futures::future::join_all(begun).await {
            match begun.unwrap() {
                Begun::Created(head) => ids.push(head.id),
                other => panic!("{other:?}"),
            }
        }
    }
    ids
}
