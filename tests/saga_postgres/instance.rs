//! One instance in a process of its own, to be killed and stopped. The test binary starts itself as one.

use std::io::BufRead as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mainstay::journal::Journal;
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal, SchemaName};
use mainstay::num::Period;
use mainstay::retry::Backoff;
use mainstay::rng::Rng;
use mainstay::saga::{Cx, Saga, Sagas, Step, StepError};
use tokio_postgres::NoTls;

use super::fixture::pool;
use super::receiver::{Answer, Asked, Receiver};

/// Short, so that what a killed instance had is soon taken up.
pub(crate) const LEASE: Period = Period::millis(1_500);

/// A third of a lease is when it is renewed; a call that hangs must not cost it.
pub(crate) const PATIENCE: Duration = Duration::from_millis(400);

/// How many sagas are started together.
const TOGETHER: u32 = 8;

const ADDRESS: &str = "MAINSTAY_INSTANCE_ADDRESS";
const SCHEMAS: &str = "MAINSTAY_INSTANCE_SCHEMAS";
const RANGE: &str = "MAINSTAY_INSTANCE_RANGE";
const TOKENS: &str = "MAINSTAY_INSTANCE_TOKENS";

/// What an instance is told.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) address: String,
    pub(crate) journal: String,
    pub(crate) receiver: String,
    pub(crate) tokens: bool,
}

impl Orders {
    /// The process that starts sagas `from`, `from + step`, .. below `to`.
    pub(crate) fn command(&self, from: u32, to: u32, step: u32) -> Command {
        // It may be stopped when the tests are killed, and would stay so for ever.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe().unwrap())
            .env(ADDRESS, &self.address)
            .env(SCHEMAS, format!("{} {}", self.journal, self.receiver))
            .env(RANGE, format!("{from} {to} {step}"))
            .env(TOKENS, if self.tokens { "1" } else { "0" });
        command
    }
}

pub(crate) fn is_asked_for() -> bool {
    std::env::var_os(ADDRESS).is_some()
}

struct World {
    receiver: Arc<Receiver>,
    /// The next effect stops the process before it is sent.
    stop: Arc<AtomicBool>,
}

type C = Cx<World, u32>;

/// What an undisturbed run of saga `n` leaves with the receiver.
pub(crate) fn expected(n: u32) -> &'static [&'static str] {
    match n % 5 {
        1 => &["+a", "-a"],
        3 => &["+a", "+b", "-b", "-a"],
        _ => &["+a", "+b", "+settle", "+notify"],
    }
}

async fn effect(cx: C, (): ()) -> Result<(), StepError> {
    match (cx.step(), cx.input() % 5) {
        ("b", 1) => Err(StepError::fail("no")),
        // Of a point of no return only this leaves no doubt once an earlier attempt is lost.
        ("settle", 3) => Err(StepError::refused("no")),
        _ => send(&cx).await,
    }
}

async fn undo(cx: C, _: Option<()>) -> Result<(), StepError> {
    send(&cx).await
}

async fn send(cx: &C) -> Result<(), StepError> {
    let undoes = cx.undoes();
    let asked = Asked {
        saga: cx.business_key().to_owned(),
        what: format!("{}{}", if undoes.is_some() { '-' } else { '+' }, cx.step()),
        key: undoes.unwrap_or_else(|| cx.idempotency_key()).to_owned(),
        undo: undoes.is_some(),
        token: cx.fencing_token(),
    };
    let salt = u64::from(std::process::id()) ^ cx.fencing_token();
    let takes = Rng::new(salt ^ u64::from(*cx.input()) << 20).next_u64() % 40;
    tokio::time::sleep(Duration::from_millis(takes)).await;
    if cx.app().stop.swap(false, Ordering::SeqCst) {
        println!("stopping {} {}", asked.saga, asked.what);
        let me = std::process::id().to_string();
        // Returns when the process was woken.
        Command::new("kill")
            .args(["-s", "STOP", &me])
            .status()
            .unwrap();
    }
    // As a client with a connection task does: what was handed to it is sent, whatever becomes of the caller.
    let receiver = Arc::clone(&cx.app().receiver);
    let answer = tokio::spawn(async move { receiver.ask(&asked).await }).await;
    match answer.unwrap() {
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Cancelled) => Err(StepError::refused("it was undone before it came")),
        Ok(Answer::Stale) => Err(StepError::halt("somebody else carries this saga on")),
        Err(error) => Err(StepError::retry(error.to_string())),
    }
}

/// Two steps, a point of no return, and what must follow.
fn saga() -> Saga<World, u32, ()> {
    let backoff = || Backoff::exponential(Duration::from_millis(20), Duration::from_millis(200));
    let step = || Step::new(effect).until_done().backoff(backoff());
    let undo = || Step::new(undo).until_done().backoff(backoff());
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

fn numbers<const N: usize>(words: &str) -> [u32; N] {
    let all: Vec<u32> = words.split(' ').map(|word| word.parse().unwrap()).collect();
    all.try_into().unwrap()
}

/// Lives until it is killed, or until its standard input ends.
pub(crate) fn live() {
    let told = |name: &str| std::env::var(name).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_stop = Arc::clone(&stop);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|line| line == "stop") {
                asked_to_stop.store(true, Ordering::SeqCst);
            }
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let address: tokio_postgres::Config = told(ADDRESS).parse().unwrap();
        let schemas = told(SCHEMAS);
        let (journal, receiver) = schemas.split_once(' ').unwrap();
        let config = PostgresConfig::new()
            .schema(SchemaName::new(journal).unwrap())
            .patience(PATIENCE);
        let journal = loop {
            // On a machine that is busy with others a connection can take longer than the patience.
            let journal = PostgresJournal::open(pool(address.clone()), config.clone()).await;
            if let Ok(journal) = journal {
                break Arc::new(journal.listen(address.clone(), NoTls));
            }
        };
        let receiver = Receiver::new(address, receiver, told(TOKENS) == "1");
        let world = Arc::new(World {
            receiver: Arc::new(receiver),
            stop,
        });
        let saga = saga();
        let engine = || {
            Sagas::builder(Arc::clone(&journal) as Arc<dyn Journal>, Arc::clone(&world))
                .register(&saga)
                // A process lives for 400 ms here, and a suspected saga takes a fifth of that for a step: with the default
                // of 5 tries one of ten thousand innocent ones is taken for deadly.
                .crash_limit(NonZeroU32::new(30).unwrap())
                .name(format!("process {}", std::process::id()))
                .lease(LEASE)
                .poll(Period::millis(100))
                .in_flight(NonZeroUsize::new(8).unwrap())
        };
        let sagas = loop {
            if let Ok(sagas) = engine().start().await {
                break sagas;
            }
        };
        println!("ready");
        let [mut from, to, step] = numbers(&told(RANGE));
        while from < to {
            let some = (0..TOGETHER).map(|n| from + n * step).filter(|n| *n < to);
            let starts = some.map(|n| sagas.start(&saga, n.to_string(), n));
            let started = futures::future::join_all(starts).await;
            if started.iter().all(Result::is_ok) {
                from += TOGETHER * step;
                println!("started {from}");
            }
        }
        println!("started all");
        std::future::pending::<()>().await;
    });
}
