//! The engine: every place at which a saga may be left, carried over and brought to its end; two programs side by side;
//! operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Journal, Labels, Status};
use mainstay::saga::entry::{Class, Fact, Operation};
use mainstay::saga::machine::Decision;
use mainstay::saga::operator::{Authorize, Authorized, Permission, Request};
use mainstay::saga::seal::{Keyed, PayloadCodec, SEALED_FORMAT, Seal, SealError};
use mainstay::saga::testing::{Opener, Survey, Trial};
use mainstay::saga::{
    Cx, DefinitionError, Ended, Migration, Saga, SagaError, SagaId, Sagas, Step, StepError,
};
use serde::{Deserialize, Serialize};

/// A receiver that applies a key once and refuses what was undone. Steps wait at a gate that may be shut.
#[derive(Default)]
struct World {
    /// What stands, by key; each with what it is.
    standing: Mutex<BTreeMap<String, &'static str>>,
    tombstones: Mutex<Vec<String>>,
    /// What was done, in order.
    events: Mutex<Vec<String>>,
    shut: Mutex<Option<&'static str>>,
    arrived: AtomicUsize,
    refuses_transfer: AtomicBool,
}

impl World {
    fn apply(&self, key: &str, what: &'static str) -> Result<(), StepError> {
        if self
            .tombstones
            .lock()
            .unwrap()
            .iter()
            .any(|undone| undone == key)
        {
            return Err(StepError::refused("it was undone"));
        }
        if self
            .standing
            .lock()
            .unwrap()
            .insert(key.into(), what)
            .is_none()
        {
            self.events.lock().unwrap().push(format!("+{what}"));
        }
        Ok(())
    }

    fn undo(&self, key: &str, what: &'static str) {
        self.tombstones.lock().unwrap().push(key.into());
        if self.standing.lock().unwrap().remove(key).is_some() {
            self.events.lock().unwrap().push(format!("-{what}"));
        }
    }

    async fn gate(&self, what: &'static str) {
        self.arrived.fetch_add(1, Ordering::SeqCst);
        while *self.shut.lock().unwrap() == Some(what) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn stands(&self) -> Vec<&'static str> {
        let mut all: Vec<&str> = self.standing.lock().unwrap().values().copied().collect();
        all.sort_unstable();
        all
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    number: u32,
}

#[derive(Serialize, Deserialize)]
struct Held {
    key: String,
}

async fn look<I: Send + Sync + 'static>(_: Cx<World, I>, (): ()) -> Result<u8, StepError> {
    Ok(7)
}

async fn order<I: Send + Sync + 'static>(cx: Cx<World, I>, _: u8) -> Result<String, StepError> {
    cx.app().gate("order").await;
    cx.app().apply(cx.idempotency_key(), "order")?;
    Ok(cx.idempotency_key().into())
}

async fn order_anew(cx: Cx<World, Job>, (): ()) -> Result<Held, StepError> {
    cx.app().gate("order").await;
    cx.app().apply(cx.idempotency_key(), "order")?;
    let key = cx.idempotency_key().into();
    Ok(Held { key })
}

async fn cancel(cx: Cx<World, u32>, _: Option<String>) -> Result<(), StepError> {
    cx.app().gate("cancel").await;
    cx.app().undo(cx.undoes().unwrap(), "order");
    Ok(())
}

async fn cancel_anew(cx: Cx<World, Job>, held: Option<Held>) -> Result<(), StepError> {
    if let Some(held) = held {
        assert_eq!(
            Some(held.key.as_str()),
            cx.undoes(),
            "the key is the one that it was"
        );
    }
    cx.app().gate("cancel").await;
    cx.app().undo(cx.undoes().unwrap(), "order");
    Ok(())
}

async fn reserve<I: Send + Sync + 'static, G: Send + 'static>(
    cx: Cx<World, I>,
    _: G,
) -> Result<String, StepError> {
    cx.app().gate("reserve").await;
    cx.app().apply(cx.idempotency_key(), "reserve")?;
    Ok(cx.idempotency_key().into())
}

