use std::num::NonZeroU32;

use super::config::AdaptiveConfig;
use super::machine::Adaptive;
use super::octaves::Octaves;
use super::window::{Tally, Terms};
use super::words::{Cause, Change};
use crate::breaker::Order;
use crate::limit::concurrency::{ConcurrencyConfig, Drive, Moves, Step};
use crate::observe::{self, Name};
use crate::outcome::Outcome;
use crate::rt;
use crate::scope;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::{Tick, nanos};

/// Feeds the machine, and sets the limit that it says.
///
/// A call adds itself to the tally of the window in one step, weighed by the terms that were published when the window
/// began. Only the call that finds the window over takes the lock. The terms are several words, so a call may see some
/// of one window and some of the next; then it is weighed by a baseline that is a window old, or takes the lock for
/// nothing, since the machine looks at its own terms.
pub(crate) struct Driver {
    name: Name,
    tally: AtomicU64,
    peak: AtomicU64,
    step: AtomicU64,
    terms: Published,
    state: Mutex<State>,
}

struct State {
    machine: Adaptive,
    /// Whose pin it is.
    order: Option<Order>,
}

impl Driver {
    pub(crate) fn new(name: Name, config: AdaptiveConfig) -> Self {
        let machine = Adaptive::new(config, rt::now());
        let driver = Self {
            name,
            tally: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            step: AtomicU64::new(0),
            terms: Published::default(),
            state: Mutex::new(State {
                machine,
                order: None,
            }),
        };
        driver.terms.publish(&lock(&driver.state).machine.terms());
        driver
    }

    /// The settings of the seats, as of now.
    pub(crate) fn seating(&self) -> ConcurrencyConfig {
        seating(&lock(&self.state).machine)
    }

    /// Looks at the machine, with the time.
    pub(super) fn look<T>(
        &self,
        seats: &dyn Moves,
        f: impl FnOnce(&Adaptive, Option<&Order>) -> T,
    ) -> T {
        let now = rt::now();
        self.change(seats, |state| state.machine.handle_timeout(now));
        let state = lock(&self.state);
        f(&state.machine, state.order.as_ref())
    }

    pub(crate) fn reload(&self, seats: &dyn Moves, config: AdaptiveConfig) {
        let now = rt::now();
        self.change(seats, |state| state.machine.reload(config, now));
    }

    pub(super) fn pin(&self, seats: &dyn Moves, limit: NonZeroU32, order: Order) {
        let now = rt::now();
        self.change(seats, |state| {
            let change = state.machine.pin(limit, order.until(now), now);
            state.order = Some(order);
            change
        });
    }

    pub(super) fn release(&self, seats: &dyn Moves, order: Order) {
        let now = rt::now();
        self.change(seats, |state| {
            let change = state.machine.release(now);
            state.order = change.map(|_| order);
            change
        });
    }

    /// The window may be over.
    #[cold]
    fn judge(&self, seats: &dyn Moves, now: Tick) {
        self.change(seats, |State { machine, .. }| {
            let terms = machine.terms();
            let tally = Tally::from_bits(self.tally.load(Ordering::Acquire));
            if !terms.is_due(tally, now) {
                return None;
            }
            let tally = Tally::from_bits(self.tally.swap(0, Ordering::AcqRel));
            let peak = self.peak.swap(0, Ordering::AcqRel);
            let peak = u32::try_from(peak).unwrap_or(u32::MAX);
            let change = machine.judge(tally, peak, now);
            self.terms.publish(&machine.terms());
            change
        });
    }

    /// One call of the machine under the lock, and what it says done in the same order; who can be let in now is woken
    /// and the world is told after the lock is gone.
    fn change(&self, seats: &dyn Moves, f: impl FnOnce(&mut State) -> Option<Change>) {
        let (change, order) = {
            let mut state = lock(&self.state);
            let before = seating(&state.machine);
            let change = f(&mut state);
            let ordered = change.filter(|change| {
                let cause = change.cause();
                cause == Cause::Pinned || cause == Cause::Released
            });
            let order = ordered.and(state.order.clone());
            if state.machine.pinned().is_none() {
                state.order = None;
            }
            if change.is_some() {
                self.tally.store(0, Ordering::Release);
                self.peak.store(0, Ordering::Release);
                self.terms.publish(&state.machine.terms());
            }
            let after = seating(&state.machine);
            if after != before {
                seats.set(after);
            }
            let recent = state.machine.recent().map_or(0, nanos);
            let step = recent / u64::from(state.machine.limit().get());
            self.step.store(step, Ordering::Relaxed);
            (change, order)
        };
        if let Some(change) = change {
            seats.pass_on();
            observe::limit_changed(&self.name, &change, order.as_ref());
        }
    }
}

