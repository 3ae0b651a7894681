//! One circuit, shared by every clone of its layer.
//!
//! The machine under its mutex is the truth. What the success path needs of it is republished after every change in
//! one word, so that a call through a closed circuit takes no lock. Successes that only add to a count over time are
//! counted beside the machine, each thread in a place of its own, and handed over with the next question; a place says
//! for which generation and which slice of time it counts, so nothing is counted twice, lost or misplaced.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::config::BreakerConfig;
use super::handle::{Change, Order};
use super::machine::{Breaker, Success};
use super::words::{Permit, State, Transition};
use crate::error::{LayerKind, Reason, Rejected};
use crate::observe::{self, Name, Rejections};
use crate::outcome::{Failure, Outcome};
use crate::rng::Rng;
use crate::rt;
use crate::scope;
use crate::sync::{AtomicU64, Mutex, Ordering, lock, thread};
use crate::time::{Tick, nanos};

/// Calls pass without asking the machine.
const FREE: u64 = 1;
/// A success changes something that only the machine can tell.
const MATTERS: u64 = 2;
/// A success adds to a count over time.
const COUNTS: u64 = 4;
/// How long a call takes matters.
const TIMED: u64 = 8;
/// Calls are refused until a moment that nothing but the machine moves.
const SHUT: u64 = 16;
const FLAGS: u32 = 5;

/// What listens to the changes of a circuit.
pub(super) type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// Threads of one policy that count side by side; beyond it they share.
const SHARDS: usize = 16;

/// Whether the policy has one circuit or many, which share its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    OfMany,
}

pub(super) struct Circuit {
    rejections: Rejections,
    kind: Kind,
    /// `generation << FLAGS | flags`.
    word: AtomicU64,
    /// The length of a slice of time in which successes are counted, in nanoseconds.
    width: AtomicU64,
    /// How long a call may take without being slow, in nanoseconds.
    slow_after: AtomicU64,
    /// Until when an open circuit refuses.
    until: AtomicU64,
    shards: Box<[Shard]>,
    machine: Mutex<Tracked>,
    /// Callers that wait for the inner service: an opening circuit answers them at once.
    parked: Mutex<Parked>,
}

pub(super) struct Tracked {
    pub(super) breaker: Breaker,
    pub(super) last: Option<Change>,
    pub(super) order: Option<Order>,
    pub(super) openings: u64,
    pub(super) listeners: Vec<Listener>,
}

/// A count that one thread, or few, add to: on cache lines of its own.
#[repr(align(128))]
struct Shard(AtomicU64);

/// A shard's word: sixteen bits of the generation, twenty-four of the slice, twenty-four of the count.
mod shard {
    const COUNT_BITS: u32 = 24;
    const SLICE_BITS: u32 = 24;
    pub(super) const COUNT: u64 = (1 << COUNT_BITS) - 1;
    const SLICE: u64 = (1 << SLICE_BITS) - 1;

    pub(super) const fn tag(generation: u64, slice: u64) -> u64 {
        (generation << (SLICE_BITS + COUNT_BITS)) | ((slice & SLICE) << COUNT_BITS)
    }

    pub(super) const fn is_of(word: u64, generation: u64) -> bool {
        word >> (SLICE_BITS + COUNT_BITS) == generation & 0xffff
    }

    /// Others may have counted in so many slices after the one in which the lock was asked for.
    const AHEAD: u64 = 8;

    /// The slice of a word, the latest of those with its bits that is not, or hardly, after `latest`.
    pub(super) const fn slice(word: u64, latest: u64) -> u64 {
        let low = (word >> COUNT_BITS) & SLICE;
        let ahead = low.wrapping_sub(latest) & SLICE;
        if ahead <= AHEAD {
            return latest.saturating_add(ahead);
        }
        latest.saturating_sub(latest.wrapping_sub(low) & SLICE)
    }
}