async fn release<I: Send + Sync + 'static>(
    cx: Cx<World, I>,
    _: Option<String>,
) -> Result<(), StepError> {
    cx.app().gate("release").await;
    cx.app().undo(cx.undoes().unwrap(), "reserve");
    Ok(())
}

async fn transfer<I: Send + Sync + 'static>(cx: Cx<World, I>, _: String) -> Result<u32, StepError> {
    cx.app().gate("transfer").await;
    if cx.app().refuses_transfer.load(Ordering::SeqCst) {
        return Err(StepError::refused("no money"));
    }
    cx.app().apply(cx.idempotency_key(), "transfer")?;
    Ok(5)
}

async fn sent(cx: Cx<World, Job>, _: Held) -> Result<u32, StepError> {
    cx.app().apply(cx.idempotency_key(), "transfer")?;
    Ok(5)
}

async fn notify<I: Send + Sync + 'static>(cx: Cx<World, I>, _: u32) -> Result<u32, StepError> {
    cx.app().gate("notify").await;
    cx.app().apply(cx.idempotency_key(), "notify")?;
    Ok(6)
}

async fn file(cx: Cx<World, Job>, sum: u32) -> Result<String, StepError> {
    cx.app().gate("file").await;
    cx.app().apply(cx.idempotency_key(), "file")?;
    Ok(format!("filed {sum}"))
}

fn wait<A>(action: A) -> Step<A> {
    Step::new(action).timeout(Duration::from_secs(3_600))
}

/// look, order, reserve, transfer!, notify
fn old() -> Saga<World, u32, u32> {
    Saga::builder("pay")
        .check("look", look)
        .step("order", wait(order))
        .undo(wait(cancel))
        .step("reserve", wait(reserve))
        .undo(wait(release))
        .pivot("transfer", wait(transfer))
        .then("notify", wait(notify))
        .build()
        .unwrap()
}

/// book, reserve, transfer!, notify, file
fn new() -> Result<Saga<World, Job, String>, DefinitionError> {
    Saga::builder("pay")
        .version(2)
        .step("book", wait(order_anew))
        .undo(wait(cancel_anew))
        .step("reserve", wait(reserve))
        .undo(wait(release))
        .pivot("transfer", wait(transfer))
        .then("notify", wait(notify))
        .then("file", wait(file))
        .build()
}

fn migration() -> Migration {
    Migration::from_shape(old().shape())
        .removed("look")
        .renamed("order", "book")
        .converted("book", |key: String| Ok(Held { key }))
        .converted_input(|number: u32| Ok(Job { number }))
        .added("file")
}

fn migrating() -> Saga<World, Job, String> {
    new().unwrap().migrate(migration()).unwrap()
}

fn holds(world: &World, ended: &Ended<String>) -> Result<(), String> {
    let all = ["file", "notify", "order", "reserve", "transfer"];
    let stands = world.stands();
    let ok = match ended {
        Ended::Completed(filed) => filed == "filed 6" && stands == all,
        Ended::Compensated { .. } => stands.is_empty(),
        // Nobody knows what became of the pivot, and what is before it stays.
        Ended::Incident(held) => {
            held.class == Class::UnknownOutcome && stands[..2] == ["order", "reserve"]
        }
        _ => false,
    };
    if ok {
        Ok(())
    } else {
        Err(format!("{ended:?}, and there stands {stands:?}"))
    }
}

fn trial() -> Trial<World, Job, String> {
    Trial::new(&migrating(), Job { number: 3 }, World::default)
        .migrating_from(&old(), 3)
        .holds(holds)
}

fn covers(survey: &Survey) {
    println!("{survey:?}");
    assert!(survey.migrated > 100, "{survey:?}");
    assert!(
        survey.completed > 50 && survey.compensated > 50,
        "{survey:?}"
    );
}

// === every place at which a saga may be left ===

#[tokio::test(start_paused = true)]
async fn wherever_it_is_left_it_is_carried_over_on_memory() {
    let survey = trial().run().await.unwrap();
    covers(&survey);
    assert!(survey.stalled > 100, "{survey:?}");
}

