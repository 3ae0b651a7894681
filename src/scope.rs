//! The part of a call's context that every layer below may ask for, whatever the request type.
//!
//! A layer that sets a deadline or counts attempts *enters* a scope around each `call` and each `poll` of what lies
//! below it; a layer below reads the current scope when it is called. So a breaker knows the deadline of a call whose
//! request is a plain string, and no layer needs a bound on the request type. The scope does not cross a spawn: a
//! layer that hands calls to another task (such as `tower::buffer`) carries the request there and not the scope, so
//! deadlines stand outside of it.
//!
//! Edges write the scope from outside and read it back: [`CallLayer`] from a [`Call`], the `http` and `grpc` modules
//! from and to headers.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use pin_project::pin_project;
use tower::{Layer, Service};

use crate::context::Call;
use crate::rt;
use crate::time::Tick;

/// The deadline and attempt number of the call that is being made.
///
/// # Example
///
/// ```
/// use mainstay::scope::Scope;
/// use mainstay::time::Tick;
///
/// let outer = Scope::current().until(Tick::from_nanos(900));
/// outer.enter(|| {
///     // A deadline only shortens.
///     let inner = Scope::current().until(Tick::from_nanos(1_000)).attempt(2);
///     inner.enter(|| {
///         assert_eq!(Scope::current().deadline(), Some(Tick::from_nanos(900)));
///         assert_eq!(Scope::current().attempt_number(), 2);
///     });
/// });
/// assert_eq!(Scope::current().deadline(), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    deadline: Tick,
    attempt: u32,
    /// The retry budget that has counted this call, 0 for none: layers that share it count a call once.
    budget: u32,
}

/// What the layers of one call know of each other, on the thread that makes or polls it.
struct Ambient {
    scope: Cell<Scope>,
    /// When a layer above read the clock, while its call goes down the stack.
    called: Cell<Tick>,
    /// Whether a retry layer gave up in vain since the layer around it last looked.
    in_vain: Cell<bool>,
}

thread_local! {
    static AMBIENT: Ambient = const {
        Ambient {
            scope: Cell::new(Scope { deadline: Tick::NEVER, attempt: 0, budget: 0 }),
            called: Cell::new(Tick::NEVER),
            in_vain: Cell::new(false),
        }
    };
}

/// Says to the retry layer around this one that what is below has been retried, or must not be.
pub(crate) fn retried_in_vain() {
    AMBIENT.with(|ambient| ambient.in_vain.set(true));
}

/// The time for a layer that is called: that which a layer above has read in the same call, else the clock's.
#[inline]
pub(crate) fn now() -> Tick {
    match AMBIENT.with(|ambient| ambient.called.get()) {
        Tick::NEVER => rt::now(),
        now => now,
    }
}

impl Scope {
    /// The scope in which the calling code runs; empty outside of every layer.
    #[inline]
    #[must_use]
    pub fn current() -> Self {
        AMBIENT.with(|ambient| ambient.scope.get())
    }

    /// This scope, over at `deadline` at the latest.
    #[must_use]
    pub fn until(mut self, deadline: Tick) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// This scope as attempt number `attempt`, counted from 1.
    #[must_use]
    pub const fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// When the call must be over.
    #[must_use]
    pub fn deadline(self) -> Option<Tick> {
        (self.deadline != Tick::NEVER).then_some(self.deadline)
    }

    /// When the call must be over; [`Tick::NEVER`] if it need not be.
    pub(crate) const fn ends(self) -> Tick {
        self.deadline
    }

    /// Which attempt this is, counted from 1; 0 where nobody counts.
    #[must_use]
    pub const fn attempt_number(self) -> u32 {
        self.attempt
    }

    /// Whether the retry budget of this number has counted the call.
    pub(crate) const fn is_counted_by(self, budget: u32) -> bool {
        self.budget == budget
    }

    /// This scope as one of a call that the retry budget of this number has counted.
    pub(crate) const fn counted_by(mut self, budget: u32) -> Self {
        self.budget = budget;
        self
    }

