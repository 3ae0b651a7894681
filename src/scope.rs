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

mod tier;

pub(crate) use tier::Held;
pub use tier::TierName;

/// The deadline, the tier and the attempt number of the call that is being made.
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
    tier: Option<TierName>,
}

/// What the layers of one call know of each other, on the thread that makes or polls it.
struct Ambient {
    scope: Cell<Scope>,
    /// When a layer above read the clock, while its call goes down the stack.
    called: Cell<Tick>,
    /// When a layer within read the clock, since its call ended and until the layers around it have settled with it.
    ended: Cell<Tick>,
    /// Whether a retry layer gave up in vain since the layer around it last looked.
    in_vain: Cell<bool>,
    /// The pools of which the call holds a seat while it is called and polled. No part of the scope: who takes the scope
    /// along to another task does not take the seat along.
    held: Cell<Held>,
}

thread_local! {
    static AMBIENT: Ambient = const {
        Ambient {
            scope: Cell::new(Scope { deadline: Tick::NEVER, attempt: 0, budget: 0, tier: None }),
            called: Cell::new(Tick::NEVER),
            ended: Cell::new(NOBODY_ASKS),
            in_vain: Cell::new(false),
            held: Cell::new(Held::NONE),
        }
    };
}

/// Says to the retry layer around this one that what is below has been retried, or must not be.
pub(crate) fn retried_in_vain() {
    AMBIENT.with(|ambient| ambient.in_vain.set(true));
}

/// No layer that asks for the time of an end is polling what lies below it.
const NOBODY_ASKS: Tick = Tick::NEVER;
/// None within it has read the clock since. The origin of ticks lies in the past of every process.
const NOT_READ: Tick = Tick::ZERO;

/// Around the poll of what lies below a layer, and the settling of its result: [`ended`] is what a layer within has read
/// when its call ended, so that a stack reads the clock once on the way back.
#[inline]
pub(crate) fn ending() -> Ending {
    Ending {
        before: AMBIENT.with(|ambient| ambient.ended.replace(NOT_READ)),
    }
}

/// See [`ending`].
#[must_use]
pub(crate) struct Ending {
    before: Tick,
}

impl Drop for Ending {
    #[inline]
    fn drop(&mut self) {
        // The outermost clears it: what settles later, at the end of a body, has a time of its own. On unwinding too.
        if self.before == NOBODY_ASKS {
            AMBIENT.with(|ambient| ambient.ended.set(NOBODY_ASKS));
        }
    }
}

/// The time for a layer whose call has ended: that which a layer within has read since, else the clock's.
#[inline]
pub(crate) fn ended() -> Tick {
    let ended = |ambient: &Ambient| match ambient.ended.get() {
        NOBODY_ASKS => rt::now(),
        NOT_READ => {
            let now = rt::now();
            ambient.ended.set(now);
            now
        }
        read => read,
    };
    AMBIENT.with(ended)
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

    /// This scope in the tier of service `tier`.
    ///
    /// A [`TenantLayer`](crate::tenant::TenantLayer) below admits the call in this tier, or in that of its tenant where
    /// that is a higher one. So say only what is known from somebody who is trusted.
    #[must_use]
    pub const fn in_tier(mut self, tier: TierName) -> Self {
        self.tier = Some(tier);
        self
    }

    /// The tier of service that the call has, where somebody has said so.
    #[must_use]
    pub const fn tier(self) -> Option<TierName> {
        self.tier
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
    pub fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        let _entered = self.entered();
        f()
    }

    /// This scope until the guard is dropped.
    ///
    /// Layers make and poll what lies below them with the guard beside them, and not in a closure: what a closure returns
    /// is moved once more, and a future of several layers is long.
    #[inline]
    pub(crate) fn entered(self) -> Entered {
        Entered {
            before: AMBIENT.with(|ambient| ambient.scope.replace(self)),
        }
    }

    /// This scope for a call that is made at `now`: the layers below need not read the clock again.
    #[inline]
    pub(crate) fn called(self, now: Tick) -> (Entered, Called) {
        let before = AMBIENT.with(|ambient| ambient.called.replace(now));
        (self.entered(), Called { before })
    }
}

/// See [`Scope::entered`].
#[must_use]
pub(crate) struct Entered {
    before: Scope,
}

/// On unwinding too: a panic below must not leave its deadline to the thread's next call.
impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        AMBIENT.with(|ambient| ambient.scope.set(self.before));
    }
}

/// The pools of which the call that is being made holds a seat.
#[inline]
pub(crate) fn held() -> Held {
    AMBIENT.with(|ambient| ambient.held.get())
}

/// In this scope, holding these seats, until the guard is dropped.
#[inline]
pub(crate) fn within(scope: Scope, held: Held) -> Within {
    AMBIENT.with(|ambient| Within {
        scope: ambient.scope.replace(scope),
        held: ambient.held.replace(held),
    })
}

/// See [`within`].
#[must_use]
pub(crate) struct Within {
    scope: Scope,
    held: Held,
}

impl Drop for Within {
    #[inline]
    fn drop(&mut self) {
        AMBIENT.with(|ambient| {
            ambient.scope.set(self.scope);
            ambient.held.set(self.held);
        });
    }
}

/// See [`Scope::called`].
#[must_use]
pub(crate) struct Called {
    before: Tick,
}

impl Drop for Called {
    #[inline]
    fn drop(&mut self) {
        AMBIENT.with(|ambient| ambient.called.set(self.before));
    }
}

/// Listens for the words of retry layers within, from now to its [`end`](Watch::end).
#[inline]
pub(crate) fn watch_retries() -> Watch {
    // After a panic below a word may be left over: whoever watches next clears it here.
    Watch {
        before: AMBIENT.with(|ambient| ambient.in_vain.replace(false)),
    }
}

/// See [`watch_retries`].
#[must_use]
pub(crate) struct Watch {
    before: bool,
}

impl Watch {
    /// Whether a retry layer within said that it gave up.
    #[inline]
    pub(crate) fn end(self) -> bool {
        AMBIENT.with(|ambient| ambient.in_vain.replace(self.before))
    }
}

/// Lets a service of `Req` be called with a [`Call<Req>`], whose deadline, attempt and tier become the scope. A tier
/// that this process does not know says nothing.
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
        let mut scope = Scope::current()
            .until(call.context().until().unwrap_or(Tick::NEVER))
            .attempt(call.context().attempt_number());
        if let Some(tier) = call.context().tier_name().and_then(TierName::known) {
            scope = scope.in_tier(tier);
        }
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

    #[tokio::test(start_paused = true)]
    async fn what_settles_together_reads_the_clock_once_and_what_settles_later_again() {
        let step = std::time::Duration::from_millis(1);
        let outer = ending();
        let inner = ending();
        let first = ended();
        tokio::time::advance(step).await;
        drop(inner);
        assert_eq!(ended(), first, "as the layer within has read it");
        drop(ending());
        assert_eq!(ended(), first + step, "another poll has another end");
        drop(outer);
        tokio::time::advance(step).await;
        assert_eq!(ended(), rt::now(), "nobody polls");
    }

    #[test]
    fn a_word_about_retries_reaches_the_next_layer_around_and_no_further() {
        let outer = watch_retries();
        let inner = watch_retries();
        retried_in_vain();
        assert!(inner.end());
        assert!(!outer.end());
    }
}