#[tokio::test(start_paused = true)]
async fn wherever_it_is_left_it_is_carried_over_on_sqlite() {
    let sqlite = || -> Opener {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sagas.sqlite");
        let open = move || {
            // The folder lives as long as the run.
            let _ = &folder;
            Arc::new(SqliteJournal::open(&path).unwrap()) as Arc<dyn Journal>
        };
        Box::new(open)
    };
    // Short ones: every run syncs a disk.
    let short = Saga::builder("pay")
        .step("order", Step::new(order_anew))
        .undo(cancel_anew)
        .pivot("transfer", sent)
        .build()
        .unwrap();
    let new = Saga::builder("pay")
        .version(2)
        .step("book", order_anew)
        .undo(cancel_anew)
        .pivot("transfer", sent)
        .build()
        .unwrap()
        .migrate(Migration::from_shape(short.shape()).renamed("order", "book"))
        .unwrap();
    let survey = Trial::new(&new, Job { number: 3 }, World::default)
        .migrating_from(&short, Job { number: 3 })
        .store(sqlite)
        .holds(|world, ended| match ended {
            Ended::Completed(_) if world.stands() == ["order", "transfer"] => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .crash_at_each_place()
        .await
        .unwrap();
    println!("{survey:?}");
    assert!(survey.migrated > 20 && survey.completed > 20, "{survey:?}");
}

/// A step is added behind the pivot and before the last one: those that may have begun the last one are held.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_carried_over_waits_with_its_effects_as_they_are() {
    async fn file(cx: Cx<World, u32>, sum: u32) -> Result<u32, StepError> {
        cx.app().apply(cx.idempotency_key(), "file")?;
        Ok(sum)
    }
    let form = |version| {
        let before = Saga::builder("pay")
            .version(version)
            .check("look", look)
            .step("order", wait(order))
            .undo(wait(cancel))
            .step("reserve", wait(reserve))
            .undo(wait(release))
            .pivot("transfer", wait(transfer));
        if version == 2 {
            before
                .then("file", file)
                .then("notify", wait(notify))
                .build()
        } else {
            before.then("notify", wait(notify)).build()
        }
    };
    let new = form(2).unwrap();
    let new = new
        .migrate(Migration::from_shape(old().shape()).added("file"))
        .unwrap();
    let survey = Trial::new(&new, 3, World::default)
        .migrating_from(&form(1).unwrap(), 3)
        .holds(|world, ended| match ended {
            Ended::Incident(held) if held.class == Class::DefinitionChanged => {
                let error = "pay version 1 cannot go on as version 2: step `file`: found one that is not done, \
                             expected that it comes after `notify`, which may have been begun";
                let stands = world.stands();
                if *held.error != *error || held.step.is_some() {
                    Err(held.error.to_string())
                } else if stands.contains(&"transfer") && !stands.contains(&"file") {
                    Ok(())
                } else {
                    Err(format!("{stands:?}"))
                }
            }
            // In the old form, before the process died, or in the new one.
            Ended::Completed(_) if world.stands().contains(&"notify") => Ok(()),
            Ended::Compensated { .. } if world.stands().is_empty() => Ok(()),
            Ended::Incident(held) if held.class == Class::UnknownOutcome => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .crash_at_each_place()
        .await
        .unwrap();
    println!("{survey:?}");
    assert!(survey.incidents > 10 && survey.migrated > 100, "{survey:?}");
}

/// A migration that would lose an effect, were it not for the machine: the trial has to say so.
#[tokio::test(start_paused = true)]
async fn a_trial_finds_an_undo_that_does_not_know_the_old_output() {
    async fn forgets(cx: Cx<World, Job>, held: Option<Held>) -> Result<(), StepError> {
        // Wrong: the key of the effect is not in what the migration made.
        let key = held
            .map(|held| held.key)
            .unwrap_or_else(|| cx.undoes().unwrap().into());
        cx.app().undo(&key, "order");
        Ok(())
    }
    let new = Saga::builder("pay")
        .version(2)
        .step("book", order_anew)
        .undo(forgets)
        .step("reserve", reserve)
        .undo(release)
        .pivot("transfer", transfer)
        .then("notify", notify)
        .then("file", file)
        .build()
        .unwrap();
    let lossy = Migration::from_shape(old().shape())
        .removed("look")
        .renamed("order", "book")
        .converted("book", |_: String| Ok(Held { key: "lost".into() }))
        .converted_input(|number: u32| Ok(Job { number }))
        .added("file");
    let violation = Trial::new(
        &new.migrate(lossy).unwrap(),
        Job { number: 3 },
        World::default,
    )
    .migrating_from(&old(), 3)
    .holds(holds)
    .run()
    .await
    .unwrap_err();
    println!("{violation}");
    assert!(
        violation.reason.contains("there stands [\"order\"]"),
        "{violation}"
    );
    assert_eq!(violation.disturbance.crashes.len(), 1, "{violation}");
}

// === two programs side by side ===

fn memory() -> (MemoryJournal, Arc<dyn Journal>) {
    let memory = MemoryJournal::new();
    (memory.clone(), Arc::new(memory))
}

async fn program<I, O>(
    journal: &Arc<dyn Journal>,
    world: &Arc<World>,
    sagas: &Saga<World, I, O>,
) -> Sagas<World>
where
    I: mainstay::saga::Recorded + Sync,
{
    Sagas::builder(Arc::clone(journal), Arc::clone(world))
        .register(sagas)
        .start()
        .await
        .unwrap()
}

async fn secs(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn facts(journal: &dyn Journal, id: SagaId) -> Vec<Fact> {
    let log = journal.load(id.log()).await.unwrap();
    let bodies = log.records.iter().map(|record| &record.body);
    bodies
        .flat_map(|body| serde_json::from_str::<Vec<Fact>>(body).unwrap())
        .collect()
}

async fn status(journal: &dyn Journal, id: SagaId) -> (Status, u32, String) {
    let head = journal.load(id.log()).await.unwrap().head;
    (head.status, head.version, head.stage.to_string())
}

#[tokio::test(start_paused = true)]
async fn over_a_rolling_upgrade_the_old_program_leaves_what_was_carried_over_alone() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("reserve");
    let one = program(&journal, &world, &old()).await;
    let other = program(&journal, &world, &old()).await;
    let handle = one.start(&old(), "INV-1", 3).await.unwrap();
    let id = handle.id();
    secs(1).await;
    // The new one is there, and takes nothing from the old one, which lives.
    let newer = program(&journal, &world, &migrating()).await;
    secs(60).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Running, 1, "reserve".into())
    );
    assert_eq!((one.running(), newer.running()), (1, 0));
    // Both old ones go, so that it is the new one's.
    other.shutdown(Duration::ZERO).await;
    one.shutdown(Duration::ZERO).await;
    secs(3).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Running, 2, "reserve".into())
    );
    assert_eq!(newer.running(), 1);
    // An old one comes back, and the new one dies.
    let back = program(&journal, &world, &old()).await;
    drop(newer);
    secs(60).await;
    assert_eq!((back.running(), back.backlog()), (0, 0));
    let before = journal.load(id.log()).await.unwrap();
    assert_eq!(before.head.version, 2);
    assert!(
        back.incidents().await.unwrap().is_empty(),
        "it is nobody's incident"
    );
    let unregistered = back.unregistered().await.unwrap();
    assert_eq!(unregistered.len(), 1, "and is seen where it is not known");
    // A caller of the old one is told of the end all the same, as far as its type says it.
    *world.shut.lock().unwrap() = None;
    secs(60).await;
    assert_eq!(
        journal.load(id.log()).await.unwrap().records,
        before.records
    );
    let last = program(&journal, &world, &migrating()).await;
    let waits = back.start(&old(), "INV-1", 3).await.unwrap();
    assert_eq!(waits.id(), id);
    assert!(matches!(waits.ended().await, Err(SagaError::Output(_))));
    assert!(matches!(
        last.start(&migrating(), "INV-1", Job { number: 3 }).await,
        Err(SagaError::OtherInput(found)) if found == id
    ));
    assert_eq!(
        *world.events.lock().unwrap(),
        ["+order", "+reserve", "+transfer", "+notify", "+file"]
    );
    assert!(last.unregistered().await.unwrap().is_empty());
}

