use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::Sleep;
use tower::{Layer, Service};

use super::timer::{self, Timer};
use crate::error::{LayerKind, Reason, Rejected, TimedOut};
use crate::num::Period;
use crate::observe::{self, Ended, Name, Rejections, Span};
use crate::reject::{AsError, GiveUp, Refuse};
use crate::rt;
use crate::scope::{self, Scope};
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Tick, nanos};

/// Bounds a call as a whole.
///
/// The nearest of this limit and the deadline of the scope holds. A call whose time is over is refused without being
/// started; one that runs out of time is dropped and refused. A service that is not ready is waited for as long as a
/// call may take, and then the call is refused; one that gets ready before leaves the call the rest. It belongs
/// outermost. One value is one limit, which its clones and every service it made share.
/// The timer is made when the inner service is first found pending, a call that is answered at once has none.
#[derive(Clone, Debug)]
pub struct DeadlineLayer<R = AsError> {
    limit: Arc<Limit>,
    refuse: R,
}

/// How long a call or an attempt may take, and what tells when one took longer.
#[derive(Debug)]
struct Limit {
    rejections: &'static Rejections,
    nanos: AtomicU64,
}

impl Limit {
    fn new(name: &Name, limit: Period) -> Arc<Self> {
        Arc::new(Self {
            rejections: Rejections::of(LayerKind::Deadline, name),
            nanos: AtomicU64::new(nanos(limit.get())),
        })
    }

    fn get(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

/// Watches and sets the limit of a [`DeadlineLayer`] or a [`TimeoutLayer`] from outside.
///
/// # Example
///
/// ```
/// use mainstay::deadline::TimeoutLayer;
/// use mainstay::num::Period;
///
/// let layer = TimeoutLayer::new("stock", Period::millis(250));
/// layer.handle().reload(Period::millis(500));
/// assert_eq!(layer.handle().limit(), Period::millis(500));
/// ```
#[derive(Clone, Debug)]
pub struct DeadlineHandle {
    limit: Arc<Limit>,
}

impl DeadlineHandle {
    /// How long a call or an attempt may take.
    #[must_use]
    pub fn limit(&self) -> Period {
        Period::from_nanos(self.limit.nanos.load(Ordering::Relaxed))
    }

    /// Sets how long a call or an attempt may take. What is under way keeps the time that it was given.
    pub fn reload(&self, limit: Period) {
        self.limit
            .nanos
            .store(nanos(limit.get()), Ordering::Relaxed);
    }
}

impl DeadlineLayer {
    /// Every call is over after `limit`. The name is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, limit: Period) -> Self {
        Self {
            limit: Limit::new(&name.into(), limit),
            refuse: AsError,
        }
    }
}

impl<R> DeadlineLayer<R> {
    /// Watches and sets the limit from outside.
    #[must_use]
    pub fn handle(&self) -> DeadlineHandle {
        DeadlineHandle {
            limit: Arc::clone(&self.limit),
        }
    }

    /// How a refusal leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, refuse: R2) -> DeadlineLayer<R2> {
        DeadlineLayer {
            limit: self.limit,
            refuse,
        }
    }
}

impl<S, R: Clone> Layer<S> for DeadlineLayer<R> {
    type Service = DeadlineService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.clone())
    }
}

/// The service of [`DeadlineLayer`].
pub struct DeadlineService<S, R> {
    inner: S,
    layer: DeadlineLayer<R>,
    /// Present from when the inner service is first found not ready until it is, or until the next call.
    wait: Option<Wait>,
    /// The wait that ended with the inner service ready, until the call that it was for.
    waited: Option<Waited>,
}

/// A wait for the inner service to be ready.
struct Wait {
    since: Tick,
    at: Tick,
    sleep: Pin<Box<Unconstrained<Sleep>>>,
}

/// Whoever has not come back so long after the end of a wait has left. The next caller has a time of its own.
const LEFT: Duration = Duration::from_secs(1);

impl Wait {
    fn new(limit: Duration, now: Tick) -> Self {
        let at = now + limit;
        Self {
            since: now,
            at,
            sleep: Box::pin(unconstrained(rt::sleep_until(at))),
        }
    }

    fn is_stale(&self, now: Tick) -> bool {
        now > self.at + LEFT
    }
}

/// A wait that is over.
#[derive(Clone, Copy)]
struct Waited {
    time: Duration,
    over: Tick,
}

impl Waited {
    /// What a call at `now` has spent of its time already.
    fn spent(self, now: Tick) -> Duration {
        if now > self.over + LEFT {
            Duration::ZERO
        } else {
            self.time
        }
    }
}

impl<S, R> DeadlineService<S, R> {
    const fn new(inner: S, layer: DeadlineLayer<R>) -> Self {
        Self {
            inner,
            layer,
            wait: None,
            waited: None,
        }
    }
}

