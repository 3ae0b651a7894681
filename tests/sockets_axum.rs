//! The layers around axum routes, over real sockets: what the callers of such a route see.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail; sockets live in real time"
)]

#[path = "common/frames.rs"]
mod frames;
#[path = "common/raw.rs"]
mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Response, StatusCode};
use mainstay::breaker::{BreakerConfig, BreakerHandle, BreakerLayer, State, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::http::{AsResponse, AtEnd, ByStatus, DeadlineHeader, ReplayRequest};
use mainstay::num::{Attempts, Period};
use mainstay::retry::{Backoff, RetryConfig, RetryLayer};
use raw::{Server, data, status};
use reqwest::Client;
use tower::{Layer, ServiceExt};

type RouteBreaker = BreakerLayer<ByStatus, AsResponse, AtEnd<ByStatus>>;

fn breaker() -> RouteBreaker {
    let config = BreakerConfig::new(Trip::consecutive(3)).open_for(Period::millis(1_500));
    BreakerLayer::new("stock-policy", config)
        .classify(ByStatus)
        .refuse_with(AsResponse)
        .until(AtEnd::new(ByStatus))
}

fn deadline(limit: Period) -> DeadlineLayer<AsResponse> {
    DeadlineLayer::new("stock-policy", limit).refuse_with(AsResponse)
}

async fn fetch(server: &Server, path: &str) -> reqwest::Response {
    let url = format!("{}{path}", server.url());
    let request = Client::new().get(url).header("x-tenant", "acme");
    request.send().await.unwrap()
}

/// The end of a call is seen on the server a moment after the client has seen it.
async fn settled(handle: &BreakerHandle, state: State) {
    for _ in 0..200 {
        if handle.state() == state {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the circuit is {:?}", handle.state());
}

/// Whatever a refusal says, it says nothing of who runs here and for whom.
fn is_discreet(server: &Server, headers: &http::HeaderMap, body: &str) {
    let text = format!("{headers:?} {body}").to_lowercase();
    for secret in ["stock", "policy", "acme", "tenant", "mainstay", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert!(!text.contains(&server.address.port().to_string()), "{text}");
}

#[tokio::test]
async fn an_open_circuit_is_503_with_retry_after_and_a_problem_body() {
    let breaker = breaker();
    let handle = breaker.handle();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        StatusCode::INTERNAL_SERVER_ERROR
    };
    let app = Router::new()
        .route("/stock", get(handler))
        .layer(breaker)
        .layer(deadline(Period::secs(5)));
    let server = Server::serve(app).await;
    for _ in 0..3 {
        assert_eq!(fetch(&server, "stock").await.status(), 500);
    }
    assert_eq!(handle.state(), State::Open);
    let refused = fetch(&server, "stock").await;
    assert_eq!(refused.status(), 503);
    let headers = refused.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["retry-after"], "2", "1.5 s, rounded up");
    let body = refused.text().await.unwrap();
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], 503);
    assert_eq!(problem["title"], "Service Unavailable");
    is_discreet(&server, &headers, &body);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_deadline_is_504_and_counts_against_the_route() {
    let breaker = breaker();
    let handle = breaker.handle();
    let app = Router::new()
        .route("/stock", get(std::future::pending::<StatusCode>))
        .layer(breaker)
        .layer(deadline(Period::millis(30)))
        .layer(DeadlineHeader::default().honour());
    let server = Server::serve(app).await;
    for _ in 0..3 {
        let late = fetch(&server, "stock").await;
        assert_eq!(late.status(), 504);
        let headers = late.headers().clone();
        assert_eq!(headers["content-type"], "application/problem+json");
        is_discreet(&server, &headers, &late.text().await.unwrap());
    }
    assert_eq!(handle.state(), State::Open);
}

#[tokio::test]
async fn an_incoming_deadline_shortens_and_what_is_too_late_is_not_started() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<StatusCode>().await
    };
    let app = Router::new()
        .route("/stock", get(handler))
        .layer(deadline(Period::secs(60)))
        .layer(DeadlineHeader::default().honour());
    let server = Server::serve(app).await;
    for (left, started) in [("0", 0), ("30", 1)] {
        let url = format!("{}stock", server.url());
        let request = Client::new().get(url).header("x-request-timeout-ms", left);
        assert_eq!(request.send().await.unwrap().status(), 504);
        assert_eq!(calls.load(Ordering::SeqCst), started);
    }
}

#[tokio::test]
async fn one_layer_on_several_routes_is_one_circuit() {
    let breaker = breaker();
    let fails = || async { StatusCode::INTERNAL_SERVER_ERROR };
    let app = Router::new()
        .route("/a", get(fails).layer(breaker.clone()))
        .route("/b", get(|| async { "b" }).layer(breaker.clone()))
        .route_layer(deadline(Period::secs(5)))
        .route("/c", get(|| async { "c" }));
    let server = Server::serve(app).await;
    assert_eq!(fetch(&server, "b").await.status(), 200);
    for _ in 0..3 {
        assert_eq!(fetch(&server, "a").await.status(), 500);
    }
    assert_eq!(fetch(&server, "b").await.status(), 503);
    assert_eq!(fetch(&server, "c").await.status(), 200, "has no breaker");
}

