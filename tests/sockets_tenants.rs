//! The admission of tenants over real sockets: what callers of an axum route and of a tonic server see, and how far the
//! word about a tier is believed.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test panics to fail; sockets live in real time"
)]

#[expect(dead_code, reason = "shared with the tests of the stack")]
#[path = "common/echo/mod.rs"]
mod echo;
#[expect(dead_code, reason = "shared with the tests of the stack")]
#[path = "common/raw.rs"]
mod raw;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use echo::pb::Said;
use echo::pb::echo_client::EchoClient;
use echo::pb::echo_server::{Echo, EchoServer};
use echo::said;
use http::{Request, Response};
use mainstay::deadline::DeadlineLayer;
use mainstay::http::{AsResponse, AtEnd, ByStatus, TierHeader};
use mainstay::num::{Period, Ratio, count};
use mainstay::scope::Scope;
use mainstay::tenant::tier::{Tier, Tiers};
use mainstay::tenant::{RankBy, Tenant, TenantConfig, TenantHandle, TenantLayer, TenantPool};
use raw::Server;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;
use tower::util::MapRequestLayer;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

fn pool(capacity: u32, share: Ratio) -> TenantPool {
    let tier = |name: &'static str| {
        let patience = Period::millis(300);
        let tier = Tier::new(name).tenant_share(share).patience(patience);
        tier.tenant_queue(5)
    };
    let tiers = Tiers::new([tier("enterprise"), tier("smb")]).unwrap();
    TenantPool::new("erp-policy", TenantConfig::new(count(capacity), tiers)).unwrap()
}

/// What authentication knows of whoever sent a request.
#[derive(Clone)]
struct Peer {
    is_ours: bool,
}

/// Stands for a check of a signed token: `key` is what nobody can forge.
fn authenticate<B>(mut request: Request<B>) -> Request<B> {
    let key = request.headers().get("key").cloned();
    let key = key.as_ref().and_then(|key| key.to_str().ok());
    let facts = request.extensions_mut();
    facts.insert(Peer {
        is_ours: key == Some("service-secret"),
    });
    if let Some((name, tier)) = key.and_then(|key| key.split_once(" of ")) {
        facts.insert(Tenant::new(name, tier));
    }
    request
}

fn believed(facts: &http::Extensions) -> bool {
    facts.get::<Peer>().is_some_and(|peer| peer.is_ours)
}

/// A route behind authentication, honour and admission, the first outermost.
fn guarded(app: Router, pool: &TenantPool) -> Router {
    let tenants = TenantLayer::new(pool)
        .refuse_with(AsResponse)
        .until(AtEnd::new(ByStatus));
    let layers = ServiceBuilder::new()
        .layer(MapRequestLayer::new(authenticate::<Body>))
        .layer(TierHeader::default().honour().trust(believed))
        .layer(tenants);
    app.layer(layers)
}

async fn tier() -> &'static str {
    Scope::current().tier().map_or("none", |tier| tier.as_str())
}

/// A client that tells the tier of the call within which it is used.
async fn fetch(url: String, headers: &[(&str, &str)]) -> Result<String, BoxError> {
    let service = TierHeader::default().carry();
    let client = service_fn(|request: Request<reqwest::Body>| async {
        let request = reqwest::Request::try_from(request)?;
        reqwest::Client::new().execute(request).await
    });
    let client = ServiceBuilder::new().layer(service).service(client);
    let mut request = Request::get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client
        .oneshot(request.body(reqwest::Body::default())?)
        .await?;
    Ok(response.error_for_status()?.text().await?)
}

