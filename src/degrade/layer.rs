use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::{Layer, Service};

use super::gate::{Access, Accesses, Gate, RETRY_AFTER};
use crate::error::Rejected;
use crate::num::Period;
use crate::reject::{AsError, Refuse};

/// Lets through what its capability serves now, and refuses the rest.
///
/// An open gate costs an atomic load in `poll_ready` and one in `call`, and neither lock nor allocation. A closed one is ready and refuses in `call`, also
/// while the inner service is not. To answer something else instead put a [`FallbackLayer`](crate::fallback::FallbackLayer)
/// around it; it belongs outside of limits and retries, since a refusal needs neither. Where writes are to be kept while the
/// capability is [`Queued`](super::Kind::Queued), a `queue::QueueLayer` stands in its place.
///
/// - `A` says what a request does: [`access`](Self::access).
/// - `R` says how a refusal leaves: [`refuse_with`](Self::refuse_with).
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Access, Degrade, GateLayer, Reading};
/// use mainstay::error::{AsRejected, Reason};
/// use mainstay::health::Verdict;
/// use mainstay::presets::erp;
/// use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let degrade = Degrade::new(erp::degradation());
/// // Requests are amounts; zero is a question.
/// let does = |amount: &u64| if *amount == 0 { Access::Read } else { Access::Write };
/// let mut ledger = ServiceBuilder::new()
///     .layer(GateLayer::new(degrade.gate("erp")?).access(does))
///     .service_fn(|amount: u64| async move { Ok::<_, BoxError>(amount) });
/// assert_eq!(ledger.ready().await?.call(100).await?, 100);
///
/// degrade.observe("database_primary", Reading::from(Verdict::Down))?;
/// assert_eq!(ledger.ready().await?.call(0).await?, 0, "the books can be read");
/// let error = ledger.ready().await?.call(100).await.unwrap_err();
/// assert_eq!(error.as_rejected().map(|rejected| rejected.reason()), Some(Reason::Degraded));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GateLayer<A = Access, R = AsError> {
    gate: Gate,
    access: A,
    refuse: R,
    retry_after: Period,
}

impl GateLayer {
    /// The gate of a capability, for requests that need all of it: [`Access::Both`].
    #[must_use]
    pub const fn new(gate: Gate) -> Self {
        Self {
            gate,
            access: Access::Both,
            refuse: AsError,
            retry_after: RETRY_AFTER,
        }
    }
}

impl<A, R> GateLayer<A, R> {
    /// What a request does: an [`Access`] that all do, a function of the request, `http::ByMethod`.
    #[must_use]
    pub fn access<A2>(self, access: A2) -> GateLayer<A2, R> {
        GateLayer {
            gate: self.gate,
            access,
            refuse: self.refuse,
            retry_after: self.retry_after,
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> GateLayer<A, R2> {
        GateLayer {
            gate: self.gate,
            access: self.access,
            refuse,
            retry_after: self.retry_after,
        }
    }

    /// When a refused caller is told to come back. Default 30 s, the least time that a fact stays.
    #[must_use]
    pub fn retry_after(mut self, after: Period) -> Self {
        self.retry_after = after;
        self
    }
}

impl<S, A: Clone, R: Clone> Layer<S> for GateLayer<A, R> {
    type Service = GateService<S, A, R>;

    fn layer(&self, inner: S) -> Self::Service {
        GateService {
            inner,
            is_ready: false,
            layer: self.clone(),
        }
    }
}

/// The service of [`GateLayer`].
pub struct GateService<S, A = Access, R = AsError> {
    inner: S,
    /// Whether the inner service said that it is ready, and was not called since.
    is_ready: bool,
    layer: GateLayer<A, R>,
}

impl<S, Req, A, R> Service<Req> for GateService<S, A, R>
where
    S: Service<Req>,
    A: Accesses<Req>,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Where nothing passes a refusal does not need the inner service. Whoever waits for it while the gate shuts is
        // answered when it is ready, or by the deadline outside.
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
        let kind = self.layer.gate.kind();
        // Ready only to refuse: had the gate opened meanwhile, the inner service still could not be called.
        let is_ready = std::mem::take(&mut self.is_ready);
        let state = if is_ready && kind.serves(self.layer.access.access(&request)) {
            State::Called(self.inner.call(request))
        } else {
            State::Refused(Some(self.layer.gate.refuse(kind, self.layer.retry_after)))
        };
        ResponseFuture {
            state,
            refuse: self.layer.refuse.clone(),
        }
    }
}

impl<S: Clone, A: Clone, R: Clone> Clone for GateService<S, A, R> {
    fn clone(&self) -> Self {
        // Not ready: readiness belongs to the clone of the inner service that said so.
        Self {
            inner: self.inner.clone(),
            is_ready: false,
            layer: self.layer.clone(),
        }
    }
}

impl<S: fmt::Debug, A, R> fmt::Debug for GateService<S, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateService")
            .field("inner", &self.inner)
            .field("gate", &self.layer.gate)
            .finish_non_exhaustive()
    }
}

/// The future of [`GateService`].
///
/// # Cancel safety
///
/// Dropping it drops the call.
#[pin_project]
pub struct ResponseFuture<F, R> {
    #[pin]
    state: State<F>,
    refuse: R,
}

#[pin_project(project = StateProj)]
enum State<F> {
    Called(#[pin] F),
    Refused(Option<Rejected>),
}

impl<F, Res, Err, R> Future for ResponseFuture<F, R>
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
            StateProj::Refused(rejected) => match rejected.take() {
                Some(rejected) => Poll::Ready(this.refuse.refuse(rejected)),
                None => Poll::Pending,
            },
        }
    }
}

impl<F, R> fmt::Debug for ResponseFuture<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
