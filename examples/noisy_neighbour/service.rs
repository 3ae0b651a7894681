//! The service: a backend that does so much at a time, behind axum, with admission by tenant or without.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use mainstay::http::AsResponse;
use mainstay::num::count;
use mainstay::presets;
use mainstay::tenant::{Tenant, TenantConfig, TenantHandle, TenantLayer, TenantPool};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::util::MapRequestLayer;
use tower::{BoxError, ServiceBuilder};

/// How many requests the backend does at a time, and how long each takes.
pub(crate) const SEATS: u32 = 4;
pub(crate) const TAKES: Duration = Duration::from_millis(40);

/// How many tenants each tier has.
pub(crate) const ENTERPRISE: u64 = 100;
pub(crate) const MID_MARKET: u64 = 1_000;
pub(crate) const SMALL: u64 = 10_000;

/// A server that stops when it is dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    handle: Option<TenantHandle>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Service {
    pub(crate) async fn start(fair: bool) -> Result<Self, BoxError> {
        let backend = Arc::new(Semaphore::new(SEATS as usize));
        let work = move || {
            let backend = Arc::clone(&backend);
            async move {
                // First come, first served: as a pool of connections is, or a queue.
                let Ok(_worker) = backend.acquire().await else {
                    return StatusCode::INTERNAL_SERVER_ERROR;
                };
                tokio::time::sleep(TAKES).await;
                StatusCode::OK
            }
        };
        let mut app = Router::new().route("/", get(work));
        let (mut handle, mut tasks) = (None, Vec::new());
        if fair {
            let config = TenantConfig::new(count(SEATS), presets::erp::tiers());
            let pool = TenantPool::new("backend", config)?;
            handle = Some(pool.handle());
            // To whoever collects metrics: seats, waits and refusals of each tier, by its name and never by a tenant's. Here
            // nobody does; the screen asks the callers.
            tasks.push(tokio::spawn(pool.handle().drive()));
            app = app.layer(
                ServiceBuilder::new()
                    .layer(MapRequestLayer::new(authenticate))
                    .layer(TenantLayer::new(&pool).refuse_with(AsResponse)),
            );
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        tasks.push(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("noisy_neighbour: {error}");
            }
        }));
        Ok(Self { url, handle, tasks })
    }

    /// Waits for the calls whose callers have gone, and says what is left of them.
    pub(crate) async fn settle(&self) -> (u32, u32) {
        let Some(handle) = &self.handle else {
            return (0, 0);
        };
        for _ in 0..100 {
            if (handle.in_flight(), handle.waiting()) == (0, 0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (handle.in_flight(), handle.waiting())
    }
}

/// Stands for the check of a signed token: who it is and what was paid for comes from there, never from what the caller
/// writes.
fn authenticate(mut request: Request<Body>) -> Request<Body> {
    let token = request.headers().get("token");
    let number = token.and_then(|token| token.to_str().ok()?.parse::<u64>().ok());
    if let Some(number) = number.filter(|number| *number < ENTERPRISE + MID_MARKET + SMALL) {
        let tier = match number {
            0..ENTERPRISE => "enterprise",
            number if number < ENTERPRISE + MID_MARKET => "mid-market",
            _ => "smb",
        };
        request.extensions_mut().insert(Tenant::new(number, tier));
    }
    request
}
