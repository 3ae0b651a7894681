//! The four servers: HTTP on free ports of the loopback interface, with a schedule of their breakdowns.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::BoxError;

/// How a server fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Answers 503.
    Down,
    /// Never answers.
    Hangs,
    /// Does what it is asked, and answers 500.
    LosesAnswers,
}

/// `(from, until, how)`, in milliseconds after the beginning.
type Schedule = &'static [(u64, u64, Fault)];

const GPU: Schedule = &[
    (1_000, 1_300, Fault::LosesAnswers),
    (1_300, 3_500, Fault::Down),
    (3_500, 4_200, Fault::Hangs),
];
const STORAGE: Schedule = &[(2_000, 4_000, Fault::Down), (6_500, 7_200, Fault::Hangs)];
const QUALITY: Schedule = &[(5_500, 7_500, Fault::Hangs)];
const NOTIFICATION: Schedule = &[
    (3_000, 3_400, Fault::LosesAnswers),
    (3_400, 6_000, Fault::Down),
];

/// What a server has done: by what it was asked for, how often it had an effect.
pub(crate) type Effects = BTreeMap<u32, u32>;

struct Server {
    schedule: Schedule,
    began: Arc<OnceLock<Instant>>,
    /// Of the GPU and the notification service. One effect for one key, however often it is asked for.
    effects: Mutex<Effects>,
    /// How often it was asked for something that it had done before.
    repeats: Mutex<u32>,
}

impl Server {
    /// Behaves as the schedule says around `work`.
    async fn respond(&self, work: impl FnOnce() -> String) -> (StatusCode, String) {
        let elapsed = self.began.get().map(Instant::elapsed).unwrap_or_default();
        let is_now = |(from, until, _): &&(u64, u64, Fault)| {
            (Duration::from_millis(*from)..Duration::from_millis(*until)).contains(&elapsed)
        };
        match self.schedule.iter().find(is_now) {
            None => (StatusCode::OK, work()),
            Some((_, _, Fault::Down)) => (StatusCode::SERVICE_UNAVAILABLE, String::new()),
            Some((_, _, Fault::Hangs)) => std::future::pending().await,
            Some((_, _, Fault::LosesAnswers)) => {
                work();
                (StatusCode::INTERNAL_SERVER_ERROR, String::new())
            }
        }
    }

    /// Does something once for `key`.
    fn once(&self, key: u32) -> String {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        if effects.contains_key(&key) {
            *self.repeats.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        } else {
            *effects.entry(key).or_default() += 1;
        }
        "done".to_owned()
    }
}

async fn effect(State(server): State<Arc<Server>>, Path(key): Path<u32>) -> (StatusCode, String) {
    server.respond(|| server.once(key)).await
}

/// A new version of every template twice a second.
async fn template(State(server): State<Arc<Server>>) -> (StatusCode, String) {
    let age = server.began.get().map(Instant::elapsed).unwrap_or_default();
    let version = age.as_millis() / 500;
    server.respond(|| version.to_string()).await
}

async fn verdict(State(server): State<Arc<Server>>) -> (StatusCode, String) {
    server.respond(|| "passed".to_owned()).await
}

/// The four, until they are dropped.
pub(crate) struct Servers {
    pub(crate) gpu: String,
    pub(crate) storage: String,
    pub(crate) quality: String,
    pub(crate) notification: String,
    began: Arc<OnceLock<Instant>>,
    gpu_server: Arc<Server>,
    notification_server: Arc<Server>,
    tasks: Vec<JoinHandle<()>>,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let began = Arc::new(OnceLock::new());
        let server = |schedule| {
            Arc::new(Server {
                schedule,
                began: Arc::clone(&began),
                effects: Mutex::default(),
                repeats: Mutex::default(),
            })
        };
        let (gpu, notification) = (server(GPU), server(NOTIFICATION));
        let mut tasks = Vec::new();
        let mut serve = async |router: Router| -> Result<String, BoxError> {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let url = format!("http://{}", listener.local_addr()?);
            tasks.push(tokio::spawn(async {
                if let Err(error) = axum::serve(listener, router).await {
                    eprintln!("a server ended: {error}");
                }
            }));
            Ok(url)
        };
        let effects = |server: &Arc<Server>| {
            Router::new()
                .route("/{key}", post(effect))
                .with_state(Arc::clone(server))
        };
        let templates = Router::new()
            .route("/{template}", get(template))
            .with_state(server(STORAGE));
        let verdicts = Router::new()
            .route("/{batch}", get(verdict))
            .with_state(server(QUALITY));
        Ok(Self {
            gpu: serve(effects(&gpu)).await?,
            storage: serve(templates).await?,
            quality: serve(verdicts).await?,
            notification: serve(effects(&notification)).await?,
            began,
            gpu_server: gpu,
            notification_server: notification,
            tasks,
        })
    }

    /// The schedule begins now.
    pub(crate) fn begin(&self) {
        // Only the first call counts.
        let _first = self.began.set(Instant::now());
    }

    /// What the servers have done.
    pub(crate) fn seen(&self) -> Seen {
        let effects = |server: &Server| {
            let effects = server.effects.lock();
            effects.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let repeats = |server: &Server| {
            let repeats = server.repeats.lock();
            *repeats.unwrap_or_else(PoisonError::into_inner)
        };
        Seen {
            jobs: effects(&self.gpu_server),
            jobs_repeated: repeats(&self.gpu_server),
            notices: effects(&self.notification_server),
            notices_repeated: repeats(&self.notification_server),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What the servers have done.
pub(crate) struct Seen {
    pub(crate) jobs: Effects,
    pub(crate) jobs_repeated: u32,
    pub(crate) notices: Effects,
    pub(crate) notices_repeated: u32,
}
