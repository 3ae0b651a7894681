//! What surrounds the engine fails: a journal that answers late, twice or not at all, a runtime that ends, an engine
//! that stops while somebody waits, logs and types that misbehave.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]
#![expect(clippy::disallowed_methods, reason = "it waits, in virtual time")]

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{
    Answer, Append, Begin, Begun, Journal, JournalError, Listing, Log, LogId, Status,
};
use mainstay::saga::entry::Class;
use mainstay::saga::{Cx, Ended, Saga, SagaError, Sagas, Step, StepError};
use tokio::sync::Semaphore;

/// How the next calls of one method fail.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing was done.
    Before,
    /// It was done, and the reply was lost.
    After,
}

/// A journal with faults that pass.
#[derive(Debug, Default)]
struct Flaky {
    inner: MemoryJournal,
    begins: Mutex<Vec<Fault>>,
    appends: Mutex<Vec<Fault>>,
    loads: Mutex<Vec<Fault>>,
}

fn lost() -> JournalError {
    JournalError::backend(std::io::Error::other("the line went dead"))
}

fn disturbed<'a, T: Send + 'a>(faults: &Mutex<Vec<Fault>>, work: Answer<'a, T>) -> Answer<'a, T> {
    let fault = faults.lock().unwrap().pop();
    Box::pin(async move {
        match fault {
            None => work.await,
            Some(Fault::Before) => Err(lost()),
            Some(Fault::After) => work.await.and(Err(lost())),
        }
    })
}

impl Journal for Flaky {
    fn begin(&self, begin: Begin) -> Answer<'_, Begun> {
        disturbed(&self.begins, self.inner.begin(begin))
    }
    fn append(&self, append: Append) -> Answer<'_, ()> {
        disturbed(&self.appends, self.inner.append(append))
    }
    fn load(&self, id: LogId) -> Answer<'_, Log> {
        disturbed(&self.loads, self.inner.load(id))
    }
    mainstay::journal::pass_on!(inner: claim list join beat leave release post prune changed);
}

#[derive(Default)]
struct App {
    runs: AtomicU32,
    shut: AtomicU32,
    slow: AtomicU32,
}

async fn pay(cx: Cx<App, u32>, (): ()) -> Result<u32, StepError> {
    if cx.app().slow.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    cx.app().runs.fetch_add(1, Ordering::SeqCst);
    if cx.app().shut.load(Ordering::SeqCst) > 0 {
        return Err(StepError::halt("the bank is shut"));
    }
    Ok(*cx.input())
}

fn paying() -> Saga<App, u32, u32> {
    Saga::builder("paying").pivot("pay", pay).build().unwrap()
}

/// Long, in virtual time.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(600), work)
        .await
        .expect("it hangs")
}

async fn engine<A: Send + Sync + 'static, O>(
    journal: &Arc<dyn Journal>,
    app: &Arc<A>,
    saga: &Saga<A, u32, O>,
) -> Sagas<A> {
    Sagas::builder(Arc::clone(journal), Arc::clone(app))
        .register(saga)
        .start()
        .await
        .unwrap()
}

// === a journal that fails for a while ===

#[tokio::test(start_paused = true)]
async fn a_start_whose_reply_is_lost_is_carried_on_and_runs_once() {
    for fault in [Fault::Before, Fault::After] {
        let flaky = Arc::new(Flaky::default());
        *flaky.begins.lock().unwrap() = vec![fault; 3];
        let journal: Arc<dyn Journal> = Arc::clone(&flaky) as _;
        let (app, saga) = (Arc::new(App::default()), paying());
        let sagas = engine(&journal, &app, &saga).await;
        let handle = within(sagas.start(&saga, "k", 7)).await.unwrap();
        assert_eq!(within(handle.ended()).await.unwrap(), Ended::Completed(7));
        assert_eq!(app.runs.load(Ordering::SeqCst), 1, "{fault:?}");
        assert_eq!(flaky.inner.len(), 1);
    }
}

