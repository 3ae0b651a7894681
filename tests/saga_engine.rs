//! The engine around the machine: starts, ends, attempts, incidents, restarts, shutdown, and that nothing is left.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(clippy::disallowed_methods, reason = "it waits, in virtual time")]

mod saga_support;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Journal, JournalError, Listing, Status};
use mainstay::num::{Attempts, Period};
use mainstay::saga::entry::{Class, Operation};
use mainstay::saga::{Cx, DefinitionError, Ended, Key, Saga, SagaError, Sagas, Step, StepError};
use saga_support::{Erp, invoice, recommended};
use tokio::sync::Semaphore;

fn memory() -> (MemoryJournal, Arc<dyn Journal>) {
    let journal = MemoryJournal::new();
    (journal.clone(), Arc::new(journal))
}

/// Counts attempts and fails as it is told.
#[derive(Default)]
struct Counter {
    runs: AtomicU32,
    undos: AtomicU32,
    seen: Mutex<Vec<(String, u32, Option<u32>)>>,
}

impl Counter {
    fn run(&self) -> u32 {
        self.runs.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn undo(&self) -> u32 {
        self.undos.fetch_add(1, Ordering::SeqCst) + 1
    }
}

async fn first(cx: Cx<Counter, u32>, (): ()) -> Result<u32, StepError> {
    Ok(*cx.input())
}

async fn undo_first(cx: Cx<Counter, u32>, output: Option<u32>) -> Result<(), StepError> {
    cx.app().undo();
    cx.app()
        .seen
        .lock()
        .unwrap()
        .push(("first".into(), cx.attempt(), output));
    Ok(())
}

async fn nothing(_cx: Cx<Counter, u32>, _: Option<u32>) -> Result<(), StepError> {
    Ok(())
}

// === starting ===

#[tokio::test(start_paused = true)]
async fn a_key_starts_one_saga() {
    let (_, journal) = memory();
    let saga = recommended().unwrap();
    let sagas = Sagas::builder(journal, Erp::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handles =
        futures::future::join_all((0..20).map(|_| sagas.start(&saga, "INV-1", invoice()))).await;
    let ids: Vec<_> = handles
        .iter()
        .map(|handle| handle.as_ref().unwrap().id())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
    let first = handles[0].as_ref().unwrap().ended().await.unwrap();
    // After the end as well, and from the journal.
    let again = sagas.start(&saga, "INV-1", invoice()).await.unwrap();
    assert_eq!(again.ended().await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn another_input_under_a_key_is_refused_running_and_ended() {
    let (_, journal) = memory();
    let saga = recommended().unwrap();
    let sagas = Sagas::builder(journal, Erp::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let mut other = invoice();
    other.minor = 1;
    let (mine, theirs) = tokio::join!(
        sagas.start(&saga, "INV-1", invoice()),
        sagas.start(&saga, "INV-1", other.clone()),
    );
    let mine = mine.unwrap();
    assert!(matches!(theirs, Err(SagaError::OtherInput(id)) if id == mine.id()));
    mine.ended().await.unwrap();
    let refused = sagas.start(&saga, "INV-1", other).await.unwrap_err();
    assert!(
        matches!(refused, SagaError::OtherInput(id) if id == mine.id()),
        "{refused:?}"
    );
    assert!(!format!("{refused} {refused:?} {mine:?} {sagas:?}").contains("129900"));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_never_gets_the_result_of_another() {
    let (_, journal) = memory();
    let saga = recommended().unwrap();
    let sagas = Sagas::builder(journal, Erp::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let a = sagas
        .start(&saga, Key::new("INV-1").tenant("a"), invoice())
        .await
        .unwrap();
    let b = sagas
        .start(&saga, Key::new("INV-1").tenant("b"), invoice())
        .await
        .unwrap();
    assert_ne!(a.id(), b.id());
    assert_ne!(
        a.ended().await.unwrap(),
        b.ended().await.unwrap(),
        "each has keys of its own"
    );
}

#[tokio::test(start_paused = true)]
async fn an_unregistered_definition_is_not_started() {
    let (journal, store) = memory();
    let saga = recommended().unwrap();
    let sagas = Sagas::<Erp>::builder(store, Erp::default())
        .start()
        .await
        .unwrap();
    let refused = sagas.start(&saga, "INV-1", invoice()).await;
    assert!(matches!(refused, Err(SagaError::Unregistered { .. })));
    assert!(journal.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_input_that_cannot_be_read_back_or_is_too_large_starts_nothing() {
    async fn any<T: Send + Sync + 'static>(_: Cx<(), T>, (): ()) -> Result<(), StepError> {
        Ok(())
    }
    let (journal, store) = memory();
    let float = Saga::builder("float")
        .check("any", any::<f64>)
        .build()
        .unwrap();
    let text = Saga::builder("text")
        .check("any", any::<String>)
        .build()
        .unwrap();
    let sagas = Sagas::builder(store, ())
        .register(&float)
        .register(&text)
        .start()
        .await
        .unwrap();
    let no_number = sagas.start(&float, "k", f64::NAN).await;
    assert!(
        matches!(no_number, Err(SagaError::Input(_))),
        "{no_number:?}"
    );
    let large = sagas
        .start(&text, "k", "x".repeat(mainstay::saga::MAX_PAYLOAD))
        .await;
    assert!(matches!(large, Err(SagaError::Input(_))), "{large:?}");
    assert!(journal.is_empty());
    assert_eq!(
        sagas
            .start(&float, "k", 0.1)
            .await
            .unwrap()
            .ended()
            .await
            .unwrap(),
        Ended::Completed(())
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_a_saga_that_runs() {
    let (journal, store) = memory();
    let saga = recommended().unwrap();
    let sagas = Sagas::builder(store, Erp::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    {
        let start = sagas.start(&saga, "INV-1", invoice());
        tokio::pin!(start);
        assert!(futures::poll!(start.as_mut()).is_pending());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        journal
            .list(Listing::new(Status::Ended, 10))
            .await
            .unwrap()
            .len(),
        1
    );
}

// === attempts ===

// B-87: the documents' saga forgot that the step that failed may have had its effect, kept its progress in memory, tried
// a compensation once and on a context that others had changed, and knew no point of no return. The tests below and
// those of `saga_crash.rs` hold each of these: undone without output, recovered from the journal, tried again by policy
// on the recorded input, and a pivot that is never undone.

#[tokio::test(start_paused = true)]
async fn b_87_attempts_are_bounded_and_then_the_step_is_undone_without_output() {
    let (_, journal) = memory();
    async fn flaky(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        assert_eq!(cx.attempt(), cx.app().run());
        Err("not a number".parse::<u32>().unwrap_err().into())
    }
    async fn undo(cx: Cx<Counter, u32>, output: Option<u32>) -> Result<(), StepError> {
        cx.app()
            .seen
            .lock()
            .unwrap()
            .push(("flaky".into(), cx.attempt(), output));
        Ok(())
    }
    let saga = Saga::builder("bounded")
        .step("first", first)
        .undo(undo_first)
        .step("flaky", Step::new(flaky).attempts(Attempts::total(4)))
        .undo(undo)
        .build()
        .unwrap();
    let app = Arc::new(Counter::default());
    let sagas = Sagas::builder(journal, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let ended = sagas
        .start(&saga, "k", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(
        matches!(&ended, Ended::Compensated { step, reason, .. } if &**step == "flaky" && reason.contains("invalid digit"))
    );
    assert_eq!(app.runs.load(Ordering::SeqCst), 4);
    assert_eq!(
        *app.seen.lock().unwrap(),
        [("flaky".into(), 1, None), ("first".into(), 1, Some(7))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_hang_and_a_panic_are_unknown() {
    async fn hangs(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        cx.app().run();
        assert_eq!(cx.time_left(), Duration::from_secs(2));
        std::future::pending().await
    }
    async fn panics(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        cx.app().run();
        panic!("a bug")
    }
    #[expect(clippy::needless_pass_by_value, reason = "the form of a step")]
    fn panics_at_once(cx: Cx<Counter, u32>, _: u32) -> std::future::Ready<Result<u32, StepError>> {
        cx.app().run();
        panic!("a bug before the first poll")
    }
    let hanging = Saga::builder("hanging")
        .step("first", first)
        .undo(undo_first)
        .step(
            "bad",
            Step::new(hangs)
                .timeout(Duration::from_secs(2))
                .attempts(Attempts::total(2)),
        )
        .undo(undo_first)
        .build()
        .unwrap();
    let panicking = Saga::builder("panicking")
        .step("bad", panics_first)
        .undo(undo_first)
        .build()
        .unwrap();
    async fn panics_first(cx: Cx<Counter, u32>, (): ()) -> Result<u32, StepError> {
        panics(cx, 0).await
    }
    let early = Saga::builder("early")
        .step("first", first)
        .undo(undo_first)
        .step("bad", panics_at_once)
        .undo(undo_first)
        .build()
        .unwrap();
    for (saga, runs) in [(hanging, 2), (panicking, 1), (early, 1)] {
        let (_, journal) = memory();
        let app = Arc::new(Counter::default());
        let sagas = Sagas::builder(journal, Arc::clone(&app))
            .register(&saga)
            .start()
            .await
            .unwrap();
        let ended = sagas
            .start(&saga, "k", 7)
            .await
            .unwrap()
            .ended()
            .await
            .unwrap();
        assert!(
            matches!(&ended, Ended::Compensated { step, .. } if &**step == "bad"),
            "{ended:?}"
        );
        assert_eq!(app.runs.load(Ordering::SeqCst), runs, "{saga:?}");
        assert_eq!(
            app.seen.lock().unwrap()[0].2,
            None,
            "the output is not known"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_sure_failure_at_first_is_not_undone_and_later_is() {
    async fn fails(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        let retry = *cx.input() == 1 && cx.app().run() == 1;
        Err(if retry {
            StepError::retry("lost")
        } else {
            StepError::fail("no")
        })
    }
    let saga = Saga::builder("sure")
        .step("first", first)
        .undo(nothing)
        .step("fails", fails)
        .undo(undo_first)
        .build()
        .unwrap();
    for (input, undos) in [(0, 0), (1, 1)] {
        let (_, journal) = memory();
        let app = Arc::new(Counter::default());
        let sagas = Sagas::builder(journal, Arc::clone(&app))
            .register(&saga)
            .start()
            .await
            .unwrap();
        sagas
            .start(&saga, "k", input)
            .await
            .unwrap()
            .ended()
            .await
            .unwrap();
        assert_eq!(app.undos.load(Ordering::SeqCst), undos, "input {input}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_pivot_everything_is_retried() {
    async fn stubborn(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        match cx.app().run() {
            1 => Err(StepError::fail("no")),
            2 => Err(StepError::unknown("perhaps")),
            3 => panic!("a bug"),
            4 => std::future::pending().await,
            5..60 => Err(StepError::retry("later")),
            _ => Ok(1),
        }
    }
    let (_, journal) = memory();
    let saga = Saga::builder("stubborn")
        .pivot("first", first)
        .then("stubborn", stubborn)
        .build()
        .unwrap();
    let app = Arc::new(Counter::default());
    let sagas = Sagas::builder(journal, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let ended = sagas
        .start(&saga, "k", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert_eq!(ended, Ended::Completed(1));
    assert_eq!(app.runs.load(Ordering::SeqCst), 60);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_attempts() {
    async fn busy(cx: Cx<Counter, u32>, (): ()) -> Result<u32, StepError> {
        cx.app().run();
        Err(StepError::retry("busy"))
    }
    let (_, journal) = memory();
    let busy = Step::new(busy)
        .until_done()
        .deadline(Duration::from_secs(3));
    let saga = Saga::builder("busy")
        .step("busy", busy)
        .undo(nothing)
        .build()
        .unwrap();
    let sagas = Sagas::builder(journal, Counter::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    let ended = sagas
        .start(&saga, "k", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(matches!(ended, Ended::Compensated { .. }));
    let took = before.elapsed();
    assert!(
        took >= Duration::from_secs(3) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_waited_out_and_so_is_a_rejection_of_ones_own_stack() {
    use mainstay::error::{LayerKind, Reason, Rejected};
    async fn hints(cx: Cx<Counter, u32>, (): ()) -> Result<u32, StepError> {
        match cx.app().run() {
            1 => Err(StepError::retry_after("busy", Duration::from_secs(7))),
            2 => {
                let open = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen);
                Err(open.retry_after(Duration::from_secs(11)))?
            }
            _ => Ok(1),
        }
    }
    let (_, journal) = memory();
    let saga = Saga::builder("hints")
        .pivot("hints", hints)
        .build()
        .unwrap();
    let sagas = Sagas::builder(journal, Counter::default())
        .register(&saga)
        .start()
        .await
        .unwrap();
    let before = mainstay::rt::now();
    let ended = sagas
        .start(&saga, "k", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert_eq!(ended, Ended::Completed(1));
    assert!(mainstay::rt::now().since(before) >= Duration::from_secs(18));
}

// === incidents ===

/// The undo fails until it is repaired.
struct Broken {
    repaired: AtomicU32,
    undone: Mutex<Vec<String>>,
}

fn broken() -> Arc<Broken> {
    Arc::new(Broken {
        repaired: AtomicU32::new(0),
        undone: Mutex::default(),
    })
}

async fn take(_cx: Cx<Broken, u32>, _: ()) -> Result<(), StepError> {
    Ok(())
}

async fn give_back(cx: Cx<Broken, u32>, _: Option<()>) -> Result<(), StepError> {
    if cx.step() == "b" && cx.app().repaired.load(Ordering::SeqCst) == 0 {
        return Err(StepError::retry("the warehouse is shut"));
    }
    cx.app().undone.lock().unwrap().push(cx.step().to_owned());
    Ok(())
}

async fn refuse(_cx: Cx<Broken, u32>, _: ()) -> Result<(), StepError> {
    Err(StepError::fail("no"))
}

fn breaks() -> Saga<Broken, u32, ()> {
    Saga::builder("breaks")
        .step("a", take)
        .undo(give_back)
        .step("b", take)
        .undo(Step::new(give_back).attempts(Attempts::total(3)))
        .pivot("c", refuse)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_failed_undo_is_an_incident_that_stays_until_an_operator_decides() {
    let (_, journal) = memory();
    let (app, saga) = (broken(), breaks());
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handle = sagas
        .start(&saga, Key::new("k").tenant("acme"), 7)
        .await
        .unwrap();
    let Ended::Incident(incident) = handle.ended().await.unwrap() else {
        panic!("no incident")
    };
    assert_eq!(
        (incident.class, incident.step.as_deref()),
        (Class::UndoFailed, Some("b"))
    );
    assert_eq!(
        (&*incident.tenant, &*incident.key, incident.attempts),
        ("acme", "k", 3)
    );
    assert!(incident.unwinding);
    assert_eq!(
        sagas.incidents().await.unwrap(),
        std::slice::from_ref(&incident)
    );
    // Others go on.
    app.repaired.store(1, Ordering::SeqCst);
    let other = sagas
        .start(&saga, "other", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert!(matches!(other, Ended::Compensated { .. }));
    app.undone.lock().unwrap().clear();
    // A restart does not touch it.
    sagas.shutdown(Duration::from_secs(1)).await;
    drop(sagas);
    let sagas = Sagas::builder(journal, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        sagas.incidents().await.unwrap(),
        std::slice::from_ref(&incident)
    );
    assert!(app.undone.lock().unwrap().is_empty());
    let found = sagas
        .start(&saga, Key::new("k").tenant("acme"), 7)
        .await
        .unwrap();
    assert_eq!(
        found.ended().await.unwrap(),
        Ended::Incident(incident.clone())
    );
    // The word of an operator needs a name and a reason.
    assert!(matches!(
        sagas.retry(incident.saga, " ", "x").await,
        Err(SagaError::Unsigned)
    ));
    assert!(matches!(
        sagas.retry(incident.saga, "ann", "").await,
        Err(SagaError::Unsigned)
    ));
    sagas
        .retry(incident.saga, "ann", "the warehouse is open")
        .await
        .unwrap();
    let ended = found.ended().await.unwrap();
    assert!(
        matches!(&ended, Ended::Compensated { step, .. } if &**step == "c"),
        "{ended:?}"
    );
    assert_eq!(*app.undone.lock().unwrap(), ["b", "a"]);
    assert!(sagas.incidents().await.unwrap().is_empty());
    assert!(matches!(
        sagas.retry(incident.saga, "ann", "x").await,
        Err(SagaError::NotHeld(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_saga_stays_as_it_is() {
    let (journal, store) = memory();
    let (app, saga) = (broken(), breaks());
    let sagas = Sagas::builder(store, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    handle.ended().await.unwrap();
    // Two operators, one decision.
    let (one, two) = tokio::join!(
        sagas.abandon(handle.id(), "ann", "booked by hand"),
        sagas.abandon(handle.id(), "bob", "booked by hand"),
    );
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let ended = handle.ended().await.unwrap();
    assert!(
        matches!(&ended, Ended::Abandoned { reason, .. } if &**reason == "booked by hand"),
        "{ended:?}"
    );
    assert!(app.undone.lock().unwrap().is_empty());
    let last = journal
        .load(handle.id().log())
        .await
        .unwrap()
        .records
        .pop()
        .unwrap();
    assert!(
        last.body.contains("\"actor\":\"") && last.body.contains("abandon"),
        "{}",
        last.body
    );
    assert_eq!(sagas.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pivot_in_doubt_and_a_halt_are_incidents() {
    async fn doubtful(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        match (cx.input(), cx.app().run()) {
            (0, 1) => Err(StepError::unknown("the line went dead")),
            (1, 1) => panic!("a bug"),
            (2, 1) => Err(StepError::halt("look at this")),
            (3, 1) => Err(StepError::retry("lost")),
            (3, 2) => Err(StepError::fail("says no, but what of the first call?")),
            _ => Ok(42),
        }
    }
    let saga = Saga::builder("doubtful")
        .step("first", first)
        .undo(undo_first)
        .pivot("doubtful", doubtful)
        .build()
        .unwrap();
    for input in 0..4 {
        let (_, journal) = memory();
        let app = Arc::new(Counter::default());
        let sagas = Sagas::builder(journal, Arc::clone(&app))
            .register(&saga)
            .start()
            .await
            .unwrap();
        let handle = sagas.start(&saga, "k", input).await.unwrap();
        let Ended::Incident(incident) = handle.ended().await.unwrap() else {
            panic!("no incident: {input}")
        };
        let class = if input == 2 {
            Class::Halted
        } else {
            Class::UnknownOutcome
        };
        assert_eq!(incident.class, class);
        assert_eq!(
            app.undos.load(Ordering::SeqCst),
            0,
            "what may have happened is not undone half"
        );
        sagas
            .retry(handle.id(), "ann", "the bank is back")
            .await
            .unwrap();
        assert_eq!(handle.ended().await.unwrap(), Ended::Completed(42));
    }
}

// === recovery ===

#[tokio::test(start_paused = true)]
async fn sagas_of_a_definition_that_was_taken_out_are_seen_and_left_alone() {
    async fn stuck(_cx: Cx<Counter, u32>, _: ()) -> Result<u32, StepError> {
        Err(StepError::retry("later"))
    }
    let (_, journal) = memory();
    let gone = Saga::builder("gone").pivot("stuck", stuck).build().unwrap();
    let stays = Saga::builder("stays")
        .pivot("first", first)
        .build()
        .unwrap();
    let app = Arc::new(Counter::default());
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&gone)
        .start();
    let sagas = sagas.await.unwrap();
    let id = sagas.start(&gone, "k", 7).await.unwrap().id();
    drop(sagas);
    let before = journal.load(id.log()).await.unwrap();
    let sagas = Sagas::builder(Arc::clone(&journal), app)
        .register(&stays)
        .start()
        .await
        .unwrap();
    let seen = sagas.unregistered().await.unwrap();
    assert_eq!(
        seen.iter()
            .map(|head| (head.id, &*head.key))
            .collect::<Vec<_>>(),
        [(id.log(), "k")]
    );
    assert_eq!(
        journal.load(id.log()).await.unwrap(),
        before,
        "not even claimed"
    );
    assert!(sagas.incidents().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_changed_definition_is_held_and_stops_no_other() {
    async fn stuck(_cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        Err(StepError::retry("later"))
    }
    async fn fine(cx: Cx<Counter, u32>, _: u32) -> Result<u32, StepError> {
        cx.app().run();
        Ok(1)
    }
    let (memory, journal) = memory();
    let old = Saga::builder("changing")
        .pivot("first", first)
        .then("second", stuck)
        .build()
        .unwrap();
    let other = Saga::builder("other")
        .pivot("first", first)
        .then("second", stuck)
        .build()
        .unwrap();
    let app = Arc::new(Counter::default());
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&old)
        .register(&other)
        .start()
        .await
        .unwrap();
    let held = sagas.start(&old, "k", 7).await.unwrap().id();
    sagas.start(&other, "k", 7).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(sagas);
    memory.restarted();

    let new = Saga::builder("changing")
        .pivot("first", first)
        .then("renamed", fine)
        .build()
        .unwrap();
    let other = Saga::builder("other")
        .pivot("first", first)
        .then("second", fine)
        .build()
        .unwrap();
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&new)
        .register(&other)
        .start()
        .await
        .unwrap();
    let ended = sagas
        .start(&other, "k", 7)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert_eq!(ended, Ended::Completed(1));
    let incidents = sagas.incidents().await.unwrap();
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    assert_eq!(
        (incidents[0].saga, incidents[0].class),
        (held, Class::DefinitionChanged)
    );
    assert_eq!(
        app.runs.load(Ordering::SeqCst),
        1,
        "nothing of the held saga ran"
    );
    let still = sagas.retry(held, "ann", "try").await;
    assert!(
        matches!(still, Err(SagaError::StillHeld { .. })),
        "{still:?}"
    );
    drop(sagas);
    memory.restarted();

    // The definition that it began with comes back, beside the new version of it.
    let back = Saga::builder("changing")
        .pivot("first", first)
        .then("second", fine)
        .build()
        .unwrap();
    let next = Saga::builder("changing")
        .version(2)
        .pivot("first", first)
        .then("renamed", fine)
        .build()
        .unwrap();
    let sagas = Sagas::builder(journal, app)
        .register(&back)
        .register(&next)
        .start()
        .await
        .unwrap();
    sagas
        .retry(held, "ann", "the old version is registered again")
        .await
        .unwrap();
    let handle = sagas.start(&back, "k", 7).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(1));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_an_incident_and_stops_no_other() {
    use mainstay::journal::sqlite::SqliteJournal;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    async fn wait(cx: Cx<Semaphore, u32>, (): ()) -> Result<u32, StepError> {
        cx.app().acquire().await.unwrap().forget();
        Ok(*cx.input())
    }
    let saga = Saga::builder("waits").pivot("wait", wait).build().unwrap();
    let sagas = Sagas::builder(
        Arc::new(SqliteJournal::open(&path).unwrap()),
        Semaphore::new(0),
    )
    .register(&saga)
    .start()
    .await
    .unwrap();
    for number in 0..4 {
        sagas
            .start(&saga, number.to_string(), number)
            .await
            .unwrap();
    }
    sagas.shutdown(Duration::ZERO).await;
    drop(sagas);
    {
        let shell = rusqlite::Connection::open(&path).unwrap();
        shell
            .execute(
                "UPDATE record SET body = '[{\"teleported\":{}}]' WHERE log = 1",
                [],
            )
            .unwrap();
        shell
            .execute("UPDATE record SET format = 99 WHERE log = 2", [])
            .unwrap();
        shell
            .execute("DELETE FROM record WHERE log = 3", [])
            .unwrap();
    }
    let sagas = Sagas::builder(
        Arc::new(SqliteJournal::open(&path).unwrap()),
        Semaphore::new(10),
    )
    .register(&saga)
    .start()
    .await
    .unwrap();
    let whole = sagas.start(&saga, "3", 3).await.unwrap();
    assert_eq!(whole.ended().await.unwrap(), Ended::Completed(3));
    while sagas.running() > 0 {
        tokio::task::yield_now().await;
    }
    let incidents = sagas.incidents().await.unwrap();
    assert_eq!(incidents.len(), 3, "{incidents:?}");
    for incident in &incidents {
        assert_eq!(incident.class, Class::Unreadable);
        assert_eq!(incident.operations(), [Operation::Abandon]);
        println!("{}", incident.error);
    }
    // Nothing was written to a log that cannot be read.
    sagas.shutdown(Duration::from_secs(5)).await;
    drop((whole, sagas));
    let shell = rusqlite::Connection::open(&path).unwrap();
    let records: i64 = shell
        .query_row("SELECT count(*) FROM record WHERE log < 4", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(records, 2);
}

// === what it costs ===

#[tokio::test]
async fn a_lone_saga_of_six_steps_costs_six_syncs_and_many_share_theirs() {
    use mainstay::journal::sqlite::SqliteJournal;
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(SqliteJournal::open(folder.path().join("journal.sqlite")).unwrap());
    let saga = recommended().unwrap();
    let store: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let sagas = Sagas::builder(store, Erp::default())
        .register(&saga)
        .poll(Period::secs(60))
        .start()
        .await
        .unwrap();
    // The first look for what is unfinished is over.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = journal.written();
    sagas
        .start(&saga, "lone", invoice())
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    let lone = journal.written().commits - before.commits;
    assert_eq!(
        lone, 6,
        "the start, both checks, and one for each of four effects; the end rides along"
    );

    let before = journal.written();
    let many = (0..200).map(|n| sagas.start(&saga, n.to_string(), invoice()));
    for handle in futures::future::join_all(many).await {
        handle.unwrap().ended().await.unwrap();
    }
    let after = journal.written();
    let (operations, commits) = (
        after.operations - before.operations,
        after.commits - before.commits,
    );
    println!("{operations} writes in {commits} commits");
    let vitals = journal.vitals();
    assert_eq!((vitals.store, vitals.listening), ("sqlite", None));
    let told = (vitals.operations, vitals.commits);
    assert_eq!(told, (Some(after.operations), Some(after.commits)));
    assert_eq!(operations, 200 * 6);
    assert!(
        commits * 4 < operations,
        "{operations} writes in {commits} commits"
    );
}

// === shutdown and leaks ===

#[tokio::test(start_paused = true)]
async fn at_most_so_many_in_flight_and_waiting_ones_do_not_count() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    async fn busy(cx: Cx<(), u32>, (): ()) -> Result<(), StepError> {
        let now = NOW.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        NOW.fetch_sub(1, Ordering::SeqCst);
        // Some wait for long between their attempts.
        if *cx.input() < 20 && cx.attempt() < 8 {
            Err(StepError::retry("later"))
        } else {
            Ok(())
        }
    }
    let (_, journal) = memory();
    let saga = Saga::builder("busy").pivot("busy", busy).build().unwrap();
    let sagas = Sagas::builder(journal, ())
        .register(&saga)
        .in_flight(NonZeroUsize::new(4).unwrap())
        .start()
        .await
        .unwrap();
    let handles =
        futures::future::join_all((0..60).map(|n| sagas.start(&saga, n.to_string(), n))).await;
    let before = tokio::time::Instant::now();
    for handle in &handles[20..] {
        handle.as_ref().unwrap().ended().await.unwrap();
    }
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
    for handle in handles {
        handle.unwrap().ended().await.unwrap();
    }
    assert_eq!(MOST.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_running_steps_and_hands_the_rest_over() {
    async fn slow(cx: Cx<Counter, u32>, _: ()) -> Result<(), StepError> {
        cx.app().run();
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(())
    }
    let (_, journal) = memory();
    let saga = Saga::builder("slow")
        .pivot("one", slow)
        .then("two", slow)
        .build()
        .unwrap();
    let app = Arc::new(Counter::default());
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handle = sagas.start(&saga, "k", 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let drained = sagas.shutdown(Duration::from_secs(60)).await;
    assert_eq!((drained.unfinished, drained.cut_off), (1, 0));
    assert!(matches!(handle.ended().await, Err(SagaError::Stopping)));
    assert!(matches!(
        sagas.start(&saga, "l", 1).await,
        Err(SagaError::Stopping)
    ));
    let log = journal.load(handle.id().log()).await.unwrap();
    assert_eq!(log.records.len(), 2, "the step that ran is recorded");
    let next = Sagas::builder(journal, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let ended = next
        .start(&saga, "k", 1)
        .await
        .unwrap()
        .ended()
        .await
        .unwrap();
    assert_eq!(ended, Ended::Completed(()));
    assert_eq!(app.runs.load(Ordering::SeqCst), 2, "no step ran twice");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_behind() {
    let (_, journal) = memory();
    let (app, saga) = (broken(), breaks());
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let sagas = Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    app.repaired.store(1, Ordering::SeqCst);
    for round in 0..10 {
        let handles = futures::future::join_all(
            (0..50).map(|n| sagas.start(&saga, format!("{round}-{n}"), n)),
        )
        .await;
        for handle in handles {
            handle.unwrap().ended().await.unwrap();
        }
        tokio::task::yield_now().await;
        assert_eq!((sagas.running(), sagas.tasks()), (0, 0));
    }
    // Cut off in the middle of everything.
    let half: Vec<_> = (0..50).map(|n| format!("half-{n}")).collect();
    for key in &half {
        sagas.start(&saga, key.as_str(), 1).await.unwrap();
    }
    drop(sagas);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), before, "tasks");
    assert_eq!(Arc::strong_count(&app), 1, "the application");
    assert_eq!(Arc::strong_count(&journal), 1, "the journal");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_stopped_stops_effects() {
    #[derive(Debug)]
    struct Stops {
        inner: Arc<dyn Journal>,
    }
    impl Journal for Stops {
        fn append(&self, _: mainstay::journal::Append) -> mainstay::journal::Answer<'_, ()> {
            Box::pin(async { Err(JournalError::Closed(None)) })
        }
        mainstay::journal::pass_on!(inner: begin claim load list join beat leave release post prune changed);
    }
    let saga = recommended().unwrap();
    let app = Arc::new(Erp::default());
    let journal = Arc::new(Stops {
        inner: Arc::new(MemoryJournal::new()),
    });
    let sagas = Sagas::builder(journal, Arc::clone(&app))
        .register(&saga)
        .start()
        .await
        .unwrap();
    let handle = sagas.start(&saga, "INV-1", invoice()).await.unwrap();
    assert!(matches!(
        handle.ended().await,
        Err(SagaError::Journal(JournalError::Closed(_)))
    ));
    assert!(app.books().events.is_empty());
}

// === definitions ===

#[test]
fn wrong_definitions_are_refused() {
    type Def = Saga<Counter, u32, u32>;
    let build = |name: &str, step: &str| -> Result<Def, DefinitionError> {
        Saga::builder(name).check(step, first).build()
    };
    assert!(build("a", "b").is_ok());
    assert_eq!(
        build("", "b").unwrap_err(),
        DefinitionError::BadName(String::new())
    );
    assert_eq!(
        build("a", "b c").unwrap_err(),
        DefinitionError::BadName("b c".into())
    );
    assert!(build(&"x".repeat(101), "b").is_err());
    let empty: Result<Saga<Counter, u32, ()>, _> = Saga::builder("a").build();
    assert_eq!(empty.unwrap_err(), DefinitionError::Empty);
    let twice = Saga::builder("a")
        .check("b", first)
        .step("b", |_: Cx<Counter, u32>, n: u32| async move { Ok(n) });
    assert_eq!(
        twice.undo(undo_first).build().unwrap_err(),
        DefinitionError::Duplicate("b".into())
    );
    let zeroth: Result<Def, _> = Saga::builder("a").version(0).check("b", first).build();
    assert_eq!(zeroth.unwrap_err(), DefinitionError::NoVersion);
    let rushed = Step::new(first).timeout(Duration::ZERO);
    let rushed: Result<Def, _> = Saga::builder("a").check("b", rushed).build();
    assert_eq!(rushed.unwrap_err(), DefinitionError::NoTime("b".into()));
}

#[test]
fn the_fingerprint_is_fixed_and_sees_every_change_of_the_chain() {
    let print =
        |saga: Result<Saga<Erp, _, _>, DefinitionError>| saga.unwrap().fingerprint().to_owned();
    let one = print(recommended());
    // A journal of today is read by the program of tomorrow: this text must never change.
    assert_eq!(one, "8a2590f666019b81f10b473bad62ad7a");
    assert_ne!(one, print(saga_support::documented()));
}
