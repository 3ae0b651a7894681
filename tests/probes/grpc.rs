use std::convert::Infallible;
use std::sync::Mutex;

use ::http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use mainstay::health::GrpcProbe;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::service_fn;

use super::*;

fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_lazy()
}

/// A server with a health service that is not ours.
async fn start() -> (SocketAddr, HealthReporter, Running) {
    let (reporter, service) = health_reporter();
    let (listener, address) = listen().await;
    let server = Server::builder().add_service(service);
    let incoming = TcpListenerStream::new(listener);
    let task = tokio::spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
    (address, reporter, Running(task))
}

#[tokio::test]
async fn each_answer_of_a_real_server_is_understood() {
    let (address, reporter, _serving) = start().await;
    let channel = channel(address);
    let ledger = GrpcProbe::over(channel.clone(), "ledger.v1.Ledger");
    assert_eq!(
        look(&GrpcProbe::over(channel, "")).await,
        Sample::UP,
        "the whole server"
    );
    let unknown = Sample::unknown(Why::UnknownService);
    assert_eq!(look(&ledger).await, unknown, "it has no such service yet");
    for (status, sample) in [
        (ServingStatus::Serving, Sample::UP),
        (ServingStatus::NotServing, Sample::down(Why::NotServing)),
        (ServingStatus::Unknown, Sample::unknown(Why::NotTold)),
    ] {
        reporter
            .set_service_status("ledger.v1.Ledger", status)
            .await;
        assert_eq!(look(&ledger).await, sample);
    }
}

#[tokio::test]
async fn a_server_without_a_health_service_is_unknown_and_no_server_down() {
    let (listener, address) = listen().await;
    let nothing = axum::Router::new();
    let serving = tokio::spawn(async move { axum::serve(listener, nothing).await.unwrap() });
    let probe = GrpcProbe::over(channel(address), "");
    assert_eq!(look(&probe).await, Sample::unknown(Why::Unimplemented));
    drop(Running(serving));
    let probe = GrpcProbe::over(channel(closed().await), "");
    assert_eq!(look(&probe).await, Sample::down(Why::Unreachable));
}

/// A channel that answers every call with this.
fn answering(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> GrpcProbe {
    let answer = Arc::new(answer);
    let channel = service_fn(move |_: Request<Body>| {
        let answer = answer();
        async move { Ok::<_, Infallible>(answer) }
    });
    GrpcProbe::over(channel, "")
}

#[tokio::test]
async fn every_code_is_a_sample() {
    for code in 1..=16 {
        let code = Code::from_i32(code);
        let sample = match code {
            Code::NotFound => Sample::unknown(Why::UnknownService),
            Code::Unimplemented => Sample::unknown(Why::Unimplemented),
            Code::PermissionDenied | Code::Unauthenticated => Sample::unknown(Why::Denied),
            Code::Cancelled | Code::DeadlineExceeded => Sample::down(Why::TimedOut),
            Code::Unavailable => Sample::down(Why::Unreachable),
            other => Sample::down(Why::Code(other.into())),
        };
        let probe = answering(move || Status::new(code, "s3cr3t").into_http());
        assert_eq!(look(&probe).await, sample, "{code:?}");
        assert!(!format!("{probe:?}").contains("s3cr3t"));
    }
}

#[tokio::test]
async fn messages_that_are_none_are_no_answer() {
    let framed = |message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0], &length[..], message].concat()
    };
    let with_body = |bytes: Vec<u8>| {
        answering(move || {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", ::http::HeaderValue::from_static("0"));
            let trailers = std::future::ready(Some(Ok(trailers)));
            let body = Full::from(bytes.clone()).with_trailers(trailers);
            let response = Response::builder().header("content-type", "application/grpc");
            response.body(Body::new(body)).unwrap()
        })
    };
    assert_eq!(look(&with_body(framed(&[8, 1]))).await, Sample::UP);
    let malformed = Sample::down(Why::Malformed);
    assert_eq!(look(&with_body(framed(&[8]))).await, malformed);
    // Beyond the bound nothing is read; tonic calls that out of range.
    let long = framed(&[&[0x12, 0x80, 0x10], &[0; 2_048][..]].concat());
    let beyond = Sample::down(Why::Code(Code::OutOfRange.into()));
    assert_eq!(look(&with_body(long)).await, beyond);
}

/// Whoever is looked at can know how long is waited for it.
#[tokio::test]
async fn the_looks_time_is_the_calls() {
    let seen = Arc::<Mutex<Option<HeaderMap>>>::default();
    let noted = Arc::clone(&seen);
    let channel = service_fn(move |request: Request<Body>| {
        *noted.lock().unwrap() = Some(request.headers().clone());
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let health = watched("part", GrpcProbe::over(channel, ""));
    let _driver = Running(tokio::spawn(health.clone().drive()));
    let timed_out = || health.why("part") == Some(Why::TimedOut);
    eventually("it does not answer", timed_out).await;
    let headers = seen.lock().unwrap().clone().unwrap();
    let timeout = headers.get("grpc-timeout").unwrap().to_str().unwrap();
    let left = mainstay::deadline::parse_grpc_timeout(timeout).unwrap();
    assert!(left <= Duration::from_millis(150), "{timeout}");
}
