//! The driver of health, in virtual time: looks, reports, the ladder that is told, readiness as it is served.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::degrade::Degrade;
use mainstay::health::{
    ConsecutiveConfig, Health, HealthService, Sample, Verdict, Watch, Why, WindowedConfig,
};
use mainstay::num::{Period, Ratio, count};
use mainstay::presets::erp;
use tower::ServiceExt;

fn rows() -> ConsecutiveConfig {
    ConsecutiveConfig::new(count(3), count(2))
}

/// A component that a switch breaks, looked at every 10 s sharp.
fn watched(name: &'static str) -> (Watch, Arc<AtomicBool>, Arc<AtomicU32>) {
    let (broken, looks) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let (is_broken, counted) = (Arc::clone(&broken), Arc::clone(&looks));
    let look = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let well = !is_broken.load(Ordering::Relaxed);
        async move { well }
    };
    let watch = Watch::new(name, look)
        .jitter(Ratio::percent(0))
        .rows(rows());
    (watch, broken, looks)
}

async fn pass(secs: u64) {
    tokio::time::sleep(Duration::from_secs(secs)).await;
}

/// The ladder is told what the looks find, and goes back by itself.
#[tokio::test(start_paused = true)]
async fn a_component_that_breaks_moves_the_ladder_and_comes_back() {
    let ladder = Degrade::new(erp::degradation());
    let (watch, broken, looks) = watched("gpu_cluster");
    let health = Health::builder()
        .watch(watch)
        .tell(ladder.clone())
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(12).await;
    assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Up));
    broken.store(true, Ordering::Relaxed);
    pass(20).await;
    assert_eq!(ladder.status().level, 0, "two in a row are not three");
    pass(10).await;
    assert_eq!(ladder.status().level, 2);
    broken.store(false, Ordering::Relaxed);
    // Two good ones, and the calm of the ladder, which is looked at with every turn.
    pass(20 + 40).await;
    assert_eq!(ladder.status().level, 0);
    driver.abort();
    let seen = looks.load(Ordering::Relaxed);
    pass(100).await;
    assert_eq!(looks.load(Ordering::Relaxed), seen, "nobody looks any more");
    assert_eq!(
        health.verdict("gpu_cluster"),
        Some(Verdict::Unknown),
        "so nothing is known"
    );
}

/// Rules 1 and 2: what hangs and what panics is bad, and delays nobody else.
#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_or_panics_is_bad_and_holds_nobody_up() {
    let (well, _, looks) = watched("well");
    let hangs = Watch::new("hangs", std::future::pending::<bool>).jitter(Ratio::percent(0));
    let panics =
        Watch::new("panics", || async { panic!("a test's own") as bool }).jitter(Ratio::percent(0));
    let at_once = Watch::new("at once", || -> std::future::Ready<bool> {
        panic!("a test's own")
    });
    let health = Health::builder()
        .watch(hangs)
        .watch(panics)
        .watch(at_once)
        .watch(well);
    let health = health.build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(45).await;
    for name in ["hangs", "panics", "at once"] {
        assert_eq!(health.verdict(name), Some(Verdict::Down), "{name}");
    }
    assert_eq!(health.verdict("well"), Some(Verdict::Up));
    assert!((4..=5).contains(&looks.load(Ordering::Relaxed)));
    driver.abort();
}

/// Rule 3: the process stood still, and of course nothing was heard meanwhile.
#[tokio::test(start_paused = true)]
async fn an_observer_that_stood_still_abstains() {
    let (watch, broken, _) = watched("part");
    let rows = rows().stale_after(Period::secs(600));
    let health = Health::builder().watch(watch.rows(rows)).build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(25).await;
    broken.store(true, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(120)).await;
    // The first turns after that do not count.
    pass(25).await;
    assert_eq!(health.verdict("part"), Some(Verdict::Up));
    pass(40).await;
    assert_eq!(
        health.verdict("part"),
        Some(Verdict::Down),
        "it is broken all the same"
    );
    driver.abort();
}

