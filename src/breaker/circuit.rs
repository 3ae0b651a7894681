//! One circuit, shared by every clone of its layer.
//!
//! The machine under its mutex is the truth. What the success path needs of it is republished after every change in
//! one word, so that a call through a closed circuit takes no lock. Successes that only add to a count over time are
//! counted beside the machine, each thread in a place of its own, and handed over with the next question; a place says
//! for which generation and which slice of time it counts, so nothing is counted twice, lost or misplaced.

use std::sync::{Arc, Weak};
use std::task::Waker;

use super::config::{BreakerConfig, Trip};
use super::handle::Change;
use super::machine::{Breaker, Success};
use super::words::{Permit, State, Transition};
use crate::error::{LayerKind, Reason, Rejected};
use crate::observe::{self, Name, Rejections};
use crate::order::Order;
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

/// What a call gets that is let in.
pub(super) struct Pass {
    pub(super) permit: Permit,
    /// The moment, where it matters how long the call takes; else [`Tick::NEVER`].
    pub(super) since: Tick,
}

/// What listens to the changes of a circuit.
pub(crate) type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// The same, for as long as somebody else keeps it.
pub(super) type Follower = Weak<dyn Fn(&Change) + Send + Sync>;

/// Threads of one policy that count side by side; beyond it they share.
const SHARDS: usize = 16;

/// Whether the policy has one circuit or many, which share its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    OfMany,
}

pub(super) struct Circuit {
    /// `generation << FLAGS | flags`.
    word: AtomicU64,
    /// The length of a slice of time in which successes are counted, in nanoseconds.
    width: AtomicU64,
    /// How long a call may take without being slow, in nanoseconds.
    slow_after: AtomicU64,
    /// Until when an open circuit refuses.
    until: AtomicU64,
    kind: Kind,
    shards: Box<[Shard]>,
    machine: Mutex<Tracked>,
    /// Callers that wait for the inner service: an opening circuit answers them at once.
    parked: Mutex<Parked>,
}

pub(super) struct Tracked {
    pub(super) breaker: Breaker,
    /// Tells of the refusals of the policy that has the circuit.
    rejections: &'static Rejections,
    pub(super) last: Option<Change>,
    pub(super) order: Option<Order>,
    pub(super) openings: u64,
    pub(super) listeners: Vec<Listener>,
    /// Those that listen for as long as somebody else keeps them.
    pub(super) followers: Vec<Follower>,
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
    pub(super) fn new(
        rejections: &'static Rejections,
        config: BreakerConfig,
        seed: u64,
        kind: Kind,
    ) -> Self {
        let shards = match kind {
            Kind::Single => SHARDS,
            Kind::OfMany => 1,
        };
        let breaker = Breaker::seeded(config, Rng::new(seed));
        Self {
            word: AtomicU64::new(word(&breaker)),
            width: AtomicU64::new(width(&breaker)),
            slow_after: AtomicU64::new(slow_after(&breaker)),
            until: AtomicU64::new(0),
            kind,
            shards: (0..shards).map(|_| Shard(AtomicU64::new(0))).collect(),
            machine: Mutex::new(Tracked::new(rejections, breaker)),
            parked: Mutex::new(Parked::default()),
        }
    }

    /// Becomes the closed circuit of another policy. What is told of the one before changes nothing any more.
    pub(super) fn begin(&self, rejections: &'static Rejections, config: BreakerConfig, seed: u64) {
        let mut tracked = lock(&self.machine);
        let generation = tracked.breaker.generation();
        let breaker = Breaker::seeded(config, Rng::new(seed)).after(generation);
        let before = std::mem::replace(&mut *tracked, Tracked::new(rejections, breaker));
        self.publish(&tracked.breaker);
        drop(tracked);
        // Listeners are a user's, and are not dropped under the lock either.
        drop(before);
    }

    /// Lets go of what the policy needed, in wait for the next one.
    pub(super) fn retire(&self) {
        let least = BreakerConfig::new(Trip::consecutive(1));
        self.begin(self.rejections_now(), least, 0);
    }