/// The old instance is not dead but stopped: it wakes in the middle of what it did, after the saga was carried over.
#[tokio::test(start_paused = true)]
async fn a_migration_is_one_record_and_is_found_by_whoever_comes_next() {
    let (memory, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("transfer");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    drop(one);
    memory.restarted();
    for _ in 0..3 {
        let newer = program(&journal, &world, &migrating()).await;
        secs(2).await;
        drop(newer);
        memory.restarted();
    }
    let facts = facts(&*journal, id).await;
    let migrated = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::Migrated(_)));
    assert_eq!(migrated.count(), 1, "{facts:?}");
    *world.shut.lock().unwrap() = None;
    let last = program(&journal, &world, &migrating()).await;
    secs(2).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Ended, 2, String::new())
    );
    drop(last);
}

/// Version 1 to 3 in two records, where the program in between was never run.
#[tokio::test(start_paused = true)]
async fn migrations_follow_each_other() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("reserve");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let third = Saga::builder("pay")
        .version(3)
        .step("take", wait(order_anew))
        .undo(wait(cancel_anew))
        .step("reserve", wait(reserve))
        .undo(wait(release))
        .pivot("transfer", wait(transfer))
        .then("notify", wait(notify))
        .build()
        .unwrap()
        .migrate(
            Migration::from_shape(new().unwrap().shape())
                .renamed("book", "take")
                .removed("file"),
        )
        .unwrap();
    let newest = Sagas::builder(Arc::clone(&journal), Arc::clone(&world))
        .register(&migrating())
        .register(&third)
        .start()
        .await
        .unwrap();
    *world.shut.lock().unwrap() = None;
    world.refuses_transfer.store(true, Ordering::SeqCst);
    secs(3).await;
    let (status, version, _) = status(&*journal, id).await;
    assert_eq!((status, version), (Status::Ended, 3));
    assert_eq!(
        *world.events.lock().unwrap(),
        ["+order", "+reserve", "-reserve", "-order"]
    );
    drop(newest);
}

