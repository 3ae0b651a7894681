//! The standard stack under a generated tonic client, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail; sockets live in real time"
)]

#[path = "common/echo/mod.rs"]
mod echo;
#[path = "common/frames.rs"]
mod frames;
#[path = "common/raw.rs"]
mod raw;

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::body::Body;
use echo::pb::echo_client::EchoClient;
use echo::{Callee, Turn, bare, channel, said};
use http::Response;
use mainstay::breaker::{BreakerConfig, State, Trip};
use mainstay::deadline::parse_grpc_timeout;
use mainstay::grpc::{GrpcChannel, refusal};
use mainstay::num::{Attempts, Period};
use mainstay::presets;
use mainstay::retry::RetryConfig;
use mainstay::standard::Stack;
use raw::Server;
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// One attempt, three failures in a row open the circuit.
fn once() -> Stack {
    Stack::standard("echo-policy")
        .retry(RetryConfig::new(Attempts::NO_RETRY))
        .breaker(Trip::consecutive(3))
}

fn patient() -> Stack {
    once().retry(presets::erp::transient().compressed(NonZeroU32::new(20).unwrap()))
}

fn client(stack: &Stack, callee: &Callee) -> EchoClient<GrpcChannel> {
    EchoClient::new(stack.grpc(callee.channel()))
}

fn keyed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let key = "7".parse().unwrap();
    request.metadata_mut().insert("idempotency-key", key);
    request
}

fn url_of(listener: &tokio::net::TcpListener) -> String {
    format!("http://{}", listener.local_addr().unwrap())
}

fn failures(stack: &Stack) -> u32 {
    stack.handle().breaker().failures()
}

#[tokio::test]
async fn the_four_forms_of_call_succeed() {
    let callee = Callee::start([]).await;
    let stack = once();
    let mut client = client(&stack, &callee);
    let answer = client.unary(said("a")).await.unwrap().into_inner();
    assert_eq!(answer.text, "a");
    let mut answers = client.server_stream(said("b")).await.unwrap().into_inner();
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert_eq!(answer.text, "b");
        count += 1;
    }
    assert_eq!(count, 3);
    let words = || tokio_stream::iter([said("c"), said("d")]);
    let answer = client.client_stream(words()).await.unwrap().into_inner();
    assert_eq!(answer.text, "c d");
    let mut answers = client.bidi(words()).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().text, "c");
    assert_eq!(answers.message().await.unwrap().unwrap().text, "d");
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(failures(&stack), 0);
}

#[tokio::test]
async fn an_error_counts_at_the_head_and_at_the_end_of_a_stream() {
    let error = Status::internal("out of paper");
    let turns = [
        Turn::Fail(error.clone()),
        Turn::Fail(error.clone()),
        Turn::FailAfter(2, error),
    ];
    let callee = Callee::start(turns).await;
    let stack = once();
    let mut client = client(&stack, &callee);
    assert_eq!(
        client.unary(said("a")).await.unwrap_err().code(),
        Code::Internal
    );
    assert_eq!(failures(&stack), 1);
    let head = client.server_stream(said("b")).await.unwrap_err();
    assert_eq!(
        (head.code(), head.message()),
        (Code::Internal, "out of paper")
    );
    assert_eq!(failures(&stack), 2);

    let mut answers = client.server_stream(said("c")).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    assert!(answers.message().await.unwrap().is_some());
    assert_eq!(stack.handle().breaker().state(), State::Closed, "not yet");
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Internal);
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn a_wrong_request_does_not_count_against_the_callee() {
    let turns = (0..10).map(|_| Turn::Fail(Status::not_found("no such invoice")));
    let callee = Callee::start(turns).await;
    let stack = patient();
    let mut client = client(&stack, &callee);
    for _ in 0..10 {
        let status = client.unary(keyed(said("a"))).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(failures(&stack), 0);
    }
    assert_eq!(callee.calls(), 10, "nor is it retried");
}

#[tokio::test]
async fn an_answer_counts_by_what_the_wire_says() {
    for (name, fails, answer) in [
        (
            "ok in the head, as Go sends for an empty stream",
            false,
            grpc_ok_head as fn() -> Response<Body>,
        ),
        ("ok in the trailers", false, || {
            grpc_body(vec![ok_trailers()])
        }),
        ("broken off", true, || {
            grpc_body(vec![raw::data(b"\0\0\0\0\0"), frames::broken()])
        }),
        ("ended without a status", true, || {
            grpc_body(vec![raw::data(b"\0\0\0\0\0")])
        }),
        ("a proxy's 404", false, || raw::status(404)),
        ("a proxy's 503", true, || raw::status(503)),
    ] {
        let server = Server::start(move |_, _| async move { answer() }).await;
        let stack = once();
        let mut client = EchoClient::new(stack.grpc(channel(server.url())));
        if let Ok(answers) = client.server_stream(said("a")).await {
            let mut answers = answers.into_inner();
            while let Ok(Some(_)) = answers.message().await {}
        }
        assert_eq!(failures(&stack), u32::from(fails), "{name}");
        assert_eq!(server.calls(), 1, "{name}");
    }
}

