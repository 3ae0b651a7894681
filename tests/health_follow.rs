//! Passive signals: what breakers, limits and queues say of a component by themselves. The numbers are those of the rules of
//! `src/health/follow.rs`. All time is virtual.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mainstay::breaker::{
    AtHead, BreakerConfig, BreakerLayer, BreakerService, HalfOpen, Mode, Order, Ramp, State, Trip,
    Window,
};
use mainstay::degrade::{
    Access, Component, Degrade, Fact, Gate, Ladder, Level, Mode as Served, Pace, Unknown, When,
};
use mainstay::health::{
    ConsecutiveConfig, CrowdingConfig, Figures, Health, Signal, Verdict, Watch,
};
use mainstay::journal::memory::MemoryJournal;
use mainstay::limit::adaptive::{AdaptiveConfig, AdaptiveLayer, Bounds};
use mainstay::limit::concurrency::{ConcurrencyConfig, ConcurrencyLayer};
use mainstay::limit::rate::{Rate, RateLimiter};
use mainstay::num::{Period, Ratio, count};
use mainstay::outcome::ByResult;
use mainstay::presets::erp;
use mainstay::queue::{Draft, Lane, Queue, QueueConfig};
use mainstay::reject::AsError;
use mainstay::standard::{Stack, StackConfig};
use mainstay::tenant::{TenantConfig, TenantPool};
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

use Verdict::{Degraded, Down, Up};

/// What a call is told to do.
#[derive(Clone, Copy)]
enum Do {
    Answer,
    Fail,
    Hang,
}

type Callee = BoxCloneService<Do, (), BoxError>;

fn callee() -> Callee {
    BoxCloneService::new(service_fn(|what: Do| async move {
        match what {
            Do::Answer => Ok(()),
            Do::Fail => Err("broken".into()),
            Do::Hang => pending().await,
        }
    }))
}

type Broken = BreakerService<Callee, ByResult, AsError, AtHead>;

async fn call(service: &mut (impl Service<Do, Error = BoxError> + Clone), what: Do, times: u32) {
    for _ in 0..times {
        drop(service.clone().oneshot(what).await);
    }
}

