//! Every interleaving of the paths that touch a circuit's atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};

use loom::thread;

use super::circuit::{Circuit, Kind, Pass};
use super::config::{BreakerConfig, Trip};
use super::words::State;
use crate::error::LayerKind;
use crate::num::{Period, Ratio};
use crate::observe::Rejections;
use crate::outcome::{Failure, Outcome};

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn rejections() -> &'static Rejections {
    Rejections::of(LayerKind::Breaker, &"loom".into())
}

fn circuit(config: impl Into<BreakerConfig>) -> Arc<Circuit> {
    let config: BreakerConfig = config.into();
    let config = config.open_for(Period::secs(3_600));
    Arc::new(Circuit::new(rejections(), config, 0, Kind::OfMany))
}

/// One call from its admission to its end; false if it was refused.
fn call(circuit: &Circuit, outcome: Outcome) -> bool {
    match circuit.admit() {
        Ok(Pass { permit, since }) => {
            circuit.settle(permit, outcome, since);
            true
        }
        Err(_) => false,
    }
}

/// Slices so long that no model runs across their end.
fn rate(min_calls: u32) -> Trip {
    Trip::rate(Ratio::percent(50), min_calls, Period::secs(1_000_000))
}

#[test]
fn loom_successes_counted_beside_the_machine_are_all_handed_over() {
    loom::model(|| {
        let circuit = circuit(rate(100));
        assert!(call(&circuit, Outcome::Success), "claims the place");
        let other = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || assert!(call(&circuit, Outcome::Success)))
        };
        assert!(call(&circuit, Outcome::Success));
        let seen = circuit.look(|tracked| tracked.breaker.failing(crate::rt::now()).calls);
        assert!((2..=3).contains(&seen), "{seen}");
        other.join().unwrap();
        let all = circuit.look(|tracked| tracked.breaker.failing(crate::rt::now()).calls);
        assert_eq!(all, 3);
    });
}

#[test]
fn loom_a_success_and_a_failure_are_both_counted() {
    loom::model(|| {
        let circuit = circuit(rate(100));
        assert!(call(&circuit, Outcome::Success), "claims the place");
        let other = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || assert!(call(&circuit, FAILED)))
        };
        assert!(call(&circuit, Outcome::Success));
        other.join().unwrap();
        let all = circuit.look(|tracked| tracked.breaker.failing(crate::rt::now()));
        assert_eq!((all.calls, all.hits), (3, 1));
    });
}

#[test]
fn loom_nothing_of_one_generation_counts_in_the_next() {
    loom::model(|| {
        let circuit = circuit(rate(1));
        let Pass { permit, since } = circuit.admit().unwrap();
        let other = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(permit, Outcome::Success, since))
        };
        // Opens, unless the success came first: then half of two.
        assert!(call(&circuit, FAILED));
        other.join().unwrap();
        let now = crate::rt::now();
        circuit.with(now, |tracked| ((), tracked.breaker.reset(now)));
        let seen = circuit.look(|tracked| tracked.breaker.failing(now));
        assert_eq!((seen.calls, seen.hits), (0, 0));
        assert!(call(&circuit, Outcome::Success));
        let seen = circuit.look(|tracked| tracked.breaker.failing(now));
        assert_eq!((seen.calls, seen.hits), (1, 0));
    });
}

#[test]
fn loom_failures_in_a_row_open_once_whoever_they_are() {
    loom::model(|| {
        let circuit = circuit(Trip::consecutive(2));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let circuit = Arc::clone(&circuit);
                thread::spawn(move || call(&circuit, FAILED))
            })
            .collect();
        for other in others {
            assert!(
                other.join().unwrap(),
                "both are admitted before two have failed"
            );
        }
        let (state, openings) = circuit.look(|tracked| (tracked.breaker.state(), tracked.openings));
        assert_eq!((state, openings), (State::Open, 1));
        assert!(circuit.admit().is_err());
    });
}

struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn loom_whoever_waits_for_readiness_is_answered_when_the_circuit_opens() {
    loom::model(|| {
        let circuit = circuit(Trip::consecutive(1));
        let other = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || call(&circuit, FAILED))
        };
        // As `poll_ready` does over an inner service that is pending.
        let bell = Arc::new(Bell(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&bell));
        let mut place = None;
        circuit.park(&mut place, &waker);
        let answered = circuit.refusal().is_some();
        other.join().unwrap();
        assert!(answered || bell.0.load(Ordering::SeqCst) == 1, "it hangs");
        circuit.unpark(&mut place);
    });
}

/// A call of one policy ends while the circuit becomes another's.
fn late(outcome: Outcome) {
    loom::model(move || {
        let circuit = circuit(rate(1));
        assert!(call(&circuit, Outcome::Success), "claims the place");
        let Pass { permit, since } = circuit.admit().unwrap();
        let other = {
            let circuit = Arc::clone(&circuit);
            thread::spawn(move || circuit.settle(permit, outcome, since))
        };
        circuit.begin(rejections(), rate(1).into(), 0);
        other.join().unwrap();
        let now = crate::rt::now();
        let (seen, state) = circuit.look(|tracked| {
            let breaker = &mut tracked.breaker;
            (breaker.failing(now), breaker.state())
        });
        assert_eq!((seen.calls, seen.hits, state), (0, 0, State::Closed));
    });
}

#[test]
fn loom_a_call_that_outlives_its_policy_does_not_fail_in_the_next_one() {
    late(FAILED);
}

#[test]
fn loom_a_call_that_outlives_its_policy_does_not_succeed_in_the_next_one() {
    late(Outcome::Success);
}
