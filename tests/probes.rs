//! The probes against real servers on this machine, and the gRPC health service against a client that is not ours.
//!
//! | part | what stands in it |
//! |---|---|
//! | `http` | over reqwest and over a tower client: statuses, bodies, headers, what is not read |
//! | `grpc` | the health protocol's answers, each of them |
//! | `served` | the gRPC health service: checks, watches, shutdown |
//! | `tcp` | what accepts, what refuses, what does not resolve |
//! | `sql` | a SQLite file; a PostgreSQL server as far as a probe sees of it (a real one is in `probes_postgres`) |
//! | `gone` | what never answers: the look ends in time and leaves nothing behind |
//!
//! In real time, since servers are real; waits are for events, and no more than some tenths of a second.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test panics to fail, serves on tasks and waits in real time"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay::health::{ConsecutiveConfig, Health, Probe, Sample, Seen, Watch, Why};
use mainstay::num::{Period, Ratio, count};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[path = "probes/gone.rs"]
mod gone;
#[path = "probes/grpc.rs"]
mod grpc;
#[path = "probes/http.rs"]
mod http;
#[path = "probes/served.rs"]
mod served;
#[path = "probes/sql.rs"]
mod sql;
#[path = "probes/tcp.rs"]
mod tcp;

/// One look, of which no test waits longer than ten seconds.
async fn look(probe: &impl Probe) -> Sample {
    let look = tokio::time::timeout(Duration::from_secs(10), probe.look());
    look.await.unwrap().sample()
}

/// Looked at every 50 ms, for 150 ms; one sample is a verdict.
fn watched(name: &str, probe: impl Probe) -> Health {
    let watch = Watch::new(name, probe)
        .every(Period::millis(50))
        .timeout(Period::millis(150))
        .jitter(Ratio::percent(0))
        .rows(ConsecutiveConfig::new(count(1), count(1)));
    Health::builder().watch(watch).build().unwrap()
}

/// Waits until it holds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("ten seconds, and not yet: {what}");
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Where nobody listens.
async fn closed() -> SocketAddr {
    listen().await.1
}

/// A task that is stopped when this is dropped.
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Accepts, reads and never answers; counts what is connected.
struct Hole {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    seen: Arc<AtomicUsize>,
    _listening: Running,
}

impl Hole {
    async fn dig() -> Self {
        let (listener, address) = listen().await;
        let (open, seen) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (now_open, all) = (Arc::clone(&open), Arc::clone(&seen));
        let listening = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let now_open = Arc::clone(&now_open);
                now_open.fetch_add(1, Ordering::SeqCst);
                all.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut buffer = [0; 1_024];
                    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
                    now_open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            open,
            seen,
            _listening: Running(listening),
        }
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}
