//! One limit that many threads share.

use super::config::RateConfig;
use super::line::moment;
use super::machine::{Look, RateLimit, Reservation};
use super::spec::{Shape, Spec};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::Tick;

/// The line has gaps: whoever comes must ask the machine.
const GAPS: u64 = 1;
/// Which of the four slots holds the settings.
const SLOT: u64 = 0b110;
const SLOT_SHIFT: u32 = 1;
const END_SHIFT: u32 = 3;
/// In a slot: permits come in windows.
const WINDOWS: u64 = 1 << 63;

/// The machine under its mutex is the reference semantics. The line's end is in one word beside it, so that a call
/// that takes the last place, or is refused, takes no lock: `end << 3 | slot << 1 | gaps`.
///
/// While the word says that there are gaps, only who holds the mutex changes it. That is also how the machine is
/// asked: the bit is set first, and the line stands still. Settings are written to a slot of their own before the word
/// names it, so a call that read half of the old ones fails to exchange the word, unless four reloads passed meanwhile
/// and led back to the same word; then that call is judged by a mixture, once.
#[derive(Debug)]
pub(super) struct Shared {
    hot: Hot,
    slots: [Slot; 4],
    machine: Mutex<RateLimit>,
}

/// On a line of its own: it changes with every call.
#[derive(Debug)]
#[repr(align(128))]
struct Hot {
    word: AtomicU64,
    /// Calls that were let through at once; on the word's line, so that counting costs no second transfer.
    passed: AtomicU64,
}

#[derive(Debug)]
struct Slot {
    first: AtomicU64,
    second: AtomicU64,
    patience: AtomicU64,
    reach: AtomicU64,
    generation: AtomicU64,
}

impl Slot {
    fn new() -> Self {
        Self {
            first: AtomicU64::new(0),
            second: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            reach: AtomicU64::new(0),
            generation: AtomicU64::new(0),
        }
    }

    fn store(&self, limit: &RateLimit) {
        let (first, second) = match limit.spec.shape {
            Shape::Spaced {
                interval,
                tolerance,
            } => (interval, tolerance),
            Shape::Windows { permits, period } => (permits | WINDOWS, period),
        };
        self.first.store(first, Ordering::Relaxed);
        self.second.store(second, Ordering::Relaxed);
        self.patience.store(limit.spec.patience, Ordering::Relaxed);
        self.reach.store(limit.spec.reach, Ordering::Relaxed);
        self.generation
            .store(limit.line.generation, Ordering::Relaxed);
    }

    #[inline]
    fn load(&self) -> Spec {
        let (first, second) = (
            self.first.load(Ordering::Relaxed),
            self.second.load(Ordering::Relaxed),
        );
        let shape = if first & WINDOWS == 0 {
            Shape::Spaced {
                interval: first,
                tolerance: second,
            }
        } else {
            Shape::Windows {
                permits: first & !WINDOWS,
                // A mixture of two settings must not divide by zero.
                period: second.max(1),
            }
        };
        Spec {
            shape,
            patience: self.patience.load(Ordering::Relaxed),
            reach: self.reach.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    pub(super) fn new(config: RateConfig) -> Self {
        let machine = RateLimit::new(config);
        let slots = [Slot::new(), Slot::new(), Slot::new(), Slot::new()];
        let [first, ..] = &slots;
        first.store(&machine);
        Self {
            hot: Hot {
                word: AtomicU64::new(0),
                passed: AtomicU64::new(0),
            },
            slots,
            machine: Mutex::new(machine),
        }
    }

    /// Takes a place for `n` permits: at once (`None`), or later.
    ///
    /// `left` is asked only if there is a wait. A refusal has the time until the call would be let in.
    #[inline]
    pub(super) fn reserve(
        &self,
        n: u32,
        left: impl Fn() -> u64,
        now: Tick,
    ) -> Result<Option<Reservation>, Option<u64>> {
        let now = moment(now);
        let mut word = self.hot.word.load(Ordering::Acquire);
        while word & GAPS == 0 {
            let slot = self.slot(word);
            let spec = slot.load();
            let place = spec.place(word >> END_SHIFT, n, now);
            let wait = place.at - now;
            if wait > 0 {
                let limit = spec.patience.min(left());
                if wait > limit {
                    if word >> END_SHIFT > spec.farthest(now) {
                        break;
                    }
                    let first = |then| spec.place(word >> END_SHIFT, n, then);
                    return Err(Spec::later(2, first, place.at, limit, now));
                }
            }
            // Read before the exchange, which proves that the slot was not written meanwhile.
            let generation = slot.generation.load(Ordering::Relaxed);
            let next = (place.end << END_SHIFT) | (word & SLOT);
            match self.hot.word.compare_exchange_weak(
                word,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) if wait == 0 => {
                    self.went();
                    return Ok(None);
                }
                Ok(_) => return Ok(Some(Reservation::new(&place, generation, now))),
                Err(other) => word = other,
            }
        }
        self.reserve_behind_the_lock(n, left(), now)
    }

    #[cold]
    fn reserve_behind_the_lock(
        &self,
        n: u32,
        left: u64,
        now: u64,
    ) -> Result<Option<Reservation>, Option<u64>> {
        let (place, generation) = self.with(|limit| {
            let most = limit.spec.patience.min(left);
            let place = limit.line.take(&limit.spec, n, most, now)?;
            Ok::<_, Option<u64>>((place, limit.line.generation))
        })?;
        if place.at == now {
            self.went();
            return Ok(None);
        }
        Ok(Some(Reservation::new(&place, generation, now)))
    }

    /// A call is let through now.
    pub(super) fn went(&self) {
        self.hot.passed.fetch_add(1, Ordering::Relaxed);
    }

    /// Calls that were let through.
    pub(super) fn passed(&self) -> u64 {
        self.hot.passed.load(Ordering::Relaxed)
    }

    /// Gives back a place that was not used.
    pub(super) fn cancel(&self, reservation: Reservation, now: Tick) {
        let word = self.hot.word.load(Ordering::Acquire);
        let last = word & GAPS == 0 && word >> END_SHIFT == reservation.end;
        if last && self.slot(word).generation.load(Ordering::Relaxed) == reservation.generation {
            // What of it is past is no harm: the line begins at the time.
            let next = (reservation.start << END_SHIFT) | (word & SLOT);
            let exchanged =
                self.hot
                    .word
                    .compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed);
            if exchanged.is_ok() {
                return;
            }
        }
        self.with(|limit| limit.cancel(reservation, now));
    }

