//! The standard stack under a reqwest client, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail; sockets live in real time"
)]

#[path = "common/raw.rs"]
mod raw;

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use mainstay::breaker::{BreakerLayer, State, Trip};
use mainstay::deadline::{DeadlineLayer, TimeoutLayer};
use mainstay::error::{AsRejected, Reason, Rejected, TimedOut};
use mainstay::http::{AsResponse, ByStatus, DeadlineHeader};
use mainstay::num::{Attempts, Period};
use mainstay::presets;
use mainstay::reqwest::TryClone;
use mainstay::retry::{RetryConfig, RetryLayer};
use mainstay::standard::Stack;
use raw::{Server, status};
use reqwest_middleware::Error;
use tower::{Service, ServiceBuilder, ServiceExt};

/// One attempt, three failures in a row open the circuit.
fn once() -> Stack {
    Stack::standard("rates-policy")
        .retry(RetryConfig::new(Attempts::NO_RETRY))
        .breaker(Trip::consecutive(3))
}

fn quick() -> RetryConfig {
    presets::erp::transient().compressed(NonZeroU32::new(20).unwrap())
}

/// Answers 503 until the call with this number.
async fn back_at(number: usize) -> Server {
    Server::start(move |n, _| async move { status(if n < number { 503 } else { 200 }) }).await
}

/// What the callee got: headers and body of each request.
type Got = Arc<Mutex<Vec<(HeaderMap, String)>>>;

/// Answers 503 twice, and notes what it got.
async fn noting() -> (Server, Got) {
    let got = Got::default();
    let note = Arc::clone(&got);
    let server = Server::start(move |n, request: Request<Body>| {
        let note = Arc::clone(&note);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            note.lock().unwrap().push((head.headers, text));
            status(if n < 3 { 503 } else { 200 })
        }
    })
    .await;
    (server, got)
}

#[tokio::test]
async fn a_get_that_meets_a_restart_is_tried_again() {
    let server = back_at(3).await;
    let stack = once().retry(quick());
    let client = stack.reqwest(reqwest::Client::new());
    let response = client.get(server.url()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!((server.calls(), stack.handle().retry().retries()), (3, 2));
}

#[tokio::test]
async fn the_callees_last_answer_is_what_the_caller_sees() {
    let server = back_at(99).await;
    let client = once().retry(quick()).reqwest(reqwest::Client::new());
    let response = client.get(server.url()).send().await.unwrap();
    assert_eq!(response.status(), 503);
}

#[tokio::test]
async fn a_retry_after_in_either_form_is_not_undercut() {
    let seconds = || Response::builder().header("retry-after", "1");
    let date = || {
        let now = SystemTime::now();
        let then = now + Duration::from_secs(1);
        Response::builder()
            .header("date", httpdate::fmt_http_date(now))
            .header("retry-after", httpdate::fmt_http_date(then))
    };
    let forms: [fn() -> http::response::Builder; 2] = [seconds, date];
    let calls = forms.map(|form| async move {
        let server = Server::start(move |n, _| async move {
            let code = if n == 1 { 429 } else { 200 };
            form().status(code).body(Body::empty()).unwrap()
        })
        .await;
        let config = quick().longest_hint(Duration::from_secs(5));
        let client = once().retry(config).reqwest(reqwest::Client::new());
        let start = Instant::now();
        let response = client.get(server.url()).send().await.unwrap();
        (response.status().as_u16(), server.calls(), start.elapsed())
    });
    let [seconds, date] = calls;
    for (status, calls, took) in <[_; 2]>::from(tokio::join!(seconds, date)) {
        assert_eq!((status, calls), (200, 2));
        assert!(took >= Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test]
async fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
    for hint in ["2", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let server = Server::start(move |_, _| async move {
            let busy = Response::builder().status(503).header("retry-after", hint);
            busy.body(Body::empty()).unwrap()
        })
        .await;
        let config = quick().longest_hint(Duration::MAX);
        let stack = once().retry(config).deadline(Period::secs(1));
        let start = Instant::now();
        let client = stack.reqwest(reqwest::Client::new());
        let response = client.get(server.url()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), server.calls()), (503, 1));
        assert_eq!(response.headers()["retry-after"], hint);
        assert!(start.elapsed() < Duration::from_millis(900));
    }
}

