//! Random operations on a fallback, held against a naive model.
//!
//! A failure prints its seed and the shrunken operations; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES`
//! makes it longer.

#![expect(clippy::indexing_slicing, reason = "a test panics to fail")]

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use mainstay::error::{AsRejected, LayerKind, Reason, Rejected};
use mainstay::fallback::{Ending, FallbackConfig, FallbackLayer, Outcomes, Primary};
use mainstay::num::count;
use mainstay::outcome::{Failure, Outcome};
use proptest::prelude::*;
use tokio::sync::oneshot;
use tower::{Layer, Service, service_fn};

/// How a call ends, by its number; the set of stated outcomes has the same numbers.
const ENDS: usize = 9;
const REASONS: [Reason; 3] = [Reason::CircuitOpen, Reason::RateLimit, Reason::QueueTimeout];

fn outcome(end: usize) -> (Outcome, Option<Reason>) {
    match end {
        0 => (Outcome::Success, None),
        1 => (Outcome::Ignored, None),
        2 => (Outcome::Overload { retry_after: None }, None),
        3 => (Outcome::Failure(Failure::Error), None),
        4 => (Outcome::Failure(Failure::Timeout), None),
        5 => (Outcome::Failure(Failure::Unavailable), None),
        n => (Outcome::Rejected, Some(REASONS[(n - 6) % 3])),
    }
}

fn outcomes(stated: &BTreeSet<usize>) -> Outcomes {
    let stated = stated.iter().map(|end| outcome(*end));
    stated.fold(Outcomes::NONE, |set, end| match end {
        (Outcome::Overload { .. }, _) => set.overload(),
        (Outcome::Failure(kind), _) => set.failure(kind),
        (Outcome::Rejected, Some(reason)) => set.refusal(reason),
        _ => set,
    })
}

#[derive(Clone, Debug)]
enum Op {
    /// A call that ends so.
    Call(usize),
    /// One of the fallbacks under way has an answer, or none.
    Answer(usize, bool),
    /// The caller of one goes away.
    Drop(usize),
    /// New settings.
    Reload(BTreeSet<usize>, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let stated = || proptest::collection::btree_set(0..ENDS, 0..ENDS);
    prop_oneof![
        6 => (0..ENDS).prop_map(Op::Call),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(which, good)| Op::Answer(which, good)),
        2 => any::<usize>().prop_map(Op::Drop),
        1 => (stated(), 1..5_u32).prop_map(|(stated, places)| Op::Reload(stated, places)),
    ]
}

#[derive(Debug, PartialEq)]
enum Fault {
    Callee(usize),
    Rejected(Rejected),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl AsRejected for Fault {
    fn as_rejected(&self) -> Option<Rejected> {
        match self {
            Self::Rejected(rejected) => Some(*rejected),
            Self::Callee(_) => None,
        }
    }
}

fn fault(end: usize) -> Fault {
    match outcome(end).1 {
        Some(reason) => Fault::Rejected(Rejected::new(LayerKind::Breaker, reason)),
        None => Fault::Callee(end),
    }
}

const STAND_IN: usize = 99;

proptest! {
    #[test]
    fn a_fallback_does_what_the_naive_model_says(
        operations in proptest::collection::vec(op(), 1..120)
    ) {
        // What the model knows.
        let (mut stated, mut places) = (BTreeSet::from([3, 4, 5]), 2);
        let mut under_way = 0_u64;
        let mut counted = [0_u64; 4];
        let endings = [Ending::Abandoned, Ending::Failed, Ending::Full, Ending::Served];

        let config = |stated: &BTreeSet<usize>, places| {
            FallbackConfig::new(outcomes(stated)).max_in_flight(count(places))
        };
        let asked = Arc::new(Mutex::new(Vec::<oneshot::Sender<Result<usize, ()>>>::new()));
        let answer = {
            let asked = Arc::clone(&asked);
            move |(), _: Primary<'_, usize, Fault>| {
                let (sender, receiver) = oneshot::channel();
                asked.lock().unwrap().push(sender);
                async { receiver.await.unwrap_or(Err(())) }
            }
        };
        let layer = FallbackLayer::async_function("props", config(&stated, places), answer)
            .classify(|result: Result<&usize, &Fault>| match result {
                Ok(end) | Err(Fault::Callee(end)) => outcome(*end).0,
                Err(Fault::Rejected(_)) => Outcome::Rejected,
            });
        let handle = layer.handle();
        let mut service = layer.layer(service_fn(|end: usize| async move {
            if end == 0 { Ok(end) } else { Err(fault(end)) }
        }));
        let mut cx = Context::from_waker(Waker::noop());
        let mut calls = Vec::new();

        for operation in operations {
            match operation {
                Op::Call(end) => {
                    let mut call = Box::pin(service.call(end));
                    let polled = call.as_mut().poll(&mut cx);
                    let own = if end == 0 { Ok(end) } else { Err(fault(end)) };
                    if end < 2 || !stated.contains(&end) {
                        prop_assert_eq!(polled, Poll::Ready(own));
                    } else if under_way >= u64::from(places) {
                        counted[2] += 1;
                        prop_assert_eq!(polled, Poll::Ready(own));
                    } else {
                        under_way += 1;
                        prop_assert!(polled.is_pending());
                        let sender = asked.lock().unwrap().pop().unwrap();
                        calls.push((call, sender, end));
                    }
                }
                Op::Answer(which, good) if !calls.is_empty() => {
                    let (mut call, sender, end) = calls.swap_remove(which % calls.len());
                    let sent = sender.send(if good { Ok(STAND_IN) } else { Err(()) });
                    prop_assert!(sent.is_ok());
                    let expected = if good { Ok(STAND_IN) } else { Err(fault(end)) };
                    prop_assert_eq!(Pin::new(&mut call).poll(&mut cx), Poll::Ready(expected));
                    under_way -= 1;
                    counted[if good { 3 } else { 1 }] += 1;
                }
                Op::Drop(which) if !calls.is_empty() => {
                    drop(calls.swap_remove(which % calls.len()));
                    under_way -= 1;
                    counted[0] += 1;
                }
                Op::Reload(new, max) => {
                    handle.reload(config(&new, max));
                    (stated, places) = (new, max);
                    prop_assert_eq!(handle.config(), config(&stated, places));
                }
                Op::Answer(..) | Op::Drop(_) => {}
            }
            prop_assert_eq!(handle.in_flight(), under_way);
            for (ending, counted) in endings.into_iter().zip(counted) {
                prop_assert_eq!(handle.count(ending), counted, "{:?}", ending);
            }
        }
        drop(calls);
        prop_assert_eq!(handle.in_flight(), 0);
        prop_assert!(asked.lock().unwrap().is_empty(), "nothing was asked without a place");
    }

    #[test]
    fn a_set_of_outcomes_is_a_set(stated in proptest::collection::btree_set(0..ENDS, 0..ENDS)) {
        let set = outcomes(&stated);
        for end in 0..ENDS {
            let (outcome, reason) = outcome(end);
            prop_assert_eq!(set.contains(outcome, reason), end > 1 && stated.contains(&end));
        }
        prop_assert_eq!(set.names().count(), stated.iter().filter(|end| **end > 1).count());
    }
}
