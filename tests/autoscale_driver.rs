//! The driver of autoscalers: in virtual time between ends that fail, and over loopback between real ones.

#![expect(
    clippy::disallowed_methods,
    reason = "starts real servers, and moves the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{patch, post};
use mainstay::autoscale::driver::{
    Applied, Driver, HttpTarget, Metrics, Missing, Prometheus, Target,
};
use mainstay::autoscale::gpu::{Gpu, GpuConfig};
use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
use mainstay::autoscale::{Amount, Bounds, Fleet, PaceState, Reading, Sample, Signal};
use mainstay::num::Period;
use mainstay::time::Timestamp;
use tower::BoxError;

/// What the metrics say in each turn; `None` fails, and without any more it never answers.
struct Script(VecDeque<Option<(u32, f64)>>);

impl Metrics for Script {
    async fn observe(&mut self, now: Timestamp) -> Result<Sample, BoxError> {
        match self.0.pop_front() {
            Some(Some((ready, cpu))) => {
                Ok(Sample::new(Fleet::new(ready)).measured(Signal::Cpu, Reading::new(cpu, now)))
            }
            Some(None) => Err("down".into()),
            None => std::future::pending().await,
        }
    }
}

/// Notes what it is asked for, and refuses as often as it is told to.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<(Vec<u32>, u32)>>);

impl Target for Notes {
    async fn apply(&mut self, replicas: u32) -> Result<(), BoxError> {
        let mut notes = self.0.lock().unwrap();
        notes.0.push(replicas);
        if notes.1 > 0 {
            notes.1 -= 1;
            return Err("refused".into());
        }
        Ok(())
    }
}

fn driver(script: &[Option<(u32, f64)>], notes: &Notes) -> Driver<Tracking, Script, Notes> {
    let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::percent(60))
        .cooldowns(Period::millis(1), Period::secs(300));
    let script = Script(script.iter().copied().collect());
    Driver::new(Tracking::new(config), script, notes.clone())
}

#[tokio::test(start_paused = true)]
async fn rule_1_only_what_the_fleet_does_not_have_is_applied() {
    let notes = Notes::default();
    let mut driver = driver(&[Some((4, 0.6)), Some((4, 0.9)), Some((6, 0.6))], &notes);
    assert!(matches!(driver.turn().await.applied, Applied::Unchanged));
    assert!(matches!(driver.turn().await.applied, Applied::Done(6)));
    assert!(matches!(driver.turn().await.applied, Applied::Unchanged));
    assert_eq!(notes.0.lock().unwrap().0, [6]);
}

#[tokio::test(start_paused = true)]
async fn rule_2_without_metrics() {
    for (missing, asked) in [
        (Missing::Hold, vec![6]),
        (Missing::Fixed(9), vec![6, 9, 9]),
        (Missing::LastGood, vec![6]),
    ] {
        let notes = Notes::default();
        let mut driver = driver(&[Some((4, 0.9)), None], &notes).missing(missing);
        driver.turn().await;
        assert!(driver.turn().await.decision.is_err());
        // The third never answers.
        let begun = tokio::time::Instant::now();
        let late = driver.turn().await.decision.unwrap_err();
        assert_eq!(late.to_string(), "metrics did not answer in time");
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        assert_eq!(notes.0.lock().unwrap().0, asked);
    }
}

#[tokio::test(start_paused = true)]
async fn rule_2_a_raise_is_asked_for_until_it_was_applied() {
    let notes = Notes::default();
    notes.0.lock().unwrap().1 = 2;
    let script = [Some((4, 0.9)), None, None, None, None];
    let mut driver = driver(&script, &notes).missing(Missing::LastGood);
    for _ in script {
        driver.turn().await;
    }
    assert_eq!(notes.0.lock().unwrap().0, [6, 6, 6]);
}