/// The head may get lost with the body.
async fn breaks_off(server: &Server) -> bool {
    match Client::new()
        .get(format!("{}breaks", server.url()))
        .send()
        .await
    {
        Ok(response) => response.text().await.is_err(),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    let breaker = breaker();
    let handle = breaker.handle();
    let breaks = || async { Response::new(frames::frames([data(b"half"), frames::broken()])) };
    let whole = || async { Response::new(frames::frames([data(b"half"), data(b"half")])) };
    let app = Router::new()
        .route("/breaks", get(breaks))
        .route("/whole", get(whole))
        .layer(breaker);
    let server = Server::serve(app).await;
    for _ in 0..2 {
        assert!(breaks_off(&server).await);
    }
    assert_eq!(handle.failures(), 2);
    assert_eq!(
        fetch(&server, "whole").await.text().await.unwrap(),
        "halfhalf"
    );
    for _ in 0..100 {
        if handle.failures() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(handle.failures(), 0, "a whole body is a success");
    for _ in 0..3 {
        assert!(breaks_off(&server).await);
    }
    settled(&handle, State::Open).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_says_nothing_about_the_route() {
    let breaker = breaker();
    let handle = breaker.handle();
    let app = Router::new()
        .route("/hangs", get(std::future::pending::<StatusCode>))
        .route(
            "/stalls",
            get(|| async { Response::new(Body::new(raw::Stalled)) }),
        )
        .layer(breaker)
        .layer(deadline(Period::secs(60)));
    let server = Server::serve(app).await;
    for path in ["hangs", "stalls"] {
        for _ in 0..5 {
            let call = async { fetch(&server, path).await.text().await };
            let early = tokio::time::timeout(Duration::from_millis(20), call).await;
            assert!(early.is_err());
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((handle.failures(), handle.state()), (0, State::Closed));
}

/// A server stops asking for a body once all of its Content-Length is sent.
#[tokio::test]
async fn a_probe_whose_body_has_a_length_closes_the_circuit() {
    let config = BreakerConfig::new(Trip::consecutive(1)).open_for(Period::millis(20));
    let breaker = BreakerLayer::new("stock-policy", config)
        .classify(ByStatus)
        .refuse_with(AsResponse)
        .until(AtEnd::new(ByStatus));
    let handle = breaker.handle();
    let file = || async {
        let body = frames::frames([data(b"half"), data(b"half")]);
        Response::builder()
            .header("content-length", "8")
            .body(body)
            .unwrap()
    };
    let app = Router::new()
        .route("/down", get(|| async { StatusCode::BAD_GATEWAY }))
        .route("/file", get(file))
        .layer(breaker);
    let server = Server::serve(app).await;
    assert_eq!(fetch(&server, "down").await.status(), 502);
    assert_eq!(handle.state(), State::Open);
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(
        fetch(&server, "file").await.text().await.unwrap(),
        "halfhalf"
    );
    settled(&handle, State::Closed).await;
}

#[tokio::test]
async fn a_route_retries_what_it_may_with_the_whole_body() {
    let backoff = Backoff::constant(Duration::from_millis(5));
    let config = RetryConfig::new(Attempts::total(3)).backoff(backoff);
    for (key, calls) in [(true, 3), (false, 1)] {
        let retry = RetryLayer::new("stock-policy", config)
            .classify(ByStatus)
            .refuse_with(AsResponse)
            .replay_with(ReplayRequest::new(1024).wrap(Body::new));
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let handler = move |body: String| async move {
            assert_eq!(body, "pay invoice 7");
            match seen.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => status(503),
                _ => Response::new(Body::from(body)),
            }
        };
        let app = Router::new()
            .route("/pay", post(handler))
            .layer(breaker())
            .layer(retry)
            .layer(deadline(Period::secs(5)));
        let server = Server::serve(app).await;
        let mut request = Client::new()
            .post(format!("{}pay", server.url()))
            .body("pay invoice 7");
        if key {
            request = request.header("idempotency-key", "7");
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), if key { 200 } else { 503 });
        assert_eq!(count.load(Ordering::SeqCst), calls);
    }
}

/// A route that asks another service: what its own stack refuses is no failure of the route.
#[tokio::test]
async fn a_refusal_behind_the_route_does_not_count_against_it() {
    let upstream = Server::start(|_, _| async { status(503) }).await;
    let behind = BreakerLayer::new("rates-policy", Trip::consecutive(1))
        .classify(ByStatus)
        .refuse_with(AsResponse);
    let rates = behind.layer(Client::new());
    let url: reqwest::Url = upstream.url().parse().unwrap();
    let handler = move || {
        let (rates, url) = (rates.clone(), url.clone());
        async move {
            let request = reqwest::Request::new(http::Method::GET, url);
            let answer = rates.oneshot(request).await.unwrap();
            Response::from(answer).map(Body::new)
        }
    };
    let breaker = breaker();
    let handle = breaker.handle();
    let app = Router::new().route("/stock", get(handler)).layer(breaker);
    let server = Server::serve(app).await;
    for _ in 0..10 {
        assert_eq!(fetch(&server, "stock").await.status(), 503);
    }
    assert_eq!(upstream.calls(), 1);
    assert_eq!((handle.failures(), handle.state()), (1, State::Closed));
}
