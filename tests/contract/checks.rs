//! The rules, one function each. `wrap` puts the layer under test around a probe; called twice, it wraps twice with
//! the same layer value.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mainstay::scope::Scope;
use mainstay_test_support::allocations;
use tower::{Service, ServiceExt};

use super::probe::{Fault, Mode, Probe, Req, bell, request};

/// Polls once, with a waker that does nothing.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut cx = Context::from_waker(Waker::noop());
    std::pin::Pin::new(future).poll(&mut cx)
}

/// A call that was made as a service may be: when it is ready.
pub(crate) async fn start<S: Service<Req, Error = Fault>>(service: &mut S) -> S::Future {
    service.ready().await.unwrap().call(request())
}

fn is_ready<S: Service<Req>>(service: &mut S) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(())))
}

fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

/// A layer is not ready before the service below is, wakes whoever waits, and calls nothing that is not ready.
pub(crate) async fn readiness<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let probe = Probe::new(Mode::Answer);
    let mut service = wrap(probe.clone());
    probe.set_ready(false);
    let (bell, waker) = bell();
    let mut cx = Context::from_waker(&waker);
    assert!(service.poll_ready(&mut cx).is_pending());
    assert!(service.poll_ready(&mut cx).is_pending());
    assert_eq!(bell.rung(), 0, "nothing has happened");
    probe.set_ready(true);
    assert_eq!(bell.rung(), 1, "whoever waits is woken");
    assert!(is_ready(&mut service));
    assert!(service.call(request()).await.is_ok());
    assert_eq!((probe.calls(), probe.uninvited()), (1, 0));
}

/// A clone is not ready because its original is.
pub(crate) async fn clones_have_their_own_readiness<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let probe = Probe::new(Mode::Answer);
    let mut original = wrap(probe.clone());
    assert!(is_ready(&mut original));
    let mut copy = original.clone();
    probe.set_ready(false);
    assert!(!is_ready(&mut copy));
    assert!(original.call(request()).await.is_ok(), "it was promised");
    probe.set_ready(true);
    assert!(copy.ready().await.unwrap().call(request()).await.is_ok());
    assert_eq!((probe.calls(), probe.uninvited()), (2, 0));
}

/// What the callee says comes out as it was said.
pub(crate) async fn errors_pass_unchanged<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let probe = Probe::new(Mode::Fail(7));
    let result = wrap(probe).oneshot(request()).await;
    assert_eq!(result.err(), Some(Fault::Callee(7)));
}

/// A call that is dropped, polled or not, leaves nothing behind, and the layer works on.
pub(crate) async fn a_dropped_call_leaves_nothing<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let probe = Probe::new(Mode::Hang);
    let mut service = wrap(probe.clone());
    let (owners, tasks_before) = (probe.owners(), tasks());
    for polls in 0..3 {
        {
            let mut call = pin!(start(&mut service).await);
            for _ in 0..polls {
                assert!(poll(&mut call).is_pending());
            }
        }
        assert_eq!(probe.in_flight(), 0, "after {polls} polls");
        assert_eq!(probe.owners(), owners, "after {polls} polls");
        assert_eq!(tasks(), tasks_before, "after {polls} polls");
    }
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    assert_eq!(probe.calls(), 3, "nothing goes on behind the caller's back");
    probe.set(Mode::Answer);
    assert!(service.oneshot(request()).await.is_ok());
}

/// A panic below passes through, and the layer, its clones and the thread's scope are as before.
pub(crate) async fn a_panic_below_does_no_harm<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    for mode in [Mode::PanicInCall, Mode::PanicInPoll] {
        let probe = Probe::new(mode);
        let mut service = wrap(probe.clone());
        let owners = probe.owners();
        for _ in 0..20 {
            assert!(is_ready(&mut service));
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let mut call = pin!(service.call(request()));
                poll(&mut call).is_ready()
            }));
            assert!(panicked.is_err(), "{mode:?} is not swallowed");
            assert_eq!(Scope::current().deadline(), None);
        }
        assert_eq!((probe.in_flight(), probe.owners()), (0, owners));
        probe.set(Mode::Answer);
        assert!(service.clone().oneshot(request()).await.is_ok());
        assert!(service.oneshot(request()).await.is_ok());
    }
}

/// Polls without a cause change nothing, and the waker of the last poll is the one that is woken.
pub(crate) async fn spurious_polls_do_nothing<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let probe = Probe::new(Mode::Hang);
    let mut service = wrap(probe.clone());
    let mut call = pin!(start(&mut service).await);
    let (first, waker) = bell();
    for _ in 0..100 {
        assert!(
            call.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    let (last, waker) = bell();
    assert!(
        call.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!((probe.calls(), probe.polls()), (1, 101));
    assert_eq!((first.rung(), last.rung()), (0, 0), "nothing has happened");
    probe.release();
    assert_eq!(
        (first.rung(), last.rung()),
        (0, 1),
        "the last waker counts, once"
    );
    assert!(call.await.is_ok());
}

/// Between polls the thread has no scope, whatever a layer entered.
pub(crate) async fn the_scope_ends_with_the_poll<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    let outside = Scope::current();
    let probe = Probe::new(Mode::PendOnce);
    let mut service = wrap(probe);
    let mut call = pin!(start(&mut service).await);
    assert_eq!(Scope::current(), outside, "after call");
    assert!(poll(&mut call).is_pending());
    assert_eq!(Scope::current(), outside, "after a pending poll");
    assert!(poll(&mut call).is_ready());
    assert_eq!(Scope::current(), outside, "after the answer");
}

/// A call that succeeds, at once or after pending, allocates nothing.
pub(crate) async fn success_allocates_nothing<S>(wrap: impl Fn(Probe) -> S)
where
    S: Service<Req, Error = Fault> + Clone,
{
    for (mode, polls) in [(Mode::Answer, 1), (Mode::PendOnce, 2)] {
        let mut service = wrap(Probe::new(mode));
        // What is made once per thread or service does not count.
        assert!(service.ready().await.unwrap().call(request()).await.is_ok());
        let request = request();
        let (allocated, ok) = allocations(|| {
            assert!(is_ready(&mut service));
            let mut call = pin!(service.call(request));
            let polled = (0..polls).map(|_| poll(&mut call)).find(Poll::is_ready);
            matches!(polled, Some(Poll::Ready(Ok(_))))
        });
        assert!(ok);
        assert_eq!(allocated, 0, "{mode:?}");
    }
}