async fn settled(handle: &TenantHandle) {
    for _ in 0..200 {
        if (handle.in_flight(), handle.waiting()) == (0, 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{handle:?}");
}

#[tokio::test]
async fn a_flood_of_one_tenant_is_turned_away_and_the_others_are_served() {
    let pool = pool(8, Ratio::percent(25));
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(40)).await;
        "served"
    };
    let server = Server::serve(guarded(Router::new().route("/", get(slow)), &pool)).await;
    let send = |who: String| {
        let request = reqwest::Client::new().get(server.url());
        tokio::spawn(request.header("key", who).send())
    };
    let flood: Vec<_> = (0..60).map(|_| send("flood of smb".to_owned())).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let victims: Vec<_> = (0..4).map(|n| send(format!("{n} of smb"))).collect();
    for victim in victims {
        assert_eq!(victim.await.unwrap().unwrap().status(), 200);
    }
    let mut refused = 0;
    for one in flood {
        let response = one.await.unwrap().unwrap();
        if response.status() == 200 {
            continue;
        }
        // Too many of its own, or too late by the time that its own are through.
        assert!([429, 503].contains(&response.status().as_u16()));
        refused += 1;
        assert!(response.headers().contains_key("retry-after"));
        let headers = format!("{:?}", response.headers());
        let text = headers + &response.text().await.unwrap();
        for secret in ["flood", "smb", "erp", "policy", "mainstay", "127.0.0.1"] {
            assert!(!text.to_lowercase().contains(secret), "{secret} in {text}");
        }
    }
    assert!(refused > 30, "{refused}");
    settled(&pool.handle()).await;
    let top = pool.handle().top(RankBy::Refused, 5);
    assert_eq!(top.len(), 1, "{top:?}");
}

/// Trap 17: a header is believed only of whoever is trusted, and is not handed on otherwise.
#[tokio::test]
async fn a_tier_in_a_header_is_believed_of_trusted_callers_only() {
    let pool = pool(4, Ratio::ONE);
    let app =
        Router::new().route("/tier", get(tier)).route(
            "/header",
            get(|headers: http::HeaderMap| async move {
                headers.contains_key("x-tenant-tier").to_string()
            }),
        );
    let server = Server::serve(guarded(app, &pool)).await;
    let ask = async |path: &str, key: &str, header: &str| {
        let request = reqwest::Client::new().get(format!("{}{path}", server.url()));
        let request = request.header("key", key).header("x-tenant-tier", header);
        request.send().await.unwrap().text().await.unwrap()
    };
    for (key, header, expected) in [
        ("stranger", "enterprise", "smb"),
        ("acme of smb", "enterprise", "smb"),
        ("acme of enterprise", "smb", "enterprise"),
        ("service-secret", "enterprise", "enterprise"),
        ("service-secret", "made-up", "smb"),
    ] {
        assert_eq!(ask("tier", key, header).await, expected, "{key}, {header}");
    }
    assert_eq!(ask("header", "stranger", "enterprise").await, "false");
    assert_eq!(ask("header", "service-secret", "enterprise").await, "true");
    settled(&pool.handle()).await;
}

#[tokio::test]
async fn a_tier_travels_to_the_next_hop_and_the_one_after() {
    let pools = [1, 2, 3].map(|_| pool(2, Ratio::ONE));
    let hop = |next: Option<String>| {
        get(move || {
            let next = next.clone();
            async move {
                let own = tier().await;
                match next {
                    // The next hop knows the service that calls, and nothing of the tenant.
                    Some(url) => match fetch(url, &[("key", "service-secret")]).await {
                        Ok(after) => format!("{own} {after}"),
                        Err(error) => format!("{own} {error}"),
                    },
                    None => own.to_owned(),
                }
            }
        })
    };
    let mut next = None;
    let mut servers = Vec::new();
    for pool in &pools {
        let app = Router::new().route("/", hop(next));
        let server = Server::serve(guarded(app, pool)).await;
        next = Some(server.url());
        servers.push(server);
    }
    let first = next.unwrap();
    let seen = fetch(first.clone(), &[("key", "acme of enterprise")]).await;
    assert_eq!(seen.unwrap(), "enterprise enterprise enterprise");
    let seen = fetch(first, &[("key", "shop of smb")]).await;
    assert_eq!(seen.unwrap(), "smb smb smb");
    for pool in &pools {
        settled(&pool.handle()).await;
        let counts = pool.handle().tiers().into_iter().map(|tier| tier.admitted);
        assert_eq!(counts.collect::<Vec<_>>(), [1, 1]);
    }
}