    pub(super) fn reload(&self, config: RateConfig, now: Tick) {
        self.with(|limit| limit.reload(config, now));
    }

    pub(super) fn config(&self) -> RateConfig {
        lock(&self.machine).config()
    }

    pub(super) fn look(&self, now: Tick) -> Look {
        self.with(|limit| limit.look(now))
    }

    /// Asks the machine. The word says that there are gaps from here to the end, so nobody else changes it.
    fn with<T>(&self, f: impl FnOnce(&mut RateLimit) -> T) -> T {
        let mut machine = lock(&self.machine);
        let word = self.hot.word.fetch_or(GAPS, Ordering::AcqRel);
        machine.line.end = word >> END_SHIFT;
        let before = (machine.spec, machine.line.generation);
        let result = f(&mut machine);
        let mut slot = word & SLOT;
        if before != (machine.spec, machine.line.generation) {
            slot = (slot + (1 << SLOT_SHIFT)) & SLOT;
            self.slot(slot).store(&machine);
        }
        let gaps = if machine.line.has_gaps() { GAPS } else { 0 };
        let next = (machine.line.end << END_SHIFT) | slot | gaps;
        self.hot.word.store(next, Ordering::Release);
        result
    }

    #[inline]
    fn slot(&self, word: u64) -> &Slot {
        let [first, second, third, fourth] = &self.slots;
        match (word & SLOT) >> SLOT_SHIFT {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }
}

#[cfg(all(test, not(mainstay_loom)))]
#[expect(clippy::cast_possible_truncation, reason = "small draws")]
mod tests {
    use super::*;
    use crate::limit::rate::Rate;
    use crate::num::{Period, count};
    use crate::rng::Rng;
    use std::time::Duration;

