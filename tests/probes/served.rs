use ::http::Request;
use mainstay::degrade::{Degrade, Kind, Mode, Order};
use mainstay::health::{GrpcHealthService, GrpcProbe, Verdict};
use mainstay::presets::erp;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::ServiceExt as _;

use super::*;

fn health() -> Health {
    let rows = ConsecutiveConfig::new(count(1), count(1));
    let health = Health::builder()
        .reported("database", rows)
        .reported("search", rows)
        .needs("database");
    health.build().unwrap()
}

struct Served {
    client: HealthClient<Channel>,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: Running,
}

impl Served {
    async fn start(service: GrpcHealthService) -> Self {
        let (listener, address) = listen().await;
        let server = Server::builder().add_service(service);
        let incoming = TcpListenerStream::new(listener);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server
                .serve_with_incoming_shutdown(incoming, stopped)
                .await
                .unwrap();
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect_lazy();
        Self {
            client: HealthClient::new(channel.clone()),
            channel,
            stop: Some(stop),
            serving: Running(serving),
        }
    }

    async fn check(&mut self, service: &str) -> Result<ServingStatus, Code> {
        let service = service.to_owned();
        let response = self.client.check(HealthCheckRequest { service }).await;
        response
            .map(|response| response.into_inner().status())
            .map_err(|status| status.code())
    }

    async fn watch(&mut self, service: &str) -> Result<Streaming<HealthCheckResponse>, Code> {
        let service = service.to_owned();
        let response = self.client.watch(HealthCheckRequest { service }).await;
        response
            .map(tonic::Response::into_inner)
            .map_err(|status| status.code())
    }
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Result<Option<ServingStatus>, Code> {
    let next = tokio::time::timeout(Duration::from_secs(10), watch.message());
    let message = next.await.unwrap().map_err(|status| status.code())?;
    Ok(message.map(|message| message.status()))
}

fn quick(health: &Health) -> GrpcHealthService {
    GrpcHealthService::new(health.clone()).every(Period::millis(20))
}

use ServingStatus::{NotServing, ServiceUnknown, Serving, Unknown};

#[tokio::test]
async fn checks_say_what_readiness_says() {
    let health = health();
    let served = quick(&health);
    let served = served
        .service("ledger.v1.Ledger", ["database", "search"])
        .unwrap();
    let mut served = Served::start(served).await;
    let ask = async |served: &mut Served| {
        let mut all = Vec::new();
        for name in ["", "database", "search", "ledger.v1.Ledger"] {
            all.push(served.check(name).await.unwrap());
        }
        all
    };
    assert_eq!(
        ask(&mut served).await,
        [NotServing, Unknown, Unknown, Unknown]
    );
    health.report("database", Verdict::Up).unwrap();
    assert_eq!(ask(&mut served).await, [Serving, Serving, Unknown, Unknown]);
    health.report("search", Verdict::Degraded).unwrap();
    assert_eq!(ask(&mut served).await, [Serving; 4]);
    health.report("search", Verdict::Down).unwrap();
    assert_eq!(
        ask(&mut served).await,
        [Serving, Serving, NotServing, NotServing]
    );
    health.report("database", Verdict::Down).unwrap();
    assert_eq!(ask(&mut served).await, [NotServing; 4]);
    assert_eq!(served.check("stock").await, Err(Code::NotFound));
    // Our own probe understands the same.
    for (name, sample) in [
        ("", Sample::down(Why::NotServing)),
        ("stock", Sample::unknown(Why::UnknownService)),
    ] {
        assert_eq!(
            look(&GrpcProbe::over(served.channel.clone(), name)).await,
            sample
        );
    }
    health.report("database", Verdict::Up).unwrap();
    health.report("search", Verdict::Up).unwrap();
    health.drain(true);
    assert_eq!(ask(&mut served).await, [NotServing; 4]);
    health.drain(false);
    assert_eq!(ask(&mut served).await, [Serving; 4]);
}

#[tokio::test]
async fn a_capability_serves_while_it_is_served_at_all() {
    let ladder = Degrade::new(erp::degradation());
    let capability = "inference";
    let gate = ladder.gate(capability).unwrap();
    let served = quick(&health())
        .gated("ai.v1.Inference", gate.clone())
        .unwrap();
    let mut served = Served::start(served).await;
    for (mode, status) in [
        (Mode::Full, Serving),
        (Mode::limited("slow"), Serving),
        (Mode::ReadOnly, Serving),
        (Mode::WriteOnly, Serving),
        (Mode::Queued, Serving),
        (Mode::Manual, NotServing),
        (Mode::Disabled, NotServing),
        (Mode::FailOver, NotServing),
    ] {
        ladder.pin(capability, mode.clone(), order()).unwrap();
        assert_eq!(
            served.check("ai.v1.Inference").await,
            Ok(status),
            "{mode:?}"
        );
    }
    assert_eq!(gate.kind(), Kind::FailOver);
}

fn order() -> Order {
    Order::new("a test", "its own")
}

#[tokio::test]
async fn watches_are_told_at_once_and_each_change() {
    let health = health();
    let mut served = Served::start(quick(&health)).await;
    let mut all = served.watch("").await.unwrap();
    let mut search = served.watch("search").await.unwrap();
    let mut stock = served.watch("stock").await.unwrap();
    assert_eq!(next(&mut all).await, Ok(Some(NotServing)));
    assert_eq!(next(&mut search).await, Ok(Some(Unknown)));
    assert_eq!(next(&mut stock).await, Ok(Some(ServiceUnknown)));
    health.report("database", Verdict::Up).unwrap();
    assert_eq!(next(&mut all).await, Ok(Some(Serving)));
    health.report("search", Verdict::Down).unwrap();
    assert_eq!(next(&mut search).await, Ok(Some(NotServing)));
    // Nothing changed of these, so nothing is told.
    for watch in [&mut all, &mut stock] {
        let told = tokio::time::timeout(Duration::from_millis(100), watch.message());
        assert!(told.await.is_err());
    }
    // The server ends: who is not told yet is told, and all are let go.
    health.drain(true);
    assert_eq!(next(&mut all).await, Ok(Some(NotServing)));
    for watch in [&mut all, &mut search, &mut stock] {
        assert_eq!(next(watch).await, Err(Code::Unavailable));
        assert_eq!(next(watch).await, Ok(None));
    }
}

#[tokio::test]
async fn a_server_that_drains_is_not_held_up_by_watches() {
    let health = health();
    let mut served = Served::start(quick(&health)).await;
    let mut watch = served.watch("").await.unwrap();
    next(&mut watch).await.unwrap();
    served.stop.take().unwrap().send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(200), &mut served.serving.0);
    assert!(ended.await.is_err(), "it waits for its calls");
    health.drain(true);
    let ended = tokio::time::timeout(Duration::from_secs(10), &mut served.serving.0);
    ended.await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, Err(Code::Unavailable));
}