fn grpc_ok_head() -> Response<Body> {
    let mut response = grpc_body(vec![]);
    *response.body_mut() = Body::empty();
    response
        .headers_mut()
        .insert("grpc-status", "0".parse().unwrap());
    response
}

fn ok_trailers() -> Result<http_body::Frame<bytes::Bytes>, std::io::Error> {
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    Ok(http_body::Frame::trailers(trailers))
}

fn grpc_body(sent: Vec<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>) -> Response<Body> {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(frames::frames(sent))
        .unwrap()
}

#[tokio::test]
async fn resource_exhausted_is_retried_no_earlier_than_its_hint() {
    let hint = Duration::from_millis(120);
    let details = ErrorDetails::with_retry_info(Some(hint));
    let busy = Status::with_error_details(Code::ResourceExhausted, "busy", details);
    let callee = Callee::start([Turn::Fail(busy)]).await;
    let stack = patient();
    let answer = client(&stack, &callee).unary(keyed(said("a"))).await;
    assert_eq!(answer.unwrap().into_inner().text, "a");
    let seen = callee.seen();
    assert_eq!(seen.len(), 2);
    assert!(
        seen[1].at - seen[0].at >= hint,
        "{:?}",
        seen[1].at - seen[0].at
    );
}

/// Pushback is an order, and each attempt tells the callee how many came before it.
#[tokio::test]
async fn pushback_is_obeyed_and_attempts_are_counted_on_the_wire() {
    let pushed = |value: &'static str| {
        let mut status = Status::unavailable("restarting");
        let value = value.parse().unwrap();
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", value);
        Turn::Fail(status)
    };
    let callee = Callee::start([pushed("120"), pushed("-1")]).await;
    let stack = patient();
    let status = client(&stack, &callee).unary(keyed(said("a"))).await;
    let status = status.unwrap_err();
    assert_eq!(status.message(), "restarting", "the callee's own word");
    let seen = callee.seen();
    assert_eq!(seen.len(), 2, "the second said never");
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(120), "{waited:?}");
    let previous: Vec<_> = seen.iter().map(|seen| seen.previous.as_deref()).collect();
    assert_eq!(previous, [None, Some("1")]);
}

#[tokio::test]
async fn an_open_circuit_is_unavailable_with_retry_info_and_says_no_more() {
    let turns = (0..3).map(|_| Turn::Fail(Status::internal("out of paper")));
    let callee = Callee::start(turns).await;
    let stack = once();
    let mut client = client(&stack, &callee);
    for _ in 0..3 {
        let own = client.unary(said("a")).await.unwrap_err();
        assert_eq!(refusal(&own), None);
    }
    let unary = client.unary(said("a")).await.unwrap_err();
    let stream = client.server_stream(said("a")).await.unwrap_err();
    for refused in [unary, stream] {
        assert_eq!(refused.code(), Code::Unavailable);
        let rejected = refusal(&refused).expect("it was not the callee's word");
        assert!(rejected.is_untried());
        let hint = refused
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .unwrap();
        assert!(hint > Duration::from_secs(4) && hint <= Duration::from_secs(5));
        let text = format!("{refused:?}");
        assert!(
            !text.contains("echo-policy") && !text.contains("127.0.0.1"),
            "{text}"
        );
    }
    assert_eq!(callee.calls(), 3);
}

#[tokio::test]
async fn a_deadline_is_deadline_exceeded_and_trips_the_breaker() {
    for attempt in [Period::millis(20), Period::secs(60)] {
        let callee = Callee::start((0..3).map(|_| Turn::Hang)).await;
        let stack = once().deadline(Period::millis(40)).attempt_timeout(attempt);
        let mut client = client(&stack, &callee);
        for _ in 0..3 {
            let status = client.unary(said("a")).await.unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded);
        }
        assert_eq!(stack.handle().breaker().state(), State::Open, "{attempt:?}");
        assert_eq!(
            client.unary(said("a")).await.unwrap_err().code(),
            Code::Unavailable
        );
    }
}

