//! The standard stack: what every call to another service should go through, in the order that works.
//!
//! ```text
//! deadline (total) → retry with a budget → breaker → attempt timeout → transport
//! ```
//!
//! The deadline is outermost, so that nothing outlives it; the retry stands outside the breaker, so that the breaker
//! sees every attempt and its refusal ends the call; the attempt timeout is innermost, so that a hang becomes a failure
//! that the breaker counts and the retry retries.
//!
//! One [`Stack`] is one callee: everything built from it and its clones shares one circuit and one retry budget.

use std::fmt;
use std::sync::Arc;

use crate::breaker::{
    AtHead, BreakerConfig, BreakerHandle, BreakerLayer, BreakerService, HalfOpen,
};
use crate::deadline::{DeadlineLayer, DeadlineService, TimeoutLayer, TimeoutService};
use crate::num::Period;
use crate::observe::Name;
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::retry::{CloneRequest, RetryConfig, RetryHandle, RetryLayer, RetryService};
use tower::ServiceBuilder;

/// The settings of a standard stack, and the circuit and budget that everything built from it shares.
///
/// Settings come before the services: a setter that replaces a policy gives later services a new one.
///
/// | part | default |
/// |---|---|
/// | total deadline | 30 s |
/// | retry | 3 attempts, 50 ms doubling to 20 s, full jitter, budget of 20 % and 10 a second |
/// | breaker | half of at least 20 calls within 10 s; open for 5 s; one probe |
/// | attempt timeout | 10 s |
///
/// # Example
///
/// ```
/// use mainstay::standard::Stack;
/// use tower::{BoxError, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let stack = Stack::standard("stock");
/// let stock = stack.service(service_fn(|item: &'static str| async move {
///     Ok::<_, BoxError>(item.len())
/// }));
/// assert_eq!(stock.oneshot("bolts").await?, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Stack {
    pub(crate) name: Name,
    pub(crate) deadline: Period,
    pub(crate) attempt_timeout: Period,
    pub(crate) retry: RetryLayer,
    pub(crate) breaker: BreakerLayer,
    #[cfg(feature = "http")]
    pub(crate) idempotent: bool,
    #[cfg(feature = "http")]
    pub(crate) replay_bound: usize,
    #[cfg(feature = "http")]
    pub(crate) header: crate::http::DeadlineHeader,
}

/// What [`Stack::service`] makes.
pub type Standard<S> = DeadlineService<
    RetryService<
        BreakerService<TimeoutService<S, AsError>, ByResult, AsError, AtHead>,
        ByResult,
        AsError,
        CloneRequest,
    >,
    AsError,
>;

impl Stack {
    /// The stack for the callee `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn standard(name: impl Into<Arc<str>>) -> Self {
        let name: Name = name.into();
        // Twice the attempt timeout: the timeout decides about a probe before the half-open deadline does.
        let half_open = HalfOpen::new(1, 1).deadline(Period::secs(20));
        let breaker = BreakerConfig::default().half_open(half_open);
        Self {
            deadline: Period::secs(30),
            attempt_timeout: Period::secs(10),
            retry: RetryLayer::new(Arc::clone(&name), RetryConfig::default()),
            breaker: BreakerLayer::new(Arc::clone(&name), breaker),
            #[cfg(feature = "http")]
            idempotent: false,
            #[cfg(feature = "http")]
            replay_bound: 64 * 1024,
            #[cfg(feature = "http")]
            header: crate::http::DeadlineHeader::default(),
            name,
        }
    }

    /// How long a call may take in all, waits and retries included.
    #[must_use]
    pub const fn deadline(mut self, deadline: Period) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long one attempt may take.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Period) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How failed calls are tried again.
    #[must_use]
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = RetryLayer::new(Arc::clone(&self.name), config);
        self
    }

    /// When the callee is left alone.
    #[must_use]
    pub fn breaker(mut self, config: impl Into<BreakerConfig>) -> Self {
        self.breaker = BreakerLayer::new(Arc::clone(&self.name), config);
        self
    }

    /// Vouches that the callee applies every request once, however often it comes: all may be retried.
    ///
    /// Without it an HTTP or gRPC request is retried only if its method is idempotent or it carries an
    /// `idempotency-key` header.
    #[cfg(feature = "http")]
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How many bytes of a request's body are kept to send it again. Defaults to 64 KiB.
    #[cfg(feature = "http")]
    #[must_use]
    pub const fn replay_bound(mut self, bytes: usize) -> Self {
        self.replay_bound = bytes;
        self
    }

    /// In which header HTTP requests carry the time left. gRPC has its own.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn deadline_header(mut self, header: crate::http::DeadlineHeader) -> Self {
        self.header = header;
        self
    }

    /// Puts the stack around any service whose request is `Clone` and whose error can be made from a refusal.
    pub fn service<S: Clone>(&self, inner: S) -> Standard<S> {
        ServiceBuilder::new()
            .layer(DeadlineLayer::new(Arc::clone(&self.name), self.deadline))
            .layer(self.retry.clone())
            .layer(self.breaker.clone())
            .layer(TimeoutLayer::new(
                Arc::clone(&self.name),
                self.attempt_timeout,
            ))
            .service(inner)
    }

    /// Watches the stack from outside.
    #[must_use]
    pub fn handle(&self) -> StackHandle {
        StackHandle {
            breaker: self.breaker.handle(),
            retry: self.retry.handle(),
        }
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("name", &self.name)
            .field("handle", &self.handle())
            .finish()
    }
}