/// The key belongs to a saga that somebody else began: a lost reply must not make it look like one's own.
#[tokio::test(start_paused = true)]
async fn a_lost_reply_about_the_saga_of_another_engine_is_not_taken_for_ones_own() {
    async fn wait(cx: Cx<Semaphore, u32>, (): ()) -> Result<u32, StepError> {
        cx.app().acquire().await.unwrap().forget();
        Ok(*cx.input())
    }
    let saga = Saga::builder("waits").pivot("wait", wait).build().unwrap();
    let flaky = Arc::new(Flaky::default());
    let journal: Arc<dyn Journal> = Arc::clone(&flaky) as _;
    let gate = Arc::new(Semaphore::new(0));
    let idle = engine(&journal, &gate, &saga).await;
    let owner = engine(&journal, &gate, &saga).await;
    let first = owner.start(&saga, "k", 7).await.unwrap();
    *flaky.begins.lock().unwrap() = vec![Fault::After; 2];
    let second = within(idle.start(&saga, "k", 7)).await.unwrap();
    assert_eq!((second.id(), idle.running()), (first.id(), 0));
    gate.add_permits(1);
    assert_eq!(within(second.ended()).await.unwrap(), Ended::Completed(7));
    assert_eq!(within(first.ended()).await.unwrap(), Ended::Completed(7));
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_cannot_read_for_a_while_reads_later() {
    let flaky = Arc::new(Flaky::default());
    let journal: Arc<dyn Journal> = Arc::clone(&flaky) as _;
    let (app, saga) = (Arc::new(App::default()), paying());
    let sagas = engine(&journal, &app, &saga).await;
    app.slow.store(1, Ordering::SeqCst);
    for key in ["a", "b", "c"] {
        sagas.start(&saga, key, 7).await.unwrap();
    }
    drop(sagas);
    *flaky.loads.lock().unwrap() = vec![Fault::Before; 5];
    let sagas = engine(&journal, &app, &saga).await;
    for key in ["a", "b", "c"] {
        let handle = within(sagas.start(&saga, key, 7)).await.unwrap();
        assert_eq!(within(handle.ended()).await.unwrap(), Ended::Completed(7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_whose_reply_is_lost_is_carried_out() {
    for fault in [Fault::Before, Fault::After] {
        let flaky = Arc::new(Flaky::default());
        let journal: Arc<dyn Journal> = Arc::clone(&flaky) as _;
        let (app, saga) = (Arc::new(App::default()), paying());
        app.shut.store(1, Ordering::SeqCst);
        let sagas = engine(&journal, &app, &saga).await;
        let handle = sagas.start(&saga, "k", 7).await.unwrap();
        assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
        app.shut.store(0, Ordering::SeqCst);
        *flaky.appends.lock().unwrap() = vec![fault; 2];
        within(sagas.retry(handle.id(), "ann", "open again"))
            .await
            .unwrap();
        assert_eq!(within(handle.ended()).await.unwrap(), Ended::Completed(7));
    }
}

// === somebody who waits is told ===

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_resumed_saga_is_told_that_the_engine_stops() {
    async fn halts(cx: Cx<App, u32>, (): ()) -> Result<u32, StepError> {
        if cx.app().runs.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(StepError::halt("look"));
        }
        Err(StepError::retry("later"))
    }
    let saga = Saga::builder("halts").pivot("pay", halts).build().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let app = Arc::new(App::default());
    let sagas = engine(&journal, &app, &saga).await;
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    assert!(matches!(handle.ended().await.unwrap(), Ended::Incident(_)));
    sagas.retry(handle.id(), "ann", "try").await.unwrap();
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.ended().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    sagas.shutdown(Duration::from_secs(1)).await;
    let told = within(waiting).await.unwrap();
    assert!(matches!(told, Err(SagaError::Stopping)), "{told:?}");
    drop(sagas);
    let told = within(handle.ended()).await;
    assert!(matches!(told, Err(SagaError::Stopping)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_ends_while_the_engine_stops_is_told_as_ended() {
    async fn slow(cx: Cx<App, u32>, (): ()) -> Result<u32, StepError> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Ok(*cx.input())
    }
    let saga = Saga::builder("slow").pivot("pay", slow).build().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let app = Arc::new(App::default());
    let sagas = engine(&journal, &app, &saga).await;
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    sagas.shutdown(Duration::from_secs(60)).await;
    assert_eq!(
        journal
            .list(Listing::new(Status::Ended, 9))
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(within(handle.ended()).await.unwrap(), Ended::Completed(7));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_log_that_breaks_the_rules_is_shown_the_incident() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let (app, saga) = (Arc::new(App::default()), paying());
    app.slow.store(1, Ordering::SeqCst);
    let sagas = engine(&journal, &app, &saga).await;
    let id = sagas.start(&saga, "k", 7).await.unwrap().id();
    drop(sagas);
    // It reads as a list of facts, and no saga can have written it.
    let head = journal.load(id.log()).await.unwrap().head;
    let illegal = r#"[{"undone":{"step":"pay"}}]"#;
    let labels = Arc::clone(&head.labels);
    let append = Append::new(
        head.id,
        head.place,
        Status::Running,
        labels,
        1,
        illegal,
        head.begun,
    );
    journal.append(append).await.unwrap();
    let sagas = engine(&journal, &app, &saga).await;
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    let ended = within(handle.ended()).await.unwrap();
    assert!(
        matches!(&ended, Ended::Incident(incident) if incident.class == Class::Unreadable),
        "{ended:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_cut_off_before_it_begins_leaves_nobody_waiting() {
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let (app, saga) = (Arc::new(App::default()), paying());
    app.slow.store(1, Ordering::SeqCst);
    let sagas = engine(&journal, &app, &saga).await;
    sagas.start(&saga, "k", 7).await.unwrap();
    drop(sagas);
    let sagas = engine(&journal, &app, &saga).await;
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    // Nothing in here has waited, so that no task of the engine has begun.
    let shutdown = sagas.shutdown(Duration::ZERO);
    within(shutdown).await;
    let told = within(handle.ended()).await;
    assert!(matches!(told, Err(SagaError::Stopping)), "{told:?}");
    assert_eq!((sagas.running(), sagas.tasks()), (0, 0));
}

// === a runtime that ends, or is not there ===

/// Runs on a thread of its own, and fails when that does not come back.
fn finishes(work: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        work();
        done.send(()).ok();
    });
    finished
        .recv_timeout(Duration::from_secs(20))
        .expect("it hangs");
}

#[test]
fn a_start_while_the_runtime_ends_does_not_hang_it() {
    struct StartsLate(Option<(Sagas<App>, Saga<App, u32, u32>)>);
    impl Drop for StartsLate {
        fn drop(&mut self) {
            let (sagas, saga) = self.0.take().unwrap();
            drop(futures::FutureExt::now_or_never(
                sagas.start(&saga, "late", 7),
            ));
        }
    }
    finishes(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
            let (app, saga) = (Arc::new(App::default()), paying());
            let late = StartsLate(Some((engine(&journal, &app, &saga).await, saga)));
            tokio::spawn(async move {
                let _late = late;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
        });
        drop(runtime);
    });
}

#[test]
fn a_start_outside_of_a_runtime_panics_and_does_not_hang() {
    finishes(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (app, saga) = (Arc::new(App::default()), paying());
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
        let sagas = runtime.block_on(engine(&journal, &app, &saga));
        runtime.block_on(tokio::task::yield_now());
        let outside = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            futures::executor::block_on(sagas.start(&saga, "k", 7)).map(drop)
        }));
        assert!(outside.is_err(), "there is no runtime here");
        // Nothing of it is left, and the engine goes on.
        assert_eq!(sagas.tasks(), 0);
        let handle = runtime.block_on(sagas.start(&saga, "k", 7)).unwrap();
        assert_eq!(
            runtime.block_on(handle.ended()).unwrap(),
            Ended::Completed(7)
        );
    });
}

// === types and texts that misbehave ===

#[derive(Debug, serde::Serialize)]
struct Grumpy(u32);

impl<'de> serde::Deserialize<'de> for Grumpy {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(reader)?;
        assert!(GRUMPY.load(Ordering::SeqCst) == 0, "a bug of the user's");
        Ok(Self(number))
    }
}

