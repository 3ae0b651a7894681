use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::answer::{AsyncFunction, Function, OtherService, Value};
use super::config::FallbackConfig;
use super::handle::{FallbackHandle, Shared};
use super::keep::{Nothing, Part, Whole};
use super::service::FallbackService;
use crate::outcome::ByResult;
use crate::reject::AsError;
use crate::retry::CloneRequest;

/// The answer of a policy and what its clones share.
pub(super) struct Fallback<A> {
    pub(super) answer: A,
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Policy<K, C, R> {
    pub(super) keep: K,
    pub(super) classify: C,
    pub(super) refuse: R,
}

/// Answers in place of a call that ended in one of the stated outcomes.
///
/// One value is one policy: its clones and every service it made share its answer, its places and its counts. It
/// belongs outside the retry, so that it answers for what the retry gave up, and inside the deadline and the limits,
/// which bound it too. A fallback runs in the [`Scope`](crate::scope::Scope) of its call and is dropped with it; its
/// place is free again however it ends. A fallback that fails, finds no place or comes too late leaves the caller the
/// call's own result: it says what is wrong, and the fallback's own trouble would only hide it.
///
/// - `A` is the answer: [`value`](Self::value), [`function`](Self::function), [`async_function`](Self::async_function)
///   or [`service`](Self::service).
/// - `K` keeps what the answer needs of the request: [`keep`](Self::keep), [`replay_with`](Self::replay_with).
/// - `C` says how a result counts: [`classify`](Self::classify).
/// - `R` recognises a refusal of a layer below: [`refuse_with`](Self::refuse_with).
pub struct FallbackLayer<A, K = Nothing, C = ByResult, R = AsError> {
    fallback: Arc<Fallback<A>>,
    policy: Policy<K, C, R>,
}

impl<V> FallbackLayer<Value<V>> {
    /// Answers with `value`, a clone of it each time. The name is the policy's label in metrics and logs.
    ///
    /// Nothing is kept of the request. A value is always in time and needs no place.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::fallback::{FallbackConfig, FallbackLayer};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let quality = ServiceBuilder::new()
    ///     .layer(FallbackLayer::value("quality", FallbackConfig::default(), "not checked"))
    ///     .service_fn(|_batch: u32| async { Err::<&str, _>(BoxError::from("down")) });
    /// assert_eq!(quality.oneshot(7).await?, "not checked");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn value(name: impl Into<Arc<str>>, config: impl Into<FallbackConfig>, value: V) -> Self {
        Self::of(name.into(), config.into(), Value::new(value))
    }
}

impl<F> FallbackLayer<Function<F>> {
    /// Answers with what `function` returns: at once, or an error if it has no answer.
    ///
    /// It gets what [`keep`](Self::keep) kept of the request, `()` without it, and how the call ended.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::fallback::{FallbackConfig, FallbackLayer, Primary};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt};
    ///
    /// fn cached(rate: &'static str, _: Primary<'_, f64, BoxError>) -> Result<f64, &'static str> {
    ///     if rate == "EUR" { Ok(1.08) } else { Err("not cached") }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let layer = FallbackLayer::function("rates", FallbackConfig::default(), cached);
    /// let rates = ServiceBuilder::new()
    ///     .layer(layer.keep(|rate: &&'static str| *rate))
    ///     .service_fn(|_| async { Err::<f64, _>(BoxError::from("down")) });
    /// assert_eq!(rates.clone().oneshot("EUR").await?, 1.08);
    /// assert_eq!(rates.oneshot("CHF").await.unwrap_err().to_string(), "down");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn function(
        name: impl Into<Arc<str>>,
        config: impl Into<FallbackConfig>,
        function: F,
    ) -> Self {
        Self::of(name.into(), config.into(), Function::new(function))
    }
}

impl<F> FallbackLayer<AsyncFunction<F>> {
    /// Answers with what the future of `function` returns, or an error if it has no answer.
    ///
    /// As [`function`](Self::function), but it may wait. The future cannot hold on to the [`Primary`](super::Primary):
    /// look at it first and let `async move` have what was found.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::fallback::{FallbackConfig, FallbackLayer, Primary};
    /// use mainstay::retry::CloneRequest;
    /// use tokio::sync::mpsc;
    /// use tower::{BoxError, ServiceBuilder, ServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let (queue, mut queued) = mpsc::channel(100);
    /// let later = move |job: u32, _: Primary<'_, &str, BoxError>| {
    ///     let queue = queue.clone();
    ///     async move { queue.send(job).await.map(|()| "queued") }
    /// };
    /// let layer = FallbackLayer::async_function("gpu", FallbackConfig::default(), later);
    /// let gpu = ServiceBuilder::new()
    ///     .layer(layer.replay_with(CloneRequest))
    ///     .service_fn(|_job: u32| async { Err::<&str, _>(BoxError::from("down")) });
    /// assert_eq!(gpu.oneshot(7).await?, "queued");
    /// assert_eq!(queued.recv().await, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn async_function(
        name: impl Into<Arc<str>>,
        config: impl Into<FallbackConfig>,
        function: F,
    ) -> Self {
        Self::of(name.into(), config.into(), AsyncFunction::new(function))
    }
}

