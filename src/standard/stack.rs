use std::fmt;
use std::sync::Arc;

use super::config::{StackConfig, patient};
use crate::breaker::{AtHead, BreakerConfig, BreakerHandle, BreakerLayer, BreakerService};
use crate::deadline::{
    DeadlineHandle, DeadlineLayer, DeadlineService, TimeoutLayer, TimeoutService,
};
use crate::health::{Signal, Source};
use crate::limit::adaptive::{AdaptiveConfig, AdaptiveHandle, AdaptiveLayer};
use crate::limit::concurrency::ConcurrencyService;
use crate::num::Period;
use crate::observe::Name;
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::retry::{CloneRequest, RetryConfig, RetryHandle, RetryLayer, RetryService};
use tower::ServiceBuilder;

/// The circuit, the limit and the budget that everything built from a standard stack shares, and its settings.
///
/// Settings come before the services: a setter that replaces a policy gives later services a new one. To change what is
/// in use there is [`StackHandle::reload`].
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
    pub(crate) deadline: DeadlineLayer,
    pub(crate) attempt: TimeoutLayer,
    pub(crate) limit: AdaptiveLayer,
    pub(crate) retry: RetryLayer,
    pub(crate) breaker: BreakerLayer,
    #[cfg(feature = "http")]
    pub(crate) idempotent: bool,
    #[cfg(feature = "http")]
    pub(crate) replay_bound: usize,
    #[cfg(feature = "http")]
    pub(crate) header: crate::http::DeadlineHeader,
}

/// What [`Stack::service`] and [`Stack::service_by`] make.
pub type Standard<S, C = ByResult> = DeadlineService<
    ConcurrencyService<
        RetryService<
            BreakerService<TimeoutService<S, AsError>, C, AsError, AtHead>,
            C,
            AsError,
            CloneRequest,
        >,
        C,
        AsError,
        AtHead,
    >,
    AsError,
>;

impl Stack {
    /// The stack for the callee `name`, which is its label in metrics and logs.
    #[must_use]
    pub fn standard(name: impl Into<Arc<str>>) -> Self {
        Self::with_config(name, StackConfig::new())
    }

    /// The stack for the callee `name` with these settings.
    #[must_use]
    pub fn with_config(name: impl Into<Arc<str>>, config: StackConfig) -> Self {
        let name: Name = name.into();
        let named = || Arc::clone(&name);
        Self {
            deadline: DeadlineLayer::new(named(), config.deadline),
            attempt: TimeoutLayer::new(named(), config.attempt_timeout),
            limit: AdaptiveLayer::new(named(), config.limit),
            retry: RetryLayer::new(named(), config.retry),
            breaker: BreakerLayer::new(named(), config.breaker),
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
    pub fn deadline(mut self, deadline: Period) -> Self {
        self.deadline = DeadlineLayer::new(Arc::clone(&self.name), deadline);
        self
    }

    /// How long one attempt may take.
    ///
    /// A probe of the breaker may take twice as long at least, so its half-open deadline grows with it.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Period) -> Self {
        self.attempt = TimeoutLayer::new(Arc::clone(&self.name), timeout);
        let breaker = self.breaker.handle().config();
        self.breaker(breaker)
    }

    /// How many calls may be under way.
    #[must_use]
    pub fn limit(mut self, config: AdaptiveConfig) -> Self {
        self.limit = AdaptiveLayer::new(Arc::clone(&self.name), config);
        self
    }

    /// How failed calls are tried again.
    #[must_use]
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = RetryLayer::new(Arc::clone(&self.name), config);
        self
    }