// === operators ===

struct All;

impl Authorize for All {
    fn authorize<'a>(&'a self, _: Request<'a>) -> Authorized<'a> {
        Box::pin(async { Permission::Granted { payloads: true } })
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_the_form_that_a_saga_has_and_the_one_it_had() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("transfer");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(5).await;
    one.shutdown(Duration::ZERO).await;
    let newer = program(&journal, &world, &migrating()).await;
    secs(5).await;
    let ann = newer.operator(Arc::new(All), "ann");
    let story = ann.story(id).await.unwrap();
    assert_eq!(
        (story.summary.version, &*story.summary.step),
        (2, "transfer")
    );
    let times: Vec<&str> = story.times.iter().map(|time| &*time.step).collect();
    assert_eq!(times, ["look", "order", "reserve"], "told once");
    let text = serde_json::to_string(&story).unwrap();
    assert!(
        text.contains(r#"{"migrated":{"from":""#) && text.contains(r#""keys":{"book":"order"}"#)
    );
    let drawn = ann.drawing(id).await.unwrap().mermaid();
    assert!(
        drawn.contains("pay, version 2") && drawn.contains("book<br/>step · done"),
        "{drawn}"
    );
    assert!(!drawn.contains("look"), "{drawn}");
    // One that knows neither form draws what the history names.
    let none = Sagas::<World>::builder(Arc::clone(&journal), Arc::clone(&world))
        .start()
        .await
        .unwrap();
    let drawn = none
        .operator(Arc::new(All), "ann")
        .drawing(id)
        .await
        .unwrap()
        .mermaid();
    assert!(
        drawn.contains("pay, version 2") && !drawn.contains("look"),
        "{drawn}"
    );
    // A wish to cancel is too late once the pivot is done, in whatever form that was.
    *world.shut.lock().unwrap() = Some("file");
    secs(5).await;
    let answer = newer.cancel(id, "ann", "too late").await.unwrap();
    assert_eq!(answer, mainstay::saga::CancelAnswer::TooLate);
}

/// Names may be passed on: what was done under a name in the old form is not what has that name now.
#[tokio::test(start_paused = true)]
async fn a_wish_to_cancel_knows_the_pivot_by_the_name_that_it_has_now() {
    let form = |version, step: &str, pivot: &str| {
        Saga::builder("pay")
            .version(version)
            .step(step, reserve::<u32, ()>)
            .undo(release)
            .pivot(pivot, wait(transfer))
            .build()
            .unwrap()
    };
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("transfer");
    let before = form(1, "send", "book");
    let one = program(&journal, &world, &before).await;
    let id = one.start(&before, "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let migration = Migration::from_shape(before.shape())
        .renamed("send", "hold")
        .renamed("book", "send");
    let after = form(2, "hold", "send").migrate(migration).unwrap();
    let newer = program(&journal, &world, &after).await;
    secs(1).await;
    let answer = newer.cancel(id, "ann", "in time").await.unwrap();
    assert_eq!(answer, mainstay::saga::CancelAnswer::Accepted);
}

/// Held, since the chain was changed under its version; let go once there is a migration.
#[tokio::test(start_paused = true)]
async fn one_that_was_held_goes_on_when_an_operator_says_so() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("reserve");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    // Somebody changed the chain and not its version.
    let careless = Saga::builder("pay")
        .check("look", look::<u32>)
        .build()
        .unwrap();
    let wrong = program(&journal, &world, &careless).await;
    secs(3).await;
    let held = wrong.incidents().await.unwrap();
    assert_eq!((held.len(), held[0].class), (1, Class::DefinitionChanged));
    assert!(matches!(
        wrong.retry(id, "ann", "go on").await,
        Err(SagaError::StillHeld { .. })
    ));
    wrong.shutdown(Duration::ZERO).await;
    *world.shut.lock().unwrap() = None;
    let right = program(&journal, &world, &migrating()).await;
    secs(30).await;
    assert_eq!(
        status(&*journal, id).await.0,
        Status::Held,
        "not before somebody says so"
    );
    right
        .retry(id, "ann", "there is a migration")
        .await
        .unwrap();
    secs(3).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Ended, 2, String::new())
    );
    assert_eq!(world.stands().len(), 5);
}

