use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::circuit::Circuit;
use super::config::BreakerConfig;
use super::lease::Place;
use super::machine::Breaker;
use super::words::{Mode, State, Totals, Transition};
use crate::num::Period;
use crate::observe;
use crate::order::Order;
use crate::rt;
use crate::time::Tick;

/// A change of a circuit's state, with the order that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    transition: Transition,
    order: Option<Order>,
}

impl Change {
    pub(super) const fn new(transition: Transition, order: Option<Order>) -> Self {
        Self { transition, order }
    }

    /// What changed, why and when.
    pub const fn transition(&self) -> &Transition {
        &self.transition
    }

    /// On whose order, `None` if the rules decided.
    #[must_use]
    pub const fn order(&self) -> Option<&Order> {
        self.order.as_ref()
    }
}

/// Watches and commands a circuit from outside.
///
/// Clones, and the layer and services they came from, look at the same circuit.
///
/// # Example
///
/// ```
/// use mainstay::breaker::{BreakerLayer, Mode, Order, State, Trip};
///
/// let handle = BreakerLayer::new("ledger", Trip::consecutive(5)).handle();
/// handle.force(Mode::ForcedOpen, Order::new("alice", "maintenance"));
/// assert_eq!(handle.state(), State::Open);
/// handle.reset(Order::new("alice", "done"));
/// assert_eq!(handle.state(), State::Closed);
/// ```
#[derive(Clone)]
pub struct BreakerHandle {
    place: Arc<dyn Place>,
}

impl BreakerHandle {
    pub(super) fn new(place: Arc<dyn Place>) -> Self {
        Self { place }
    }

    pub(super) fn place(&self) -> &Arc<dyn Place> {
        &self.place
    }

    fn circuit(&self) -> &Circuit {
        self.place.circuit()
    }

    /// The name of the policy.
    #[must_use]
    pub fn name(&self) -> &str {
        self.place.rejections().policy()
    }

    /// The state as of the last call. An open circuit whose time is over stays open until somebody calls.
    #[must_use]
    pub fn state(&self) -> State {
        self.circuit().look(|tracked| tracked.breaker.state())
    }

    /// The command that the circuit is under and who gave it; `None` while its rules decide.
    #[must_use]
    pub fn command(&self) -> Option<(Mode, Order)> {
        let now = rt::now();
        self.circuit().with(now, |tracked| {
            let ended = tracked.breaker.handle_timeout(now);
            let mode = tracked.breaker.mode();
            (mode.zip(tracked.order.clone()), ended)
        })
    }

    /// The last change and its cause; `None` while the circuit has never changed.
    #[must_use]
    pub fn last_change(&self) -> Option<Transition> {
        self.change().map(|change| change.transition)
    }

    /// The last change with the order that led to it; `None` while the circuit has never changed.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        self.circuit().look(|tracked| tracked.last.clone())
    }

    /// How often the circuit opened.
    #[must_use]
    pub fn openings(&self) -> u64 {
        self.circuit().look(|tracked| tracked.openings)
    }

    /// Failures that count now, the most that any trip sees.
    #[must_use]
    pub fn failures(&self) -> u32 {
        let now = rt::now();
        self.circuit().look(|tracked| tracked.breaker.failures(now))
    }

    /// What the window of the failure rate holds now; all zero without one.
    #[must_use]
    pub fn failing(&self) -> Totals {
        let now = rt::now();
        self.circuit().look(|tracked| tracked.breaker.failing(now))
    }

    /// What the window of the slow-call rate holds now; all zero without one.
    #[must_use]
    pub fn slowness(&self) -> Totals {
        let now = rt::now();
        self.circuit().look(|tracked| tracked.breaker.slowness(now))
    }

    /// How long an open circuit rejects before it lets a probe through.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let now = rt::now();
        self.circuit()
            .look(|tracked| tracked.breaker.time_left(now))
    }

    /// Probes that are out.
    #[must_use]
    pub fn probes(&self) -> usize {
        self.circuit().look(|tracked| tracked.breaker.probes())
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> BreakerConfig {
        self.circuit().look(|tracked| *tracked.breaker.config())
    }

    /// Replaces the settings. The state stays, and so do the counts of every window whose shape does not change.
    pub fn reload(&self, config: BreakerConfig) {
        self.circuit()
            .look(|tracked| tracked.breaker.reload(config));
    }

    /// Puts the circuit under a command, which replaces the one it is under.
    pub fn force(&self, mode: Mode, order: Order) {
        self.circuit().force(mode, order);
    }

    /// Ends the command that the circuit is under: it follows its rules again.
    pub fn release(&self, order: Order) {
        self.command_with("release", order, |breaker, now| {
            breaker.release_command(now)
        });
    }

    /// Opens the circuit as if it had tripped; it probes as always.
    pub fn open(&self, order: Order) {
        self.command_with("open", order, Breaker::open_now);
    }

    /// Opens the circuit for so long, then it probes as always. One that is open stays so until then.
    pub fn open_for(&self, period: Period, order: Order) {
        self.command_with("open", order, |breaker, now| {
            breaker.open_until(now + period.get(), now)
        });
    }

    /// Opens the circuit until that moment, then it probes as always. One that is open stays so until then.
    pub fn open_until(&self, until: Tick, order: Order) {
        self.command_with("open", order, |breaker, now| breaker.open_until(until, now));
    }

    /// Ends the wait of an open circuit: the next call is a probe.
    pub fn probe_now(&self, order: Order) {
        self.command_with("probe", order, Breaker::probe_now);
    }

    /// Closes the circuit and forgets everything that was counted.
    pub fn reset(&self, order: Order) {
        self.command_with("reset", order, Breaker::reset);
    }

    /// Calls `listener` after every change, and when an observed circuit would have opened.
    ///
    /// It is called by whoever caused the change, under no lock, and may use the handle. It must not block.
    pub fn listen(&self, listener: impl Fn(&Change) + Send + Sync + 'static) {
        self.circuit()
            .look(|tracked| tracked.listeners.push(Arc::new(listener)));
    }

    fn command_with(
        &self,
        what: &'static str,
        order: Order,
        command: impl FnOnce(&mut Breaker, Tick) -> Option<Transition>,
    ) {
        observe::commanded(self.place.rejections().policy(), what, &order);
        let now = rt::now();
        self.circuit().with(now, |tracked| {
            tracked.order = Some(order);
            ((), command(&mut tracked.breaker, now))
        });
        self.circuit().wake_parked();
    }
}

impl Circuit {
    pub(super) fn force(&self, mode: Mode, order: Order) {
        observe::commanded(self.rejections_now().policy(), mode.as_str(), &order);
        let now = rt::now();
        self.with(now, |tracked| {
            let until = order.until(now);
            tracked.order = Some(order);
            ((), tracked.breaker.force(mode, until, now))
        });
        self.wake_parked();
    }
}

impl fmt::Debug for BreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .field("command", &self.command())
            .field("last_change", &self.last_change())
            .finish()
    }
}
