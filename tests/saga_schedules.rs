//! Random schedules of two instances to which everything happens at once: processes that are stopped, killed, shut down
//! and started, attempts that end in every way, waits that are written down and parked, wishes to cancel, replies of the
//! journal that are lost before and after its work. Safety while it happens; then nothing goes wrong any more, and
//! everything comes to rest.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it waits, in virtual time, and takes its seed from the environment"
)]

mod saga_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay::journal::Journal;
use mainstay::journal::memory::MemoryJournal;
use mainstay::rng::Rng;
use mainstay::saga::entry::Class;
use mainstay::saga::{Ended, Sagas};
use saga_support::many::{Ledger, Luck, Process, World, expected, transfer, unlucky};

struct Life {
    sagas: Sagas<World>,
    process: Arc<Process>,
}

/// What was seen in all schedules, so that none of it is missing.
#[derive(Debug, Default)]
struct Tally {
    struck: usize,
    killed: usize,
    cancelled: usize,
    completed: usize,
    compensated: usize,
    incidents: usize,
    stale: usize,
}

async fn schedule(seed: u64, tokens: bool, tally: &mut Tally) {
    let mut rng = Rng::new(seed);
    let luck = Luck::new(rng.next_u64());
    let mut draw = |bound: u64| rng.next_u64() % bound;
    let (journal, ledger, saga) = (MemoryJournal::new(), Ledger::new(tokens), transfer());
    let mut lives = Vec::new();
    for skew in [0, 600_000] {
        let process = Process::new(None, skew);
        let sagas = unlucky(&journal, &ledger, &process, &luck, &saga).await;
        lives.push(Life { sagas, process });
    }
    let inputs: BTreeMap<String, u32> = (0..6)
        .map(|number| {
            let slow = [0, 1, 200, 2_000, 8_000][usize::try_from(draw(5)).unwrap()];
            (number.to_string(), 100 * slow)
        })
        .collect();
    let mut waiting: Vec<(&String, &u32)> = inputs.iter().collect();
    let mut tasks = Vec::new();
    for _ in 0..30 {
        let which = usize::try_from(draw(2)).unwrap();
        let life = &mut lives[which];
        match draw(12) {
            0..=3 => {
                if let Some((key, input)) = waiting.pop() {
                    let (sagas, saga) = (life.sagas.clone(), saga.clone());
                    let (key, input) = (key.clone(), *input);
                    tasks.push(tokio::spawn(async move {
                        drop(sagas.start(&saga, key, input).await);
                    }));
                }
            }
            4 => life.process.stop(),
            5 | 6 => life.process.wake(),
            7 | 8 => {
                let process = Process::new(None, 0);
                let sagas = unlucky(&journal, &ledger, &process, &luck, &saga).await;
                let old = std::mem::replace(life, Life { sagas, process });
                if draw(2) == 0 && !old.process.is_stopped() {
                    old.sagas.shutdown(Duration::from_millis(draw(300))).await;
                } else {
                    tally.killed += 1;
                }
            }
            9 => {
                let known = journal.len() as u64;
                if known > 0 {
                    let id = mainstay::journal::LogId::new(1 + draw(known)).into();
                    let sagas = life.sagas.clone();
                    tally.cancelled += 1;
                    tasks.push(tokio::spawn(async move {
                        drop(sagas.cancel(id, "ann", "a wish").await);
                    }));
                }
            }
            _ => {}
        }
        let pauses = [0, 3, 60, 1_000, 6_000, 20_000, 50_000];
        let pause = pauses[usize::try_from(draw(7)).unwrap()];
        tokio::time::sleep(Duration::from_millis(draw(pause + 1))).await;
    }
    // Nothing goes wrong any more.
    luck.end();
    lives.iter().for_each(|life| life.process.wake());
    for (number, (key, input)) in inputs.iter().enumerate() {
        let sagas = &lives[number % 2].sagas;
        let handle = sagas.start(&saga, key.clone(), *input).await.unwrap();
        let ended = loop {
            let ended = tokio::time::timeout(Duration::from_secs(600), handle.ended()).await;
            match ended {
                Ok(Ok(Ended::Incident(incident))) => {
                    tally.incidents += 1;
                    let known = [Class::UnknownOutcome, Class::UndoFailed, Class::CrashLoop];
                    assert!(known.contains(&incident.class), "seed {seed}: {incident:?}");
                    sagas.retry(incident.saga, "ann", "again").await.unwrap();
                }
                Ok(Ok(ended)) => break ended,
                other => {
                    let log = journal.load(handle.id().log()).await.unwrap();
                    panic!("seed {seed}, saga {key}: {other:?}, {log:?}")
                }
            }
        };
        let books = ledger.books(&format!("/{key}"));
        tally.stale += books.stale;
        assert!(
            !tokens || books.stale == 0,
            "seed {seed}, saga {key}: {books:?}"
        );
        if ended == Ended::Completed(()) {
            tally.completed += 1;
            assert_eq!(books.events, expected(0), "seed {seed}, saga {key}");
            continue;
        }
        tally.compensated += 1;
        assert!(
            books.standing.is_empty(),
            "seed {seed}, saga {key}: {books:?}"
        );
        let of = |sign: char| {
            let events = books.events.iter();
            events.filter_map(move |event| event.strip_prefix(sign))
        };
        let whole = of('+').count() + of('-').count() == books.events.len();
        let mut undone: Vec<&str> = of('-').collect();
        undone.reverse();
        assert!(
            whole && of('+').eq(undone),
            "seed {seed}, saga {key}: {books:?}"
        );
    }
    for life in lives {
        life.sagas.shutdown(Duration::from_secs(1)).await;
        assert_eq!(
            (life.sagas.running(), life.sagas.tasks()),
            (0, 0),
            "seed {seed}"
        );
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    tally.struck += luck.struck.load(Ordering::SeqCst);
}

#[tokio::test(start_paused = true)]
async fn random_schedules_with_every_fault_lose_and_double_nothing() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let fixed = number("MAINSTAY_SEED");
    let many = number("MAINSTAY_SCHEDULES").unwrap_or(if fixed.is_some() { 1 } else { 1_000 });
    let first = fixed.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_000);
    println!("MAINSTAY_SEED={first} and the {many} from there");
    let mut tally = Tally::default();
    for seed in first..first + many {
        schedule(seed, true, &mut tally).await;
    }
    println!("{tally:?}");
    let seen = [
        tally.struck,
        tally.killed,
        tally.cancelled,
        tally.completed,
        tally.compensated,
        tally.incidents,
    ];
    assert!(
        many < 1_000 || seen.iter().all(|seen| *seen > 50),
        "{tally:?}"
    );
}

/// The control of the one above: where receivers do not look at tokens, stale effects are seen. The keys and what was
/// undone still keep the books right here.
#[tokio::test(start_paused = true)]
async fn without_a_check_of_tokens_random_schedules_show_stale_effects() {
    let mut tally = Tally::default();
    for seed in 0..200 {
        schedule(seed, false, &mut tally).await;
    }
    assert!(tally.stale > 0, "{tally:?}");
}
