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
