//! Each policy, taken through everything that it tells. A new one is a function here and a line in [`all`].

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::FutureExt;
use mainstay::breaker::{
    BreakerConfig, BreakerLayer, KeyedBreakerLayer, Mode, Order, State, Switch, Trip,
};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::degrade::{
    self, Component, Degrade, Fact, GateLayer, Kind, Ladder, Level, Reading, When,
};
use mainstay::fallback::{Ending, FallbackConfig, FallbackLayer, Outcomes, Primary};
use mainstay::health::Verdict;
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Answer, Append, Journal, JournalError, Labels, Vitals, pass_on};
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer, Bounds};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{KeyedRate, KeyedRateConfig, Rate, RateConfig, RateLayer};
use mainstay::num::{Attempts, Period, Ratio, count};
use mainstay::outcome::{Failure, Outcome};
use mainstay::queue;
use mainstay::retry::{BudgetConfig, CloneRequest, Replay, RetryConfig, RetryLayer};
use mainstay::saga::operator::DenyAll;
use mainstay::saga::seal::{Keyed, PayloadCodec, Seal, SealError};
use mainstay::saga::{Cx, Ended, Key, Migration, Saga, Sagas, Step, StepError};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use crate::listen::Handles;

type Drive = for<'a> fn(&'a Handles) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Every policy that tells something.
pub(crate) fn all() -> Vec<(&'static str, Drive)> {
    vec![
        ("breaker", |handles| Box::pin(breaker(handles))),
        ("keyed breaker", |handles| Box::pin(keyed_breaker(handles))),
        ("deadline", |_| Box::pin(deadline())),
        ("fallback", |handles| Box::pin(fallback(handles))),
        ("concurrency", |handles| Box::pin(concurrency(handles))),
        ("adaptive", |handles| Box::pin(adaptive(handles))),
        ("rate", |handles| Box::pin(rate(handles))),
        ("retry", |handles| Box::pin(retry(handles))),
        ("degradation", |handles| Box::pin(degradation(handles))),
        ("queue", |handles| Box::pin(queue(handles))),
        ("saga", |handles| Box::pin(saga(handles))),
        ("saga in trouble", |handles| Box::pin(troubled(handles))),
    ]
}

/// Fails as often as it is told to, then answers.
fn fails(times: u32) -> impl Service<u32, Response = u32, Error = BoxError, Future: Send> + Clone {
    let failures = Arc::new(AtomicU32::new(0));
    service_fn(move |n: u32| {
        let fails = failures.fetch_add(1, Ordering::Relaxed) < times;
        async move { if fails { Err("down".into()) } else { Ok(n) } }
    })
}

fn hangs() -> impl Service<u32, Response = u32, Error = BoxError> + Clone {
    service_fn(|_: u32| std::future::pending())
}

async fn concurrency(handles: &Handles) {
    let config = ConcurrencyConfig::new(count(1))
        .queue(1)
        .wait(Period::secs(1));
    let layer = ConcurrencyLayer::new("test", config);
    let (handle, watch) = (layer.handle(), layer.handle());
    handles.watch(move || drop(format!("{watch:?}")));
    let service = layer.layer(hangs());
    let mut under_way = Box::pin(service.clone().oneshot(1));
    assert!(futures::poll!(&mut under_way).is_pending());
    let mut waits = Box::pin(service.clone().oneshot(1));
    assert!(futures::poll!(&mut waits).is_pending());
    assert!(service.oneshot(1).await.is_err(), "the line is full");
    assert!(waits.await.is_err(), "it waited for too long");
    drop(under_way);
    assert_eq!(handle.in_flight(), 0);
}

