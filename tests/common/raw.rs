//! An HTTP callee that answers with what a closure makes of each request, over HTTP/1.1 and HTTP/2.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body::Frame;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request with what `answer` makes of it and of its number, counted from 1.
    pub(crate) async fn start<F, Fut>(answer: F) -> Self
    where
        F: Fn(usize, Request<Body>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let app = Router::new().fallback(move |request: Request<Body>| {
            answer(count.fetch_add(1, Ordering::SeqCst) + 1, request)
        });
        let mut server = Self::serve(app).await;
        server.calls = calls;
        server
    }

    pub(crate) async fn serve(app: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            calls: Arc::default(),
            task,
        }
    }

    /// How many requests arrived.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// An answer with this status and nothing in it.
pub(crate) fn status(code: u16) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::empty())
        .unwrap()
}

pub(crate) fn data(bytes: &'static [u8]) -> Result<Frame<bytes::Bytes>, std::io::Error> {
    Ok(Frame::data(bytes::Bytes::from_static(bytes)))
}

/// A body that never goes on, and never ends.
pub(crate) struct Stalled;

impl http_body::Body for Stalled {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<bytes::Bytes>, std::io::Error>>> {
        std::task::Poll::Pending
    }
}