async fn pass(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

fn followed(config: impl Into<BreakerConfig>) -> (Health, BreakerLayer, Broken) {
    let layer = BreakerLayer::new("gpu", config);
    let health = Health::builder().follow("gpu", &layer.handle());
    let service = layer.layer(callee());
    (health.build().unwrap(), layer, service)
}

fn by_rate() -> Trip {
    Trip::rate(Ratio::percent(50), 10, Period::secs(30))
}

fn says(health: &Health) -> Verdict {
    health.verdict("gpu").unwrap()
}

/// Each signal: its policy, whether it is of a circuit, and what it says.
fn said(health: &Health, component: &str) -> Vec<(String, bool, Verdict)> {
    let signals = health.signals(component).into_iter();
    let said = signals.map(|(of, says)| (of.name().to_owned(), of.is_circuit(), says));
    said.collect()
}

/// Rules 1 and 2, and rule 3 of the wait.
#[tokio::test(start_paused = true)]
async fn a_circuit_says_what_its_calls_have_shown() {
    let config = BreakerConfig::new(by_rate()).open_for(Period::secs(5));
    let (health, layer, mut service) = followed(config);
    let circuit = layer.handle();
    assert_eq!(says(&health), Verdict::Unknown, "no calls");
    call(&mut service, Do::Answer, 9).await;
    assert_eq!(says(&health), Verdict::Unknown, "too few to open it");
    call(&mut service, Do::Answer, 1).await;
    assert_eq!(says(&health), Up);
    pass(40).await;
    assert_eq!(says(&health), Verdict::Unknown, "no calls lately");

    call(&mut service, Do::Fail, 10).await;
    assert_eq!((circuit.state(), says(&health)), (State::Open, Down));
    pass(4).await;
    assert_eq!(says(&health), Down);
    pass(2).await;
    assert_eq!(circuit.state(), State::Open, "nobody has called");
    assert_eq!(says(&health), Verdict::Unknown, "but the next one may");

    // A probe is out.
    let probe = tokio::spawn(service.clone().oneshot(Do::Hang));
    tokio::task::yield_now().await;
    assert_eq!(circuit.state(), State::HalfOpen);
    assert_eq!(says(&health), Verdict::Unknown);
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    call(&mut service, Do::Answer, 1).await;
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(says(&health), Up, "its probe succeeded");
    pass(59).await;
    assert_eq!(says(&health), Up);
    pass(1).await;
    assert_eq!(says(&health), Verdict::Unknown, "that is a minute ago");
}

/// Rule 2: a window over calls never forgets, so nobody knows when they were.
#[tokio::test(start_paused = true)]
async fn a_window_over_calls_is_never_up_by_itself() {
    let trip = Trip::rate_of(Ratio::percent(50), 5, Window::calls(10));
    let (health, _layer, mut service) = followed(trip);
    call(&mut service, Do::Answer, 20).await;
    assert_eq!(says(&health), Verdict::Unknown);
    call(&mut service, Do::Fail, 20).await;
    assert_eq!(says(&health), Down);
}

/// Rules 1 and 3: what somebody commands.
#[tokio::test(start_paused = true)]
async fn a_command_is_no_proof_of_health() {
    let (health, layer, mut service) = followed(by_rate());
    let circuit = layer.handle();
    let order = || Order::new("alice", "drill");
    call(&mut service, Do::Answer, 10).await;
    assert_eq!(says(&health), Up);
    for mode in [Mode::ForcedClosed, Mode::Observing] {
        circuit.force(mode, order());
        call(&mut service, Do::Fail, 20).await;
        assert_eq!(says(&health), Verdict::Unknown, "{mode:?}");
    }
    circuit.force(Mode::ForcedOpen, order().lasting(Period::secs(10)));
    assert_eq!(says(&health), Down);
    pass(11).await;
    assert_eq!(says(&health), Verdict::Unknown, "its time is over");
}

/// Rule 1: a share of the calls.
#[tokio::test(start_paused = true)]
async fn a_ramp_is_degraded() {
    let config = BreakerConfig::new(Trip::consecutive(1))
        .open_for(Period::secs(5))
        .half_open(HalfOpen::new(1, 1))
        .ramp(Ramp::linear(Ratio::percent(10), Period::secs(20)));
    let (health, _layer, mut service) = followed(config);
    call(&mut service, Do::Fail, 1).await;
    pass(6).await;
    call(&mut service, Do::Answer, 1).await;
    assert_eq!(says(&health), Degraded);
    pass(21).await;
    assert_eq!(says(&health), Up);
}

/// Rule 7: nobody drives this health, and the ladder knows at once.
#[tokio::test(start_paused = true)]
async fn a_change_of_a_circuit_is_told_at_once() {
    let ladder = Degrade::new(erp::degradation());
    let mut changes = ladder.changes();
    let layer = BreakerLayer::new("inference", Trip::consecutive(3));
    let health = Health::builder()
        .reported("gpu_cluster", ConsecutiveConfig::default())
        .follow("gpu_cluster", &layer.handle())
        .tell(ladder.clone())
        .build()
        .unwrap();
    let mut service = layer.layer(callee());
    call(&mut service, Do::Fail, 2).await;
    assert!(changes.try_next().is_none());
    call(&mut service, Do::Fail, 1).await;
    let change = changes.try_next().unwrap();
    assert_eq!(change.to().name(), "AI unavailable");
    let of_gpu = change.readings().find(|(name, _)| *name == "gpu_cluster");
    assert_eq!(of_gpu.unwrap().1, Down.into(), "with what led to it");
    assert!(changes.try_next().is_none(), "once");
    assert_eq!(
        said(&health, "gpu_cluster"),
        [("inference".to_owned(), true, Down)]
    );
}

/// Rules 4 and 6 through a whole stack: its callee hangs, its circuit opens, its limit is followed as well.
#[tokio::test(start_paused = true)]
async fn a_stack_is_followed_with_one_call() {
    let ladder = Degrade::new(erp::degradation());
    let config = StackConfig::new()
        .deadline(Period::secs(3))
        .attempt_timeout(Period::secs(1));
    let stack = Stack::with_config("inference", config);
    let health = Health::builder()
        .reported("gpu_cluster", ConsecutiveConfig::default())
        .follow("gpu_cluster", &stack)
        .tell(ladder.clone())
        .build()
        .unwrap();
    let mut service = stack.service(callee());
    let driver = tokio::spawn(health.clone().drive());
    for _ in 0..12 {
        call(&mut service, Do::Answer, 10).await;
        pass(1).await;
    }
    let name = || "inference".to_owned();
    assert_eq!(
        said(&health, "gpu_cluster"),
        [(name(), true, Up), (name(), false, Up)]
    );
    assert_eq!(ladder.status().level, 0);

    for _ in 0..40 {
        call(&mut service, Do::Hang, 1).await;
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
    assert_eq!(health.verdict("gpu_cluster"), Some(Down));
    assert_eq!(ladder.status().level, 2);
    driver.abort();
}

/// Rule 5: calls that an open circuit refuses pass the limit around it, which says nothing of the callee.
#[tokio::test(start_paused = true)]
async fn a_limit_does_not_vouch_for_a_callee_behind_an_open_circuit() {
    let breaker = BreakerLayer::new("gpu", BreakerConfig::new(Trip::consecutive(3)));
    let limit = ConcurrencyLayer::new("gpu", ConcurrencyConfig::new(count(4)));
    let health = Health::builder()
        .follow("gpu", &limit.handle())
        .follow("gpu", &breaker.handle())
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let mut service = limit.layer(breaker.layer(callee()));
    pass(6).await;
    call(&mut service, Do::Answer, 100).await;
    pass(6).await;
    assert_eq!(
        says(&health),
        Up,
        "of the limit; the circuit counts no calls"
    );
    call(&mut service, Do::Fail, 100).await;
    pass(4).await;
    assert_eq!(says(&health), Down);
    pass(20).await;
    let gpu = || "gpu".to_owned();
    assert_eq!(
        said(&health, "gpu"),
        [(gpu(), false, Up), (gpu(), true, Verdict::Unknown)]
    );
    assert_eq!(says(&health), Verdict::Unknown, "the limit abstains");
    driver.abort();
}

/// Rule 6: the worst of those that know, whoever tells it.
#[tokio::test(start_paused = true)]
async fn the_worst_of_probe_and_circuit_counts() {
    let well = Arc::new(AtomicBool::new(true));
    let is_well = Arc::clone(&well);
    let watch = Watch::new("gpu", move || {
        let well = is_well.load(Ordering::Relaxed);
        async move { well }
    });
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    let health = Health::builder()
        .watch(watch.every(Period::secs(1)))
        .follow("gpu", &layer.handle())
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let mut service = layer.layer(callee());
    pass(5).await;
    assert_eq!(says(&health), Up, "the circuit knows nothing, and abstains");
    call(&mut service, Do::Fail, 1).await;
    assert_eq!(says(&health), Down, "of the circuit");
    let wait = layer.handle().time_left().unwrap();
    tokio::time::sleep(wait).await;
    assert_eq!(says(&health), Up, "the circuit abstains again");
    call(&mut service, Do::Answer, 5).await;
    well.store(false, Ordering::Relaxed);
    pass(5).await;
    assert_eq!(said(&health, "gpu"), [("gpu".to_owned(), true, Up)]);
    assert_eq!(says(&health), Down, "of the probe");
    driver.abort();
}

/// Rule 4: a fixed limit, an adaptive one, a rate.
#[tokio::test(start_paused = true)]
async fn a_limit_that_refuses_is_degraded() {
    let fixed = ConcurrencyLayer::new("fixed", ConcurrencyConfig::new(count(1)).queue(0));
    let bounds = Bounds::between(1, 1);
    let adaptive = AdaptiveLayer::new("adaptive", AdaptiveConfig::new().bounds(bounds).queue(0));
    let rate = RateLimiter::new("rate", Rate::burst(50, Period::secs(60_000)));
    let health = Health::builder()
        .follow("fixed", &fixed.handle())
        .follow("adaptive", &adaptive.handle())
        .follow("rate", &rate.handle())
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let said = || ["fixed", "adaptive", "rate"].map(|name| health.verdict(name).unwrap());
    pass(1).await;
    assert_eq!(said(), [Verdict::Unknown; 3]);
    let mut services = [
        BoxCloneService::new(fixed.layer(callee())),
        BoxCloneService::new(adaptive.layer(callee())),
    ];
    for service in &mut services {
        call(service, Do::Answer, 50).await;
    }
    for _ in 0..50 {
        rate.check().unwrap();
    }
    pass(5).await;
    assert_eq!(said(), [Up; 3]);
    // One holds the only seat, and the others are refused.
    let mut held = Vec::new();
    for service in &mut services {
        call(service, Do::Answer, 30).await;
        held.push(tokio::spawn(service.clone().oneshot(Do::Hang)));
        tokio::task::yield_now().await;
        call(service, Do::Answer, 10).await;
    }
    for _ in 0..40 {
        assert!(rate.check().is_err());
    }
    pass(5).await;
    assert_eq!(said(), [Degraded, Degraded, Down], "of 41, 10; of 40, all");
    pass(5).await;
    assert_eq!(said(), [Degraded, Degraded, Down]);
    pass(5).await;
    assert_eq!(said(), [Verdict::Unknown; 3], "nobody calls");
    held.iter().for_each(tokio::task::JoinHandle::abort);
    driver.abort();
}

/// Rule 4: a line that is full at two looks.
#[tokio::test(start_paused = true)]
async fn a_line_that_stays_full_is_degraded() {
    let config = ConcurrencyConfig::new(count(1))
        .queue(4)
        .wait(Period::secs(600));
    let limit = ConcurrencyLayer::new("gpu", config);
    let health = Health::builder()
        .follow("gpu", &limit.handle())
        .crowding(CrowdingConfig::new().every(Period::secs(1)))
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let service = limit.layer(callee());
    let calls: Vec<_> = (0..5)
        .map(|_| tokio::spawn(service.clone().oneshot(Do::Hang)))
        .collect();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(limit.handle().waiting(), 4);
    assert_eq!(says(&health), Verdict::Unknown, "once");
    pass(1).await;
    assert_eq!(says(&health), Degraded);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    pass(1).await;
    assert_eq!(says(&health), Verdict::Unknown);
    driver.abort();
}

/// Rule 4: a durable queue, by entries or by bytes.
#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_is_degraded() {
    let health = Health::builder()
        .reported("entries", ConsecutiveConfig::default())
        .reported("bytes", ConsecutiveConfig::default())
        .build()
        .unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let few = QueueConfig::new().entries(count(10));
    let small = QueueConfig::new().bytes(1_000).entry_bytes(1_000);
    let by_entries = Queue::open("entries", Arc::clone(&journal) as _, few);
    let by_bytes = Queue::open("bytes", journal, small);
    let (by_entries, by_bytes) = (by_entries.await.unwrap(), by_bytes.await.unwrap());
    health.follow("entries", &by_entries).unwrap();
    health.follow("bytes", &by_bytes).unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let said = || ["entries", "bytes"].map(|name| health.verdict(name).unwrap());
    for n in 0..7 {
        let draft = Draft::new(&format!("key-{n}"), Lane::new("one"), vec![0; 10]).unwrap();
        by_entries.enqueue(draft).await.unwrap();
    }
    pass(11).await;
    assert_eq!(said(), [Verdict::Unknown; 2]);
    let draft = Draft::new("key-8", Lane::new("one"), vec![0; 10]).unwrap();
    by_entries.enqueue(draft).await.unwrap();
    let draft = Draft::new("key", Lane::new("one"), vec![0; 850]).unwrap();
    by_bytes.enqueue(draft).await.unwrap();
    pass(11).await;
    assert_eq!(said(), [Degraded; 2]);
    drop((by_entries, by_bytes));
    pass(6).await;
    assert_eq!(said(), [Verdict::Unknown; 2]);
    driver.abort();
}

/// Rule 8: nothing keeps anything.
#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_followed_no_longer() {
    let ladder = Degrade::new(erp::degradation());
    let mut changes = ladder.changes();
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    let queue = Arc::new(AtomicU64::new(10));
    let weak = Arc::downgrade(&queue);
    let line = Signal::figures("queue", move || {
        let waiting = weak.upgrade()?.load(Ordering::Relaxed);
        Some(Figures::default().line(waiting, 10))
    });
    let health = Health::builder()
        .reported("gpu_cluster", ConsecutiveConfig::default())
        .reported("vector_db", ConsecutiveConfig::default())
        .follow("gpu_cluster", &layer.handle())
        .follow("vector_db", &line)
        .tell(ladder)
        .build()
        .unwrap();
    drop(line);
    let driver = tokio::spawn(health.clone().drive());
    layer
        .handle()
        .open_for(Period::secs(600), Order::new("alice", "drill"));
    pass(11).await;
    let said = || ["gpu_cluster", "vector_db"].map(|name| health.verdict(name).unwrap());
    assert_eq!(said(), [Down, Degraded]);
    drop(layer);
    assert_eq!(said(), [Verdict::Unknown, Degraded], "the circuit is gone");
    drop(queue);
    pass(6).await;
    assert_eq!(said(), [Verdict::Unknown; 2]);
    assert!(health.signals("gpu_cluster").is_empty());
    assert!(health.signals("vector_db").is_empty());

    // And the other way round: a circuit that lives on keeps no health, nor its ladder.
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    health.follow("gpu_cluster", &layer.handle()).unwrap();
    driver.abort();
    assert!(driver.await.unwrap_err().is_cancelled());
    drop(health);
    let ends = async { while changes.next().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(60), ends).await;
    ended.expect("with the health the last handle of the ladder went");
    layer.handle().open(Order::new("alice", "nobody listens"));
}

