//! The driver of health, in virtual time: looks, reports, the ladder that is told, readiness as it is served.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mainstay::degrade::Degrade;
use mainstay::health::{ConsecutiveConfig, Health, HealthService, Verdict, Watch};
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
