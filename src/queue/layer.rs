use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::{Layer, Service};

use super::codec::Codec;
use super::error::QueueError;
use super::handle::Queue;
use crate::degrade::{Access, Accesses, Gate, Kind};
use crate::error::{Reason, Rejected};
use crate::num::Period;
use crate::reject::{AsError, Refuse};

/// When to come back where nobody says otherwise, as a gate says.
const RETRY_AFTER: Period = Period::secs(30);

/// A gate that takes writes for later while its capability is [queued](Kind::Queued): in place of a
/// [`GateLayer`](crate::degrade::GateLayer).
///
/// | the gate | a write | a read |
/// |---|---|---|
/// | serves it, and nothing of its lane waits | passes | passes |
/// | serves it, and something of its lane waits | is queued behind it | passes |
/// | is `Queued` | is queued | is refused |
/// | does not serve it | is refused | is refused |
///
/// An open gate over an empty queue costs two atomic loads in `call` and one in `poll_ready`, and neither lock nor
/// allocation. What is neither a read nor a write ([`Access::Both`]) needs an answer that a queue cannot give: it passes or
/// is refused, so that it may pass what waits. Without an idempotency key a write that would have to be queued is refused as
/// degraded; so it is when the store fails.
///
/// Keys are told apart by the tenant of the lane that the codec gives: where callers do not trust each other it has to be the
/// authenticated caller's, and so this layer stands behind the one that authenticates. By default all share one space of keys.
///
/// - `A` says what a request does: [`access`](Self::access). Defaults to a write.
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
///
/// The [module](super) has an example.
#[derive(Debug)]
pub struct QueueLayer<C, A = Access, R = AsError> {
    gate: Gate,
    queue: Queue,
    codec: Arc<C>,
    access: A,
    refuse: R,
    retry_after: Period,
}

impl<C> QueueLayer<C> {
    /// The gate of a capability, with a queue behind it.
    #[must_use]
    pub fn new(gate: Gate, queue: Queue, codec: C) -> Self {
        Self {
            gate,
            queue,
            codec: Arc::new(codec),
            access: Access::Write,
            refuse: AsError,
            retry_after: RETRY_AFTER,
        }
    }
}

impl<C, A, R> QueueLayer<C, A, R> {
    /// What a request does: an [`Access`] that all do, a function of the request, `http::ByMethod`.
    #[must_use]
    pub fn access<A2>(self, access: A2) -> QueueLayer<C, A2, R> {
        QueueLayer {
            gate: self.gate,
            queue: self.queue,
            codec: self.codec,
            access,
            refuse: self.refuse,
            retry_after: self.retry_after,
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> QueueLayer<C, A, R2> {
        QueueLayer {
            gate: self.gate,
            queue: self.queue,
            codec: self.codec,
            access: self.access,
            refuse,
            retry_after: self.retry_after,
        }
    }

    /// When a refused caller is told to come back. Default 30 s, as a gate.
    #[must_use]
    pub fn retry_after(mut self, after: Period) -> Self {
        self.retry_after = after;
        self
    }
}

impl<C, A: Clone, R: Clone> Clone for QueueLayer<C, A, R> {
    fn clone(&self) -> Self {
        Self {
            gate: self.gate.clone(),
            queue: self.queue.clone(),
            codec: Arc::clone(&self.codec),
            access: self.access.clone(),
            refuse: self.refuse.clone(),
            retry_after: self.retry_after,
        }
    }
}

impl<S, C, A: Clone, R: Clone> Layer<S> for QueueLayer<C, A, R> {
    type Service = QueueService<S, C, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        QueueService {
            inner,
            is_ready: false,
            layer: self.clone(),
        }
    }
}

/// The service of [`QueueLayer`].
pub struct QueueService<S, C, A = Access, R = AsError> {
    inner: S,
    /// Whether the inner service said that it is ready, and was not called since.
    is_ready: bool,
    layer: QueueLayer<C, A, R>,
}

impl<S, Req, C, A, R> Service<Req> for QueueService<S, C, A, R>
where
    S: Service<Req>,
    C: Codec<Req, S::Response, S::Error> + Send + Sync + 'static,
    A: Accesses<Req>,
    R: Refuse<S::Response, S::Error> + Clone + Send + 'static,
    S::Response: 'static,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, S::Response, S::Error, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Where nothing passes neither a refusal nor the queue needs the inner service.
        let kind = self.layer.gate.kind();
        if !kind.serves(Access::Read) && !kind.serves(Access::Write) {
            return Poll::Ready(Ok(()));
        }
        let ready = self.inner.poll_ready(cx);
        self.is_ready = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let layer = &self.layer;
        let kind = layer.gate.kind();
        // Ready only to refuse: had the gate opened meanwhile, the inner service still could not be called.
        let is_ready = std::mem::take(&mut self.is_ready);
        let access = layer.access.access(&request);
        let serves = kind.serves(access);
        let writes = access == Access::Write;
        if serves && is_ready && (!writes || layer.may_pass(&request)) {
            return ResponseFuture {
                state: State::Called(self.inner.call(request)),
                refuse: layer.refuse.clone(),
            };
        }
        // Of a gate that opened since `poll_ready` what waits is no reason not to go behind it.
        let state = if writes && (kind == Kind::Queued || serves) {
            State::Queued(layer.enqueue(request))
        } else {
            State::Refused(Some(layer.gate.refuse(kind, layer.retry_after)))
        };
        ResponseFuture {
            state,
            refuse: layer.refuse.clone(),
        }
    }
}