/// The connection is accepted, and then nothing: not even HTTP/2 begins.
#[tokio::test]
async fn a_callee_that_only_accepts_trips_the_breaker() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let stack = once().attempt_timeout(Period::millis(20));
    let mut client = EchoClient::new(stack.grpc(channel(url_of(&listener))));
    for _ in 0..3 {
        let status = client.unary(said("a")).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn a_callee_that_is_not_there_is_unavailable_and_trips_the_breaker() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let nobody = url_of(&listener);
    drop(listener);
    let stack = once();
    let mut client = EchoClient::new(stack.grpc(channel(nobody)));
    for _ in 0..4 {
        let status = client.unary(said("a")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

/// A call lasts until its last message: a callee that stalls after the head has not answered.
#[tokio::test]
async fn the_deadline_holds_for_the_body_too() {
    let server = Server::start(|_, _| async {
        let mut response = grpc_body(vec![]);
        *response.body_mut() = Body::new(raw::Stalled);
        response
    })
    .await;
    let stack = once().deadline(Period::millis(60));
    let mut client = EchoClient::new(stack.grpc(channel(server.url())));
    for _ in 0..3 {
        let call = client.unary(said("a"));
        let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
        let status = ended.expect("the deadline ends it").unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    assert_eq!(stack.handle().breaker().state(), State::Open);
}

#[tokio::test]
async fn the_time_left_arrives_and_only_shortens() {
    let callee = Callee::start([]).await;
    let stack = once()
        .deadline(Period::secs(2))
        .attempt_timeout(Period::secs(1));
    let mut client = client(&stack, &callee);
    for (own, most) in [
        (None, Duration::from_secs(1)),
        (Some(Duration::from_millis(500)), Duration::from_millis(500)),
        (Some(Duration::from_secs(60)), Duration::from_secs(1)),
    ] {
        let mut request = Request::new(said("a"));
        if let Some(own) = own {
            request.set_timeout(own);
        }
        client.unary(request).await.unwrap();
        let arrived = callee.seen().pop().unwrap().timeout.unwrap();
        let arrived = parse_grpc_timeout(&arrived).unwrap();
        assert!(arrived <= most, "{own:?}: {arrived:?}");
        assert!(
            arrived + Duration::from_millis(400) > most,
            "{own:?}: {arrived:?}"
        );
    }
}

#[tokio::test]
async fn a_caller_can_shorten_the_deadline_with_its_own_timeout() {
    let callee = Callee::start([Turn::Hang]).await;
    let mut request = Request::new(said("a"));
    request.set_timeout(Duration::from_millis(30));
    let start = Instant::now();
    let status = client(&once(), &callee).unary(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_does_not_start_what_is_too_late() {
    let callee = Callee::start_honouring().await;
    let mut client = bare(&callee);
    let mut late = Request::new(said("a"));
    late.metadata_mut()
        .insert("test-arrives-late", "1".parse().unwrap());
    let status = client.unary(late).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(callee.calls(), 0);
    assert!(client.unary(said("a")).await.is_ok());
    assert_eq!(callee.calls(), 1);
}

#[tokio::test]
async fn a_retry_sends_the_whole_request_again_if_it_may() {
    let down = || Turn::Fail(Status::unavailable("restarting"));
    for (name, stack, request, calls) in [
        ("no key", patient(), Request::new(said("a")), 1),
        ("a key", patient(), keyed(said("a")), 3),
        (
            "vouched",
            patient().idempotent(),
            Request::new(said("a")),
            3,
        ),
    ] {
        let callee = Callee::start([down(), down()]).await;
        let answer = client(&stack, &callee).unary(request).await;
        assert_eq!(answer.is_ok(), calls == 3, "{name}");
        let seen = callee.seen();
        assert_eq!(seen.len(), calls, "{name}");
        assert!(seen.iter().all(|seen| seen.said == ["a"]), "{name}");
    }
    let callee = Callee::start([down(), down()]).await;
    let words = tokio_stream::iter([said("c"), said("d")]);
    let answer = client(&patient(), &callee)
        .client_stream(keyed(words))
        .await;
    assert_eq!(answer.unwrap().into_inner().text, "c d");
    assert!(callee.seen().iter().all(|seen| seen.said == ["c", "d"]));
    assert_eq!(callee.calls(), 3);
}

#[tokio::test]
async fn a_callee_that_comes_back_is_found_by_one_probe() {
    let turns = (0..3).map(|_| Turn::Fail(Status::internal("out of paper")));
    let callee = Callee::start(turns).await;
    let config = BreakerConfig::new(Trip::consecutive(3)).open_for(Period::millis(50));
    let stack = once().breaker(config);
    let mut client = client(&stack, &callee);
    for _ in 0..4 {
        assert!(client.unary(said("a")).await.is_err());
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(client.unary(said("a")).await.is_ok());
    assert_eq!(stack.handle().breaker().state(), State::Closed);
    assert_eq!(callee.calls(), 4);
}
