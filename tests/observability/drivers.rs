//! What is told of tenants, health and autoscalers is what their handles say, and nothing where it would cost a call.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::autoscale::driver::{Driver, Metrics, Target};
use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
use mainstay::autoscale::{Amount, Bounds, Fleet, Reading, Sample, Signal};
use mainstay::health::{ConsecutiveConfig, Health, Verdict, Watch};
use mainstay::num::{Period, Ratio, count};
use mainstay::tenant::tier::{Tier, Tiers};
use mainstay::tenant::{Caller, Tenant, TenantConfig, TenantLayer, TenantPool};
use mainstay::time::Timestamp;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use crate::listen::{Curious, Ears, Handles};
use crate::runtime;

/// Keeps what it is told: `name label=value ..`, in the order of the labels.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Series>>>);

/// A counter, the bits of a gauge, how often a histogram was told something.
type Series = (Kind, Arc<AtomicU64>);

#[derive(Clone, Copy)]
enum Kind {
    Count,
    Gauge,
}

impl Kept {
    fn series(&self, kind: Kind, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels();
        let labels = labels.map(|label| format!(" {}={}", label.key(), label.value()));
        let mut labels: Vec<_> = labels.collect();
        labels.sort();
        let name = key.name().replace("mainstay_", "") + &labels.concat();
        let mut all = self.0.lock().unwrap();
        let series = all.entry(name).or_insert_with(|| (kind, Arc::default()));
        Arc::clone(&series.1)
    }

    /// The series whose names begin so, without that beginning.
    fn of(&self, begin: &str) -> Vec<(String, f64)> {
        let all = self.0.lock().unwrap();
        let each = all.iter().filter_map(|(name, (kind, value))| {
            let rest = name.strip_prefix(begin)?.strip_prefix(' ')?;
            let value = value.load(Ordering::Relaxed);
            let value = match kind {
                Kind::Count => value as f64,
                Kind::Gauge => f64::from_bits(value),
            };
            Some((rest.to_owned(), value))
        });
        each.collect()
    }
}

struct Times(Arc<AtomicU64>);

impl HistogramFn for Times {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(Kind::Count, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(Kind::Gauge, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(self.series(Kind::Count, key))))
    }
}

/// Runs it with one that listens.
fn listening<F: Future<Output = ()>>(f: impl FnOnce(Kept) -> F) -> (Kept, Ears) {
    let (kept, ears) = (Kept::default(), Ears::default());
    metrics::with_local_recorder(&kept, || {
        tracing::subscriber::with_default(ears.clone(), || runtime().block_on(f(kept.clone())));
    });
    (kept, ears)
}

fn pool(seats: u32) -> TenantPool {
    let tiers = ["first", "second"].map(|name| {
        let tier = Tier::new(name).queue(1).tenant_queue(1);
        tier.patience(Period::secs(5))
    });
    let config = TenantConfig::new(count(seats), Tiers::new(tiers).unwrap());
    TenantPool::new("pool", config).unwrap()
}

/// Whose call it is: a number of the second tier.
fn who(tenant: &u64) -> Caller<'_> {
    Caller::Named(Tenant::new(*tenant, "second"))
}

async fn passes(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

#[test]
fn a_call_that_finds_a_free_seat_tells_nothing() {
    let heard = Arc::new(Mutex::new(BTreeMap::new()));
    let curious = Curious(Handles::default(), Arc::clone(&heard));
    let pool = pool(2);
    metrics::with_local_recorder(&curious, || {
        tracing::subscriber::with_default(curious.clone(), || {
            runtime().block_on(async {
                let inner = service_fn(|_: u64| async { Ok::<_, BoxError>(()) });
                let service = TenantLayer::by(&pool, who).layer(inner);
                for tenant in 0..10 {
                    service.clone().oneshot(tenant).await.unwrap();
                }
            });
        });
    });
    assert_eq!(*heard.lock().unwrap(), BTreeMap::new());
}

#[test]
fn tiers_are_told_as_the_handle_counts_them() {
    let pool = pool(1);
    let handle = pool.handle();
    let (told, ears) = listening(|_| async {
        let driver = tokio::spawn(handle.clone().drive());
        let inner = service_fn(|_: u64| async {
            passes(2).await;
            Ok::<_, BoxError>(())
        });
        let service = TenantLayer::by(&pool, who).layer(inner);
        let calls = (0..3).map(|tenant| tokio::spawn(service.clone().oneshot(tenant)));
        let mut ends = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            ends.push(call.await.unwrap().is_ok());
        }
        ends.sort_unstable();
        assert_eq!(ends, [false, true, true], "one runs, one waits");
        // One more is under way when it is looked at again.
        let under_way = tokio::spawn(service.oneshot(9));
        passes(2).await;
        under_way.await.unwrap().unwrap();
        driver.abort();
    });
    let tiers = handle.tiers();
    assert_eq!(tiers[1].admitted, 3);
    assert_eq!(told.of("tenant_capacity"), [("policy=pool".into(), 1.0)]);
    let each = |first: f64, second: f64| {
        let named = |tier: &str| format!("policy=pool tier={tier}");
        vec![(named("first"), first), (named("second"), second)]
    };
    // As of the look after 5 s: two are over, one is under way.
    assert_eq!(told.of("tier_admitted_total"), each(0.0, 3.0));
    assert_eq!(told.of("tier_in_flight"), each(0.0, 1.0));
    assert_eq!(told.of("tier_waiting"), each(0.0, 0.0));
    assert_eq!(told.of("tier_shedding"), each(0.0, 1.0));
    let refused = ("policy=pool reason=queue_full tier=second".to_owned(), 1.0);
    assert_eq!(told.of("tier_rejections_total"), [refused]);
    let waited = ("policy=pool tier=second".to_owned(), 1.0);
    assert_eq!(told.of("tier_wait_seconds"), [waited]);
    let events: Vec<_> = ears.heard().into_iter().map(|row| row.name).collect();
    assert_eq!(events, ["rejected", "tier sheds"]);
}