async fn adaptive(handles: &Handles) {
    let config = AdaptiveConfig::new()
        .bounds(Bounds::between(1, 100))
        .start(count(1))
        .samples(count(1))
        .window(Period::millis(10))
        .queue(0);
    let layer = AdaptiveLayer::new("test", config);
    let (handle, watch) = (layer.handle(), layer.handle());
    handles.watch(move || drop(format!("{watch:?}")));
    let service = layer.layer(service_fn(|_: u32| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok::<u32, BoxError>(1)
    }));
    while handle.limit().get() == 1 {
        let mut under_way = Box::pin(service.clone().oneshot(1));
        assert!(futures::poll!(&mut under_way).is_pending());
        assert!(
            service.clone().oneshot(1).await.is_err(),
            "it is in the way"
        );
        assert!(under_way.await.is_ok());
    }
    handle.pin(count(7), Order::new("an operator", "a drill"));
    handle.release(Order::new("an operator", "the drill is over"));
}

async fn rate(handles: &Handles) {
    let second = Period::secs(1);
    let layer = RateLayer::new(
        "test",
        RateConfig::new(Rate::even(1, second)).patience(second),
    );
    let (handle, watch) = (layer.handle(), layer.handle());
    handles.watch(move || drop(format!("{watch:?}")));
    let service = layer.layer(fails(0));
    let (first, second_call) = (service.clone().oneshot(1), service.clone().oneshot(1));
    let (first, second_call) = futures::join!(first, second_call);
    assert!(first.is_ok() && second_call.is_ok());
    assert_eq!(handle.delayed(), 1);
    handle.reload(Rate::burst(1, second));
    let (first, refused) = futures::join!(service.clone().oneshot(1), service.oneshot(1));
    assert!(first.is_err() || refused.is_err());

    let each = Rate::burst(1, Period::secs(3_600));
    let keyed = KeyedRate::<u32>::new("test", KeyedRateConfig::new(each).max_keys(1));
    let watch = keyed.handle();
    handles.watch(move || drop(format!("{watch:?}")));
    for key in 0..3 {
        _ = keyed.check(&key);
    }
    assert!(keyed.handle().overflowed() > 0);
}

async fn breaker(handles: &Handles) {
    let open_for = Period::secs(5);
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(open_for);
    let layer = BreakerLayer::new("test", config);
    let handle = layer.handle();
    let watch = handle.clone();
    handles.watch(move || {
        drop(format!(
            "{watch:?} {} {}",
            watch.failures(),
            watch.openings()
        ))
    });
    let service = layer.layer(fails(1));
    assert!(service.clone().oneshot(1).await.is_err());
    assert_eq!(handle.state(), State::Open);
    assert!(service.clone().oneshot(1).await.is_err(), "refused");
    tokio::time::sleep(open_for.get()).await;
    assert!(service.oneshot(1).await.is_ok());
    assert_eq!(handle.state(), State::Closed);

    let order = || Order::new("an operator", "a drill");
    let switch = Switch::new();
    let layer = BreakerLayer::new("test", config).switched_by(&switch);
    let (handle, watch) = (layer.handle(), (layer.handle(), switch.clone()));
    handles.watch(move || drop(format!("{watch:?} {}", watch.1.circuits())));
    handle.force(Mode::Observing, order());
    assert!(
        layer.layer(fails(1)).oneshot(1).await.is_err(),
        "would open"
    );
    switch.force(Mode::ForcedOpen, order().lasting(open_for));
    assert!(layer.layer(fails(0)).oneshot(1).await.is_err(), "refused");
    switch.release(order());
}

async fn keyed_breaker(handles: &Handles) {
    let open_for = Period::secs(5);
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(open_for);
    // One key, whose circuit opens: there is no place for the next.
    let one = KeyedBreakerLayer::new("test", config, 1, |n: &u32| *n);
    let watch = one.handle();
    handles.watch(move || drop(format!("{watch:?} {:?}", watch.tripped())));
    let service = one.layer(fails(1));
    assert!(service.clone().oneshot(1).await.is_err());
    assert!(service.clone().oneshot(2).await.is_ok(), "untracked");
    tokio::time::sleep(open_for.get()).await;
    assert!(service.oneshot(1).await.is_ok());

    // A new circuit comes under the command of its switch, and whoever is told of it may make another.
    let switch = Switch::new();
    switch.force(Mode::Observing, Order::new("an operator", "a drill"));
    let many = KeyedBreakerLayer::new("test", config, 1_000, |n: &u32| *n).switched_by(&switch);
    let (next, another) = (AtomicU32::new(10), many.layer(fails(0)));
    handles.watch(move || {
        let key = next.fetch_add(1, Ordering::Relaxed);
        let called = another.clone().oneshot(key).now_or_never();
        assert!(called.is_some_and(|result| result.is_ok()));
    });
    assert!(many.layer(fails(0)).oneshot(1).await.is_ok());
}

