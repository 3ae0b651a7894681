//! What the service stands on: a GPU cluster, a primary and its replicas, an event store, a vector database. HTTP servers on
//! free ports of the loopback interface, each of which really fails when it is told to.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tower::BoxError;

/// How a backend fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not at all.
    None,
    /// Nobody listens at its port.
    Closed,
    /// It answers 500, and does nothing.
    Errors,
    /// It answers 500, and did what it was asked.
    LosesAnswers,
    /// It does what it is asked, and of every fifth write its answer is lost.
    LosesSome,
    /// It never answers.
    Hangs,
}

/// What the ledger has applied: of each account the numbers of its entries, in order.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) entries: BTreeMap<String, Vec<u32>>,
    /// By idempotency key; what comes again under one is not applied again.
    keys: BTreeMap<String, u32>,
    pub(crate) repeats: u32,
}

/// What the servers of one database have in common.
pub(crate) type Shared = Arc<Mutex<Record>>;

struct Node {
    fault: Mutex<Fault>,
    writes: AtomicU32,
    record: Shared,
}

impl Node {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, work: impl FnOnce() -> String) -> (StatusCode, String) {
        match self.fault() {
            Fault::None | Fault::LosesSome => (StatusCode::OK, work()),
            Fault::Hangs => pending().await,
            Fault::LosesAnswers => {
                work();
                (StatusCode::INTERNAL_SERVER_ERROR, String::new())
            }
            Fault::Errors | Fault::Closed => (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        }
    }
}

/// Another entry of an account, once for each key.
async fn append(
    State(node): State<Arc<Node>>,
    Path((account, number)): Path<(String, u32)>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let key = headers.get("idempotency-key");
    let Some(key) = key.and_then(|key| key.to_str().ok()) else {
        return (StatusCode::BAD_REQUEST, "a key is needed".to_owned());
    };
    let writes = node.writes.fetch_add(1, Ordering::Relaxed);
    let is_lost = node.fault() == Fault::LosesSome && writes.is_multiple_of(5);
    let answer = node.answer(|| {
        let mut record = node.record.lock().unwrap_or_else(PoisonError::into_inner);
        let times = record.keys.entry(key.to_owned()).or_default();
        *times += 1;
        if *times == 1 {
            record.entries.entry(account).or_default().push(number);
        } else {
            record.repeats += 1;
        }
        "posted".to_owned()
    });
    let answer = answer.await;
    if is_lost {
        return (StatusCode::INTERNAL_SERVER_ERROR, String::new());
    }
    answer
}

/// How many entries there are, of one account or of all.
async fn balance(
    State(node): State<Arc<Node>>,
    account: Option<Path<String>>,
) -> (StatusCode, String) {
    node.answer(|| {
        let record = node.record.lock().unwrap_or_else(PoisonError::into_inner);
        let all = record.entries.iter();
        let of = all.filter(|(name, _)| account.as_ref().is_none_or(|account| account.0 == **name));
        of.map(|(_, entries)| entries.len())
            .sum::<usize>()
            .to_string()
    })
    .await
}

async fn well(State(node): State<Arc<Node>>) -> (StatusCode, String) {
    node.answer(|| "well".to_owned()).await
}

/// One of them, until it is dropped.
pub(crate) struct Backend {
    node: Arc<Node>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
    /// While it is closed: it has the port, so that nobody else gets it, and does not listen.
    port: Option<TcpSocket>,
}

impl Backend {
    pub(crate) async fn start(record: &Shared) -> Result<Self, BoxError> {
        let node = Arc::new(Node {
            fault: Mutex::new(Fault::None),
            writes: AtomicU32::new(0),
            record: Arc::clone(record),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = Some(serve(listener, Arc::clone(&node)));
        Ok(Self {
            node,
            address,
            task,
            port: None,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it fails so.
    pub(crate) async fn fail(&mut self, fault: Fault) -> Result<(), BoxError> {
        *self
            .node
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = fault;
        if fault == Fault::Closed {
            // With the task its listener goes, and the port is closed.
            if let Some(task) = self.task.take() {
                task.abort();
                drop(task.await);
                self.port = Some(bind(self.address).await?);
            }
        } else if let Some(port) = self.port.take() {
            let listener = port.listen(WAITING)?;
            self.task = Some(serve(listener, Arc::clone(&self.node)));
        }
        Ok(())
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Connections that may wait to be accepted.
const WAITING: u32 = 1_024;

/// Somebody's connection may have the port for a moment.
async fn bind(address: SocketAddr) -> Result<TcpSocket, BoxError> {
    let mut tries = 0;
    loop {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Err(_) if tries < 60 => tries += 1,
            bound => return Ok(bound.map(|()| socket)?),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn serve(listener: TcpListener, node: Arc<Node>) -> JoinHandle<()> {
    let router = Router::new()
        .route("/health", get(well))
        .route("/generate", post(well))
        .route("/entries", get(balance))
        .route("/entries/{account}", get(balance))
        .route("/entries/{account}/{number}", post(append))
        .with_state(node);
    tokio::spawn(async {
        if let Err(error) = axum::serve(listener, router).await {
            eprintln!("erp_service: a backend ended: {error}");
        }
    })
}

/// All of them.
pub(crate) struct Backends {
    pub(crate) gpu: Backend,
    pub(crate) primary: Backend,
    pub(crate) replicas: [Backend; 2],
    pub(crate) events: Backend,
    pub(crate) vectors: Backend,
    pub(crate) record: Shared,
}

impl Backends {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let record = Shared::default();
        let none = Shared::default();
        Ok(Self {
            gpu: Backend::start(&none).await?,
            primary: Backend::start(&record).await?,
            replicas: [
                Backend::start(&record).await?,
                Backend::start(&record).await?,
            ],
            events: Backend::start(&none).await?,
            vectors: Backend::start(&none).await?,
            record,
        })
    }

    /// What breaks, and what is well again.
    pub(crate) async fn fail(
        &mut self,
        gpu: Fault,
        primary: Fault,
        replicas: [Fault; 2],
    ) -> Result<(), BoxError> {
        self.gpu.fail(gpu).await?;
        self.primary.fail(primary).await?;
        for (replica, fault) in self.replicas.iter_mut().zip(replicas) {
            replica.fail(fault).await?;
        }
        Ok(())
    }
}