    pub(super) fn rejections_now(&self) -> &'static Rejections {
        lock(&self.machine).rejections
    }

    /// Lets a call in or refuses it.
    ///
    /// A refusal that a caller gets is to be [noted](Rejections::note).
    #[inline]
    pub(super) fn admit(&self) -> Result<Pass, Rejected> {
        let word = self.word.load(Ordering::Acquire);
        if word & (FREE | TIMED) == FREE {
            return Ok(Pass {
                permit: free(word),
                since: Tick::NEVER,
            });
        }
        self.admit_at(word)
    }

    #[inline(never)]
    fn admit_at(&self, word: u64) -> Result<Pass, Rejected> {
        let since = |now| if word & TIMED != 0 { now } else { Tick::NEVER };
        if word & FREE != 0 {
            return Ok(Pass {
                permit: free(word),
                since: scope::now(),
            });
        }
        let now = rt::now();
        let verdict = self.with(now, |tracked| {
            let admission = tracked.breaker.admit(now);
            (admission.verdict, admission.transition)
        });
        verdict.map(|permit| Pass {
            permit,
            since: since(now),
        })
    }

    /// The refusal of any call that comes now; a ramp decides in `admit`, where each call counts.
    #[inline]
    pub(super) fn refusal(&self) -> Option<Rejected> {
        let word = self.word.load(Ordering::Acquire);
        if word & FREE != 0 {
            return None;
        }
        self.refusal_at(word)
    }

    #[inline(never)]
    fn refusal_at(&self, word: u64) -> Option<Rejected> {
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

    #[inline]
    pub(super) fn settle(&self, permit: Permit, outcome: Outcome, since: Tick) {
        // A success that changes nothing, whichever generation it is of.
        let nothing =
            |word| word & (FREE | MATTERS | COUNTS | TIMED) == FREE && outcome == Outcome::Success;
        if !nothing(self.word.load(Ordering::Acquire)) {
            self.settle_at(permit, outcome, since);
        }
    }

    #[inline(never)]
    fn settle_at(&self, permit: Permit, outcome: Outcome, since: Tick) {
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
        let now = scope::ended();
        let took = now.since(since);
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
        lock(&self.machine).breaker.answered(permit);
    }

    /// Gives a permit back: as a failure of the callee when the call's deadline has passed, else unjudged.
    #[cold]
    pub(super) fn abandon(&self, permit: Permit, deadline: Tick, since: Tick) {
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
            let name = tracked.rejections.policy();
            if tracked.breaker.mode().is_none() {
                tracked.order = None;
            }
            self.publish(&tracked.breaker);
            (result, told.map(|told| (name, told)))
        };
        if let Some((name, (change, listeners))) = told {
            self.tell(name, &change, &listeners);
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

    fn tell(&self, name: &Name, change: &Change, listeners: &[Listener]) {
        match self.kind {
            Kind::Single => {
                observe::transition(name, change);
                self.correct(name, change.transition());
            }
            Kind::OfMany => observe::keyed_transition(name, change),
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
    fn correct(&self, name: &Name, told: &Transition) {
        if told.is_observed() {
            return;
        }
        let mut last = told.to();
        loop {
            let state = lock(&self.machine).breaker.state();
            if state == last {
                return;
            }
            observe::state(name, state);
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

    #[inline]
    pub(super) fn unpark(&self, place: &mut Option<usize>) {
        if place.is_some() {
            self.unpark_from(place);
        }
    }

    #[cold]
    fn unpark_from(&self, place: &mut Option<usize>) {
        if let Some(place) = place.take() {
            let old = lock(&self.parked).free(place);
            drop(old);
        }
    }
}

impl Tracked {
    const fn new(rejections: &'static Rejections, breaker: Breaker) -> Self {
        Self {
            breaker,
            rejections,
            last: None,
            order: None,
            openings: 0,
            listeners: Vec::new(),
            followers: Vec::new(),
        }
    }

    fn note(&mut self, transition: Transition) -> (Change, Vec<Listener>) {
        let change = Change::new(transition, self.order.clone());
        if !transition.is_observed() {
            self.last = Some(change.clone());
            self.openings += u64::from(transition.to() == State::Open);
        }
        let mut listeners = self.listeners.clone();
        self.followers.retain(|each| {
            let listener = each.upgrade();
            let is_there = listener.is_some();
            listeners.extend(listener);
            is_there
        });
        (change, listeners)
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

/// The permit of a call that passes without asking.
const fn free(word: u64) -> Permit {
    Permit {
        generation: word >> FLAGS,
        probe: 0,
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