fn seating(machine: &Adaptive) -> ConcurrencyConfig {
    ConcurrencyConfig::new(machine.limit())
        .queue(machine.queue())
        .wait(machine.config().longest_wait())
        .wait_share(machine.patience())
}

impl Drive for Driver {
    fn held_back(&self) {
        let tally = Tally::from_bits(self.tally.load(Ordering::Relaxed));
        if tally.was_held() {
            return;
        }
        let held = self.terms.read().held(tally);
        if held.calls() == tally.calls() {
            self.tally.fetch_or(Tally::HELD.bits(), Ordering::Relaxed);
        } else {
            // Who adds a call just now has ended before, too.
            self.tally.store(held.bits(), Ordering::Relaxed);
        }
    }

    fn ended(&self, seats: &dyn Moves, started: Tick, outcome: Outcome, in_flight: u32) {
        let now = scope::ended();
        let terms = self.terms.read();
        let Some(call) = terms.weigh(started, outcome, now) else {
            return;
        };
        let in_flight = u64::from(in_flight);
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        let mut tally = Tally::from_bits(self.tally.load(Ordering::Relaxed));
        if !tally.is_full() {
            let before = self.tally.fetch_add(call.bits(), Ordering::AcqRel);
            tally = Tally::from_bits(before).plus(call);
        }
        if terms.is_due(tally, now) {
            self.judge(seats, now);
        }
    }

    fn step(&self) -> Step {
        Step(self.step.load(Ordering::Relaxed))
    }
}

/// The terms of the window, for those who do not hold the lock.
#[derive(Default)]
struct Published {
    since: AtomicU64,
    round: AtomicU64,
    whole: AtomicU64,
    longest: AtomicU64,
    /// The others, in 14 bits each.
    rest: AtomicU64,
}

const BITS: u32 = 14;
const FIELD: u64 = (1 << BITS) - 1;

impl Published {
    fn publish(&self, terms: &Terms) {
        let pack = |n: u32| u64::from(n).min(FIELD);
        let rest = pack(terms.baseline.get())
            | pack(terms.crowded.get()) << BITS
            | pack(terms.needed) << (2 * BITS)
            | pack(terms.early) << (3 * BITS)
            | u64::from(terms.measuring) << (4 * BITS)
            | u64::from(terms.firm) << (4 * BITS + 1);
        self.rest.store(rest, Ordering::Relaxed);
        self.round.store(terms.round.as_nanos(), Ordering::Relaxed);
        self.whole.store(terms.whole.as_nanos(), Ordering::Relaxed);
        self.longest
            .store(terms.longest.as_nanos(), Ordering::Relaxed);
        self.since.store(terms.since.as_nanos(), Ordering::Release);
    }

    fn read(&self) -> Terms {
        let tick = |word: &AtomicU64, order| Tick::from_nanos(word.load(order));
        let since = tick(&self.since, Ordering::Acquire);
        let rest = self.rest.load(Ordering::Relaxed);
        let field = |n: u32| u32::try_from(rest >> (n * BITS) & FIELD).unwrap_or(0);
        Terms {
            since,
            baseline: Octaves::new(field(0)),
            crowded: Octaves::new(field(1)),
            needed: field(2),
            early: field(3),
            measuring: rest >> (4 * BITS) & 1 != 0,
            firm: rest >> (4 * BITS + 1) & 1 != 0,
            round: tick(&self.round, Ordering::Relaxed),
            whole: tick(&self.whole, Ordering::Relaxed),
            longest: tick(&self.longest, Ordering::Relaxed),
        }
    }
}