/// A reload that follows again and again is not followed twice; and there is a bound.
#[tokio::test(start_paused = true)]
async fn there_is_a_bound_to_what_is_followed() {
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    let health = Health::builder()
        .follow("gpu", &layer.handle())
        .reported("cpu", ConsecutiveConfig::default())
        .build()
        .unwrap();
    for _ in 0..2_000 {
        health.follow("gpu", &layer.handle()).unwrap();
    }
    assert_eq!(health.signals("gpu").len(), 1);
    health.follow("cpu", &layer.handle()).unwrap();
    assert_eq!(health.signals("cpu").len(), 1, "of another component too");
    // Those that are gone make room.
    for _ in 0..2_000 {
        let short = BreakerLayer::new("short", Trip::consecutive(1));
        health.follow("gpu", &short.handle()).unwrap();
    }
    let circuits: Vec<_> = (0..1_100)
        .map(|_| BreakerLayer::new("many", Trip::consecutive(1)))
        .collect();
    let mut each = circuits.iter();
    let refused = each.find_map(|circuit| health.follow("gpu", &circuit.handle()).err());
    let expected = "follow: expected at most 1024 signals that one health follows, got 1025";
    assert_eq!(refused.unwrap().to_string(), expected);
    assert_eq!(health.signals("gpu").len() + 1, 1_024);
    let unknown = health.follow("tpu", &layer.handle()).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "component: expected one of cpu, gpu, got tpu"
    );
}