/// Jitter spreads looks, and never makes them rarer.
#[tokio::test(start_paused = true)]
async fn jitter_makes_no_look_late() {
    let (watch, _, looks) = watched("part");
    let watch = watch.jitter(Ratio::percent(50)).every(Period::secs(10));
    let health = Health::builder().watch(watch).build().unwrap();
    let driver = tokio::spawn(health.drive());
    pass(1_000).await;
    let seen = looks.load(Ordering::Relaxed);
    assert!((110..=160).contains(&seen), "{seen}: about 133");
    driver.abort();
}

#[test]
fn names_are_checked() {
    let (watch, ..) = watched("gpu");
    let ladder = Degrade::new(erp::degradation());
    let built = Health::builder()
        .watch(watch)
        .reported("gpu", rows())
        .needs("cpu")
        .tell(ladder)
        .build();
    let errors: Vec<_> = built.unwrap_err().iter().map(ToString::to_string).collect();
    let of_ladder = "components: expected a component of the ladder: gpu_cluster, database_primary, database_replicas, event_store, vector_db, got gpu";
    assert_eq!(
        errors,
        [
            of_ladder,
            "components: expected each name once, got gpu",
            of_ladder,
            "needs: expected one of the components, got cpu"
        ]
    );
    let health = Health::builder().reported("gpu", rows()).build().unwrap();
    let error = health.report("cpu", Verdict::Up).unwrap_err();
    assert_eq!(error.to_string(), "component: expected one of gpu, got cpu");
}

async fn ask(service: &HealthService<String>, method: &str, path: &str) -> (u16, String) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    (response.status().as_u16(), response.into_body())
}

#[tokio::test(start_paused = true)]
async fn readiness_is_served_with_its_reasons() {
    let health = Health::builder()
        .reported("database", rows())
        .reported("search", rows())
        .needs("database")
        .build()
        .unwrap();
    let service = HealthService::new(health.clone());
    assert_eq!(ask(&service, "GET", "/livez").await, (200, "live".into()));
    let (status, text) = ask(&service, "GET", "/readyz").await;
    assert_eq!(
        (status, &*text),
        (503, "[-]database unknown\n[+]search unknown\nnot ready")
    );
    health.report("database", Verdict::Up).unwrap();
    assert_eq!(ask(&service, "HEAD", "/readyz").await.0, 200);
    for _ in 0..3 {
        health.report("search", Verdict::Down).unwrap();
    }
    let (status, text) = ask(&service, "GET", "/readyz").await;
    assert_eq!(
        (status, &*text),
        (200, "[+]database up\n[+]search down\nready"),
        "search is not needed"
    );
    health.drain(true);
    assert!(
        ask(&service, "GET", "/readyz")
            .await
            .1
            .ends_with("[-]draining\nnot ready")
    );
    assert_eq!(ask(&service, "GET", "/livez").await.0, 200);
    health.drain(false);
    assert_eq!(ask(&service, "GET", "/readyz").await.0, 200);
    assert_eq!(ask(&service, "POST", "/readyz").await.0, 405);
    assert_eq!(ask(&service, "GET", "/").await.0, 404);
}

/// Rule 5: where everything is reported and nothing is looked at the ladder still lets its facts go, and what nobody reports
/// any more grows stale.
#[tokio::test(start_paused = true)]
async fn time_is_looked_at_where_everything_is_reported() {
    let ladder = Degrade::new(erp::degradation());
    let health = Health::builder()
        .reported("gpu_cluster", rows())
        .tell(ladder.clone());
    let health = health.build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    for _ in 0..3 {
        health.report("gpu_cluster", Verdict::Down).unwrap();
    }
    assert_eq!(ladder.status().level, 2);
    for _ in 0..2 {
        health.report("gpu_cluster", Verdict::Up).unwrap();
    }
    pass(40).await;
    assert_eq!(ladder.status().level, 0);
    pass(21).await;
    assert_eq!(ladder.status().unknown.len(), 5, "stale after a minute");
    driver.abort();
}

#[test]
fn a_verdict_that_is_stale_before_the_next_look_is_refused() {
    let (watch, ..) = watched("part");
    let errors = Health::builder()
        .watch(watch.every(Period::secs(120)))
        .build()
        .unwrap_err();
    assert_eq!(
        errors.to_string(),
        "part.rows.stale_after: expected more than an interval and a timeout, 125s, got 60s"
    );
}