async fn deadline() {
    let total = DeadlineLayer::new("test", Period::secs(1)).layer(hangs());
    assert!(total.oneshot(1).await.is_err());
    let attempt = TimeoutLayer::new("test", Period::secs(1)).layer(hangs());
    assert!(attempt.oneshot(1).await.is_err());
}

async fn fallback(handles: &Handles) {
    let all = FallbackConfig::new(Outcomes::NONE.failures());
    let layer = FallbackLayer::value("test", all, 7);
    let watch = layer.handle();
    handles.watch(move || drop(format!("{watch:?}")));
    assert_eq!(layer.layer(fails(1)).oneshot(1).await.unwrap(), 7);

    let one = FallbackLayer::service("test", all.max_in_flight(count(1)), hangs());
    let watch = one.handle();
    handles.watch(move || drop(format!("{watch:?} {}", watch.count(Ending::Full))));
    let mut first = Box::pin(one.layer(fails(1)).oneshot(1));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(one.layer(fails(1)).oneshot(1).await.is_err(), "full");
    drop(first);

    let fails_too = FallbackLayer::service("test", all, fails(1));
    assert!(fails_too.layer(fails(1)).oneshot(1).await.is_err());
    let unkept = FallbackLayer::service("test", all, fails(0)).replay_with(Never);
    assert!(unkept.layer(fails(1)).oneshot(1).await.is_err());
    let late = FallbackLayer::function("test", all, |(), _: Primary<'_, u32, BoxError>| {
        Ok::<_, Infallible>(7)
    });
    let slow = service_fn(|_: u32| async {
        tokio::time::advance(Duration::from_secs(2)).await;
        Err::<u32, BoxError>("down".into())
    });
    let late = DeadlineLayer::new("test", Period::secs(1)).layer(late.layer(slow));
    assert!(late.oneshot(1).await.is_err());
}

/// Through every kind of mode, and every cause of a change.
async fn degradation(handles: &Handles) {
    let ladder = || {
        let served = [
            degrade::Mode::limited("less"),
            degrade::Mode::WriteOnly,
            degrade::Mode::ReadOnly,
            degrade::Mode::Queued,
        ];
        let more = [
            degrade::Mode::Manual,
            degrade::Mode::Disabled,
            degrade::Mode::FailOver,
        ];
        let mut ladder = Ladder::new("test").level(Level::new("0"));
        for (n, mode) in (1..).zip(served.into_iter().chain(more)) {
            let (part, level) = (format!("part {n}"), n.to_string());
            let fact = Fact::new(format!("fact {n}"), When::down(&*part), &*level);
            let level = Level::new(level).cell("test", mode);
            ladder = ladder
                .component(Component::new(part))
                .level(level)
                .fact(fact);
        }
        ladder.build().unwrap()
    };
    let degrade = Degrade::new(ladder());
    let watch = degrade.clone();
    handles.watch(move || drop(format!("{watch:?} {:?}", watch.status())));
    let gate = degrade.gate("test").unwrap();
    let ledger = GateLayer::new(gate.clone()).layer(fails(0));
    for part in (1..=7).map(|n| format!("part {n}")) {
        degrade
            .observe(&part, Reading::from(Verdict::Down))
            .unwrap();
        drop(ledger.clone().oneshot(1).await);
        tokio::time::sleep(Duration::from_secs(60)).await;
        degrade.observe(&part, Reading::from(Verdict::Up)).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        degrade.decide();
        assert_eq!(gate.kind(), Kind::Full);
    }
    let order = || Order::new("alice", "drill");
    degrade
        .pin_level("7", order().lasting(Period::secs(60)))
        .unwrap();
    assert!(ledger.oneshot(1).await.is_err());
    tokio::time::sleep(Duration::from_secs(61)).await;
    degrade.decide();
    degrade
        .pin("test", degrade::Mode::Disabled, order())
        .unwrap();
    degrade.unpin("test", order()).unwrap();
    degrade.pin_level("1", order()).unwrap();
    degrade.unpin_level(order());
    degrade
        .observe("part 1", Reading::from(Verdict::Down))
        .unwrap();
    degrade.reload(
        Ladder::new("test")
            .level(Level::new("all"))
            .build()
            .unwrap(),
    );
}