/// A function of the user's that panics ends nothing.
#[tokio::test(start_paused = true)]
async fn figures_that_panic_are_unknown() {
    let looks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&looks);
    let bad = Signal::figures("bad", move || {
        let look = counted.fetch_add(1, Ordering::Relaxed);
        assert!(look.is_multiple_of(2), "a test's own");
        Some(Figures::calls(look * 50, 0))
    });
    let health = Health::builder().follow("gpu", &bad).build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(31).await;
    assert_eq!(looks.load(Ordering::Relaxed), 7);
    assert_eq!(says(&health), Up);
    driver.abort();
}

/// A ladder of one component, whose gate shuts while it is down.
fn one(unknown: Unknown) -> (Degrade, Gate) {
    let pace = Pace::new()
        .dwell(Period::secs(1))
        .better_after(Period::secs(5));
    let ladder = Ladder::new("one")
        .component(Component::new("gpu").unknown(unknown))
        .level(Level::new("well").cell("inference", Served::Full))
        .level(Level::new("without").cell("inference", Served::Disabled))
        .fact(Fact::new("down", When::down("gpu"), "without").pace(pace))
        .build()
        .unwrap();
    let degrade = Degrade::new(ladder);
    let gate = degrade.gate("inference").unwrap();
    (degrade, gate)
}