/// Trap 3, between processes: A calls B, which calls A again, and A has one seat.
#[tokio::test]
async fn a_circle_of_services_does_not_wait_for_itself() {
    let (ours, theirs) = (pool(1, Ratio::ONE), pool(1, Ratio::ONE));
    let (a, b): (Arc<OnceLock<String>>, Arc<OnceLock<String>>) = Default::default();
    let call = |next: &Arc<OnceLock<String>>, path: &'static str| {
        let next = Arc::clone(next);
        get(move || {
            let url = format!("{}{path}", next.get().unwrap());
            async move {
                let answer = fetch(url, &[("key", "service-secret")]).await;
                answer.unwrap_or_else(|error| error.to_string())
            }
        })
    };
    let app = Router::new()
        .route("/", call(&b, ""))
        .route("/again", get(tier));
    let first = Server::serve(guarded(app, &ours)).await;
    let second = Server::serve(guarded(
        Router::new().route("/", call(&a, "again")),
        &theirs,
    ))
    .await;
    a.set(first.url()).unwrap();
    b.set(second.url()).unwrap();
    let begun = std::time::Instant::now();
    let seen = fetch(first.url(), &[("key", "acme of enterprise")]).await;
    assert_eq!(seen.unwrap(), "enterprise");
    assert!(
        begun.elapsed() < Duration::from_millis(250),
        "nobody waited"
    );
    settled(&ours.handle()).await;
    let admitted = ours.handle().tiers().into_iter().map(|tier| tier.admitted);
    assert_eq!(admitted.sum::<u64>(), 1, "one seat for both");
    // A stranger who makes up seats has none.
    let forged = [
        ("x-tenant-tier-seats", "0000000000000001"),
        ("key", "stranger"),
    ];
    assert_eq!(
        fetch(format!("{}again", first.url()), &forged)
            .await
            .unwrap(),
        "smb"
    );
    settled(&ours.handle()).await;
    let admitted = ours.handle().tiers().into_iter().map(|tier| tier.admitted);
    assert_eq!(admitted.sum::<u64>(), 2);
}

/// Answers with the tier that it runs in, after a while.
struct Tells;

type Answers = Pin<Box<dyn Stream<Item = Result<Said, Status>> + Send>>;

#[tonic::async_trait]
impl Echo for Tells {
    type ServerStreamStream = Answers;
    type BidiStream = Answers;

    async fn unary(&self, request: tonic::Request<Said>) -> Result<tonic::Response<Said>, Status> {
        if request.get_ref().text == "slow" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(tonic::Response::new(said(tier().await)))
    }

    async fn server_stream(
        &self,
        _: tonic::Request<Said>,
    ) -> Result<tonic::Response<Answers>, Status> {
        let answers = tokio_stream::iter([Ok(said("one"))]);
        let never = tokio_stream::pending();
        let answers = tokio_stream::StreamExt::chain(answers, never);
        Ok(tonic::Response::new(Box::pin(answers)))
    }

