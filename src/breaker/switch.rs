use std::fmt;
use std::sync::{Arc, Weak};

use super::handle::BreakerHandle;
use super::lease::Place;
use super::words::Mode;
use crate::num::Period;
use crate::order::Order;
use crate::rt;
use crate::sync::{Mutex, lock};
use crate::time::Tick;

/// One command for many circuits: an external switch, such as a deployment's or a region's.
///
/// Circuits are put on it by [`BreakerLayer::switched_by`](super::BreakerLayer::switched_by), those of a keyed layer as
/// they come about. A circuit that is put on it while a command holds comes under that command. Clones are the same
/// switch. The latest command holds, whether it came from a switch or from the circuit's own handle.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{BreakerLayer, Mode, Order, State, Switch, Trip};
///
/// let region = Switch::new();
/// let ledger = BreakerLayer::new("ledger", Trip::consecutive(5)).switched_by(&region);
/// let stock = BreakerLayer::new("stock", Trip::consecutive(5)).switched_by(&region);
/// region.force(Mode::ForcedOpen, Order::new("alice", "the region moves"));
/// assert_eq!(ledger.handle().state(), State::Open);
/// assert_eq!(stock.handle().state(), State::Open);
/// ```
#[derive(Clone, Default)]
pub struct Switch {
    state: Arc<Mutex<On>>,
}

#[derive(Default)]
struct On {
    command: Option<(Mode, Order, Tick)>,
    circuits: Vec<Weak<dyn Place>>,
    /// When so many are known, those that are gone are forgotten.
    tidy_at: usize,
}

impl Switch {
    /// A switch without circuits and without a command.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts every circuit under a command.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as a circuit's own handle takes it"
    )]
    pub fn force(&self, mode: Mode, order: Order) {
        let until = order.until(rt::now());
        let circuits = {
            let mut on = lock(&self.state);
            on.command = Some((mode, order.clone(), until));
            on.alive()
        };
        for place in circuits {
            place.circuit().force(mode, order.clone());
        }
    }

    /// Ends the command of every circuit.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "as a circuit's own handle takes it"
    )]
    pub fn release(&self, order: Order) {
        let circuits = {
            let mut on = lock(&self.state);
            on.command = None;
            on.alive()
        };
        for place in circuits {
            BreakerHandle::new(place).release(order.clone());
        }
    }

    /// How many circuits are on it.
    #[must_use]
    pub fn circuits(&self) -> usize {
        lock(&self.state).alive().len()
    }

    pub(super) fn put(&self, place: &Arc<dyn Place>) {
        let command = {
            let mut on = lock(&self.state);
            if on.circuits.len() >= on.tidy_at {
                on.circuits.retain(|circuit| circuit.strong_count() > 0);
                on.tidy_at = on.circuits.len().saturating_mul(2).max(16);
            }
            on.circuits.push(Arc::downgrade(place));
            on.command.clone()
        };
        let now = rt::now();
        if let Some((mode, order, until)) = command
            && until > now
        {
            // What is left of the command's time.
            let left = Period::new("lasting", until.since(now)).ok();
            let order = match left.filter(|_| until != Tick::NEVER) {
                Some(left) => order.lasting(left),
                None => order,
            };
            place.circuit().force(mode, order);
        }
    }
}

impl On {
    fn alive(&self) -> Vec<Arc<dyn Place>> {
        self.circuits.iter().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = lock(&self.state);
        f.debug_struct("Switch")
            .field("command", &on.command)
            .field("circuits", &on.circuits.len())
            .finish()
    }
}