/// An operator's word about a saga of the old form, whose pivot may have had its effect: it is taken, and the pivot does
/// not run again in the new form.
#[tokio::test(start_paused = true)]
async fn the_output_of_a_pivot_in_doubt_is_taken_of_a_form_that_is_only_taken_over_from() {
    async fn pay<R>(cx: Cx<World, u32>, _: String) -> Result<R, StepError> {
        cx.app().arrived.fetch_add(1, Ordering::SeqCst);
        cx.app().apply(cx.idempotency_key(), "transfer")?;
        Err(StepError::unknown("the line broke"))
    }
    async fn thank(cx: Cx<World, u32>, receipt: String) -> Result<String, StepError> {
        cx.app().apply(cx.idempotency_key(), "notify")?;
        Ok(receipt)
    }
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    let before = Saga::builder("pay")
        .step("reserve", reserve::<u32, ()>)
        .undo(release)
        .pivot("transfer", Step::new(pay::<u32>).at_most_once())
        .then("notify", notify::<u32>)
        .build()
        .unwrap();
    let after = Saga::builder("pay")
        .version(2)
        .step("hold", reserve::<u32, ()>)
        .undo(release)
        .pivot("send", Step::new(pay::<String>).at_most_once())
        .then("notify", thank)
        .build()
        .unwrap();
    let migration = Migration::from_shape(before.shape())
        .renamed("reserve", "hold")
        .renamed("transfer", "send")
        .converted("send", |sum: u32| Ok(format!("paid {sum}")));
    let one = program(&journal, &world, &before).await;
    let handle = one.start(&before, "INV-1", 3).await.unwrap();
    let Ended::Incident(held) = handle.ended().await.unwrap() else {
        panic!("it is in doubt");
    };
    assert_eq!(held.class, Class::UnknownOutcome);
    let id = handle.id();
    one.shutdown(Duration::ZERO).await;
    let newer = program(&journal, &world, &after.migrate(migration).unwrap()).await;
    let supply = |output: &str| {
        let output: mainstay::saga::Payload = serde_json::from_str(output).unwrap();
        Decision::new(Operation::SupplyOutput, "ann", "the bank has it").output(output)
    };
    // What does not become an output of the new form is found before it is recorded.
    let refused = newer.decide(id, supply("\"five\"")).await.unwrap_err();
    assert!(
        matches!(&refused, SagaError::NotAllowed { reason, .. } if reason.starts_with("the output: ")),
        "{refused}"
    );
    newer.decide(id, supply("5")).await.unwrap();
    secs(3).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Ended, 2, String::new())
    );
    assert_eq!(world.arrived.load(Ordering::SeqCst), 2, "reserve, transfer");
    assert_eq!(world.stands(), ["notify", "reserve", "transfer"]);
    let facts = facts(&*journal, id).await;
    let paid = serde_json::to_string(&facts).unwrap();
    assert!(paid.contains("paid 5"), "{paid}");
}