impl Circuit {
    /// A closed circuit; `seed` is for the jitter of its waits.
    pub(super) fn new(name: Name, config: BreakerConfig, seed: u64, kind: Kind) -> Self {
        let shards = match kind {
            Kind::Single => SHARDS,
            Kind::OfMany => 1,
        };
        let breaker = Breaker::seeded(config, Rng::new(seed));
        Self {
            rejections: Rejections::new(name),
            word: AtomicU64::new(word(&breaker)),
            width: AtomicU64::new(width(&breaker)),
            slow_after: AtomicU64::new(slow_after(&breaker)),
            until: AtomicU64::new(0),
            kind,
            shards: (0..shards).map(|_| Shard(AtomicU64::new(0))).collect(),
            machine: Mutex::new(Tracked {
                breaker,
                last: None,
                order: None,
                openings: 0,
                listeners: Vec::new(),
            }),
            parked: Mutex::new(Parked::default()),
        }
    }

    pub(super) const fn name(&self) -> &Name {
        self.rejections.policy()
    }

    /// Lets a call in or refuses it; the moment is there where it matters how long the call takes.
    pub(super) fn admit(&self) -> Result<(Permit, Option<Tick>), Rejected> {
        let word = self.word.load(Ordering::Acquire);
        if word & FREE != 0 {
            let permit = Permit {
                generation: word >> FLAGS,
                probe: 0,
            };
            return Ok((permit, (word & TIMED != 0).then(scope::now)));
        }
        let now = rt::now();
        let verdict = self.with(now, |tracked| {
            let admission = tracked.breaker.admit(now);
            (admission.verdict, admission.transition)
        });
        match verdict {
            Ok(permit) => Ok((permit, (word & TIMED != 0).then_some(now))),
            Err(rejected) => {
                self.rejections.note(&rejected);
                Err(rejected)
            }
        }
    }