impl<C, A, R> QueueLayer<C, A, R> {
    /// Whether nothing waits that this write would pass.
    #[inline]
    fn may_pass<Req, Res, Err>(&self, request: &Req) -> bool
    where
        C: Codec<Req, Res, Err>,
    {
        self.queue.is_idle() || !self.queue.must_wait(&self.codec.lane(request))
    }

    #[cold]
    fn enqueue<Req, Res, Err>(&self, request: Req) -> Queueing<Res, Err>
    where
        C: Codec<Req, Res, Err> + Send + Sync + 'static,
        R: Refuse<Res, Err> + Clone + Send + 'static,
        Res: 'static,
        Err: 'static,
    {
        let captured = self.codec.capture(request);
        let (queue, codec) = (self.queue.clone(), Arc::clone(&self.codec));
        let (refuse, after) = (self.refuse.clone(), self.retry_after);
        Box::pin(async move {
            let queued = async { queue.enqueue(captured.await?).await };
            let error = match queued.await {
                Ok(receipt) => return codec.queued(&receipt),
                Err(error) => error,
            };
            let reason = match &error {
                QueueError::Full(_) => Reason::QueueFull,
                QueueError::NoKey | QueueError::Store(_) | QueueError::Sealed(_) => {
                    Reason::Degraded
                }
                _ => return codec.refused(&error),
            };
            refuse.refuse(queue.0.reject(reason, after))
        })
    }
}

impl<S: Clone, C, A: Clone, R: Clone> Clone for QueueService<S, C, A, R> {
    fn clone(&self) -> Self {
        // Not ready: readiness belongs to the clone of the inner service that said so.
        Self {
            inner: self.inner.clone(),
            is_ready: false,
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, C, A, R> fmt::Debug for QueueService<S, C, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueService")
            .field("inner", &self.inner)
            .field("gate", &self.layer.gate)
            .field("queue", &self.layer.queue)
            .finish_non_exhaustive()
    }
}

type Queueing<Res, Err> = Pin<Box<dyn Future<Output = Result<Res, Err>> + Send>>;

/// The future of [`QueueService`].
///
/// # Cancel safety
///
/// Dropping it drops the call. A write that was being queued is there or not there; the same key again tells.
#[pin_project]
pub struct ResponseFuture<F, Res, Err, R> {
    #[pin]
    state: State<F, Res, Err>,
    refuse: R,
}

#[pin_project(project = StateProj)]
enum State<F, Res, Err> {
    Called(#[pin] F),
    Queued(Queueing<Res, Err>),
    Refused(Option<Rejected>),
}

impl<F, Res, Err, R> Future for ResponseFuture<F, Res, Err, R>
where
    F: Future<Output = Result<Res, Err>>,
    R: Refuse<Res, Err>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateProj::Called(future) => future.poll(cx),
            StateProj::Queued(future) => future.as_mut().poll(cx),
            StateProj::Refused(rejected) => match rejected.take() {
                Some(rejected) => Poll::Ready(this.refuse.refuse(rejected)),
                None => Poll::Pending,
            },
        }
    }
}

impl<F, Res, Err, R> fmt::Debug for ResponseFuture<F, Res, Err, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