/// Rule 3: a gate that an open circuit has shut keeps everybody away who could close it.
#[tokio::test(start_paused = true)]
async fn a_gate_is_not_kept_shut_by_the_circuit_behind_it() {
    let held = Unknown::Hold;
    let let_go = Unknown::After(Period::secs(10), Up);
    for (unknown, is_probed) in [(let_go, false), (held, true)] {
        let (degrade, gate) = one(unknown);
        let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
        let mut health = Health::builder();
        if is_probed {
            let well = Watch::new("gpu", || async { true });
            health = health.watch(well.every(Period::secs(1)));
        }
        let health = health.follow("gpu", &layer.handle()).tell(degrade);
        let driver = tokio::spawn(health.build().unwrap().drive());
        let mut service = layer.layer(callee());
        pass(3).await;
        call(&mut service, Do::Fail, 1).await;
        assert!(gate.admit(Access::Both).is_err());
        pass(120).await;
        let opens = gate.admit(Access::Both).is_ok();
        assert!(opens, "{unknown:?}, {is_probed}");
        call(&mut service, Do::Answer, 1).await;
        assert_eq!(layer.handle().state(), State::Closed);
        driver.abort();
    }
}

/// Rule 3: what only signals tell, and the ladder holds, would keep a gate shut for good.
#[tokio::test(start_paused = true)]
async fn a_ladder_that_holds_what_only_signals_tell_is_refused() {
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    let health = |unknown| {
        let health = Health::builder().follow("gpu", &layer.handle());
        health.tell(one(unknown).0)
    };
    let errors = health(Unknown::Hold).build().unwrap_err();
    let expected = "follow: expected a component that is looked at or reported as well, or that the ladder gives up by \
                    Unknown::After, got gpu";
    assert_eq!(errors.to_string(), expected);
    let given_up = Unknown::After(Period::secs(10), Up);
    assert!(health(given_up).build().is_ok());
    let reported = health(Unknown::Hold).reported("gpu", ConsecutiveConfig::default());
    assert!(reported.build().is_ok());
    // No ladder, no gate.
    let alone = Health::builder().follow("gpu", &layer.handle());
    assert!(alone.build().is_ok());
}