    /// Runs `f` in this scope.
    #[inline]
    pub fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        AMBIENT.with(|ambient| {
            // Restored on unwinding too: a panic below must not leave its deadline to the thread's next call.
            let _before = Restore(&ambient.scope, ambient.scope.replace(self));
            f()
        })
    }

    /// Makes a call in this scope at `now`: the layers below need not read the clock again.
    #[inline]
    pub(crate) fn call<R>(self, now: Tick, call: impl FnOnce() -> R) -> R {
        AMBIENT.with(|ambient| {
            let _before = Restore(&ambient.called, ambient.called.replace(now));
            self.enter(call)
        })
    }

    /// Polls an attempt in this scope, and says whether a retry layer within it gave up.
    #[inline]
    pub(crate) fn attempt_in<R>(self, poll: impl FnOnce() -> R) -> (R, bool) {
        AMBIENT.with(|ambient| {
            // After a panic below a word may be left over: whoever watches next clears it here.
            let before = ambient.in_vain.replace(false);
            let polled = self.enter(poll);
            (polled, ambient.in_vain.replace(before))
        })
    }
}

/// Puts a value of the layer around back when the work in this one is over.
struct Restore<'a, T: Copy>(&'a Cell<T>, T);

impl<T: Copy> Drop for Restore<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Lets a service of `Req` be called with a [`Call<Req>`], whose deadline and attempt become the scope.
///
/// It belongs outermost. Clones share nothing.
///
/// # Example
///
/// ```
/// use mainstay::context::{Call, Context};
/// use mainstay::scope::{CallLayer, Scope};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower::BoxError> {
/// let service = ServiceBuilder::new()
///     .layer(CallLayer::new())
///     .service_fn(|_: &str| async { Ok::<_, tower::BoxError>(Scope::current().attempt_number()) });
/// let call = Call::new("GET").within(Context::new().attempt(3));
/// assert_eq!(service.oneshot(call).await?, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a unit value names a choice")]
pub struct CallLayer;

impl CallLayer {
    /// The layer; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CallService { inner }
    }
}

/// The service of [`CallLayer`].
#[derive(Clone, Debug)]
pub struct CallService<S> {
    inner: S,
}

impl<S, Req> Service<Call<Req>> for CallService<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scoped<S::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call<Req>) -> Self::Future {
        let scope = Scope::current()
            .until(call.context().until().unwrap_or(Tick::NEVER))
            .attempt(call.context().attempt_number());
        Scoped::new(scope, || self.inner.call(call.into_inner()))
    }
}

/// A future that is polled and dropped in a scope.
#[pin_project(PinnedDrop)]
#[derive(Debug)]
pub struct Scoped<F> {
    #[pin]
    future: Option<F>,
    scope: Scope,
}

impl<F> Scoped<F> {
    /// The future that `make` returns, made, polled and dropped in `scope`.
    pub fn new(scope: Scope, make: impl FnOnce() -> F) -> Self {
        Self {
            future: Some(scope.enter(make)),
            scope,
        }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let scope = *this.scope;
        match this.future.as_pin_mut() {
            Some(future) => scope.enter(|| future.poll(cx)),
            // Only `drop` takes the future out.
            None => Poll::Pending,
        }
    }
}

#[pin_project::pinned_drop]
impl<F> PinnedDrop for Scoped<F> {
    fn drop(self: Pin<&mut Self>) {
        let mut this = self.project();
        this.scope.enter(|| this.future.set(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_below_restores_the_scope() {
        let inner = Scope::current().until(Tick::from_nanos(1));
        std::panic::catch_unwind(|| inner.enter(|| panic!("below"))).unwrap_err();
        assert_eq!(Scope::current().deadline(), None);
    }

    #[test]
    fn a_word_about_retries_reaches_the_next_layer_around_and_no_further() {
        let scope = Scope::current();
        let (inner, outer) = scope.attempt_in(|| scope.attempt_in(retried_in_vain).1);
        assert!(inner);
        assert!(!outer);
    }
}
