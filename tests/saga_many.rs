//! Several instances on one journal: takeover, handover, fairness, rolling upgrades, waiting across instances, pruning.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "it waits, mostly in virtual time"
)]

mod saga_support;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Answer, Append, Claim, Head, Journal, JournalError, Listing, Status};
use mainstay::num::Period;
use mainstay::saga::entry::Class;
use mainstay::saga::{Cx, Ended, Key, Saga, SagaError, Sagas, SagasBuilder, StepError};
use saga_support::many::{Ledger, Process, expected, instance, transfer, unfinished};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Notes who came, and waits until it is let through.
struct Gate {
    open: Semaphore,
    came: Mutex<Vec<(String, String)>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

fn gate(open: usize) -> Arc<Gate> {
    Arc::new(Gate {
        open: Semaphore::new(open),
        came: Mutex::default(),
        now: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    })
}

impl Gate {
    fn came(&self) -> usize {
        self.came.lock().unwrap().len()
    }
}

async fn pass(cx: Cx<Gate, u32>, (): ()) -> Result<u64, StepError> {
    let gate = cx.app();
    let who = (cx.tenant().to_owned(), cx.business_key().to_owned());
    gate.came.lock().unwrap().push(who);
    let now = gate.now.fetch_add(1, Ordering::SeqCst) + 1;
    gate.most.fetch_max(now, Ordering::SeqCst);
    gate.open.acquire().await.unwrap().forget();
    tokio::time::sleep(Duration::from_millis(10)).await;
    gate.now.fetch_sub(1, Ordering::SeqCst);
    Ok(cx.fencing_token())
}

fn passing(name: &str, version: u32) -> Saga<Gate, u32, u64> {
    let pass = mainstay::saga::Step::new(pass).timeout(Duration::from_secs(3_600));
    Saga::builder(name)
        .version(version)
        .pivot("pass", pass)
        .build()
        .unwrap()
}

fn build(
    journal: &Arc<dyn Journal>,
    gate: &Arc<Gate>,
    sagas: &[&Saga<Gate, u32, u64>],
) -> SagasBuilder<Gate> {
    let builder = Sagas::builder(Arc::clone(journal), Arc::clone(gate));
    sagas
        .iter()
        .fold(builder, |builder, saga| builder.register(*saga))
}

fn memory() -> (MemoryJournal, Arc<dyn Journal>) {
    let journal = MemoryJournal::new();
    (journal.clone(), Arc::new(journal))
}

fn count(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

// === takeover and handover ===

#[tokio::test(start_paused = true)]
async fn a_killed_instance_is_taken_over_within_the_lease() {
    let (_, journal) = memory();
    let (gate, saga) = (gate(0), passing("pass", 1));
    let dies = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let lives = build(&journal, &gate, &[&saga]).start().await.unwrap();
    for n in 0..50_u32 {
        dies.start(&saga, n.to_string(), n).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!((dies.running(), lives.running()), (50, 0));
    let killed = Instant::now();
    drop(dies);
    while lives.running() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = killed.elapsed();
    println!("{took:?}");
    assert!(
        took >= Duration::from_secs(9) && took <= Duration::from_millis(16_100),
        "{took:?}"
    );
    gate.open.add_permits(50);
    let handle = lives.start(&saga, "7", 7).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(2));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_over_at_once_and_counts_as_no_recovery() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(0), passing("pass", 1));
    let goes = build(&journal, &gate, &[&saga])
        .in_flight(count(1))
        .backlog(count(10))
        .start()
        .await
        .unwrap();
    let stays = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let first = goes.start(&saga, "in a step", 1).await.unwrap();
    let starting: Vec<_> = (0..10)
        .map(|n: u32| {
            let (goes, saga) = (goes.clone(), saga.clone());
            tokio::spawn(async move { goes.start(&saga, n.to_string(), n).await.map(|_| ()) })
        })
        .collect();
    // Some are taken over by the one that goes, and wait there for room.
    let ids = unfinished(
        &memory,
        first.id().log(),
        "",
        (0..20).map(|n| format!("u{n}")),
    )
    .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(stays.running() + goes.running(), 21, "{stays:?} {goes:?}");
    let (before, began) = (stays.running(), Instant::now());
    let shutdown = tokio::spawn({
        let goes = goes.clone();
        async move { goes.shutdown(Duration::from_secs(60)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(stays.running(), 20, "it had {before} before");
    assert_eq!(goes.running(), 1, "a step that runs may end");
    gate.open.add_permits(100);
    let drained = shutdown.await.unwrap();
    assert_eq!(drained.cut_off, 0);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    for start in starting {
        assert!(matches!(start.await.unwrap(), Err(SagaError::Stopping)));
    }
    let moved = stays.start(&saga, "in a step", 1).await.unwrap();
    assert_eq!(moved.ended().await.unwrap(), Ended::Completed(1));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for id in ids {
        let head = journal.load(id).await.unwrap().head;
        assert_eq!(head.status, Status::Ended, "{head:?}");
    }
    // A longer step than the grace is cut off, and its saga taken over at once as well.
    gate.open.forget_permits(1_000);
    let last = stays.start(&saga, "cut", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stays.shutdown(Duration::from_secs(1)).await.cut_off, 1);
    let head = journal.load(last.id().log()).await.unwrap().head;
    assert_eq!(
        (head.status, head.owner, head.recoveries),
        (Status::Running, None, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_is_joined_anew_and_everything_goes_on() {
    let journal = MemoryJournal::new();
    let (ledger, saga) = (Ledger::new(true), transfer());
    let process = Process::new(None, 0);
    let sagas = instance(&journal, &ledger, &process, &saga).await;
    let number = sagas.instance();
    // Each step takes 8 s.
    let handle = sagas.start(&saga, "k", 800_000).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Nobody else is there: it comes back under another number and takes its own saga over.
    process.stop();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(sagas.instance(), None);
    process.wake();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
    assert!(sagas.instance().is_some() && sagas.instance() != number);
    assert_eq!(ledger.books("/k").events, expected(0));
    assert_eq!((sagas.running(), sagas.tasks(), sagas.backlog()), (0, 0, 0));
}

/// What waits between attempts leaves as well, and whoever takes it over goes on with the wait.
#[tokio::test(start_paused = true)]
async fn a_run_that_waits_leaves_when_the_lease_is_lost() {
    async fn later(cx: Cx<AtomicUsize, u32>, (): ()) -> Result<u64, StepError> {
        match cx.app().fetch_add(1, Ordering::SeqCst) {
            0 => Err(StepError::retry_after("busy", Duration::from_secs(25))),
            _ => Ok(cx.fencing_token()),
        }
    }
    let (memory, journal) = memory();
    let step = mainstay::saga::Step::new(later).until_done();
    let saga = Saga::builder("later").pivot("later", step).build().unwrap();
    let sagas = Sagas::builder(journal, AtomicUsize::new(0))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    memory.restarted();
    let ended = tokio::time::timeout(Duration::from_secs(60), handle.ended()).await;
    assert!(matches!(ended, Ok(Ok(Ended::Completed(2..)))), "{ended:?}");
}

// === start once, handles over instances ===

#[tokio::test(start_paused = true)]
async fn a_key_is_one_saga_for_all_instances_and_each_is_told_its_end() {
    let (_, journal) = memory();
    let (gate, saga) = (gate(0), passing("pass", 1));
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(build(&journal, &gate, &[&saga]).start().await.unwrap());
    }
    let key = || Key::new("INV-1").tenant("a");
    let starts = all.iter().map(|sagas| sagas.start(&saga, key(), 7));
    let handles = futures::future::try_join_all(starts).await.unwrap();
    assert!(handles.windows(2).all(|pair| pair[0].id() == pair[1].id()));
    for sagas in &all {
        let other = sagas.start(&saga, key(), 8).await;
        assert!(matches!(other, Err(SagaError::OtherInput(id)) if id == handles[0].id()));
    }
    // The same key of another tenant is another saga, on whichever instance.
    let theirs = all[1]
        .start(&saga, Key::new("INV-1").tenant("b"), 7)
        .await
        .unwrap();
    assert_ne!(theirs.id(), handles[0].id());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(gate.came(), 2);
    gate.open.add_permits(1);
    let began = Instant::now();
    for handle in &handles {
        assert_eq!(handle.ended().await.unwrap(), Ended::Completed(1));
    }
    assert!(
        began.elapsed() <= Duration::from_millis(1_100),
        "{:?}",
        began.elapsed()
    );
    let waits = tokio::time::timeout(Duration::from_secs(30), theirs.ended()).await;
    assert!(
        waits.is_err(),
        "the other tenant's has not ended: {waits:?}"
    );
    gate.open.add_permits(1);
    theirs.ended().await.unwrap();
    // And after the end, from any of them.
    for sagas in &all {
        let again = sagas.start(&saga, key(), 7).await.unwrap();
        assert_eq!(again.ended().await.unwrap(), Ended::Completed(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_decides_on_any_instance() {
    async fn halts(cx: Cx<AtomicUsize, u32>, (): ()) -> Result<u32, StepError> {
        match cx.app().fetch_add(1, Ordering::SeqCst) {
            0 => Err(StepError::halt("look")),
            _ => Ok(1),
        }
    }
    let (_, journal) = memory();
    let saga = Saga::builder("halts")
        .pivot("halts", halts)
        .build()
        .unwrap();
    let app = Arc::new(AtomicUsize::new(0));
    let start = || {
        Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
            .register(&saga)
            .start()
    };
    let (one, two) = (start().await.unwrap(), start().await.unwrap());
    let handle = one.start(&saga, "k", 7).await.unwrap();
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    let seen = two.incidents().await.unwrap();
    assert_eq!(seen.len(), 1);
    two.retry(seen[0].saga, "ann", "looked").await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(1));
    assert_eq!(app.load(Ordering::SeqCst), 2);
}

// === rolling upgrades, and sagas that cannot be carried on ===

#[tokio::test(start_paused = true)]
async fn an_instance_takes_up_only_versions_that_it_knows() {
    let (_, journal) = memory();
    let (gate, v1, v2) = (gate(0), passing("pass", 1), passing("pass", 2));
    let old = build(&journal, &gate, &[&v1]).start().await.unwrap();
    let new = build(&journal, &gate, &[&v1, &v2]).start().await.unwrap();
    let one = new.start(&v1, "one", 1).await.unwrap();
    let two = new.start(&v2, "two", 2).await.unwrap();
    assert!(matches!(
        old.start(&v2, "x", 1).await,
        Err(SagaError::Unregistered { .. })
    ));
    drop(new);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(old.running(), 1);
    let (one, two) = (one.id().log(), two.id().log());
    assert_eq!(journal.load(one).await.unwrap().head.claims, 1);
    assert_eq!(
        journal.load(two).await.unwrap().head.claims,
        0,
        "not even touched"
    );
    let newer = build(&journal, &gate, &[&v1, &v2]).start().await.unwrap();
    let handle = newer.start(&v2, "two", 2).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((old.running(), newer.running()), (1, 1));
    gate.open.add_permits(2);
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(2));
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_carried_on_stops_no_other() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(1_000), passing("pass", 1));
    let first = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let like = first.start(&saga, "like", 7).await.unwrap();
    like.ended().await.unwrap();
    first.shutdown(Duration::from_secs(1)).await;
    let ids = unfinished(
        &memory,
        like.id().log(),
        "t",
        (0..40).map(|n| n.to_string()),
    )
    .await;
    for id in ids.iter().step_by(4) {
        let head = journal.load(*id).await.unwrap().head;
        let labels = Arc::clone(&head.labels);
        let broken = if id.get() % 8 == 0 {
            "no JSON"
        } else {
            r#"[{"undone":{"step":"pass"}}]"#
        };
        let append = Append::new(
            *id,
            head.place,
            Status::Running,
            labels,
            1,
            broken,
            head.begun,
        );
        journal.append(append).await.unwrap();
    }
    let one = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let two = build(&journal, &gate, &[&saga]).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let ended = journal
        .list(Listing::new(Status::Ended, 1_000))
        .await
        .unwrap();
    assert_eq!(ended.len(), 31);
    let mut incidents = one.incidents().await.unwrap();
    incidents.extend(two.incidents().await.unwrap());
    assert_eq!(incidents.len(), 10);
    assert!(
        incidents
            .iter()
            .all(|incident| incident.class == Class::Unreadable)
    );
    for sagas in [one, two] {
        assert_eq!((sagas.running(), sagas.tasks(), sagas.backlog()), (0, 0, 0));
    }
}

// === fairness, bounds, and how much is taken up ===

#[tokio::test(start_paused = true)]
async fn a_flood_of_starts_holds_up_no_other_tenant() {
    let (_, journal) = memory();
    let (gate, saga) = (gate(usize::MAX >> 4), passing("pass", 1));
    let sagas = build(&journal, &gate, &[&saga])
        .in_flight(count(8))
        .start()
        .await
        .unwrap();
    let flood: Vec<_> = (0..10_000)
        .map(|n: u32| {
            let (sagas, saga) = (sagas.clone(), saga.clone());
            tokio::spawn(async move {
                let key = Key::new(n.to_string()).tenant("flood");
                sagas
                    .start(&saga, key, n)
                    .await
                    .unwrap()
                    .ended()
                    .await
                    .unwrap();
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(25)).await;
    let began = Instant::now();
    let lone = sagas
        .start(&saga, Key::new("1").tenant("lone"), 1)
        .await
        .unwrap();
    lone.ended().await.unwrap();
    println!(
        "the lone one took {:?} after {} of the flood",
        began.elapsed(),
        gate.came()
    );
    assert!(
        began.elapsed() < Duration::from_millis(50),
        "{:?}",
        began.elapsed()
    );
    assert!(gate.came() < 100);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(gate.most.load(Ordering::SeqCst), 8);
}

#[tokio::test(start_paused = true)]
async fn a_flood_in_the_journal_holds_up_no_other_tenant() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(usize::MAX >> 4), passing("pass", 1));
    let first = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let like = first.start(&saga, "like", 7).await.unwrap();
    like.ended().await.unwrap();
    first.shutdown(Duration::from_secs(1)).await;
    unfinished(
        &memory,
        like.id().log(),
        "flood",
        (0..10_000).map(|n| n.to_string()),
    )
    .await;
    unfinished(
        &memory,
        like.id().log(),
        "lone",
        ["1".to_owned()].into_iter(),
    )
    .await;
    let sagas = build(&journal, &gate, &[&saga])
        .in_flight(count(8))
        .backlog(count(32))
        .start()
        .await
        .unwrap();
    let began = Instant::now();
    let is_lone = |(tenant, _): &(String, String)| tenant == "lone";
    while !gate.came.lock().unwrap().iter().any(is_lone) {
        assert!(
            sagas.backlog() <= 32 && sagas.running() <= 40,
            "{}",
            sagas.backlog()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!(
        "the lone one began after {:?}, behind {}",
        began.elapsed(),
        gate.came()
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    // One that comes later waits for a poll at most.
    unfinished(
        &memory,
        like.id().log(),
        "late",
        ["1".to_owned()].into_iter(),
    )
    .await;
    let began = Instant::now();
    let is_late = |(tenant, _): &(String, String)| tenant == "late";
    while !gate.came.lock().unwrap().iter().any(is_late) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(gate.came() < 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_definition_has_a_bound_of_its_own() {
    let (_, journal) = memory();
    let (slow, fast) = (passing("slow", 1), passing("fast", 1));
    let gate = gate(0);
    let sagas = build(&journal, &gate, &[&slow, &fast])
        .in_flight(count(10))
        .in_flight_of("slow", count(3))
        .start()
        .await
        .unwrap();
    for n in 0..20_u32 {
        let (sagas, saga) = (sagas.clone(), slow.clone());
        tokio::spawn(async move { sagas.start(&saga, n.to_string(), n).await.map(|_| ()) });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(gate.came(), 3);
    for n in 0..7_u32 {
        sagas.start(&fast, n.to_string(), n).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(gate.came(), 10);
    gate.open.add_permits(100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((gate.came(), sagas.running()), (27, 0));
}

/// However many are unfinished, the start returns and the first ones run.
async fn first_of_many(journal: Arc<dyn Journal>, many: usize) {
    let (gate, saga) = (gate(usize::MAX >> 4), passing("pass", 1));
    let first = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let like = first.start(&saga, "like", 7).await.unwrap();
    like.ended().await.unwrap();
    first.shutdown(Duration::from_secs(1)).await;
    let before = std::time::Instant::now();
    unfinished(
        &*journal,
        like.id().log(),
        "t",
        (0..many).map(|n| n.to_string()),
    )
    .await;
    println!("{many} begun in {:?}", before.elapsed());
    let before = std::time::Instant::now();
    let sagas = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let started = before.elapsed();
    while gate.came() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = before.elapsed();
    println!("started after {started:?}, the first one after {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(sagas);
}

#[tokio::test]
async fn of_100_000_unfinished_in_memory_the_first_starts_within_a_second() {
    first_of_many(Arc::new(MemoryJournal::new()), 100_000).await;
}

#[tokio::test]
async fn of_100_000_unfinished_in_sqlite_the_first_starts_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(folder.path().join("sagas.sqlite")).unwrap();
    first_of_many(Arc::new(journal), 100_000).await;
}

// === what is lost and found ===

#[tokio::test(start_paused = true)]
async fn a_claim_whose_reply_is_lost_is_carried_on() {
    #[derive(Debug)]
    struct Loses {
        inner: MemoryJournal,
        claims: AtomicUsize,
    }
    impl Journal for Loses {
        fn claim(&self, claim: Claim) -> Answer<'_, Vec<Head>> {
            let work = self.inner.claim(claim);
            Box::pin(async move {
                let heads = work.await?;
                if !heads.is_empty() && self.claims.fetch_add(1, Ordering::SeqCst) == 0 {
                    return Err(JournalError::backend(std::io::Error::other("cut")));
                }
                Ok(heads)
            })
        }
        mainstay::journal::pass_on!(inner: begin append load list join beat leave release post prune changed);
    }
    let (memory, journal) = memory();
    let (gate, saga) = (gate(1_000), passing("pass", 1));
    let first = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let like = first.start(&saga, "like", 7).await.unwrap();
    like.ended().await.unwrap();
    first.shutdown(Duration::from_secs(1)).await;
    unfinished(
        &memory,
        like.id().log(),
        "t",
        (0..10).map(|n| n.to_string()),
    )
    .await;
    let loses: Arc<dyn Journal> = Arc::new(Loses {
        inner: memory.clone(),
        claims: AtomicUsize::new(0),
    });
    let sagas = build(&loses, &gate, &[&saga]).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ended = journal
        .list(Listing::new(Status::Ended, 100))
        .await
        .unwrap();
    assert_eq!(ended.len(), 11, "without a lapse of the lease");
    assert_eq!(gate.came(), 11);
    drop(sagas);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_away_stops_effects_and_loses_nothing() {
    let (journal, ledger, saga) = (MemoryJournal::new(), Ledger::new(true), transfer());
    let process = Process::new(None, 0);
    let sagas = instance(&journal, &ledger, &process, &saga).await;
    for seconds in [2_u64, 8, 14, 40] {
        let key = format!("{seconds}");
        let handle = sagas.start(&saga, key.clone(), 200_000).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        process.stop();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        process.wake();
        assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
        assert_eq!(ledger.books(&format!("/{key}")).events, expected(0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_ended_long_ago_is_pruned_and_nothing_else() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(600), passing("pass", 1));
    let other = passing("other", 1);
    let sagas = build(&journal, &gate, &[&saga])
        .retention(Period::secs(600))
        .start()
        .await
        .unwrap();
    let theirs = build(&journal, &gate, &[&other]).start().await.unwrap();
    theirs
        .start(&other, "theirs", 1)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    for n in 0..599_u32 {
        sagas.start(&saga, n.to_string(), n).await.unwrap();
    }
    let runs = sagas.start(&saga, "runs", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(590)).await;
    assert_eq!(memory.len(), 601);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(
        memory.len(),
        2,
        "one that runs, and one of a definition that is not registered here"
    );
    assert_eq!(
        journal.load(runs.id().log()).await.unwrap().head.status,
        Status::Running
    );
    // The key is free again.
    gate.open.add_permits(2);
    let again = sagas.start(&saga, "7", 8).await.unwrap();
    assert_eq!(again.ended().await.unwrap(), Ended::Completed(1));
}

#[tokio::test(start_paused = true)]
async fn a_parked_saga_is_taken_up_when_it_is_due() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(1_000), passing("pass", 1));
    let sagas = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let like = sagas.start(&saga, "like", 7).await.unwrap();
    like.ended().await.unwrap();
    sagas.shutdown(Duration::from_secs(1)).await;
    let id = unfinished(&memory, like.id().log(), "", ["k".to_owned()].into_iter()).await[0];
    let head = journal.load(id).await.unwrap().head;
    let labels = Arc::clone(&head.labels);
    let park = Append::new(id, head.place, Status::Running, labels, 1, "[]", head.begun);
    journal
        .append(park.park(Duration::from_secs(90)))
        .await
        .unwrap();
    let parked = Instant::now();
    let sagas = build(&journal, &gate, &[&saga]).start().await.unwrap();
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    assert!(matches!(handle.ended().await.unwrap(), Ended::Completed(_)));
    let took = parked.elapsed();
    assert!(
        took >= Duration::from_secs(90) && took < Duration::from_secs(93),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_instances_that_come_and_go() {
    let (memory, journal) = memory();
    let (gate, saga) = (gate(usize::MAX >> 4), passing("pass", 1));
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    for round in 0..20_u32 {
        let one = build(&journal, &gate, &[&saga]).start().await.unwrap();
        let two = build(&journal, &gate, &[&saga])
            .retention(Period::secs(1))
            .start()
            .await
            .unwrap();
        for n in 0..20_u32 {
            let sagas = if n % 2 == 0 { &one } else { &two };
            sagas.start(&saga, format!("{round}-{n}"), n).await.unwrap();
        }
        drop(one);
        if round % 2 == 0 {
            two.shutdown(Duration::ZERO).await;
        }
    }
    let last = build(&journal, &gate, &[&saga]).start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(120)).await;
    let running = journal
        .list(Listing::new(Status::Running, 9))
        .await
        .unwrap();
    assert!(running.is_empty(), "{running:?}");
    last.shutdown(Duration::from_secs(1)).await;
    drop(last);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), before);
    assert_eq!(
        (Arc::strong_count(&gate), Arc::strong_count(&journal)),
        (1, 1)
    );
    drop(memory);
}