/// Rule 4: nor is a gate kept shut that is shut because a limit refused calls. Without a lapse it would be for a minute more.
#[tokio::test(start_paused = true)]
async fn a_gate_is_not_kept_shut_by_the_limit_behind_it() {
    let (degrade, gate) = one(Unknown::After(Period::secs(10), Up));
    let limit = ConcurrencyLayer::new("gpu", ConcurrencyConfig::new(count(1)).queue(0));
    let mut service = limit.layer(callee());
    let held = tokio::spawn(service.clone().oneshot(Do::Hang));
    tokio::task::yield_now().await;
    let health = Health::builder()
        .follow("gpu", &limit.handle())
        .tell(degrade);
    let driver = tokio::spawn(health.build().unwrap().drive());
    pass(6).await;
    call(&mut service, Do::Answer, 40).await;
    pass(6).await;
    assert!(gate.admit(Access::Both).is_err(), "all of 40 were refused");
    held.abort();
    pass(40).await;
    assert!(gate.admit(Access::Both).is_ok());
    driver.abort();
}

/// Without calls nothing is known of what is only followed, and who is not ready gets none.
#[tokio::test(start_paused = true)]
async fn readiness_does_not_wait_for_what_only_calls_can_tell() {
    let layer = BreakerLayer::new("gpu", Trip::consecutive(1));
    let health = Health::builder()
        .reported("database", ConsecutiveConfig::default())
        .follow("gpu", &layer.handle())
        .follow("database", &layer.handle())
        .needs("gpu");
    let health = health.build().unwrap();
    assert!(health.readiness().is_ready(), "nobody has called");
    let mut service = layer.layer(callee());
    call(&mut service, Do::Fail, 1).await;
    let in_the_way = health.readiness();
    assert_eq!(in_the_way.in_the_way().collect::<Vec<_>>(), [("gpu", Down)]);
    tokio::time::sleep(layer.handle().time_left().unwrap()).await;
    assert!(health.readiness().is_ready(), "{}", health.readiness());
    // What is reported as well is waited for.
    let both = Health::builder()
        .reported("database", ConsecutiveConfig::default())
        .follow("database", &layer.handle())
        .needs("database");
    assert!(!both.build().unwrap().readiness().is_ready());
}

/// A service that follows again at each reload of its settings has each signal once.
#[tokio::test(start_paused = true)]
async fn each_source_is_followed_once() {
    let rate = RateLimiter::new("rate", Rate::burst(50, Period::secs(60)));
    let journal = Arc::new(MemoryJournal::new());
    let queue = Queue::open("queue", journal, QueueConfig::new())
        .await
        .unwrap();
    let line = Signal::figures("line", || Some(Figures::default()));
    let pool = TenantConfig::new(count(4), erp::tiers());
    let pool = TenantPool::new("pool", pool).unwrap();
    let health = Health::builder()
        .reported("gpu", ConsecutiveConfig::default())
        .build()
        .unwrap();
    for _ in 0..3 {
        health.follow("gpu", &rate.handle()).unwrap();
        health.follow("gpu", &queue.clone()).unwrap();
        health.follow("gpu", &line.clone()).unwrap();
        health.follow("gpu", &pool.handle()).unwrap();
    }
    let names: Vec<_> = said(&health, "gpu")
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["rate", "queue", "line", "pool"]);
    let other = Signal::figures("line", || Some(Figures::default()));
    health.follow("gpu", &other).unwrap();
    assert_eq!(health.signals("gpu").len(), 5);
}