#[tokio::test]
async fn watches_are_bounded_and_give_their_places_back() {
    let health = health();
    let service = quick(&health).watches(count(2));
    let mut served = Served::start(service.clone()).await;
    let first = served.watch("").await.unwrap();
    let second = served.watch("search").await.unwrap();
    assert_eq!(served.watch("").await.err(), Some(Code::ResourceExhausted));
    assert_eq!(served.check("").await, Ok(NotServing), "checks are not");
    let taken = |taken: &str| {
        let (shown, taken) = (format!("{service:?}"), format!("watches: {taken} of 2"));
        assert!(shown.contains("GrpcHealthService"));
        shown.contains(&taken)
    };
    assert!(taken("2"));
    drop(first);
    eventually("its place is free", || taken("1")).await;
    assert!(served.watch("").await.is_ok());
    drop(second);
    eventually("all are free", || taken("0")).await;
}

/// What is no message, and methods that there are not.
#[tokio::test]
async fn calls_that_are_none_are_refused() {
    let ask = async |path: &str, body: &'static [u8]| {
        let request = Request::builder().uri(path).method("POST");
        let request = request.body(axum::body::Body::from(body)).unwrap();
        let response = GrpcHealthService::new(health())
            .oneshot(request)
            .await
            .unwrap();
        tonic::Status::from_header_map(response.headers()).map(|status| status.code())
    };
    let check = "/grpc.health.v1.Health/Check";
    assert_eq!(
        ask(check, b"\0\0\0\0\x01\x0a").await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(
        ask(check, b"\0\0\0\0\x03\x0a\x01\xff").await,
        Some(Code::InvalidArgument)
    );
    assert_eq!(
        ask(check, b"\0\0\x10\0\0").await,
        Some(Code::OutOfRange),
        "a megabyte"
    );
    assert_eq!(ask(check, b"\0\0\0\0\0").await, None, "the whole server");
    let watch = "/grpc.health.v1.Health/Watch";
    assert_eq!(
        ask(watch, b"\0\0\0\0\x01\x0a").await,
        Some(Code::InvalidArgument)
    );
    let list = "/grpc.health.v1.Health/List";
    assert_eq!(ask(list, b"\0\0\0\0\0").await, Some(Code::Unimplemented));
}

#[test]
fn names_are_checked() {
    let served = GrpcHealthService::new(health());
    let served = served.service("ledger", ["database"]).unwrap();
    let error = served.clone().service("stock", ["databases"]).unwrap_err();
    let expected = "components: expected one of database, search, got databases";
    assert_eq!(error.to_string(), expected);
    for name in ["", "ledger", &"n".repeat(1_022)] {
        let error = served.clone().service(name, []).unwrap_err();
        assert_eq!(error.field(), "service");
    }
    assert!(served.service("n".repeat(1_021), []).is_ok());
}