/// What runs at most once is not run again because somebody said that the definition is right now.
#[tokio::test(start_paused = true)]
async fn letting_a_changed_definition_go_on_is_no_word_about_a_step() {
    let form = |version, name: &str| {
        Saga::builder("pay")
            .version(version)
            .check("look", look)
            .step("order", wait(order::<u32>).at_most_once())
            .undo(wait(cancel))
            .step(name, wait(reserve))
            .undo(wait(release))
            .build()
            .unwrap()
    };
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("order");
    let one = program(&journal, &world, &form(1, "reserve")).await;
    let id = one
        .start(&form(1, "reserve"), "INV-1", 3)
        .await
        .unwrap()
        .id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let wrong = program(&journal, &world, &form(1, "hold")).await;
    secs(3).await;
    wrong.shutdown(Duration::ZERO).await;
    *world.shut.lock().unwrap() = None;
    let arrived = world.arrived.load(Ordering::SeqCst);
    let migration = Migration::from_shape(form(1, "reserve").shape()).renamed("reserve", "hold");
    let newer = program(
        &journal,
        &world,
        &form(2, "hold").migrate(migration).unwrap(),
    )
    .await;
    newer
        .retry(id, "ann", "there is a migration")
        .await
        .unwrap();
    secs(3).await;
    let facts = facts(&*journal, id).await;
    assert!(facts.contains(&Fact::Unwind), "it is undone: {facts:?}");
    assert_eq!(
        world.arrived.load(Ordering::SeqCst),
        arrived + 1,
        "the undo"
    );
}

/// Where the old form is registered too, what cannot be carried over ends as it began.
#[tokio::test(start_paused = true)]
async fn with_both_forms_registered_nothing_is_held() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("transfer");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let lossy = Migration::from_shape(old().shape())
        .removed("look")
        .renamed("order", "book")
        .converted("book", |_: String| -> Result<Held, String> {
            Err("no more".into())
        })
        .converted_input(|number: u32| Ok(Job { number }))
        .added("file");
    let both = Sagas::builder(Arc::clone(&journal), Arc::clone(&world))
        .register(&old())
        .register(&new().unwrap().migrate(lossy).unwrap())
        .start()
        .await
        .unwrap();
    *world.shut.lock().unwrap() = None;
    secs(3).await;
    assert_eq!(
        status(&*journal, id).await,
        (Status::Ended, 1, String::new())
    );
    // One of which nothing of that kind is known is carried over.
    let handle = both.start(&old(), "INV-2", 4).await.unwrap();
    assert_eq!(
        handle.ended().await.unwrap(),
        Ended::Completed(6),
        "what begins here is as it begins"
    );
}

/// What does not read as the new types is found before anything of the new form runs.
#[tokio::test(start_paused = true)]
async fn what_does_not_read_is_refused_and_names_the_step() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("reserve");
    let one = program(&journal, &world, &old()).await;
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let said = |migration: Migration| {
        let (journal, world) = (Arc::clone(&journal), Arc::clone(&world));
        async move {
            let sagas = program(
                &journal,
                &world,
                &new().unwrap().migrate(migration).unwrap(),
            )
            .await;
            if sagas.incidents().await.unwrap().is_empty() {
                secs(3).await;
            } else {
                sagas.retry(id, "ann", "again").await.unwrap();
                secs(3).await;
            }
            let held = sagas.incidents().await.unwrap();
            sagas.shutdown(Duration::ZERO).await;
            held[0].error.to_string()
        }
    };
    let base = || {
        Migration::from_shape(old().shape())
            .removed("look")
            .renamed("order", "book")
            .added("file")
    };
    let why = said(base().converted_input(|number: u32| Ok(Job { number }))).await;
    assert!(
        why.contains("step `book`: found an output that does not read"),
        "{why}"
    );
    let why = said(base().converted("book", |key: String| Ok(Held { key }))).await;
    assert!(why.contains("found an input that does not read"), "{why}");
    assert_eq!(*world.events.lock().unwrap(), ["+order"]);
}

