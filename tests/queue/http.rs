//! The queue in front of an axum router.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use mainstay::degrade::Mode;
use mainstay::error::{Reason, Rejected};
use mainstay::http::{AsResponse, ByMethod};
use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::{Journal, Listing, Status};
use mainstay::num::count;
use mainstay::queue::{HttpCodec, Lane, Queue, QueueConfig, QueueLayer};
use tower::ServiceExt as _;

use crate::world::{levels, order, sleep};

/// What a handler got.
#[derive(Clone, Debug)]
struct Got {
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn ledger() -> (Router, Arc<Mutex<Vec<Got>>>) {
    let got = Arc::<Mutex<Vec<Got>>>::default();
    let keeps = Arc::clone(&got);
    let accept = move |uri: Uri, headers: HeaderMap, body: bytes::Bytes| {
        let (keeps, body) = (Arc::clone(&keeps), body.to_vec());
        async move {
            keeps.lock().unwrap().push(Got { uri, headers, body });
            StatusCode::CREATED
        }
    };
    let router = Router::new()
        .route("/accounts/{account}", post(accept).get(|| async { "42" }))
        .route("/gone", post(|| async { StatusCode::GONE }))
        .route("/health", get(|| async { "ok" }));
    (router, got)
}

fn request(path: &str, key: &str, body: &'static [u8]) -> Request<Body> {
    let request = Request::post(path).header("idempotency-key", key);
    let request = request
        .header("content-type", "application/json")
        .header("authorization", "Bearer secret-token")
        .header("cookie", "session=secret-session")
        .header("x-request-id", "17");
    request.body(Body::from(body)).unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_route_answers_as_the_table_says() {
    let (degrade, gate) = levels();
    let (router, got) = ledger();
    let journal = Arc::<MemoryJournal>::default();
    let config = QueueConfig::new().entries(count(3));
    let queue = Queue::open("ledger", journal.clone(), config)
        .await
        .unwrap();
    let codec = HttpCodec::new()
        .body(64)
        .header(&HeaderName::from_static("x-request-id"))
        .lane(|head| Lane::new(head.uri.path()).tenant("acme"));
    let drain = queue.drain(gate.clone(), codec.clone(), router.clone());
    let layer = QueueLayer::new(gate, queue.clone(), codec);
    let app = router.layer(layer.access(ByMethod).refuse_with(AsResponse));
    let call = |request| app.clone().oneshot(request);

    assert_eq!(
        call(request("/accounts/1", "a", b"1"))
            .await
            .unwrap()
            .status(),
        201
    );
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    let response = call(request("/accounts/7?note=x", "b", b"{\"amount\":100}"))
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["idempotency-key"], "b");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(text(response).await, r#"{"status":"queued","entry":1}"#);

    // What is no text is kept as well.
    assert_eq!(
        call(request("/accounts/8", "c", b"\xff\x00"))
            .await
            .unwrap()
            .status(),
        202
    );
    // Another condition is another request.
    let mut other = request("/accounts/8", "c", b"\xff\x00");
    let version = http::HeaderValue::from_static("\"7\"");
    other.headers_mut().insert("if-match", version);
    assert_eq!(call(other).await.unwrap().status(), 422);
    // The same again, another one under the same key, one that is too long, a key that is none.
    let again = call(request("/accounts/8", "c", b"\xff\x00"))
        .await
        .unwrap();
    assert_eq!(text(again).await, r#"{"status":"queued","entry":2}"#);
    assert_eq!(
        call(request("/accounts/8", "c", b"2"))
            .await
            .unwrap()
            .status(),
        422
    );
    assert_eq!(
        call(request("/accounts/8", "d", &[b'x'; 65]))
            .await
            .unwrap()
            .status(),
        413
    );
    assert_eq!(
        call(request("/accounts/8", "no key", b""))
            .await
            .unwrap()
            .status(),
        400
    );
    let reason = |response: &Response<Body>| {
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "30");
        response.extensions().get::<Rejected>().unwrap().reason()
    };
    let keyless = Request::post("/accounts/8").body(Body::empty()).unwrap();
    assert_eq!(reason(&call(keyless).await.unwrap()), Reason::Degraded);
    let reads = Request::get("/accounts/8").body(Body::empty()).unwrap();
    assert_eq!(reason(&call(reads).await.unwrap()), Reason::Degraded);
    assert_eq!(
        call(request("/gone", "e", b"")).await.unwrap().status(),
        202
    );
    assert_eq!(
        reason(&call(request("/accounts/9", "f", b"")).await.unwrap()),
        Reason::QueueFull
    );

    // No credentials are written down.
    let listing = Listing::new(Status::Running, 10).kind("queue/ledger");
    for head in journal.list(listing).await.unwrap() {
        let log = journal.load(head.id).await.unwrap();
        assert!(
            !log.records[0].body.contains("secret"),
            "{}",
            log.records[0].body
        );
        assert_eq!(head.labels.tenant, "acme");
    }

    degrade.unpin("writes", order()).unwrap();
    sleep(3).await;
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), 3);
    let replayed = |path: &str| got.iter().find(|got| got.uri.path() == path).unwrap();
    let seven = replayed("/accounts/7");
    assert_eq!(seven.uri.query(), Some("note=x"));
    assert_eq!(seven.body, b"{\"amount\":100}");
    assert_eq!(seven.headers["idempotency-key"], "b");
    assert_eq!(seven.headers["content-type"], "application/json");
    assert_eq!(seven.headers["x-request-id"], "17");
    assert!(
        seven.headers["x-fencing-token"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert!(!seven.headers.contains_key("authorization") && !seven.headers.contains_key("cookie"));
    assert_eq!(replayed("/accounts/8").body, b"\xff\x00");

    // 410 from the callee is a refusal for good; an operator gives it up, and its caller is told.
    let incident = queue.poisoned(1).await.unwrap().remove(0);
    assert_eq!(incident.lane.as_str(), "/gone");
    queue.discard(incident.entry, &order()).await.unwrap();
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    assert_eq!(
        call(request("/gone", "e", b"")).await.unwrap().status(),
        410
    );
    let known = call(request("/accounts/7?note=x", "b", b"{\"amount\":100}"))
        .await
        .unwrap();
    assert_eq!(text(known).await, r#"{"status":"applied","entry":1}"#);
    drain.stop().await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_made_where_that_is_wished() {
    let (degrade, gate) = levels();
    let (router, got) = ledger();
    let queue = Queue::open(
        "ledger",
        Arc::<MemoryJournal>::default(),
        QueueConfig::new(),
    );
    let queue = queue.await.unwrap();
    let codec = HttpCodec::new().generate_keys(true);
    let drain = queue.drain(gate.clone(), codec.clone(), router.clone());
    let layer = QueueLayer::new(gate, queue, codec).access(ByMethod);
    let app = router.layer(layer.refuse_with(AsResponse));
    degrade.pin("writes", Mode::Queued, order()).unwrap();
    let mut keys = Vec::new();
    for _ in 0..2 {
        let keyless = Request::post("/accounts/8").body(Body::empty()).unwrap();
        let response = app.clone().oneshot(keyless).await.unwrap();
        assert_eq!(response.status(), 202);
        keys.push(response.headers()["idempotency-key"].clone());
    }
    assert!(keys[0] != keys[1] && keys[0].len() == 32);
    degrade.unpin("writes", order()).unwrap();
    sleep(3).await;
    let got: Vec<_> = got
        .lock()
        .unwrap()
        .iter()
        .map(|got| got.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(got, keys);
    drain.stop().await;
}