    /// The refusal of any call that comes now; a ramp decides in `admit`, where each call counts.
    pub(super) fn refusal(&self) -> Option<Rejected> {
        let word = self.word.load(Ordering::Acquire);
        if word & FREE != 0 {
            return None;
        }
        let now = rt::now();
        // An open circuit refuses without its lock, and without waking anybody who waits for it.
        if word & SHUT != 0 {
            let until = Tick::from_nanos(self.until.load(Ordering::Relaxed));
            if now < until {
                let open = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen);
                return Some(open.retry_after(until.since(now)));
            }
        }
        self.with(now, |tracked| {
            let hung = tracked.breaker.handle_timeout(now);
            let refusal = tracked.breaker.refusal(now);
            let refusal = refusal.filter(|refusal| refusal.reason() != Reason::Readmitting);
            (refusal, hung)
        })
    }

    /// Tells of a refusal that a caller gets.
    pub(super) fn refused(&self, rejected: &Rejected) {
        self.rejections.note(rejected);
    }

    pub(super) fn settle(&self, permit: Permit, outcome: Outcome, since: Option<Tick>) {
        let word = self.word.load(Ordering::Acquire);
        if permit.generation != word >> FLAGS {
            return;
        }
        // The result of a call that raced with a failure is taken as having come before it.
        let free = word & FREE != 0;
        if free && !outcome.counts() {
            return;
        }
        let quiet = free && outcome == Outcome::Success && word & MATTERS == 0;
        if quiet && word & (COUNTS | TIMED) == 0 {
            return;
        }
        let now = rt::now();
        let took = since.map_or(Duration::ZERO, |since| now.since(since));
        if quiet && nanos(took) <= self.slow_after.load(Ordering::Relaxed) {
            let counted = word & COUNTS == 0 || self.count(permit.generation, now);
            if counted {
                return;
            }
        }
        self.with(now, |tracked| {
            let transition = tracked.breaker.settle_after(permit, outcome, took, now);
            ((), transition)
        });
        self.claim_shard(now);
    }

    /// Counts a success beside the machine; false if this thread's place counts for another slice or generation.
    fn count(&self, generation: u64, now: Tick) -> bool {
        let width = self.width.load(Ordering::Relaxed).max(1);
        let tag = shard::tag(generation, now.as_nanos() / width);
        let Some(Shard(place)) = self.shard() else {
            return false;
        };
        let mut word = place.load(Ordering::Relaxed);
        // Half of the count's range is room for the threads that share the place.
        while word & !shard::COUNT == tag && word & shard::COUNT < shard::COUNT / 2 {
            match place.compare_exchange_weak(word, word + 1, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Makes this thread's place count for the current slice, if it is empty.
    fn claim_shard(&self, now: Tick) {
        let word = self.word.load(Ordering::Acquire);
        if word & COUNTS == 0 {
            return;
        }
        let width = self.width.load(Ordering::Relaxed).max(1);
        let tag = shard::tag(word >> FLAGS, now.as_nanos() / width);
        if let Some(Shard(place)) = self.shard() {
            let old = place.load(Ordering::Relaxed);
            if old & !shard::COUNT != tag && old & shard::COUNT == 0 {
                // Lost to a thread that shares the place: its word is as good.
                _ = place.compare_exchange(old, tag, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    fn shard(&self) -> Option<&Shard> {
        self.shards.get(thread() % self.shards.len().max(1))
    }

    pub(super) fn answered(&self, permit: &Permit) {
        if permit.probe != 0 {
            lock(&self.machine).breaker.answered(permit);
        }
    }

    /// Gives a permit back: as a failure of the callee when the call's deadline has passed, else unjudged.
    pub(super) fn abandon(&self, permit: Permit, deadline: Tick, since: Option<Tick>) {
        if deadline != Tick::NEVER && rt::now() >= deadline {
            return self.settle(permit, Outcome::Failure(Failure::Timeout), since);
        }
        if permit.probe != 0 {
            let now = rt::now();
            self.with(now, |tracked| {
                tracked.breaker.abandon(permit);
                ((), None)
            });
        }
    }

    /// One look at the machine under the lock, as it is.
    pub(super) fn look<T>(&self, f: impl FnOnce(&mut Tracked) -> T) -> T {
        let now = rt::now();
        self.with(now, |tracked| (f(tracked), None))
    }

    /// One machine call under the lock; what it did is told to the world after the lock is gone.
    pub(super) fn with<T>(
        &self,
        now: Tick,
        f: impl FnOnce(&mut Tracked) -> (T, Option<Transition>),
    ) -> T {
        let (result, told) = {
            let mut tracked = lock(&self.machine);
            self.hand_over(&mut tracked.breaker, now);
            let (result, transition) = f(&mut tracked);
            let told = transition.map(|transition| tracked.note(transition));
            if tracked.breaker.mode().is_none() {
                tracked.order = None;
            }
            self.publish(&tracked.breaker);
            (result, told)
        };
        if let Some((change, listeners)) = told {
            self.tell(&change, &listeners);
        }
        result
    }

    /// What the paths outside of the lock need to know.
    fn publish(&self, breaker: &Breaker) {
        self.width.store(width(breaker), Ordering::Relaxed);
        self.slow_after
            .store(slow_after(breaker), Ordering::Relaxed);
        if let Some(until) = breaker.shut_until() {
            self.until.store(until.as_nanos(), Ordering::Relaxed);
        }
        self.word.store(word(breaker), Ordering::Release);
    }

    fn tell(&self, change: &Change, listeners: &[Listener]) {
        match self.kind {
            Kind::Single => {
                observe::transition(self.name(), change);
                self.correct(change.transition());
            }
            Kind::OfMany => observe::keyed_transition(self.name(), change),
        }
        for listener in listeners {
            listener(change);
        }
        let transition = change.transition();
        if transition.to() == State::Open && !transition.is_observed() {
            self.wake_parked();
        }
    }

    /// Two changes that follow each other closely are told out of the lock, so the earlier one may be told last. Whoever
    /// told of a state that is past says it again, lest the gauge shows it until the next change.
    fn correct(&self, told: &Transition) {
        if told.is_observed() {
            return;
        }
        let mut last = told.to();
        loop {
            let state = lock(&self.machine).breaker.state();
            if state == last {
                return;
            }
            observe::state(self.name(), state);
            last = state;
        }
    }

    /// A command can shut a circuit that is open already: that is no change, and whoever waits must hear of it too.
    pub(super) fn wake_parked(&self) {
        let wakers = lock(&self.parked).take();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives the machine the successes that were counted beside it.
    fn hand_over(&self, breaker: &mut Breaker, now: Tick) {
        let Some(width) = breaker.slice_width() else {
            return;
        };
        let latest = now.as_nanos() / width.max(1);
        for Shard(place) in &self.shards {
            if place.load(Ordering::Relaxed) & shard::COUNT == 0 {
                continue;
            }
            let word = place.fetch_and(!shard::COUNT, Ordering::Acquire);
            if shard::is_of(word, breaker.generation()) {
                let calls = u32::try_from(word & shard::COUNT).unwrap_or(u32::MAX);
                breaker.record_successes(shard::slice(word, latest), calls);
            }
        }
    }

    /// Whether forgetting it loses nothing: closed, without a failure that counts and without a command.
    pub(super) fn is_clean(&self) -> bool {
        let now = rt::now();
        self.look(|tracked| tracked.breaker.is_clean(now))
    }

    /// Wakes the caller when the circuit opens; `place` is where it waits already.
    pub(super) fn park(&self, place: &mut Option<usize>, waker: &Waker) {
        let old = lock(&self.parked).park(place, waker);
        // A waker can be the last that holds a task, and with it a service that waits here: dropped without the lock.
        drop(old);
    }

    pub(super) fn unpark(&self, place: &mut Option<usize>) {
        if let Some(place) = place.take() {
            let old = lock(&self.parked).free(place);
            drop(old);
        }
    }
}

impl Tracked {
    fn note(&mut self, transition: Transition) -> (Change, Vec<Listener>) {
        let change = Change::new(transition, self.order.clone());
        if !transition.is_observed() {
            self.last = Some(change.clone());
            self.openings += u64::from(transition.to() == State::Open);
        }
        (change, self.listeners.clone())
    }
}

/// The wakers of callers, each at a place that it gives back.
#[derive(Default)]
struct Parked {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Parked {
    /// The waker that was there before is to be dropped without the lock.
    fn park(&mut self, place: &mut Option<usize>, waker: &Waker) -> Option<Waker> {
        let at = *place.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        let parked = self.places.get_mut(at)?;
        if parked.as_ref().is_some_and(|old| old.will_wake(waker)) {
            return None;
        }
        parked.replace(waker.clone())
    }

    /// The waker that was there is to be dropped without the lock.
    fn free(&mut self, place: usize) -> Option<Waker> {
        let parked = self.places.get_mut(place)?;
        self.free.push(place);
        parked.take()
    }

    fn take(&mut self) -> Vec<Waker> {
        self.places.iter_mut().filter_map(Option::take).collect()
    }
}

fn word(breaker: &Breaker) -> u64 {
    let flag = |set, flag| if set { flag } else { 0 };
    let success = match breaker.success() {
        Success::Nothing => 0,
        Success::Counts => COUNTS,
        Success::Matters => MATTERS,
    };
    let flags = success
        | flag(breaker.passes_all(), FREE)
        | flag(breaker.slow_after().is_some(), TIMED)
        | flag(breaker.shut_until().is_some(), SHUT);
    breaker.generation() << FLAGS | flags
}

fn width(breaker: &Breaker) -> u64 {
    breaker.slice_width().unwrap_or(1)
}

fn slow_after(breaker: &Breaker) -> u64 {
    breaker.slow_after().map_or(u64::MAX, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::{Mode, Trip};

    #[test]
    fn the_word_says_that_an_open_circuit_refuses_unless_a_command_holds() {
        let mut breaker = Breaker::new(Trip::consecutive(1).into());
        assert_eq!(word(&breaker) & (FREE | SHUT), FREE);
        breaker.open_now(Tick::ZERO);
        assert_eq!(word(&breaker) & (FREE | SHUT), SHUT);
        breaker.force(Mode::ForcedOpen, Tick::NEVER, Tick::ZERO);
        assert_eq!(word(&breaker) & (FREE | SHUT), 0);
    }

    #[test]
    fn a_success_of_the_next_slice_is_not_lost_to_whoever_waited_for_the_lock() {
        let at = |slice, latest| shard::slice(shard::tag(0, slice), latest);
        assert_eq!(at(100, 100), 100);
        assert_eq!(at(97, 100), 97);
        assert_eq!(at(101, 100), 101, "counted after the clock was read here");
        let far = (5 << 24) - 1;
        assert_eq!(at(far, far - 1), far);
        assert_eq!(at(far + 1, far), far + 1, "the bits begin anew");
        assert_eq!(at(far, far + 1), far);
        assert_eq!(at(200, 100), 0, "long past, not far ahead");
    }
}