static GRUMPY: AtomicU32 = AtomicU32::new(0);

#[tokio::test(start_paused = true)]
async fn an_input_that_panics_when_it_is_read_is_an_incident() {
    async fn pay(cx: Cx<App, Grumpy>, (): ()) -> Result<u32, StepError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cx.app().runs.fetch_add(1, Ordering::SeqCst);
        Ok(cx.input().0)
    }
    let saga = Saga::builder("grumpy").pivot("pay", pay).build().unwrap();
    let memory = MemoryJournal::new();
    let journal: Arc<dyn Journal> = Arc::new(memory.clone());
    let app = Arc::new(App::default());
    let build = || {
        Sagas::builder(Arc::clone(&journal), Arc::clone(&app))
            .register(&saga)
            .start()
    };
    let sagas = build().await.unwrap();
    sagas.start(&saga, "k", Grumpy(7)).await.unwrap();
    drop(sagas);
    memory.restarted();
    GRUMPY.store(1, Ordering::SeqCst);
    let sagas = build().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let incidents = sagas.incidents().await.unwrap();
    assert_eq!(
        incidents.iter().map(|i| i.class).collect::<Vec<_>>(),
        [Class::Unreadable]
    );
    GRUMPY.store(0, Ordering::SeqCst);
    sagas
        .retry(incidents.first().unwrap().saga, "ann", "repaired")
        .await
        .unwrap();
    let handle = sagas.start(&saga, "k", Grumpy(7)).await.unwrap();
    assert_eq!(within(handle.ended()).await.unwrap(), Ended::Completed(7));
}