impl<S: Clone, R: Clone> Clone for DeadlineService<S, R> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S: fmt::Debug, R> fmt::Debug for DeadlineService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, Req, R> Service<Req> for DeadlineService<S, R>
where
    S: Service<Req>,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Total<R>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        if let Poll::Ready(result) = self.inner.poll_ready(cx) {
            if let Some(wait) = self.wait.take() {
                let over = rt::now();
                let time = over.since(wait.since);
                self.waited = (!wait.is_stale(over)).then_some(Waited { time, over });
            }
            return Poll::Ready(result);
        }
        let now = rt::now();
        if self.wait.as_ref().is_none_or(|wait| wait.is_stale(now)) {
            self.wait = Some(Wait::new(self.layer.limit.get(), now));
        }
        // Its time over, it is ready to refuse; the wait that is still there tells `call`.
        match self.wait.as_mut().map(|wait| wait.sleep.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Ok(())),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if observe::wants_spans() {
            return self.begin_told(request);
        }
        self.begin(request)
    }
}

impl<S, R: Clone> DeadlineService<S, R> {
    #[inline(always)]
    fn begin<Req>(&mut self, request: Req) -> ResponseFuture<S::Future, Total<R>>
    where
        S: Service<Req>,
    {
        let now = scope::now();
        let waited = self.waited.take();
        let spent = waited.map_or(Duration::ZERO, |waited| waited.spent(now));
        let left = self.layer.limit.get().saturating_sub(spent);
        let scope = Scope::current().until(now + left);
        let in_time = scope.ends() > now && self.wait.take().is_none();
        let end = Total {
            rejections: self.layer.limit.rejections,
            refuse: self.layer.refuse.clone(),
            started: in_time,
        };
        ResponseFuture {
            future: if in_time {
                let _called = scope.called(now);
                Some(self.inner.call(request))
            } else {
                None
            },
            timer: None,
            span: Span::NONE,
            scope,
            end,
        }
    }

    /// Apart, so that a call costs a branch where nobody wants spans.
    #[cold]
    #[inline(never)]
    fn begin_told<Req>(&mut self, request: Req) -> ResponseFuture<S::Future, Total<R>>
    where
        S: Service<Req>,
    {
        let mut span = self.layer.limit.rejections.call();
        let within = span.enter();
        let begun = self.begin(request);
        drop(within);
        ResponseFuture { span, ..begun }
    }
}

/// Bounds one attempt.
///
/// The nearer of this limit and the deadline of the scope holds. An attempt that takes longer is dropped and leaves as
/// [`TimedOut`]: a failure of the callee, not a refusal. It belongs innermost, inside retry and breaker. Of a
/// streaming answer it bounds the head. One value is one limit, which its clones and every service it made share.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<R = AsError> {
    limit: Arc<Limit>,
    give_up: R,
}

impl TimeoutLayer {
    /// An attempt is given up after `limit`. The name is its label in metrics and logs.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, limit: Period) -> Self {
        Self {
            limit: Limit::new(&name.into(), limit),
            give_up: AsError,
        }
    }
}

impl<R> TimeoutLayer<R> {
    /// Watches and sets the limit from outside.
    #[must_use]
    pub fn handle(&self) -> DeadlineHandle {
        DeadlineHandle {
            limit: Arc::clone(&self.limit),
        }
    }

    /// How a timeout leaves. Defaults to [`AsError`].
    #[must_use]
    pub fn refuse_with<R2>(self, give_up: R2) -> TimeoutLayer<R2> {
        TimeoutLayer {
            limit: self.limit,
            give_up,
        }
    }
}

impl<S, R: Clone> Layer<S> for TimeoutLayer<R> {
    type Service = TimeoutService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct TimeoutService<S, R> {
    inner: S,
    layer: TimeoutLayer<R>,
}

impl<S, Req, R> Service<Req> for TimeoutService<S, R>
where
    S: Service<Req>,
    R: GiveUp<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Attempt<R>>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let now = scope::now();
        let scope = Scope::current().until(now + self.layer.limit.get());
        let end = Attempt {
            rejections: self.layer.limit.rejections,
            give_up: self.layer.give_up.clone(),
            began: now,
        };
        // The last expression, so that the future is made in its place: it is long, and to move it costs.
        let _called = scope.called(now);
        ResponseFuture {
            future: Some(self.inner.call(request)),
            timer: None,
            span: Span::NONE,
            scope,
            end,
        }
    }
}

/// What a call ends with when its time is over.
pub trait End<Res, Err> {
    /// Whether there may be a span of the call, which then ends with it. Defaults to no.
    const HAS_SPAN: bool = false;

    /// The result in place of the callee's, whose time was over at `at`.
    ///
    /// # Errors
    ///
    /// That is the point, where it leaves as an error.
    fn end(&self, at: Tick) -> Result<Res, Err>;