/// Numbers, each its own key; one is refused for good.
#[derive(Clone, Copy)]
struct Numbers;

impl queue::Codec<u32, u32, BoxError> for Numbers {
    fn lane(&self, n: &u32) -> queue::Lane {
        queue::Lane::new(n.to_string())
    }

    fn capture(&self, n: u32) -> queue::Captured {
        let key = n.to_string();
        Box::pin(async move { Ok(queue::Draft::new(&key, queue::Lane::new(&key), Vec::new())?) })
    }

    fn restore(&self, entry: &queue::Entry) -> Option<u32> {
        entry.key().parse().ok()
    }

    fn queued(&self, _: &queue::Receipt) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn refused(&self, error: &queue::QueueError) -> Result<u32, BoxError> {
        Err(error.clone().into())
    }

    fn judge(&self, result: Result<&u32, &BoxError>) -> queue::Verdict {
        match result {
            Ok(1) => queue::Verdict::Applied,
            _ => queue::Verdict::Refused,
        }
    }
}

/// Through everything that becomes of an entry.
async fn queue(handles: &Handles) {
    let ladder = Ladder::new("test").level(Level::new("0").cell("test", degrade::Mode::Full));
    let degrade = Degrade::new(ladder.build().unwrap());
    let gate = degrade.gate("test").unwrap();
    let order = || Order::new("alice", "drill");
    degrade.pin("test", degrade::Mode::Queued, order()).unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let config = queue::QueueConfig::new().entries(count(3));
    let line = queue::Queue::open("test", journal, config).await.unwrap();
    let watch = line.clone();
    handles.watch(move || drop(format!("{watch:?} {:?}", watch.status())));
    let answers = service_fn(|n: u32| async move { Ok::<_, BoxError>(n) });
    let ledger = queue::QueueLayer::new(gate.clone(), line.clone(), Numbers).layer(answers);
    for n in 1..=3 {
        assert_eq!(ledger.clone().oneshot(n).await.unwrap(), 0);
    }
    assert!(ledger.oneshot(4).await.is_err(), "it is full");
    let drain = line.drain(gate, Numbers, answers);
    degrade.unpin("test", order()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let incidents = line.poisoned(10).await.unwrap();
    let [one, two] = &incidents[..] else {
        panic!("{incidents:?}");
    };
    line.retry(one.entry, &order()).await.unwrap();
    line.discard(two.entry, &order()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    drain.stop().await;
}

/// Keeps no request.
#[derive(Clone)]
struct Never;

impl Replay<u32> for Never {
    type Request = u32;
    type Kept = ();

    fn first(&self, request: u32) -> (u32, Option<()>) {
        (request, None)
    }

    fn again(&self, (): &mut ()) -> Option<u32> {
        None
    }
}

async fn retry(handles: &Handles) {
    let config = RetryConfig::new(Attempts::total(2));
    let layer = RetryLayer::new("test", config);
    let watch = layer.handle();
    handles.watch(move || drop(format!("{watch:?}")));
    assert!(layer.clone().layer(fails(1)).oneshot(1).await.is_ok());
    assert!(layer.layer(fails(9)).oneshot(1).await.is_err());
    let never = layer.replay_with(Never).layer(fails(1));
    assert!(never.oneshot(1).await.is_err());

    let spent = BudgetConfig::new(Ratio::ZERO).per_second(0).burst(0);
    let spent = RetryLayer::new("test", config.budget(spent)).layer(fails(1));
    assert!(spent.oneshot(1).await.is_err());
    let longer = RetryLayer::new("test", config).classify(|result: Result<&u32, &BoxError>| {
        let retry_after = Some(Duration::MAX);
        match result {
            Ok(_) => Outcome::Failure(Failure::Error),
            Err(_) => Outcome::Overload { retry_after },
        }
    });
    let longer = longer.replay_with(CloneRequest).layer(fails(1));
    assert!(longer.oneshot(1).await.is_err());
}

async fn done(cx: Cx<(), u32>, (): ()) -> Result<u32, StepError> {
    match *cx.input() {
        // Long enough for the engine to stop before it ends.
        3 => tokio::time::sleep(Duration::from_secs(60)).await,
        4 if cx.attempt() == 1 => return Err(StepError::retry("once more")),
        _ => {}
    }
    Ok(*cx.input())
}

async fn undone(cx: Cx<(), u32>, _: Option<u32>) -> Result<(), StepError> {
    match *cx.input() {
        2 => Err(StepError::retry("cannot be undone")),
        _ => Ok(()),
    }
}

async fn fails_for_some(cx: Cx<(), u32>, _: u32) -> Result<(), StepError> {
    match *cx.input() {
        1 | 2 => Err(StepError::fail("no")),
        _ => Ok(()),
    }
}

async fn saga(handles: &Handles) {
    let saga = Saga::builder("test")
        .step("do", done)
        .undo(Step::new(undone).attempts(Attempts::total(2)))
        .pivot("post", fails_for_some)
        .build()
        .unwrap();
    let journal = MemoryJournal::new();
    let build = || {
        let builder = Sagas::builder(Arc::new(journal.clone()), ());
        builder.register(&saga).name("an instance").start()
    };
    let sagas = build().await.unwrap();
    let looks = |sagas: &Sagas<()>| {
        let watch = sagas.clone();
        handles.watch(move || {
            let counts = (watch.running(), watch.tasks(), watch.backlog());
            drop(format!("{watch:?} {counts:?} {:?}", watch.instance()));
        });
    };
    looks(&sagas);
    for input in [0, 1, 2, 4] {
        let key = Key::new(format!("{input}"));
        let handle = sagas.start(&saga, key, input).await.unwrap();
        let ended = handle.ended().await.unwrap();
        match input {
            0 | 4 => assert!(matches!(ended, Ended::Completed(())), "{ended:?}"),
            1 => assert!(matches!(ended, Ended::Compensated { .. }), "{ended:?}"),
            _ => {
                assert!(matches!(ended, Ended::Incident(_)), "{ended:?}");
                let nobody = sagas.operator(Arc::new(DenyAll), "an operator");
                nobody.story(handle.id()).await.unwrap_err();
                let abandoned = sagas.abandon(handle.id(), "an operator", "a reason").await;
                abandoned.unwrap();
            }
        }
    }
    let unfinished = sagas.start(&saga, Key::new("3"), 3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let drained = sagas.shutdown(Duration::from_secs(120)).await;
    assert_eq!(drained.unfinished, 1);
    drop(unfinished);
    // The next one takes over what the journal has, and loses its lease.
    sagas.start(&saga, Key::new("late"), 3).await.unwrap_err();
    let next = build().await.unwrap();
    looks(&next);
    let late = next.start(&saga, Key::new("5"), 3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    journal.restarted();
    late.ended().await.unwrap();
    next.shutdown(Duration::from_secs(120)).await;
    // One that is left unfinished goes on in another form.
    let old = build().await.unwrap();
    old.start(&saga, Key::new("6"), 3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    old.shutdown(Duration::ZERO).await;
    let form = Saga::builder("test")
        .version(2)
        .step("do", done)
        .undo(undone)
        .pivot("post", fails_for_some)
        .build()
        .unwrap()
        .migrate(Migration::from_shape(saga.shape()))
        .unwrap();
    let builder = Sagas::builder(Arc::new(journal.clone()), ());
    let new = builder.register(&form).start().await.unwrap();
    looks(&new);
    tokio::time::sleep(Duration::from_secs(100)).await;
    new.shutdown(Duration::from_secs(120)).await;
}

/// Fails once, and hears of changes only later.
#[derive(Debug, Default)]
struct Shaky {
    inner: MemoryJournal,
    has_failed: AtomicBool,
    hears: AtomicBool,
}

impl Journal for Shaky {
    fn append(&self, append: Append) -> Answer<'_, ()> {
        if self.has_failed.swap(true, Ordering::Relaxed) {
            return self.inner.append(append);
        }
        let away = std::io::Error::other("the store is away");
        Box::pin(async { Err(JournalError::backend(away)) })
    }

    fn vitals(&self) -> Vitals {
        let vitals = Vitals::of("shaky").written(7, 2);
        vitals.listening(self.hears.load(Ordering::Relaxed))
    }

    pass_on!(inner: begin claim load list join beat leave release post prune changed);
}

/// A key service that is away when a run asks it.
#[derive(Default)]
struct Away(AtomicU32);

impl PayloadCodec for Away {
    fn choose<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Option<String>> {
        Box::pin(async { Ok(Some("k1".into())) })
    }

    fn fetch<'a>(&'a self, _: &'a Labels) -> Keyed<'a, Arc<dyn Seal>> {
        Box::pin(async {
            // The first is the start's.
            match self.0.fetch_add(1, Ordering::Relaxed) {
                1 => Err(SealError::unavailable("away")),
                _ => Ok(Arc::new(Reversed) as Arc<dyn Seal>),
            }
        })
    }
}

/// No cipher: only a place where something is sealed.
struct Reversed;

impl Seal for Reversed {
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.iter().chain(bound_to).rev().copied().collect())
    }

    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, SealError> {
        let whole: Vec<u8> = sealed.iter().rev().copied().collect();
        let plain = whole.strip_suffix(bound_to);
        plain.map(<[u8]>::to_vec).ok_or(SealError::Gone)
    }

    fn digest(&self, _: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

async fn slow(cx: Cx<(), u32>, _: u32) -> Result<(), StepError> {
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(cx);
    Ok(())
}

async fn after(cx: Cx<(), u32>, (): ()) -> Result<(), StepError> {
    match *cx.input() {
        1 => Err(StepError::halt("an operator must look")),
        _ => Ok(()),
    }
}

/// A store that fails, a key service that is away, a saga that is late, and one that nobody looks after.
async fn troubled(handles: &Handles) {
    let saga = Saga::builder("test")
        .deadline(Duration::from_secs(1))
        .step("do", done)
        .undo(undone)
        .pivot("post", slow)
        .then("after", after)
        .build()
        .unwrap();
    let journal = Arc::new(Shaky::default());
    let builder = Sagas::builder(Arc::clone(&journal) as Arc<dyn Journal>, ());
    let builder = builder.codec(Arc::new(Away::default())).register(&saga);
    let sagas = builder.start().await.unwrap();
    let watch = sagas.clone();
    handles.watch(move || drop(format!("{watch:?} {}", watch.tasks())));
    for input in 0..2 {
        let handle = sagas.start(&saga, Key::new(format!("{input}")), input);
        let ended = handle.await.unwrap().ended().await.unwrap();
        assert_eq!(matches!(ended, Ended::Incident(_)), input == 1, "{ended:?}");
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    journal.hears.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    sagas.shutdown(Duration::from_secs(1)).await;
}