/// Looks count in a window as calls do: who answers slowly is degraded, whatever the rows say.
#[tokio::test(start_paused = true)]
async fn a_component_that_answers_slowly_is_degraded() {
    let slow = Arc::new(AtomicBool::new(false));
    let is_slow = Arc::clone(&slow);
    let look = move || {
        let takes = if is_slow.load(Ordering::Relaxed) {
            900
        } else {
            50
        };
        async move { tokio::time::sleep(Duration::from_millis(takes)).await }
    };
    let watch = Watch::new("part", look)
        .jitter(Ratio::percent(0))
        .rows(rows());
    let window = WindowedConfig::new(Period::secs(120))
        .least(count(10))
        .slower(Ratio::percent(50), Duration::from_secs(4))
        .slower_degraded(Duration::from_millis(500));
    let built = Health::builder().watch(watch).windowed("part", window);
    let health = built.build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(115).await;
    assert_eq!(health.verdict("part"), Some(Verdict::Up));
    slow.store(true, Ordering::Relaxed);
    pass(30).await;
    assert_eq!(
        health.verdict("part"),
        Some(Verdict::Up),
        "not yet the half"
    );
    pass(60).await;
    assert_eq!(health.verdict("part"), Some(Verdict::Degraded));
    slow.store(false, Ordering::Relaxed);
    pass(120).await;
    assert_eq!(health.verdict("part"), Some(Verdict::Up));
    driver.abort();
}

/// Calls that are reported make a verdict once they are as many as it takes, and lose it when they are too old.
#[tokio::test(start_paused = true)]
async fn calls_that_are_reported_are_judged_by_their_window() {
    let ladder = Degrade::new(erp::degradation());
    let window = WindowedConfig::new(Period::secs(30));
    let built = Health::builder().windowed("gpu_cluster", window);
    let health = built.tell(ladder.clone()).build().unwrap();
    let driver = tokio::spawn(health.clone().drive());
    let call = |failed| health.report_call("gpu_cluster", failed, Duration::from_millis(80));
    for _ in 0..19 {
        call(true).unwrap();
    }
    assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Unknown));
    assert_eq!(ladder.status().level, 0);
    call(true).unwrap();
    assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Down));
    assert_eq!(ladder.status().level, 2, "told at once");
    pass(31).await;
    assert_eq!(health.verdict("gpu_cluster"), Some(Verdict::Unknown));
    driver.abort();
    let error = health.report_call("gpu", true, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        "component: expected a component with a window, got gpu"
    );
    let wrong = window.slower_degraded(Duration::ZERO);
    let built = Health::builder().windowed("a", wrong).windowed("a", window);
    let errors: Vec<_> = built
        .build()
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "a.window.slower_degraded: expected from 1.05 ms to 68.7 s, got 0ns",
            "windowed: expected each name once, got a"
        ]
    );
}

/// The last reason is told while a component is not up, and gone with the next good sample.
#[tokio::test(start_paused = true)]
async fn readiness_says_why() {
    let why = Arc::new(Mutex::new(Sample::down(Why::Status(503))));
    let told = Arc::clone(&why);
    let look = move || {
        let sample = *told.lock().unwrap();
        async move { sample }
    };
    let once = ConsecutiveConfig::new(count(1), count(1));
    let watch = Watch::new("part", look).rows(once);
    let health = Health::builder()
        .watch(watch)
        .needs("part")
        .build()
        .unwrap();
    let driver = tokio::spawn(health.clone().drive());
    pass(11).await;
    let text = |health: &Health| health.readiness().to_string();
    assert_eq!(text(&health), "[-]part down: answered with 503\nnot ready");
    assert_eq!(health.why("part"), Some(Why::Status(503)));
    *why.lock().unwrap() = Sample::unknown(Why::Denied);
    pass(10).await;
    assert_eq!(
        text(&health),
        "[-]part down: may not be looked at\nnot ready"
    );
    *why.lock().unwrap() = Sample::UP;
    pass(10).await;
    assert_eq!(text(&health), "[+]part up\nready");
    assert_eq!((health.why("part"), health.why("other")), (None, None));
    driver.abort();
}