#[tokio::test(start_paused = true)]
async fn rule_2_the_last_good_count_takes_nothing_away() {
    let notes = Notes::default();
    // As many as there should be; and fewer, which could not be applied.
    for (cpu, refusals, asked) in [(0.6, 0, vec![]), (0.1, 1, vec![2])] {
        notes.0.lock().unwrap().0.clear();
        notes.0.lock().unwrap().1 = refusals;
        let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::percent(60));
        let script = Script([Some((10, cpu)), None, None].into());
        let policy = Tracking::resume(config, PaceState::empty());
        let mut driver = Driver::new(policy, script, notes.clone()).missing(Missing::LastGood);
        for _ in 0..3 {
            driver.turn().await;
        }
        assert_eq!(notes.0.lock().unwrap().0, asked, "{cpu}");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_2_after_an_outage_nothing_is_taken_away_at_once() {
    let notes = Notes::default();
    // A cooldown of seeing nothing is none.
    let script: Vec<_> = [Some((9, 0.6))]
        .into_iter()
        .chain([None; 40])
        .chain([Some((9, 0.1)); 2])
        .collect();
    let mut driver = driver(&script, &notes);
    for _ in script {
        driver.turn().await;
        tokio::time::advance(Duration::from_secs(15)).await;
    }
    assert!(notes.0.lock().unwrap().0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rule_3_what_failed_is_asked_for_again() {
    let notes = Notes::default();
    notes.0.lock().unwrap().1 = 1;
    let mut driver = driver(&[Some((4, 0.9)), Some((4, 0.9))], &notes);
    assert!(matches!(driver.turn().await.applied, Applied::Failed(6, _)));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(driver.turn().await.applied, Applied::Done(6)));
}

#[tokio::test(start_paused = true)]
async fn rule_4_a_dry_run_applies_nothing() {
    let notes = Notes::default();
    let mut driver = driver(&[Some((4, 0.9))], &notes).dry_run(true);
    let turn = driver.turn().await;
    assert!(matches!(turn.applied, Applied::Dry(6)));
    assert!(turn.decision.unwrap().why().to_string().contains("cpu"));
    assert!(notes.0.lock().unwrap().0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn turns_are_an_interval_apart() {
    let notes = Notes::default();
    let mut driver = driver(&[Some((4, 0.6)); 5], &notes).interval(Period::secs(10));
    let mut at = Vec::new();
    let run = driver.run(|_, turn| at.push(turn.at));
    assert!(
        tokio::time::timeout(Duration::from_secs(45), run)
            .await
            .is_err()
    );
    assert_eq!(at.len(), 5);
    let apart = |pair: &[Timestamp]| pair[1].as_millis() - pair[0].as_millis();
    assert!(
        at.windows(2)
            .all(|pair| (9_990..=10_010).contains(&apart(pair))),
        "{at:?}"
    );
}

/// A Prometheus that knows four queries, and a cluster that takes a patch.
async fn served(patched: Arc<Mutex<Vec<String>>>) -> String {
    async fn query(form: String) -> (StatusCode, String) {
        if form == "query=hung" {
            return std::future::pending().await;
        }
        let value = match form.as_str() {
            "query=ready" => "4",
            "query=ordered" => "5",
            "query=rate%7Ba%3D%22b%22%7D" => "120",
            "query=backlog" => "0",
            _ => return (StatusCode::BAD_REQUEST, "{}".into()),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap().as_secs_f64();
        let series = format!(r#"{{"metric":{{}},"value":[{now},"{value}"]}}"#);
        let data = format!(r#"{{"resultType":"vector","result":[{series}]}}"#);
        (
            StatusCode::OK,
            format!(r#"{{"status":"success","data":{data}}}"#),
        )
    }
    async fn scale(State(patched): State<Arc<Mutex<Vec<String>>>>, body: String) {
        patched.lock().unwrap().push(body);
    }
    let app = Router::new()
        .route("/api/v1/query", post(query))
        .route("/scale", patch(scale))
        .with_state(patched);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

#[tokio::test]
async fn from_a_prometheus_to_a_deployment() {
    let patched = Arc::default();
    let url = served(Arc::clone(&patched)).await;
    let client = reqwest::Client::new();
    let metrics = Prometheus::new(client.clone(), &url)
        .ready("ready")
        .ordered("ordered")
        .signal(Signal::Rate, r#"rate{a="b"}"#)
        .signal(Signal::Backlog, "backlog")
        .signal(Signal::Cpu, "unknown");
    let config = GpuConfig::new(Bounds::between(4, 20), Amount::of(10), Period::secs(300));
    let target = HttpTarget::new(client, format!("{url}/scale"));
    let mut driver = Driver::new(Gpu::new(config), metrics, target);
    let turn = driver.turn().await;
    let decision = turn.decision.unwrap();
    assert_eq!(decision.from(), 5);
    assert!(decision.target() >= 15, "{}", decision.why());
    assert!(matches!(turn.applied, Applied::Done(count) if count == decision.target()));
    let wanted = format!(r#"{{"spec":{{"replicas":{}}}}}"#, decision.target());
    assert_eq!(*patched.lock().unwrap(), [wanted]);
}

#[tokio::test]
async fn a_signal_that_hangs_or_fails_is_missing_alone() {
    let url = served(Arc::default()).await;
    let mut metrics = Prometheus::new(reqwest::Client::new(), &url)
        .ready("ready")
        .ordered("ordered")
        .signal(Signal::Latency, "hung")
        .signal(Signal::Cpu, "unknown")
        .signal(Signal::Backlog, "backlog")
        .patience(Period::millis(300));
    let now = Timestamp::from_millis(0);
    let sample = tokio::time::timeout(Duration::from_secs(4), metrics.observe(now));
    let sample = sample.await.unwrap().unwrap();
    assert_eq!((sample.fleet().ready(), sample.fleet().ordered()), (4, 5));
    assert!(sample.reading(Signal::Backlog).is_some());
    assert!(sample.reading(Signal::Latency).is_none());
    let late = (
        Signal::Latency,
        "the query did not answer in time".to_owned(),
    );
    assert_eq!(sample.failures()[0], late);
    let (signal, why) = &sample.failures()[1];
    assert_eq!(*signal, Signal::Cpu);
    assert!(why.contains("400 Bad Request"), "{why}");

    let policy = Gpu::new(GpuConfig::new(
        Bounds::between(4, 20),
        Amount::of(10),
        Period::secs(300),
    ));
    let turn = Driver::new(policy, metrics, Notes::default()).turn().await;
    assert!(turn.decision.is_ok());
    assert_eq!(turn.failures, sample.failures());
}

#[tokio::test]
async fn what_may_be_secret_is_in_no_debug_and_in_no_error() {
    let url = served(Arc::default()).await;
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-key", "s3cret".parse().unwrap());
    let client = reqwest::Client::builder().default_headers(headers);
    let client = client.build().unwrap();
    let is_told = |text: String| text.contains("s3cret");
    let told_by = |error: &BoxError| {
        let mut words = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            words += &format!("{error} {error:?}");
            cause = error.source();
        }
        is_told(words)
    };
    // One that answers with 404, and one that does not answer.
    for url in [url.as_str(), "http://127.0.0.1:1"] {
        let mut target = HttpTarget::new(client.clone(), format!("{url}/x?token=s3cret")).body(
            "application/json",
            r#"{"key": "s3cret", "count": {replicas}}"#,
        );
        assert!(!is_told(format!("{target:?}")));
        assert!(!told_by(&target.apply(3).await.unwrap_err()));
        let mut metrics = Prometheus::new(client.clone(), format!("{url}/s3cret"));
        assert!(!is_told(format!("{metrics:?}")));
        let error = metrics.observe(Timestamp::from_millis(0)).await;
        assert!(!told_by(&error.unwrap_err()));
    }
}