    /// Alone, the word and the lock do what the machine does.
    #[test]
    fn it_does_what_the_machine_does() {
        let rates = [
            Rate::even(10, Period::secs(1)),
            Rate::burst(7, Period::secs(1)),
            Rate::windows(5, Period::secs(1)),
        ];
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut below = |n: u64| rng.next_u64() % n;
            let mut config = RateConfig::new(rates[(seed % 3) as usize]);
            let (shared, mut machine) = (Shared::new(config), RateLimit::new(config));
            let (mut now, mut held) = (Tick::from_nanos(3_600_000_000_000), Vec::new());
            for _ in 0..300 {
                now = match below(40) {
                    0 => now.back(Duration::from_millis(below(5_000))),
                    _ => now + Duration::from_millis(below(80)),
                };
                match below(20) {
                    0..12 => {
                        let n = u32::try_from(1 + below(3)).unwrap();
                        let left = below(900) * 1_000_000;
                        let ours = shared.reserve(n, || left, now);
                        let theirs =
                            machine.reserve_within(count(n), Duration::from_nanos(left), now);
                        match (ours, theirs) {
                            (Ok(None), Ok(place)) => assert_eq!(place.wait(), Duration::ZERO),
                            (Ok(Some(place)), Ok(same)) => {
                                assert_eq!(place, same);
                                held.push((place, same));
                            }
                            (Err(later), Err(rejected)) => {
                                assert_eq!(later.map(Duration::from_nanos), rejected.hint());
                            }
                            (ours, theirs) => panic!("{seed}: {ours:?} {theirs:?}"),
                        }
                    }
                    12..19 if !held.is_empty() => {
                        let which = below(held.len() as u64) as usize;
                        let (place, same) = held.swap_remove(which);
                        shared.cancel(place, now);
                        machine.cancel(same, now);
                    }
                    19 => {
                        config = RateConfig::new(rates[below(3) as usize])
                            .patience(Period::millis(u32::try_from(1 + below(900)).unwrap()));
                        shared.reload(config, now);
                        machine.reload(config, now);
                    }
                    _ => {}
                }
                assert_eq!(shared.look(now), machine.look(now), "{seed}");
            }
        }
    }
}

#[cfg(all(test, mainstay_loom))]
mod loom_tests {
    use super::*;
    use crate::limit::rate::Rate;
    use crate::num::Period;
    use loom::sync::Arc;
    use loom::thread;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;
    const NOW: Tick = Tick::from_nanos(3_600 * SECOND);

    fn later(secs: u64) -> Tick {
        NOW + Duration::from_secs(secs)
    }

    fn one(shared: &Shared) -> Result<Option<Reservation>, Option<u64>> {
        shared.reserve(1, || u64::MAX, NOW)
    }

    #[test]
    fn loom_one_permit_goes_to_one_of_two() {
        loom::model(|| {
            let shared = Arc::new(Shared::new(Rate::even(1, Period::secs(1)).into()));
            let other = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || one(&shared).is_ok())
            };
            let mine = one(&shared).is_ok();
            assert!(mine ^ other.join().unwrap());
            assert_eq!((shared.passed(), shared.look(NOW).left()), (1, 0));
        });
    }

    /// Whoever cancels while others come and leave: no two hold one place, and what was given back is there.
    #[test]
    fn loom_places_are_given_back_once_and_held_by_one() {
        loom::model(|| {
            let config = RateConfig::new(Rate::even(1, Period::secs(1))).patience(Period::secs(60));
            let shared = Arc::new(Shared::new(config));
            let first = one(&shared).unwrap();
            assert_eq!(first, None);
            let (second, third) = (
                one(&shared).unwrap().unwrap(),
                one(&shared).unwrap().unwrap(),
            );
            let leaves = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.cancel(second, NOW))
            };
            let comes = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || one(&shared).unwrap().unwrap())
            };
            shared.cancel(third, NOW);
            leaves.join().unwrap();
            let place = comes.join().unwrap();
            let mut ends = vec![place.end];
            for _ in 0..2 {
                let place = one(&shared).unwrap().unwrap();
                assert!(!ends.contains(&place.end), "{ends:?} {place:?}");
                ends.push(place.end);
            }
            assert_eq!(shared.look(NOW).left(), -3);
        });
    }

    #[test]
    fn loom_a_reload_forgets_no_permit_that_was_taken_beside_it() {
        loom::model(|| {
            let shared = Arc::new(Shared::new(Rate::burst(4, Period::secs(4)).into()));
            let takes = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    assert_eq!(one(&shared), Ok(None));
                    assert_eq!(one(&shared), Ok(None));
                })
            };
            shared.reload(Rate::windows(9, Period::secs(3)).into(), NOW);
            shared.reload(Rate::burst(9, Period::secs(3)).into(), NOW);
            takes.join().unwrap();
            assert_eq!(shared.look(NOW).left(), 7);
        });
    }

    #[test]
    fn loom_a_cancel_beside_a_reload_gives_back_its_place_or_nothing() {
        loom::model(|| {
            let config = |burst| {
                RateConfig::new(Rate::burst(burst, Period::secs(4))).patience(Period::secs(60))
            };
            let shared = Arc::new(Shared::new(config(2)));
            let _ = (one(&shared), one(&shared));
            let waits = one(&shared).unwrap().unwrap();
            let leaves = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.cancel(waits, NOW))
            };
            shared.reload(config(4), NOW);
            leaves.join().unwrap();
            let left = shared.look(NOW).left();
            assert!(left == 1 || left == 2, "{left}");
            assert_eq!(shared.look(later(9)).left(), 4);
        });
    }
}