impl<S> FallbackLayer<OtherService<S>, Whole<CloneRequest>> {
    /// Answers with what another service says to the same request.
    ///
    /// Its error type may be any. Its answer is classified as the call's was: a failure or a refusal is no answer, and
    /// the caller gets the call's own result. The request is cloned for it, unless [`replay_with`](Self::replay_with)
    /// makes it again in another way. Give the other service a stack of its own.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::fallback::{FallbackConfig, FallbackLayer};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let keywords = service_fn(|query: &'static str| async move { Ok::<_, BoxError>(query.len()) });
    /// let vectors = ServiceBuilder::new()
    ///     .layer(FallbackLayer::service("search", FallbackConfig::default(), keywords))
    ///     .service_fn(|_query: &'static str| async { Err(BoxError::from("down")) });
    /// assert_eq!(vectors.oneshot("bolts").await?, 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn service(
        name: impl Into<Arc<str>>,
        config: impl Into<FallbackConfig>,
        service: S,
    ) -> Self {
        Self::of(name.into(), config.into(), OtherService::new(service))
    }
}

impl<A, K: Default> FallbackLayer<A, K> {
    /// Answers with `answer`, of a type of your own.
    #[must_use]
    pub fn with(name: impl Into<Arc<str>>, config: impl Into<FallbackConfig>, answer: A) -> Self {
        Self::of(name.into(), config.into(), answer)
    }

    fn of(name: Arc<str>, config: FallbackConfig, answer: A) -> Self {
        let shared = Arc::new(Shared::new(name, config));
        Self {
            fallback: Arc::new(Fallback { answer, shared }),
            policy: Policy::default(),
        }
    }
}

impl<A, K, C, R> FallbackLayer<A, K, C, R> {
    /// Keeps what `part` takes out of a request, for a function to answer from. Defaults to nothing.
    ///
    /// It runs for every call, so let it take little: a key, a path, a number.
    #[must_use]
    pub fn keep<F>(self, part: F) -> FallbackLayer<A, Part<F>, C, R> {
        self.keeping(Part::new(part))
    }

    /// Keeps the whole request, as `replay` can make it again. Defaults to [`CloneRequest`] for another service.
    ///
    /// As with a retry, `replay` may know requests that must not be made twice, as `http::ReplayRequest` does of a
    /// `POST`: for those there is no fallback.
    #[must_use]
    pub fn replay_with<P>(self, replay: P) -> FallbackLayer<A, Whole<P>, C, R> {
        self.keeping(Whole::new(replay))
    }

    fn keeping<K2>(self, keep: K2) -> FallbackLayer<A, K2, C, R> {
        let Policy {
            classify, refuse, ..
        } = self.policy;
        FallbackLayer {
            fallback: self.fallback,
            policy: Policy {
                keep,
                classify,
                refuse,
            },
        }
    }

    /// How a result counts. Defaults to [`ByResult`]: every error is a failure.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> FallbackLayer<A, K, C2, R> {
        let Policy { keep, refuse, .. } = self.policy;
        FallbackLayer {
            fallback: self.fallback,
            policy: Policy {
                keep,
                classify,
                refuse,
            },
        }
    }

    /// How a refusal of a layer below is recognised. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> FallbackLayer<A, K, C, R2> {
        let Policy { keep, classify, .. } = self.policy;
        FallbackLayer {
            fallback: self.fallback,
            policy: Policy {
                keep,
                classify,
                refuse,
            },
        }
    }

    /// Watches the policy from outside, and replaces its settings.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        FallbackHandle {
            shared: Arc::clone(&self.fallback.shared),
        }
    }
}

impl<A, K: Clone, C: Clone, R: Clone> Clone for FallbackLayer<A, K, C, R> {
    fn clone(&self) -> Self {
        Self {
            fallback: Arc::clone(&self.fallback),
            policy: self.policy.clone(),
        }
    }
}

impl<A, K, C, R> fmt::Debug for FallbackLayer<A, K, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer")
            .field("handle", &self.handle())
            .finish_non_exhaustive()
    }
}

impl<S, A, K: Clone, C: Clone, R: Clone> Layer<S> for FallbackLayer<A, K, C, R> {
    type Service = FallbackService<S, A, K, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        FallbackService::new(inner, Arc::clone(&self.fallback), self.policy.clone())
    }
}
