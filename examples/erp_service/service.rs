//! The service: AI, documents, reports and the ledger, each behind the gate of its capability.
//!
//! ```text
//! POST /inference             gate "inference" ────────────────────► stack "inference" ─► GPU cluster
//! POST /documents             by hand ◄─ gate "documents" ─────────► stack "inference" ─► GPU cluster
//! GET  /reports               gate "reports" ──────────────────────► stack "reports" ───► one replica, or the other
//! GET  /ledger/{account}      gate "erp" ──────────────────────────► stack "reports" ───► one replica, or the other
//! POST /ledger/{account}/{n}  queue "ledger", gate "writes" ───────► stack "ledger" ────► primary
//!                                └─ later, in order, by the drain ─────────┘
//! ```

use std::convert::Infallible;
use std::path::Path as File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mainstay::breaker::{BreakerConfig, Trip};
use mainstay::degrade::{Degrade, GateLayer};
use mainstay::error::AsRejected;
use mainstay::fallback::{FallbackConfig, FallbackLayer, Primary};
use mainstay::health::{Health, HealthService};
use mainstay::http::{AsResponse, ByMethod, ByStatus};
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::num::{Attempts, Period};
use mainstay::queue::{Drain, HttpCodec, Lane, Queue, QueueConfig, QueueLayer};
use mainstay::retry::RetryConfig;
use mainstay::standard::Stack;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt, service_fn};

use crate::backends::{Backend, Backends};
use crate::health;

/// One attempt, and one call with its retry. An attempt is longer than a busy machine stands still.
const ATTEMPT: Period = Period::millis(1_000);
const CALL: Period = Period::millis(2_500);

/// What a backend is asked.
#[derive(Clone, Debug)]
struct Ask {
    path: String,
    /// Of what writes.
    key: Option<String>,
    is_write: bool,
}

/// Boxed, because a stack whose error is a `BoxError` cannot be awaited inside of an `async` block that is spawned.
type Client = BoxCloneSyncService<Ask, String, BoxError>;

#[derive(Clone)]
struct Clients {
    gpu: Client,
    primary: Client,
    replicas: Client,
}

/// The stacks around the backends, which health follows.
pub(crate) struct Stacks {
    pub(crate) inference: Stack,
    pub(crate) ledger: Stack,
    pub(crate) reports: Stack,
}

/// The service, until it is dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) degrade: Degrade,
    pub(crate) health: Health,
    pub(crate) queue: Queue,
    /// Replays as long as it is kept.
    _drain: Drain,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Service {
    /// Its queue is kept in that folder.
    pub(crate) async fn start(backends: &Backends, folder: &File) -> Result<Self, BoxError> {
        // A connection of its own for each request, so that a port that is closed is closed.
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?;
        let stacks = Stacks {
            inference: stack("inference", 1),
            ledger: stack("ledger", 2),
            reports: stack("reports", 2),
        };
        let urls = |of: &[&Backend]| of.iter().map(|each| each.url()).collect::<Vec<_>>();
        let [first, second] = &backends.replicas;
        let clients = Clients {
            gpu: client(&stacks.inference, &http, urls(&[&backends.gpu])),
            primary: client(&stacks.ledger, &http, urls(&[&backends.primary])),
            replicas: client(&stacks.reports, &http, urls(&[first, second])),
        };
        let degrade = Degrade::new(health::ladder());
        let health = health::watch(backends, &stacks, &http, &degrade)?;
        let mut tasks = vec![tokio::spawn(health.clone().drive())];

        // What is written while the primary is down waits in a file of this service.
        let journal = Arc::new(SqliteJournal::open(folder.join("queue.sqlite"))?);
        let queue = Queue::open("ledger", journal, QueueConfig::new()).await?;
        // The entries of an account are applied in their order.
        let codec: HttpCodec<Body> = HttpCodec::new().lane(|head| {
            let account = head.uri.path().split('/').nth(2).unwrap_or_default();
            Lane::new(account)
        });
        let ledger = Router::new()
            .route("/ledger/{account}/{number}", post(post_entry))
            .with_state(clients.clone());
        let writes = degrade.gate("writes")?;
        let drain = queue.drain(writes.clone(), codec.clone(), ledger.clone());
        let ledger = ledger.layer(
            QueueLayer::new(writes, queue.clone(), codec)
                .access(ByMethod)
                .refuse_with(AsResponse),
        );

        let gate = |capability: &str| -> Result<_, BoxError> {
            let gate = GateLayer::new(degrade.gate(capability)?);
            Ok(gate.access(ByMethod).refuse_with(AsResponse))
        };
        let by_hand = FallbackLayer::function("documents", FallbackConfig::default(), by_hand);
        let documents = Router::new()
            .route("/documents", post(infer))
            .layer(gate("documents")?)
            .layer(by_hand.classify(ByStatus).refuse_with(AsResponse));
        let inference = Router::new()
            .route("/inference", post(infer))
            .layer(gate("inference")?);
        let reports = Router::new()
            .route("/reports", get(report))
            .layer(gate("reports")?);
        let books = Router::new()
            .route("/ledger/{account}", get(book))
            .layer(gate("erp")?);
        let served: HealthService<Body> = HealthService::new(health.clone());
        let app = inference
            .merge(documents)
            .merge(reports)
            .merge(books)
            .with_state(clients)
            .merge(ledger)
            .route_service("/readyz", served);

        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tasks.push(tokio::spawn(async {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("erp_service: {error}");
            }
        }));
        Ok(Self {
            url,
            degrade,
            health,
            queue,
            _drain: drain,
            tasks,
        })
    }
}