    /// When the callee is left alone.
    ///
    /// A half-open deadline of less than twice the attempt timeout counts as that.
    #[must_use]
    pub fn breaker(mut self, config: impl Into<BreakerConfig>) -> Self {
        let config = patient(config.into(), self.attempt.handle().limit());
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

    /// Puts the stack around any service whose request is `Clone` and whose error can be made from a refusal:
    /// `tower::BoxError` can, an error type of your own with what [`AsRejected`](crate::error::AsRejected) shows.
    ///
    /// Every error is a failure of the callee, and **every request that failed is made again**, whatever it does: set
    /// `RetryConfig::new(Attempts::total(1))` where that would be wrong. Services are cloned for each attempt, so a
    /// `BoxService` cannot stand here; a `BoxCloneService` can.
    pub fn service<S: Clone>(&self, inner: S) -> Standard<S> {
        self.service_by(ByResult, inner)
    }

    /// Puts the stack around any service, whose results count as `classify` says.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::outcome::{Failure, Outcome};
    /// use mainstay::standard::Stack;
    /// use tower::{BoxError, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // A refusal of the callee is its right answer to a wrong request.
    /// let by_kind = |result: Result<&u32, &BoxError>| match result {
    ///     Err(error) if error.to_string() == "no such item" => Outcome::Ignored,
    ///     Err(_) => Outcome::Failure(Failure::Error),
    ///     Ok(_) => Outcome::Success,
    /// };
    /// let stack = Stack::standard("stock");
    /// let stock = stack.service_by(by_kind, service_fn(|_: &'static str| async {
    ///     Err::<u32, _>(BoxError::from("no such item"))
    /// }));
    /// assert!(stock.oneshot("bolts").await.is_err());
    /// assert_eq!(stack.handle().retry().retries(), 0);
    /// # }
    /// ```
    pub fn service_by<S: Clone, C: Clone>(&self, classify: C, inner: S) -> Standard<S, C> {
        ServiceBuilder::new()
            .layer(self.deadline.clone())
            .layer(self.limit.clone().classify(classify.clone()))
            .layer(self.retry.clone().classify(classify.clone()))
            .layer(self.breaker.clone().classify(classify))
            .layer(self.attempt.clone())
            .service(inner)
    }

    /// Watches and steers the stack from outside.
    #[must_use]
    pub fn handle(&self) -> StackHandle {
        StackHandle {
            deadline: self.deadline.handle(),
            attempt: self.attempt.handle(),
            limit: self.limit.handle(),
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

/// Watches and steers a stack from outside.
#[derive(Clone, Debug)]
pub struct StackHandle {
    deadline: DeadlineHandle,
    attempt: DeadlineHandle,
    limit: AdaptiveHandle,
    breaker: BreakerHandle,
    retry: RetryHandle,
}

impl StackHandle {
    /// The total deadline.
    #[must_use]
    pub const fn deadline(&self) -> &DeadlineHandle {
        &self.deadline
    }

    /// The attempt timeout.
    #[must_use]
    pub const fn attempt_timeout(&self) -> &DeadlineHandle {
        &self.attempt
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> &AdaptiveHandle {
        &self.limit
    }

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

    /// The settings in use.
    #[must_use]
    pub fn config(&self) -> StackConfig {
        StackConfig {
            deadline: self.deadline.limit(),
            attempt_timeout: self.attempt.limit(),
            limit: self.limit.config(),
            retry: self.retry.config(),
            breaker: self.breaker.config(),
        }
    }

    /// Replaces the settings of every policy, while calls are under way. What each has learned stays, where the new
    /// settings leave its shape.
    pub fn reload(&self, config: StackConfig) {
        self.deadline.reload(config.deadline);
        self.attempt.reload(config.attempt_timeout);
        self.limit.reload(config.limit);
        self.retry.reload(config.retry);
        self.breaker.reload(config.breaker);
    }
}

/// The signals of its circuit and of its limit.
impl Source for StackHandle {
    fn signals(&self) -> Vec<Signal> {
        [self.breaker.signals(), self.limit.signals()].concat()
    }
}

/// Those of its [handle](Stack::handle).
impl Source for Stack {
    fn signals(&self) -> Vec<Signal> {
        self.handle().signals()
    }
}

#[cfg(feature = "grpc")]
mod grpc {
    use super::{
        AtHead, BreakerService, ConcurrencyService, DeadlineService, RetryService, ServiceBuilder,
        Stack, TimeoutService,
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
            ConcurrencyService<
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
                ByStatus,
                AsResponse,
                AtHead,
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
        /// `grpc-timeout`, a retry also the number of attempts before it in `grpc-previous-rpc-attempts`. The deadline
        /// covers the whole call, streams included: a stream that is meant to stay open belongs to a stack with longer
        /// times.
        ///
        /// A gRPC call is a POST, of which nobody knows whether it may be made twice: it is retried only if it carries
        /// an `idempotency-key` in its metadata, or [`Stack::idempotent`] vouches for all calls of this stack.
        ///
        /// The breaker judges a call by its trailers; the retry by its head, since
        /// an answer that has begun cannot be taken back.
        pub fn grpc<S: Clone>(&self, channel: S) -> Grpc<S> {
            let replay = ReplayRequest::new(self.replay_bound)
                .all_idempotent(self.idempotent)
                .wrap(tonic::body::Body::new as Wrap);
            let limit = self.limit.clone().classify(ByStatus);
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
                .layer(self.deadline.clone().refuse_with(AsResponse))
                .layer(limit.refuse_with(AsResponse))
                .layer(retry.replay_with(replay))
                .layer(breaker.until(AtEnd::new(ByStatus)))
                .layer(BodyDeadlineLayer)
                .layer(self.attempt.clone().refuse_with(AsResponse))
                .service(carry.layer(channel))
        }
    }
}

#[cfg(feature = "grpc")]
pub use grpc::{Grpc, GrpcChannel};