    async fn client_stream(
        &self,
        _: tonic::Request<Streaming<Said>>,
    ) -> Result<tonic::Response<Said>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn bidi(
        &self,
        _: tonic::Request<Streaming<Said>>,
    ) -> Result<tonic::Response<Answers>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// A tonic server behind authentication, honour and admission; stops when the task is dropped.
async fn grpc(pool: &TenantPool) -> (tonic::transport::Channel, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tenants = TenantLayer::new(pool)
        .refuse_with(mainstay::grpc::AsResponse)
        .until(AtEnd::new(mainstay::grpc::ByStatus));
    let layers = ServiceBuilder::new()
        .layer(MapRequestLayer::new(authenticate::<tonic::body::Body>))
        .layer(TierHeader::default().honour().trust(believed))
        .layer(tenants)
        .into_inner();
    let server = tonic::transport::Server::builder()
        .layer(layers)
        .add_service(EchoServer::new(Tells))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let task = tokio::spawn(async move { server.await.unwrap() });
    (echo::channel(url), task)
}

fn keyed(text: &str, key: &str) -> tonic::Request<Said> {
    let mut request = tonic::Request::new(said(text));
    request.metadata_mut().insert("key", key.parse().unwrap());
    request
}

#[tokio::test]
async fn a_tonic_server_admits_by_tier_and_says_when_to_come_back() {
    let pool = pool(1, Ratio::ONE);
    let (channel, server) = grpc(&pool).await;
    let mut client = EchoClient::new(channel.clone());
    let tier = client.unary(keyed("", "acme of enterprise")).await.unwrap();
    assert_eq!(tier.into_inner().text, "enterprise");
    // One runs, five wait for 100 ms each, of which three are in time, and the others are told.
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let mut client = EchoClient::new(channel.clone());
            tokio::spawn(async move { client.unary(keyed("slow", "shop of smb")).await })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        let Err(status) = call.await.unwrap() else {
            continue;
        };
        refused += 1;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let info = status.get_details_retry_info().unwrap();
        assert!(info.retry_delay.is_some_and(|after| !after.is_zero()));
        assert!(
            mainstay::grpc::refusal(&status).is_some(),
            "of this process"
        );
    }
    assert!((6..12).contains(&refused), "{refused}");
    settled(&pool.handle()).await;
    // A stream keeps its seat until it ends, or its caller goes.
    let stream = client
        .server_stream(keyed("", "acme of smb"))
        .await
        .unwrap();
    assert_eq!(pool.handle().in_flight(), 1);
    drop(stream);
    settled(&pool.handle()).await;
    server.abort();
}

#[tokio::test]
async fn a_tier_travels_in_metadata() {
    let (front, back) = (pool(2, Ratio::ONE), pool(2, Ratio::ONE));
    let (channel, server) = grpc(&back).await;
    let carried = ServiceBuilder::new()
        .layer(DeadlineLayer::new("back", Period::secs(5)).refuse_with(mainstay::grpc::AsResponse))
        .layer(TierHeader::default().carry())
        .service(channel.clone());
    let ask = move |key: &'static str| {
        let mut client = EchoClient::new(carried.clone());
        async move {
            client
                .unary(keyed("", key))
                .await
                .unwrap()
                .into_inner()
                .text
        }
    };
    let app = Router::new()
        .route(
            "/ours",
            get({
                let ask = ask.clone();
                move || ask("service-secret")
            }),
        )
        .route("/strange", get(move || ask("stranger")));
    let server_of_front = Server::serve(guarded(app, &front)).await;
    let key = [("key", "acme of enterprise")];
    let url = |path: &str| format!("{}{path}", server_of_front.url());
    assert_eq!(fetch(url("ours"), &key).await.unwrap(), "enterprise");
    assert_eq!(fetch(url("strange"), &key).await.unwrap(), "smb");
    settled(&back.handle()).await;
    server.abort();
}

/// A response of a tenant's that nobody reads to its end gives its seat back with the connection.
#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_seat() {
    let pool = pool(1, Ratio::ONE);
    let app = Router::new().route(
        "/",
        get(|| async { Response::new(Body::new(raw::Stalled)) }),
    );
    let server = Server::serve(guarded(app, &pool)).await;
    let response = reqwest::get(server.url()).await.unwrap();
    assert_eq!(pool.handle().in_flight(), 1);
    drop(response);
    settled(&pool.handle()).await;
    let hangs = Router::new().route("/", get(std::future::pending::<&str>));
    let server = Server::serve(guarded(hangs, &pool)).await;
    for _ in 0..3 {
        let call = reqwest::Client::new().get(server.url());
        let late = call.timeout(Duration::from_millis(40)).send().await;
        assert!(late.is_err());
    }
    settled(&pool.handle()).await;
}