#[test]
fn a_tier_that_sheds_is_told_of_once_and_again_when_it_does_no_longer() {
    let pool = pool(1);
    let (told, ears) = listening(|_| async {
        let driver = tokio::spawn(pool.handle().drive());
        let hangs = service_fn(|_: u64| std::future::pending::<Result<(), BoxError>>());
        let service = TenantLayer::by(&pool, who).layer(hangs);
        let calls = (0..100).map(|tenant| tokio::spawn(service.clone().oneshot(tenant)));
        let calls: Vec<_> = calls.collect();
        passes(20).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        passes(40).await;
        driver.abort();
    });
    assert_eq!(ears.times("tier sheds"), 1);
    assert_eq!(ears.times("tier recovered"), 1);
    let second = told.of("tier_shedding").pop();
    assert_eq!(second, Some(("policy=pool tier=second".into(), 0.0)));
}

#[test]
fn verdicts_are_told_when_they_change_and_when_they_grow_stale() {
    let is_up = Arc::new(AtomicBool::new(true));
    let look = Arc::clone(&is_up);
    let watch = Watch::new("database", move || {
        let is_up = look.load(Ordering::Relaxed);
        async move { is_up }
    });
    let health = Health::builder()
        .watch(watch.jitter(Ratio::percent(0)))
        .reported("gpu", ConsecutiveConfig::default())
        .build()
        .unwrap();
    let are = |database: f64, gpu: f64| {
        let named = |name: &str| format!("component={name} policy=health");
        vec![(named("database"), database), (named("gpu"), gpu)]
    };
    let (told, ears) = listening(|told| async move {
        let verdicts = || told.of("component_verdict");
        let driver = tokio::spawn(health.clone().drive());
        tokio::task::yield_now().await;
        assert_eq!(
            verdicts(),
            are(2.0, 2.0),
            "nothing is known, and that is told"
        );
        health.report("gpu", Verdict::Up).unwrap();
        passes(15).await;
        assert_eq!(verdicts(), are(0.0, 0.0));
        is_up.store(false, Ordering::Relaxed);
        passes(35).await;
        assert_eq!(verdicts(), are(3.0, 0.0));
        // Nobody has reported for a minute.
        passes(20).await;
        assert_eq!(verdicts(), are(3.0, 2.0));
        driver.abort();
    });
    assert_eq!(ears.times("component is down"), 1);
    assert_eq!(ears.times("component changed"), 3);
    let failed = told.of("probe_failures_total");
    let [(labels, times)] = &failed[..] else {
        panic!("{failed:?}");
    };
    assert_eq!(labels, "component=database policy=health reason=down");
    assert!(*times >= 5.0, "{times}");
}

/// Says what each turn measures; `None` fails.
struct Script(std::vec::IntoIter<Option<Sample>>);

impl Metrics for Script {
    async fn observe(&mut self, _: Timestamp) -> Result<Sample, BoxError> {
        Ok(self.0.next().flatten().ok_or("down")?)
    }
}

struct Fails(bool);

impl Target for Fails {
    async fn apply(&mut self, _: u32) -> Result<(), BoxError> {
        match self.0 {
            true => Err("down".into()),
            false => Ok(()),
        }
    }
}

#[test]
fn an_autoscaler_tells_what_it_sees_and_what_becomes_of_it() {
    let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::percent(60));
    let at = |ready: u32, cpu: f64, at: i64| {
        let reading = Reading::new(cpu, Timestamp::from_millis(at));
        Some(Sample::new(Fleet::new(ready)).measured(Signal::Cpu, reading))
    };
    let now = i64::MAX;
    let script = vec![
        at(4, 0.6, now),
        at(4, 0.9, now),
        None,
        at(6, 0.6, 0),
        Some(Sample::new(Fleet::new(6)).failed(Signal::Cpu, "no such series")),
        at(6, 0.6, now),
    ];
    let turns = script.len();
    let (told, ears) = listening(|_| async {
        for fails in [false, true] {
            let script = Script(script.clone().into_iter());
            let driver = Driver::new(Tracking::new(config), script, Fails(fails));
            let mut driver = driver.name(if fails { "failing" } else { "gpus" });
            for _ in 0..turns {
                driver.turn().await;
                passes(15).await;
            }
        }
    });
    let sights = told.of("autoscale_turns_total policy=gpus");
    let expected = [
        ("sight=clear", 3.0),
        ("sight=no_sample", 1.0),
        ("sight=no_signal", 1.0),
        ("sight=stale", 1.0),
    ];
    assert_eq!(sights, expected.map(|(sight, n)| (sight.to_owned(), n)));
    let gauge = |name: &str| {
        let all = told.of(name);
        let gpus = all.iter().find(|(labels, _)| labels == "policy=gpus");
        gpus.map(|(_, value)| *value)
    };
    assert_eq!(gauge("autoscale_replicas"), Some(6.0));
    assert_eq!(gauge("autoscale_wanted_replicas"), Some(6.0));
    let changes = told.of("autoscale_changes_total");
    let named = |policy, outcome| format!("direction=up outcome={outcome} policy={policy}");
    let expected = [named("gpus", "done"), named("failing", "failed")];
    assert_eq!(changes, expected.map(|change| (change, 1.0)));
    assert_eq!(ears.times("autoscaler is blind"), 2, "once for each driver");
    assert_eq!(ears.times("autoscaler sees again"), 2);
}