/// Watches a stack from outside.
#[derive(Clone, Debug)]
pub struct StackHandle {
    breaker: BreakerHandle,
    retry: RetryHandle,
}

impl StackHandle {
    /// The circuit.
    #[must_use]
    pub const fn breaker(&self) -> &BreakerHandle {
        &self.breaker
    }

    /// The retry policy.
    #[must_use]
    pub const fn retry(&self) -> &RetryHandle {
        &self.retry
    }
}

#[cfg(feature = "grpc")]
mod grpc {
    use super::{
        Arc, BreakerService, DeadlineLayer, DeadlineService, RetryService, ServiceBuilder, Stack,
        TimeoutLayer, TimeoutService,
    };
    use crate::grpc::{AsResponse, BodyDeadlineLayer, BodyDeadlineService, ByStatus};
    use crate::http::{
        AtEnd, AttemptHeader, CarryService, DeadlineHeader, HonourService, ReplayBody,
        ReplayRequest,
    };

    use tower::Layer;

    type Wrap = fn(ReplayBody<tonic::body::Body>) -> tonic::body::Body;

    /// What [`Stack::grpc`] makes of `S`.
    pub type Grpc<S> = HonourService<
        DeadlineService<
            RetryService<
                BreakerService<
                    BodyDeadlineService<TimeoutService<CarryService<S>, AsResponse>>,
                    ByStatus,
                    AsResponse,
                    AtEnd<ByStatus>,
                >,
                ByStatus,
                AsResponse,
                ReplayRequest<Wrap>,
            >,
            AsResponse,
        >,
    >;

    /// What [`Stack::grpc`] makes of a tonic channel: the transport for a generated client.
    pub type GrpcChannel = Grpc<tonic::transport::Channel>;

    impl Stack {
        /// Puts the stack around a tonic channel, or anything that a generated client takes in its place.
        ///
        /// Each call honours the timeout that the caller set on its request, and carries the time left in
        /// `grpc-timeout`, a retry also the number of attempts before it in `grpc-previous-rpc-attempts`. The deadline covers the whole call, streams included: a stream that is meant to stay open
        /// belongs to a stack with longer times. The breaker judges a call by its trailers; the retry by its head, since
        /// an answer that has begun cannot be taken back.
        pub fn grpc<S: Clone>(&self, channel: S) -> Grpc<S> {
            let replay = ReplayRequest::new(self.replay_bound)
                .all_idempotent(self.idempotent)
                .wrap(tonic::body::Body::new as Wrap);
            let deadline = DeadlineLayer::new(Arc::clone(&self.name), self.deadline);
            let attempt = TimeoutLayer::new(Arc::clone(&self.name), self.attempt_timeout);
            let carry = DeadlineHeader::grpc()
                .carry()
                .attempt(AttemptHeader::grpc());
            let retry = self
                .retry
                .clone()
                .classify(ByStatus)
                .refuse_with(AsResponse);
            let breaker = self
                .breaker
                .clone()
                .classify(ByStatus)
                .refuse_with(AsResponse);
            ServiceBuilder::new()
                .layer(DeadlineHeader::grpc().honour())
                .layer(deadline.refuse_with(AsResponse))
                .layer(retry.replay_with(replay))
                .layer(breaker.until(AtEnd::new(ByStatus)))
                .layer(BodyDeadlineLayer)
                .layer(attempt.refuse_with(AsResponse))
                .service(carry.layer(channel))
        }
    }
}

#[cfg(feature = "grpc")]
pub use grpc::{Grpc, GrpcChannel};