#[tokio::test(start_paused = true)]
async fn a_long_text_is_cut_however_the_error_was_made() {
    async fn chatty(_: Cx<App, u32>, (): ()) -> Result<u32, StepError> {
        Err(StepError::Fail("x".repeat(1 << 20).into()))
    }
    let saga = Saga::builder("chatty")
        .pivot("pay", chatty)
        .build()
        .unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let sagas = engine(&journal, &Arc::new(App::default()), &saga).await;
    let handle = sagas.start(&saga, "k", 7).await.unwrap();
    handle.ended().await.unwrap();
    let log = journal.load(handle.id().log()).await.unwrap();
    assert!(log.records.iter().all(|record| record.body.len() < 2_000));
}

#[test]
fn an_input_that_is_nested_deep_does_not_overflow_the_stack() {
    finishes(|| {
        async fn any(_: Cx<(), Box<serde_json::value::RawValue>>, (): ()) -> Result<(), StepError> {
            Ok(())
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let saga = Saga::builder("deep").check("any", any).build().unwrap();
            let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), ())
                .register(&saga)
                .start()
                .await
                .unwrap();
            let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
            let deep = serde_json::value::RawValue::from_string(deep).unwrap();
            drop(sagas.start(&saga, "k", deep).await);
        });
    });
}

