//! What is new between the attempts of a step: long waits, wishes to cancel, deadlines, doubt, and operators.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(clippy::disallowed_methods, reason = "it waits, in virtual time")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Append, Begin, Journal, Labels, LogId, Status};
use mainstay::num::{Attempts, Period};
use mainstay::saga::entry::{Class, FORMAT, Fact, Operation};
use mainstay::saga::machine::{Decision, Execution};
use mainstay::saga::{
    CancelAnswer, Cx, DefinitionError, Ended, Payload, Reconciled, Saga, SagaError, SagaId, Sagas,
    Step, StepError,
};
use mainstay::time::Timestamp;
use tokio::sync::Semaphore;

/// What happened, in order, and a gate.
struct World {
    seen: Mutex<Vec<String>>,
    attempts: AtomicU32,
    gate: Semaphore,
}

impl Default for World {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            attempts: AtomicU32::new(0),
            gate: Semaphore::new(0),
        }
    }
}

impl World {
    fn see(&self, what: impl Into<String>) {
        self.seen.lock().unwrap().push(what.into());
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

type Here = Cx<World, ()>;

async fn reserve(cx: Here, (): ()) -> Result<(), StepError> {
    cx.app().see("reserve");
    Ok(())
}

async fn release(cx: Here, _: Option<()>) -> Result<(), StepError> {
    cx.app().see("release");
    Ok(())
}

/// Fails twice, an hour apart.
async fn hourly(cx: Here, (): ()) -> Result<(), StepError> {
    cx.app().see(format!("hourly {}", cx.attempt()));
    match cx.app().attempts.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(StepError::retry_after("busy", Duration::from_secs(3_600))),
        _ => Ok(()),
    }
}

async fn gated(cx: Here, (): ()) -> Result<(), StepError> {
    cx.app().see("gated");
    cx.app().gate.acquire().await.unwrap().forget();
    cx.app().see("passed");
    Ok(())
}

async fn engine(
    journal: &MemoryJournal,
    world: &Arc<World>,
    saga: &Saga<World, (), ()>,
) -> Sagas<World> {
    Sagas::builder(Arc::new(journal.clone()), Arc::clone(world))
        .register(saga)
        .start()
        .await
        .unwrap()
}

async fn facts(journal: &MemoryJournal, id: SagaId) -> Vec<Fact> {
    let log = journal.load(LogId::new(id.get())).await.unwrap();
    let read = |record: &mainstay::journal::Record| {
        serde_json::from_str::<Vec<Fact>>(&record.body).unwrap()
    };
    log.records.iter().flat_map(read).collect()
}

async fn settled() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

// === long waits ===

fn patient() -> Saga<World, (), ()> {
    Saga::builder("patient")
        .step("reserve", reserve)
        .undo(release)
        .step("hourly", hourly)
        .undo(release)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_leaves_the_memory_and_the_number_of_attempts_stays() {
    let (journal, world, saga) = (MemoryJournal::new(), Arc::default(), patient());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    assert_eq!(sagas.running(), 0, "it is parked");
    let early = engine(&journal, &world, &saga).await;
    settled().await;
    assert_eq!(world.seen(), ["reserve", "hourly 1"], "and not due");
    drop(early);
    for number in 2..=3 {
        tokio::time::sleep(Duration::from_secs(3_601)).await;
        let next = engine(&journal, &world, &saga).await;
        settled().await;
        assert_eq!(world.seen().last().unwrap(), &format!("hourly {number}"));
        drop(next);
    }
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
    let waits: Vec<u32> = facts(&journal, handle.id())
        .await
        .iter()
        .filter_map(|fact| match fact {
            Fact::RetryAt(again) => Some(again.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_waits_of_seconds_go_on_after_a_restart() {
    async fn stubborn(cx: Here, (): ()) -> Result<(), StepError> {
        cx.app().see(format!("attempt {}", cx.attempt()));
        Err(StepError::retry_after("no", Duration::from_secs(10)))
    }
    let step = Step::new(stubborn).attempts(Attempts::total(3));
    let saga = Saga::builder("seconds")
        .step("a", step)
        .undo(release)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    drop(sagas);
    let sagas = engine(&journal, &world, &saga).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(world.seen(), ["attempt 1"], "the wait goes on");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(
        world.seen(),
        ["attempt 1", "attempt 2", "attempt 3", "release"],
        "three in all"
    );
    let again = sagas.start(&saga, "1", ()).await.unwrap();
    assert_eq!(again.id(), handle.id());
    assert!(matches!(
        again.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
}

// === cancelling ===

#[tokio::test(start_paused = true)]
async fn a_wish_waits_for_the_attempt_and_no_step_follows() {
    let saga = Saga::builder("gates")
        .step("reserve", reserve)
        .undo(release)
        .step("gated", gated)
        .undo(release)
        .pivot("pay", reserve)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    for _ in 0..2 {
        let answer = sagas.cancel(handle.id(), "ann", "called").await.unwrap();
        assert_eq!(answer, CancelAnswer::Accepted);
    }
    settled().await;
    assert_eq!(world.seen(), ["reserve", "gated"], "it is not cut off");
    world.gate.add_permits(1);
    let ended = handle.ended().await.unwrap();
    assert!(
        matches!(&ended, Ended::Compensated { step, reason, .. }
            if &**step == "pay" && reason.contains("ann") && reason.contains("called")),
        "{ended:?}"
    );
    assert_eq!(
        world.seen(),
        ["reserve", "gated", "passed", "release", "release"]
    );
    let once = facts(&journal, handle.id()).await;
    let wishes = once
        .iter()
        .filter(|fact| matches!(fact, Fact::Cancelled(_)));
    assert_eq!(wishes.count(), 1);
    let answer = sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    assert_eq!(answer, CancelAnswer::Ended);
    let unsigned = sagas.cancel(handle.id(), " ", "called").await;
    assert!(matches!(unsigned, Err(SagaError::Unsigned)));
}

#[tokio::test(start_paused = true)]
async fn a_wish_wakes_a_wait_and_a_parked_saga() {
    let (journal, world, saga) = (MemoryJournal::new(), Arc::default(), patient());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    let answer = sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    assert_eq!(answer, CancelAnswer::Accepted);
    // Whoever claims next finds it due.
    let _next = engine(&journal, &world, &saga).await;
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    assert_eq!(
        world.seen(),
        ["reserve", "hourly 1", "release", "release"],
        "what may have happened is undone as well"
    );
    // A wait in memory.
    async fn soon(_: Here, (): ()) -> Result<(), StepError> {
        Err(StepError::retry_after("busy", Duration::from_secs(20)))
    }
    let saga = Saga::builder("soon").check("soon", soon).build().unwrap();
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    let began = tokio::time::Instant::now();
    sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    handle.ended().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
}

/// A store without hints, SQLite for instance.
#[derive(Debug)]
struct Mute {
    inner: MemoryJournal,
}

impl Journal for Mute {
    mainstay::journal::pass_on!(inner: begin append claim load list join beat leave release post prune);
}

/// The engine that is told of a wish looks at once, whatever its store says and however seldom it polls.
#[tokio::test(start_paused = true)]
async fn a_wish_wakes_a_parked_saga_without_a_hint_of_the_store() {
    let (world, saga) = (Arc::<World>::default(), patient());
    let journal = Mute {
        inner: MemoryJournal::new(),
    };
    let sagas = Sagas::builder(Arc::new(journal), world)
        .register(&saga)
        .poll(Period::secs(3_600))
        .start()
        .await
        .unwrap();
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    assert_eq!(sagas.running(), 0, "parked");
    let began = tokio::time::Instant::now();
    sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    handle.ended().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn after_the_pivot_a_wish_is_refused_in_the_history_and_parking_goes_on() {
    let saga = Saga::builder("late")
        .pivot("pay", reserve)
        .then("hourly", hourly)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    settled().await;
    let answer = sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    assert_eq!(answer, CancelAnswer::TooLate);
    let next = engine(&journal, &world, &saga).await;
    settled().await;
    let refused = facts(&journal, handle.id()).await;
    assert!(
        matches!(refused.last(), Some(Fact::CancelRefused { .. })),
        "{refused:?}"
    );
    assert_eq!(next.running(), 0, "parked again");
    let head = journal
        .load(LogId::new(handle.id().get()))
        .await
        .unwrap()
        .head;
    assert!(!head.mail.has_unread(), "{head:?}");
    drop(next);
    let early = engine(&journal, &world, &saga).await;
    settled().await;
    assert_eq!(world.seen(), ["reserve", "hourly 1"], "not before its time");
    drop(early);
    drop(sagas);
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_a_held_saga_waits_for_the_operator() {
    async fn halts(cx: Here, (): ()) -> Result<(), StepError> {
        match cx.app().attempts.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StepError::halt("look")),
            _ => Ok(()),
        }
    }
    let saga = Saga::builder("held")
        .step("reserve", reserve)
        .undo(release)
        .step("halts", halts)
        .undo(release)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    sagas.cancel(handle.id(), "ann", "called").await.unwrap();
    settled().await;
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    sagas.retry(handle.id(), "bob", "looked").await.unwrap();
    settled().await;
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    assert_eq!(world.seen(), ["reserve", "release", "release"]);
}

// === the time of the whole ===

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_whole_ends_waits_before_the_pivot_and_not_attempts() {
    async fn slow(cx: Here, (): ()) -> Result<(), StepError> {
        cx.app().see("slow");
        tokio::time::sleep(Duration::from_secs(20)).await;
        cx.app().see("done");
        Ok(())
    }
    let saga = Saga::builder("late")
        .deadline(Duration::from_secs(10))
        .step("slow", slow)
        .undo(release)
        .pivot("pay", reserve)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    let ended = handle.ended().await.unwrap();
    assert!(
        matches!(&ended, Ended::Compensated { step, reason, .. }
            if &**step == "pay" && reason.contains("deadline")),
        "{ended:?}"
    );
    assert_eq!(world.seen(), ["slow", "done", "release"]);
    // After the pivot it does nothing.
    let (world, saga) = (
        Arc::default(),
        Saga::builder("forward")
            .deadline(Duration::from_secs(10))
            .pivot("pay", reserve)
            .then("slow", slow)
            .then("more", reserve)
            .build()
            .unwrap(),
    );
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
    // A wait ends with it.
    let saga = Saga::builder("waits")
        .deadline(Duration::from_secs(10))
        .step("hourly", hourly)
        .undo(release)
        .build()
        .unwrap();
    let sagas = engine(&journal, &world, &saga).await;
    let began = tokio::time::Instant::now();
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    assert!(began.elapsed() < Duration::from_secs(12));
}

/// A log that another program wrote so long ago.
async fn written(
    journal: &MemoryJournal,
    saga: &Saga<World, (), ()>,
    ago: Duration,
    records: &[&str],
) -> SagaId {
    let now = mainstay::rt::wall().as_millis();
    let at = Timestamp::from_millis(now - i64::try_from(ago.as_millis()).unwrap());
    let unit: Payload = serde_json::from_str("null").unwrap();
    let begin = serde_json::to_string(&Execution::begin(saga.shape(), "n", unit)).unwrap();
    let labels = Arc::new(Labels::new(""));
    let begin = Begin::new(
        Arc::clone(&labels),
        saga.name(),
        "old",
        "",
        FORMAT,
        begin,
        at,
    );
    let mainstay::journal::Begun::Created(mut head) = journal.begin(begin).await.unwrap() else {
        panic!("it is new");
    };
    for body in records {
        let labels = Arc::clone(&labels);
        let append = Append::new(
            head.id,
            head.place,
            Status::Running,
            labels,
            FORMAT,
            *body,
            at,
        );
        journal.append(append).await.unwrap();
        head.place = head.place.after();
    }
    head.id.into()
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_whole_counts_over_restarts() {
    let saga = Saga::builder("old")
        .deadline(Duration::from_secs(60))
        .step("reserve", reserve)
        .undo(release)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let id = written(&journal, &saga, Duration::from_secs(61), &[]).await;
    let _sagas = engine(&journal, &world, &saga).await;
    settled().await;
    assert_eq!(world.seen(), ["release"], "it may have run");
    let facts = facts(&journal, id).await;
    assert!(matches!(facts.last(), Some(Fact::Finished(_))), "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_key_is_not_used_after_a_crash() {
    let day = Duration::from_secs(86_400);
    for (ago, expected) in [
        (day - Duration::from_secs(60), "completed"),
        (day + Duration::from_secs(60), "unknown_outcome"),
    ] {
        let saga = Saga::builder("forgets")
            .pivot("reserve", Step::new(reserve).key_valid_for(day))
            .build()
            .unwrap();
        let (journal, world) = (MemoryJournal::new(), Arc::default());
        let id = written(&journal, &saga, ago, &[]).await;
        let sagas = engine(&journal, &world, &saga).await;
        settled().await;
        let facts = facts(&journal, id).await;
        let last = serde_json::to_string(facts.last().unwrap()).unwrap();
        assert!(last.contains(expected), "{last}");
        if expected == "unknown_outcome" {
            assert!(world.seen().is_empty(), "not run");
            assert_eq!(
                sagas.incidents().await.unwrap()[0].class,
                Class::UnknownOutcome
            );
        }
    }
}

// === doubt ===

#[tokio::test(start_paused = true)]
async fn a_question_answers_a_timeout_and_a_crash() {
    async fn hangs(cx: Here, (): ()) -> Result<u32, StepError> {
        cx.app().see(format!("hangs {}", cx.idempotency_key()));
        std::future::pending().await
    }
    async fn found(cx: Here, (): ()) -> Result<Reconciled<u32>, StepError> {
        cx.app().see(format!("asked {}", cx.idempotency_key()));
        match cx.app().attempts.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StepError::retry("the list is down")),
            _ => Ok(Reconciled::Applied(7)),
        }
    }
    async fn takes(cx: Here, seven: u32) -> Result<(), StepError> {
        cx.app().see(format!("got {seven}"));
        Ok(())
    }
    let saga = Saga::builder("asked")
        .pivot("hangs", Step::new(hangs).attempts(Attempts::total(1)))
        .reconcile(found)
        .then("takes", takes)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    assert_eq!(handle.ended().await.unwrap(), Ended::Completed(()));
    let seen = world.seen();
    let key = seen[0].strip_prefix("hangs ").unwrap();
    let asked = format!("asked {key}");
    assert_eq!(seen[1..], [asked.clone(), asked, "got 7".to_owned()]);

    // A crash with an intent.
    let saga = Saga::builder("once")
        .pivot("hangs", Step::new(hangs).at_most_once())
        .reconcile(found)
        .then("takes", takes)
        .build()
        .unwrap();
    let world = Arc::<World>::default();
    let intent = [r#"[{"intent":{"step":"hangs","number":1}}]"#];
    let id = written(&journal, &saga, Duration::ZERO, &intent).await;
    let _sagas = engine(&journal, &world, &saga).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(world.seen().iter().all(|what| !what.starts_with("hangs")));
    let facts = facts(&journal, id).await;
    assert!(matches!(facts.last(), Some(Fact::Finished(_))), "{facts:?}");
}

#[test]
fn settings_stand_where_they_make_sense() {
    let refused = |built: Result<Saga<World, (), ()>, DefinitionError>| {
        let error = built.unwrap_err();
        assert!(
            matches!(error, DefinitionError::Misplaced { .. }),
            "{error}"
        );
    };
    let day = Duration::from_secs(86_400);
    refused(
        Saga::builder("a")
            .check("b", Step::new(reserve).at_most_once())
            .build(),
    );
    refused(
        Saga::builder("a")
            .check("b", Step::new(reserve).key_valid_for(day))
            .build(),
    );
    let undo = Step::new(release).at_most_once();
    refused(Saga::builder("a").step("b", reserve).undo(undo).build());
    let none = Saga::builder("a")
        .deadline(Duration::ZERO)
        .check("b", reserve)
        .build();
    assert!(matches!(none, Err(DefinitionError::NoTime(_))));
    // What a log means is in the fingerprint, what is decided next is not.
    let build = |step: Step<_>| Saga::builder("a").pivot("b", step).build().unwrap();
    let plain = build(Step::new(reserve)).fingerprint().to_owned();
    let timed = Step::new(reserve)
        .key_valid_for(day)
        .timeout(day)
        .deadline(day);
    assert_eq!(build(timed).fingerprint(), plain);
    assert_ne!(
        build(Step::new(reserve).at_most_once()).fingerprint(),
        plain
    );
}

// === operators ===

#[tokio::test(start_paused = true)]
async fn operators_supply_retry_as_new_and_turn_back() {
    async fn number(cx: Here, (): ()) -> Result<u32, StepError> {
        cx.app().see(cx.idempotency_key());
        match cx.app().attempts.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(StepError::halt("look")),
            _ => Ok(1),
        }
    }
    async fn void(cx: Here, output: Option<u32>) -> Result<(), StepError> {
        cx.app()
            .see(format!("void {output:?} {}", cx.undoes().unwrap()));
        Ok(())
    }
    async fn halts(_: Here, _: u32) -> Result<(), StepError> {
        Err(StepError::halt("look"))
    }
    let saga = Saga::builder("operated")
        .step("number", number)
        .undo(void)
        .pivot("halts", halts)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::default());
    let sagas = engine(&journal, &world, &saga).await;
    let handle = sagas.start(&saga, "1", ()).await.unwrap();
    let id = handle.id();
    let held = || async {
        settled().await;
        sagas.incidents().await.unwrap().remove(0)
    };
    let decision = |operation| Decision::new(operation, "ann", "because");
    let text: Payload = serde_json::from_str("\"seven\"").unwrap();
    let seven: Payload = serde_json::from_str("7").unwrap();

    let incident = held().await;
    assert!(incident.operations().contains(&Operation::SupplyOutput));
    let wrong = decision(Operation::SupplyOutput).output(text);
    for refused in [
        decision(Operation::SupplyOutput),
        wrong,
        decision(Operation::SkipUndo),
    ] {
        let error = sagas.decide(id, refused).await.unwrap_err();
        assert!(matches!(error, SagaError::NotAllowed { .. }), "{error}");
    }
    let again = decision(Operation::RetryAsNew).approver("bob");
    sagas.decide(id, again).await.unwrap();
    held().await;
    let keys = world.seen();
    assert_ne!(keys[0], keys[1], "another key");
    let supplied = decision(Operation::SupplyOutput).output(seven);
    sagas.decide(id, supplied).await.unwrap();
    assert_eq!(held().await.step.as_deref(), Some("halts"));
    sagas.decide(id, decision(Operation::Unwind)).await.unwrap();
    assert!(matches!(
        handle.ended().await.unwrap(),
        Ended::Compensated { .. }
    ));
    let undone = format!("void Some(7) {}", keys[1]);
    assert_eq!(world.seen().last(), Some(&undone));
}

#[tokio::test(start_paused = true)]
async fn a_saga_over_which_engines_die_is_held_and_its_neighbours_go_on() {
    // Every engine here is dropped while `gated` runs, which is what a step that ends the process does.
    let saga = Saga::builder("deadly")
        .pivot("gated", gated)
        .build()
        .unwrap();
    let (journal, world) = (MemoryJournal::new(), Arc::<World>::default());
    let id = written(&journal, &saga, Duration::ZERO, &[]).await;
    let mut runs = 0;
    while world.seen().len() == runs {
        let sagas = engine(&journal, &world, &saga).await;
        settled().await;
        runs += 1;
        drop(sagas);
        journal.restarted();
        assert!(runs < 20, "it is run for ever");
    }
    assert_eq!(
        world.seen().len(),
        6,
        "once, and five times under suspicion"
    );
    let sagas = engine(&journal, &world, &saga).await;
    let incident = sagas.incidents().await.unwrap().remove(0);
    assert_eq!((incident.saga, incident.class), (id, Class::CrashLoop));
    world.gate.add_permits(1);
    sagas.retry(id, "ann", "repaired").await.unwrap();
    settled().await;
    assert_eq!(world.seen().last().unwrap(), "passed");
}