// === sealed ===

/// Turns bytes around: a place where something is sealed, and no cipher.
struct Around;

impl Seal for Around {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().chain(bound_to).rev().copied().collect())
    }
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let whole: Vec<u8> = sealed.iter().rev().copied().collect();
        let plain = whole.strip_suffix(bound_to);
        plain.map(<[u8]>::to_vec).ok_or(SealError::Gone)
    }
    fn digest(&self, message: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        for (place, byte) in digest.iter_mut().zip(message) {
            *place = *byte;
        }
        digest
    }
}

impl PayloadCodec for Around {
    fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
        Box::pin(async { Ok(Some("k1".into())) })
    }
    fn fetch<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        Box::pin(async { Ok(Arc::new(Self) as Arc<dyn Seal>) })
    }
    fn admits_plain(&self, _: &Labels) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn a_sealed_saga_is_carried_over_sealed() {
    let (_, journal) = memory();
    let world = Arc::new(World::default());
    *world.shut.lock().unwrap() = Some("reserve");
    let sealed = |saga| {
        let sagas: mainstay::saga::SagasBuilder<World> = saga;
        sagas.codec(Arc::new(Around))
    };
    let builder = || Sagas::builder(Arc::clone(&journal), Arc::clone(&world));
    let one = sealed(builder().register(&old())).start().await.unwrap();
    let id = one.start(&old(), "INV-1", 3).await.unwrap().id();
    secs(1).await;
    one.shutdown(Duration::ZERO).await;
    let newer = sealed(builder().register(&migrating()))
        .start()
        .await
        .unwrap();
    secs(3).await;
    let log = journal.load(id.log()).await.unwrap();
    let record = log.records.last().unwrap();
    assert_eq!(record.format, SEALED_FORMAT);
    assert!(record.body.contains("\"migrated\"") && record.body.contains(r#""input":{"sealed":""#));
    assert!(!record.body.contains(r#"{"key":"#), "{}", record.body);
    *world.shut.lock().unwrap() = None;
    world.refuses_transfer.store(true, Ordering::SeqCst);
    secs(3).await;
    assert_eq!(
        *world.events.lock().unwrap(),
        ["+order", "+reserve", "-reserve", "-order"]
    );
    drop(newer);
}

/// `Trial::codec`: every payload of every run is sealed and opened, over crashes and over a migration.
#[tokio::test(start_paused = true)]
async fn a_trial_seals_what_it_runs() {
    let journals: Arc<Mutex<Vec<MemoryJournal>>> = Arc::default();
    let noted = Arc::clone(&journals);
    let store = move || -> Opener {
        let journal = MemoryJournal::new();
        noted.lock().unwrap().push(journal.clone());
        Box::new(move || {
            journal.restarted();
            Arc::new(journal.clone())
        })
    };
    let survey = trial()
        .store(store)
        .codec(Arc::new(Around))
        .crash_at_each_place()
        .await
        .unwrap();
    assert!(survey.migrated > 50, "{survey:?}");
    let journals = journals.lock().unwrap().clone();
    let (mut sealed, mut outputs) = (0, 0);
    for journal in journals {
        for id in 1..3 {
            let Ok(log) = journal.load(mainstay::journal::LogId::new(id)).await else {
                continue;
            };
            for record in &log.records {
                sealed += usize::from(record.format == SEALED_FORMAT);
                let facts: Vec<Fact> = serde_json::from_str(&record.body).unwrap();
                for fact in facts {
                    if let Fact::Done { output, .. } = fact {
                        outputs += 1;
                        assert!(output.as_str().starts_with(r#"{"sealed":""#), "{output:?}");
                    }
                }
            }
        }
    }
    assert!(sealed > 100 && outputs > 100, "{sealed} {outputs}");
}