/// What wraps a journal may print what it is asked: it must not print payloads.
#[tokio::test]
async fn requests_and_records_do_not_print_what_they_say() {
    let journal = MemoryJournal::new();
    let labels = Arc::new(mainstay::journal::Labels::new("acme"));
    let at = mainstay::time::Timestamp::from_millis(0);
    let begin = Begin::new(Arc::clone(&labels), "pay", "k", "digest", 1, "IBAN-1", at);
    let mut said = format!("{begin:?}");
    let Begun::Created(head) = journal.begin(begin).await.unwrap() else {
        panic!("the key was free")
    };
    let append = Append::new(head.id, head.place, Status::Ended, labels, 1, "IBAN-2", at);
    said += &format!("{append:?}");
    journal.append(append).await.unwrap();
    said += &format!("{:?}", journal.load(head.id).await.unwrap());
    assert!(!said.contains("IBAN"), "{said}");
}

// === versions side by side ===

#[tokio::test(start_paused = true)]
async fn each_saga_is_recovered_by_the_version_that_it_began_with() {
    let build = |version: u32| {
        let says = move |_: Cx<App, u32>, _: u32| async move { Ok(version) };
        Saga::builder("versions")
            .version(version)
            .pivot("pay", pay)
            .then("says", says)
            .build()
            .unwrap()
    };
    let versions: Vec<_> = (1..=6).map(build).collect();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let app = Arc::new(App::default());
    app.slow.store(1, Ordering::SeqCst);
    let open = || {
        let builder = Sagas::builder(Arc::clone(&journal), Arc::clone(&app));
        versions.iter().fold(builder, |all, one| all.register(one))
    };
    let sagas = open().start().await.unwrap();
    for saga in &versions {
        let key = saga.version().to_string();
        sagas.start(saga, key, 7).await.unwrap();
    }
    drop(sagas);
    let sagas = open().start().await.unwrap();
    for saga in &versions {
        let key = saga.version().to_string();
        let handle = sagas.start(saga, key, 7).await.unwrap();
        let ended = within(handle.ended()).await.unwrap();
        assert_eq!(ended, Ended::Completed(saga.version()));
    }
}

// === sagas that start sagas ===

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_a_saga_of_its_own_engine_ends_with_one_place_too() {
    struct Nested {
        sagas: Mutex<Option<Sagas<Self>>>,
        child: Saga<Self, u32, u32>,
        runs: AtomicU32,
    }
    async fn child(cx: Cx<Nested, u32>, (): ()) -> Result<u32, StepError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(cx.input() * 2)
    }
    async fn parent(cx: Cx<Nested, u32>, (): ()) -> Result<u32, StepError> {
        cx.app().runs.fetch_add(1, Ordering::SeqCst);
        let sagas = cx.app().sagas.lock().unwrap().clone().unwrap();
        let key = format!("child of {}", cx.business_key());
        let handle = sagas
            .start(&cx.app().child, key, *cx.input())
            .await
            .map_err(StepError::from)?;
        match handle.ended().await? {
            Ended::Completed(output) => Ok(output),
            other => Err(StepError::halt(format!("{other:?}"))),
        }
    }
    let parents = Saga::builder("parent")
        .pivot("parent", Step::new(parent).timeout(Duration::from_secs(30)))
        .build()
        .unwrap();
    let app = Arc::new(Nested {
        sagas: Mutex::default(),
        child: Saga::builder("child")
            .pivot("child", child)
            .build()
            .unwrap(),
        runs: AtomicU32::new(0),
    });
    let sagas = Sagas::builder(Arc::new(MemoryJournal::new()), Arc::clone(&app))
        .register(&parents)
        .register(&app.child)
        .in_flight(NonZeroUsize::MIN)
        .start()
        .await
        .unwrap();
    *app.sagas.lock().unwrap() = Some(sagas.clone());
    let handle = sagas.start(&parents, "k", 21).await.unwrap();
    let ended = within(handle.ended()).await.unwrap();
    assert_eq!(ended, Ended::Completed(42));
    // The first attempt keeps the only place until its timeout; the child runs while its parent waits to try again.
    assert_eq!(app.runs.load(Ordering::SeqCst), 2);
    drop(app.sagas.lock().unwrap().take());
}
