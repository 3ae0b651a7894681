//! Where a circuit lives that calls look at without counting.
//!
//! Counting the owners of a circuit costs a call more than all else that a closed circuit does, and the threads that
//! share the policy contend for the count. So the circuit of a [`BreakerLayer`](super::BreakerLayer) stands in a place
//! that is never freed, and a call under way has a plain reference to it. The layer, its services and handles own the
//! [`Lease`] together. With the last of them the lease ends, and the next layer gets the place.
//!
//! A call that outlives the lease changes nothing: each lease begins generations of its own, and a permit of another
//! generation is void (rule 8 of the machine). Nobody is left who could have asked what became of it.
//!
//! There are as many places as there were leases at one time at most. The circuits of keyed policies come and go by the
//! thousand; they are counted, and freed.

use std::sync::{Mutex, PoisonError};

use super::circuit::{Circuit, Kind};
use super::config::BreakerConfig;
use crate::observe::Rejections;

/// The right to a circuit until it is dropped.
pub(super) struct Lease {
    circuit: &'static Circuit,
    rejections: &'static Rejections,
}

/// Places whose lease has ended.
static FREE: Mutex<Vec<&'static Circuit>> = Mutex::new(Vec::new());

impl Lease {
    /// A closed circuit; `seed` is for the jitter of its waits.
    pub(super) fn new(rejections: &'static Rejections, config: BreakerConfig, seed: u64) -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let circuit = match free {
            Some(circuit) => {
                circuit.begin(rejections, config, seed);
                circuit
            }
            None => Box::leak(Box::new(Circuit::new(
                rejections,
                config,
                seed,
                Kind::Single,
            ))),
        };
        Self {
            circuit,
            rejections,
        }
    }

    /// The circuit, which is this policy's as long as the lease is held.
    pub(super) const fn circuit(&self) -> &'static Circuit {
        self.circuit
    }

    pub(super) const fn rejections(&self) -> &'static Rejections {
        self.rejections
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.circuit.retire();
        // The models of loom begin anew each time, and so must what they look at.
        if cfg!(not(mainstay_loom)) {
            let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(self.circuit);
        }
    }
}

/// An owner of a circuit, for those who watch and command it: of a lease, or of one that is counted.
pub(super) trait Place: Send + Sync {
    fn circuit(&self) -> &Circuit;
    fn rejections(&self) -> &'static Rejections;
}

impl Place for Lease {
    fn circuit(&self) -> &Circuit {
        self.circuit
    }

    fn rejections(&self) -> &'static Rejections {
        self.rejections
    }
}

impl Place for Circuit {
    fn circuit(&self) -> &Circuit {
        self
    }

    fn rejections(&self) -> &'static Rejections {
        self.rejections_now()
    }
}

#[cfg(all(test, not(mainstay_loom)))]
mod tests {
    use super::*;
    use crate::breaker::{State, Trip};
    use crate::error::LayerKind;
    use crate::outcome::{Failure, Outcome};

    fn lease(name: &str) -> Lease {
        let rejections = Rejections::of(LayerKind::Breaker, &name.into());
        Lease::new(rejections, Trip::consecutive(1).into(), 0)
    }

    /// Another lease of the place of `circuit`. Other tests may be quicker: the leases that were not it are kept.
    fn again(circuit: &'static Circuit, others: &mut Vec<Lease>) -> Option<Lease> {
        for _ in 0..100 {
            let next = lease("second");
            if std::ptr::eq(next.circuit(), circuit) {
                return Some(next);
            }
            others.push(next);
        }
        None
    }

    #[test]
    fn a_place_is_let_again_and_its_next_tenant_starts_anew() {
        let first = lease("first");
        let circuit = first.circuit();
        let late = circuit.admit().unwrap();
        let second = circuit.admit().unwrap();
        let failed = Outcome::Failure(Failure::Error);
        circuit.settle(second.permit, failed, second.since);
        assert!(circuit.admit().is_err(), "open");
        drop(first);

        let mut others = Vec::new();
        let Some(next) = again(circuit, &mut others) else {
            return;
        };
        assert_eq!(&**next.rejections().policy(), "second");
        let state = || circuit.look(|tracked| (tracked.breaker.state(), tracked.openings));
        assert_eq!(state(), (State::Closed, 0));
        // A permit of the tenant before is void, however it comes back.
        circuit.settle(late.permit, failed, late.since);
        assert_eq!(state(), (State::Closed, 0));
        assert!(circuit.admit().is_ok());
    }

    #[test]
    fn there_are_as_many_places_as_leases_at_one_time() {
        let places = |leases: &[Lease]| -> Vec<*const Circuit> {
            leases
                .iter()
                .map(|lease| std::ptr::from_ref(lease.circuit()))
                .collect()
        };
        let first: Vec<_> = (0..8).map(|_| lease("many")).collect();
        let known = places(&first);
        drop(first);
        let second: Vec<_> = (0..8).map(|_| lease("many")).collect();
        let again = places(&second);
        // Other tests hold some of them by now, but not all.
        assert!(again.iter().any(|place| known.contains(place)));
    }
}