#[tokio::test]
async fn a_post_is_sent_again_only_if_it_may_and_whole() {
    for (name, stack, key, calls) in [
        ("no key", once(), false, 1),
        ("a key", once(), true, 3),
        ("vouched", once().idempotent(), false, 3),
    ] {
        let (server, got) = noting().await;
        let client = stack.retry(quick()).reqwest(reqwest::Client::new());
        let mut post = client.post(server.url()).body("pay invoice 7");
        if key {
            post = post.header("idempotency-key", "7");
        }
        let response = post.send().await.unwrap();
        assert_eq!(
            response.status(),
            if calls == 3 { 200 } else { 503 },
            "{name}"
        );
        let got = got.lock().unwrap();
        assert_eq!(got.len(), calls, "{name}");
        assert!(
            got.iter().all(|(_, body)| body == "pay invoice 7"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_a_stream_is_sent_once() {
    let (server, got) = noting().await;
    let client = once().retry(quick()).reqwest(reqwest::Client::new());
    let chunks = [raw::data(b"pay "), raw::data(b"invoice 7")];
    let stream = StreamBody::new(tokio_stream::iter(chunks));
    let put = client.put(server.url()).body(reqwest::Body::wrap(stream));
    assert_eq!(put.send().await.unwrap().status(), 503);
    let got = got.lock().unwrap();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].1, "pay invoice 7");
}

#[tokio::test]
async fn a_refusal_is_told_from_every_other_error_and_sends_nothing() {
    let server = back_at(99).await;
    let stack = once();
    // Two clients of one stack are one circuit.
    let clients = [(); 2].map(|()| stack.reqwest(reqwest::Client::new()));
    for client in clients.iter().cycle().take(3) {
        assert_eq!(client.get(server.url()).send().await.unwrap().status(), 503);
    }
    for client in &clients {
        let error = client.get(server.url()).send().await.unwrap_err();
        let rejected = error.as_rejected().unwrap();
        assert_eq!(rejected.reason(), Reason::CircuitOpen);
        assert!(rejected.is_untried());
        assert!(rejected.hint().unwrap() <= Duration::from_secs(5));
        let wrapped = Error::middleware(Outer(error));
        assert!(
            wrapped.as_rejected().is_some(),
            "in the words of a middleware above"
        );
    }
    assert_eq!(server.calls(), 3);
}

/// What a middleware above makes of an error of the stack.
#[derive(Debug)]
struct Outer(Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn a_callee_that_only_accepts_times_out_and_trips_the_breaker() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stack = once().attempt_timeout(Period::millis(20));
    let client = stack.reqwest(reqwest::Client::new());
    for _ in 0..3 {
        let error = client.get(&url).send().await.unwrap_err();
        assert!(error.as_rejected().is_none(), "it may have been sent");
        let Error::Middleware(error) = error else {
            panic!("{error:?}");
        };
        assert!(error.is::<TimedOut>());
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn the_stacks_deadline_is_a_refusal_and_trips_the_breaker() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stack = once().deadline(Period::millis(30));
    let client = stack.reqwest(reqwest::Client::new());
    for _ in 0..3 {
        assert!(client.get(&url).send().await.is_err());
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn callers_that_go_away_early_trip_nothing() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stack = once();
    let client = stack.reqwest(reqwest::Client::new());
    for _ in 0..20 {
        let call = client.get(&url).send();
        assert!(
            tokio::time::timeout(Duration::from_millis(2), call)
                .await
                .is_err()
        );
    }
    assert_eq!(stack.handle().breaker().failures(), 0);
}

#[tokio::test]
async fn a_callee_that_is_not_there_counts() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let stack = once();
    let client = stack.reqwest(reqwest::Client::new());
    for _ in 0..3 {
        let error = client.get(&url).send().await.unwrap_err();
        assert!(error.is_connect(), "the callee's own error: {error:?}");
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn the_deadline_holds_for_the_body_too() {
    let server = Server::start(|_, _| async { Response::new(Body::new(raw::Stalled)) }).await;
    let stack = once().deadline(Period::millis(300));
    let client = stack.reqwest(reqwest::Client::new());
    let response = client.get(server.url()).send().await.unwrap();
    assert_eq!(response.url().as_str(), server.url());
    let ended = tokio::time::timeout(Duration::from_secs(5), response.text()).await;
    assert!(
        ended
            .expect("the deadline ends it")
            .unwrap_err()
            .is_timeout()
    );
}

#[tokio::test]
async fn the_time_left_arrives_with_each_attempt() {
    let (server, got) = noting().await;
    let stack = once()
        .retry(quick())
        .deadline(Period::secs(2))
        .attempt_timeout(Period::secs(1))
        .deadline_header(DeadlineHeader::millis("x-left".parse().unwrap()));
    let client = stack.reqwest(reqwest::Client::new());
    assert_eq!(client.get(server.url()).send().await.unwrap().status(), 200);
    for (headers, _) in got.lock().unwrap().iter() {
        let left: u64 = headers["x-left"].to_str().unwrap().parse().unwrap();
        assert!((600..=1_000).contains(&left), "{left}");
    }
}

/// reqwest's own client is a tower service; its error cannot be made from outside, so refusals leave as responses.
#[tokio::test]
async fn a_bare_client_is_a_service_like_any_other() {
    let server = back_at(99).await;
    let breaker = BreakerLayer::new("rates-policy", Trip::consecutive(3))
        .classify(ByStatus)
        .refuse_with(AsResponse);
    let retry = RetryLayer::new("rates-policy", quick())
        .classify(ByStatus)
        .refuse_with(AsResponse)
        .replay_with(TryClone::new());
    let (watch, retries) = (breaker.handle(), retry.handle());
    let mut service = ServiceBuilder::new()
        .layer(DeadlineLayer::new("rates", Period::secs(5)).refuse_with(AsResponse))
        .layer(retry)
        .layer(breaker)
        .layer(TimeoutLayer::new("rates", Period::secs(1)).refuse_with(AsResponse))
        .service(reqwest::Client::new());
    let get = || reqwest::Request::new(http::Method::GET, server.url().parse().unwrap());
    let last = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!((last.status().as_u16(), server.calls()), (503, 3));
    assert_eq!((watch.state(), retries.retries()), (State::Open, 2));

    let refused = service.ready().await.unwrap().call(get()).await.unwrap();
    assert_eq!(server.calls(), 3);
    assert!(refused.extensions().get::<Rejected>().is_some());
    assert_eq!(refused.status(), 503);
    let text = refused.text().await.unwrap();
    assert!(
        !text.contains("rates") && !text.contains("127.0.0.1"),
        "{text}"
    );
    assert_eq!(retries.retries(), 2, "a refusal is not retried");
}