    /// Whether `result` says in other words that the time until `at` is over. Defaults to no.
    fn is_expiry(&self, _result: Result<&Res, &Err>, _at: Tick) -> bool {
        false
    }

    /// The refusal in `result`, asked for where there is a span. Defaults to none.
    fn refusal(&self, _result: Result<&Res, &Err>) -> Option<Rejected> {
        None
    }
}

/// The end of a whole call.
#[derive(Debug)]
pub struct Total<R> {
    rejections: &'static Rejections,
    refuse: R,
    started: bool,
}

impl<R: Refuse<Res, Err>, Res, Err> End<Res, Err> for Total<R> {
    const HAS_SPAN: bool = true;

    #[cold]
    fn end(&self, _at: Tick) -> Result<Res, Err> {
        let rejected = Rejected::new(LayerKind::Deadline, Reason::DeadlineExceeded);
        self.rejections.note(&rejected);
        self.refuse.refuse(if self.started {
            rejected.tried()
        } else {
            rejected
        })
    }

    fn refusal(&self, result: Result<&Res, &Err>) -> Option<Rejected> {
        self.refuse.rejection(result)
    }
}

/// The end of one attempt.
#[derive(Debug)]
pub struct Attempt<R> {
    rejections: &'static Rejections,
    give_up: R,
    began: Tick,
}

impl<R: GiveUp<Res, Err>, Res, Err> End<Res, Err> for Attempt<R> {
    #[cold]
    fn end(&self, at: Tick) -> Result<Res, Err> {
        let after = at.since(self.began);
        observe::timed_out(self.rejections.policy(), after);
        self.give_up.give_up(TimedOut::new(after))
    }

    fn is_expiry(&self, result: Result<&Res, &Err>, at: Tick) -> bool {
        self.give_up.is_expiry(result, at)
    }
}

/// The future of [`DeadlineService`] and [`TimeoutService`].
///
/// # Cancel safety
///
/// Dropping it drops the call.
#[pin_project]
pub struct ResponseFuture<F, E> {
    /// `None` once the time is over.
    #[pin]
    future: Option<F>,
    /// Made when the call is pending and no limit within has a timer that will do.
    #[pin]
    timer: Option<Timer>,
    /// Of the call. Closed after what the call does when it is dropped.
    span: Span,
    scope: Scope,
    end: E,
}

impl<F, E, Res, Err> Future for ResponseFuture<F, E>
where
    F: Future<Output = Result<Res, Err>>,
    E: End<Res, Err>,
{
    type Output = Result<Res, Err>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if E::HAS_SPAN && self.span.is_open() {
            let mut polled = Poll::Pending;
            self.poll_within(cx, &mut polled);
            return polled;
        }
        self.poll_call(cx)
    }
}

impl<F, E, Res, Err> ResponseFuture<F, E>
where
    F: Future<Output = Result<Res, Err>>,
    E: End<Res, Err>,
{
    /// Polls the call within its span.
    #[cold]
    #[inline(never)]
    fn poll_within(mut self: Pin<&mut Self>, cx: &mut Context<'_>, told: &mut Poll<F::Output>) {
        let mut span = self.as_mut().project().span.take();
        let within = span.enter();
        let polled = self.as_mut().poll_call(cx);
        match &polled {
            Poll::Pending => {
                drop(within);
                *self.project().span = span;
            }
            Poll::Ready(result) => within.end(|| match self.end.refusal(result.as_ref()) {
                Some(rejected) => Ended::rejected(rejected.reason()),
                None if result.is_err() => Ended::badly("error"),
                None => Ended::well("answered"),
            }),
        }
        *told = polled;
    }

    #[inline(always)]
    fn poll_call(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let scope = *this.scope;
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(this.end.end(scope.ends()));
        };
        timer::listen();
        let entered = scope.entered();
        let polled = future.poll(cx);
        drop(entered);
        if let Poll::Ready(result) = polled {
            let expired = this.end.is_expiry(result.as_ref(), scope.ends());
            return Poll::Ready(if expired {
                this.end.end(scope.ends())
            } else {
                result
            });
        }
        ready!(poll_timer(this.timer, scope.ends(), cx));
        // The layers below see that the deadline has passed and count the drop as a failure of the callee.
        this.future.set(None);
        Poll::Ready(this.end.end(scope.ends()))
    }
}

/// Waits until `at`, with a timer of its own if there is none within.
fn poll_timer(mut timer: Pin<&mut Option<Timer>>, at: Tick, cx: &mut Context<'_>) -> Poll<()> {
    if timer::is_set_within(at, cx) {
        return Poll::Pending;
    }
    if timer.is_none() {
        timer.set(Some(Timer::until(at)));
    }
    match timer.as_pin_mut() {
        Some(timer) => timer.poll(cx),
        None => Poll::Pending,
    }
}

impl<F, E> fmt::Debug for ResponseFuture<F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("at", &self.scope.ends())
            .finish_non_exhaustive()
    }
}