/// The standard stack, at a pace for a demonstration: four failures in a row open the circuit for half a second.
fn stack(name: &'static str, attempts: u32) -> Stack {
    Stack::standard(name)
        .deadline(CALL)
        .attempt_timeout(ATTEMPT)
        .retry(RetryConfig::new(Attempts::total(attempts)))
        .breaker(BreakerConfig::new(Trip::consecutive(4)).open_for(Period::millis(500)))
}

/// Asks one of these after the other.
fn client(stack: &Stack, http: &reqwest::Client, urls: Vec<String>) -> Client {
    let (http, turn) = (http.clone(), Arc::new(AtomicUsize::new(0)));
    Client::new(stack.service(service_fn(move |ask: Ask| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let url = urls.get(turn % urls.len().max(1)).cloned();
        let http = http.clone();
        async move {
            let url = format!("{}{}", url.unwrap_or_default(), ask.path);
            let mut request = if ask.is_write {
                http.post(url)
            } else {
                http.get(url)
            };
            if let Some(key) = ask.key {
                request = request.header("idempotency-key", key);
            }
            let answer = request.send().await?.error_for_status()?;
            Ok::<_, BoxError>(answer.text().await?)
        }
    })))
}

async fn infer(State(clients): State<Clients>) -> Response {
    ask(clients.gpu, "/generate".to_owned(), None, true).await
}

/// What people get whose document no AI reads now.
#[expect(clippy::unnecessary_wraps, reason = "a fallback may have no answer")]
fn by_hand((): (), _: Primary<'_, Response, Infallible>) -> Result<Response, Infallible> {
    Ok((StatusCode::ACCEPTED, "type it in by hand").into_response())
}

async fn report(State(clients): State<Clients>) -> Response {
    ask(clients.replicas, "/entries".to_owned(), None, false).await
}

async fn book(State(clients): State<Clients>, Path(account): Path<String>) -> Response {
    ask(clients.replicas, format!("/entries/{account}"), None, false).await
}

/// The key is the caller's: the ledger knows an entry by it, however often it comes.
async fn post_entry(
    State(clients): State<Clients>,
    Path((account, number)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Response {
    let key = headers.get("idempotency-key");
    let key = key.and_then(|key| key.to_str().ok()).map(str::to_owned);
    let path = format!("/entries/{account}/{number}");
    ask(clients.primary, path, key, true).await
}

/// A refusal of the stack is a 503, and what the backend got wrong a 502.
async fn ask(client: Client, path: String, key: Option<String>, is_write: bool) -> Response {
    let ask = Ask {
        path,
        key,
        is_write,
    };
    match client.oneshot(ask).await {
        Ok(text) => text.into_response(),
        Err(error) if error.as_rejected().is_some() => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
