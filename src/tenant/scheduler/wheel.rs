//! A timer for each waiter: set and taken back in constant time, moved at most once a level.
//!
//! A wheel of 64 places turns once in the time of one place of the next. A timer stands in the lowest wheel in which its
//! time differs from the present one, and moves down as the time comes nearer. Seven and a half wheels reach to the end
//! of a [`Tick`].
//!
//! # Source
//!
//! Varghese, Lauck: "Hashed and hierarchical timing wheels", SOSP 1987.

use crate::tenant::grow::grow;
use crate::time::Tick;

/// A turn of the lowest wheel by one place, about a millisecond.
pub(super) const STEP: u32 = 20;

const BITS: u32 = 6;
const PLACES: usize = 1 << BITS;
const LEVELS: usize = 8;
const NONE: u32 = u32::MAX;
/// Not in the wheel.
const OUT: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    /// When, in steps, of which there are less than 2^44; above that the place.
    when: u64,
    before: u32,
    after: u32,
}

const PLACE: u32 = 48;

const UNSET: Link = Link::new(0, OUT, NONE);

impl Link {
    const fn new(when: u64, place: u16, after: u32) -> Self {
        Self {
            when: when | (place as u64) << PLACE,
            before: NONE,
            after,
        }
    }

    const fn when(&self) -> u64 {
        self.when & ((1 << PLACE) - 1)
    }

    const fn place(&self) -> u16 {
        (self.when >> PLACE) as u16
    }

    const fn take_out(&mut self) {
        self.when |= (OUT as u64) << PLACE;
    }
}

/// Timers of slots: whoever sets one says which.
#[derive(Debug)]
pub(super) struct Wheel {
    links: Vec<Link>,
    heads: Vec<u32>,
    /// A bit for each place of a level that is not empty.
    taken: [u64; LEVELS],
    elapsed: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self {
            links: Vec::new(),
            heads: vec![NONE; PLACES * LEVELS],
            taken: [0; LEVELS],
            elapsed: 0,
        }
    }

    /// Sets the timer of `slot`, which has none. It goes off at the first step that is not before `at`.
    pub(super) fn set(&mut self, slot: u32, at: Tick) {
        let step = 1_u64 << STEP;
        self.place(slot, at.as_nanos().div_ceil(step));
    }

    /// Sets the timer of `slot` such that it has gone off.
    pub(super) fn hurry(&mut self, slot: u32) {
        self.unset(slot);
        self.place(slot, 0);
    }

    fn place(&mut self, slot: u32, when: u64) {
        let when = when.max(self.elapsed);
        let level = level(self.elapsed, when);
        let place = level * PLACES + turn(when, level);
        let head = self.heads.get(place).copied().unwrap_or(NONE);
        let index = slot as usize;
        if self.links.len() <= index {
            let more = index + 1 - self.links.len();
            grow(&mut self.links, more);
            self.links.resize(index + 1, UNSET);
        }
        if let Some(link) = self.links.get_mut(index) {
            *link = Link::new(when, u16::try_from(place).unwrap_or(OUT), head);
        }
        if let Some(next) = self.links.get_mut(head as usize) {
            next.before = slot;
        }
        if let Some(there) = self.heads.get_mut(place) {
            *there = slot;
        }
        self.mark(place, true);
    }

    /// Takes the timer of `slot` back, if it is set.
    pub(super) fn unset(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize) else {
            return;
        };
        let (Link { before, after, .. }, place) = (*link, link.place());
        if place == OUT {
            return;
        }
        link.take_out();
        let place = usize::from(place);
        match self.links.get_mut(before as usize) {
            Some(link) => link.after = after,
            None => {
                if let Some(head) = self.heads.get_mut(place) {
                    *head = after;
                }
                if after == NONE {
                    self.mark(place, false);
                }
            }
        }
        if let Some(link) = self.links.get_mut(after as usize) {
            link.before = before;
        }
    }

    /// A slot whose timer has gone off at `now`, which is set no more.
    pub(super) fn next(&mut self, now: Tick) -> Option<u32> {
        let now = now.as_nanos() >> STEP;
        loop {
            let Some((level, place, start)) = self.first() else {
                self.elapsed = self.elapsed.max(now);
                return None;
            };
            if start > now {
                self.elapsed = self.elapsed.max(now);
                return None;
            }
            self.elapsed = self.elapsed.max(start);
            let head = self.heads.get(place).copied().unwrap_or(NONE);
            if level == 0 {
                self.unset(head);
                return Some(head);
            }
            let mut next = head;
            if let Some(head) = self.heads.get_mut(place) {
                *head = NONE;
            }
            self.mark(place, false);
            while let Some(link) = self.links.get_mut(next as usize) {
                let (slot, when) = (next, link.when());
                next = link.after;
                link.take_out();
                self.place(slot, when);
            }
        }
    }

    /// When to look at the latest.
    pub(super) fn wake(&self) -> Option<Tick> {
        let (_, _, start) = self.first()?;
        Some(Tick::from_nanos(start.saturating_mul(1 << STEP)))
    }

    /// The first place that is not empty: its level, itself, and its time. What stands in a lower level comes first.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.taken.iter().position(|taken| *taken != 0)?;
        let taken = *self.taken.get(level)?;
        let shift = BITS * u32::try_from(level).ok()?;
        let current = turn(self.elapsed, level);
        // Nothing stands behind the present time, so there is no way round.
        let ahead = taken >> current;
        let turn = current + ahead.trailing_zeros() as usize;
        let above = self.elapsed >> shift >> BITS << BITS;
        let start = (above | turn as u64) << shift;
        Some((level, level * PLACES + turn, start))
    }

    fn mark(&mut self, place: usize, is_taken: bool) {
        if let Some(taken) = self.taken.get_mut(place / PLACES) {
            let bit = 1_u64 << (place % PLACES);
            if is_taken {
                *taken |= bit;
            } else {
                *taken &= !bit;
            }
        }
    }
}

const fn level(elapsed: u64, when: u64) -> usize {
    let differs = (elapsed ^ when) | (PLACES as u64 - 1);
    let level = (63 - differs.leading_zeros()) / BITS;
    let level = level as usize;
    if level < LEVELS { level } else { LEVELS - 1 }
}

#[expect(clippy::cast_possible_truncation, reason = "six bits are left of it")]
const fn turn(when: u64, level: usize) -> usize {
    (when >> (level as u32 * BITS)) as usize % PLACES
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small draws")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::rng::Rng;

    /// Timers are what a sorted map says, at every distance, with any that are taken back.
    #[test]
    fn a_timer_goes_off_in_the_step_after_its_time() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut below = |n: u64| rng.next_u64() % n;
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::<u32, u64>::new();
            let mut now = below(1 << 50);
            for slot in 0..600 {
                let reach = 1 << below(if seed % 2 == 0 { 36 } else { 58 });
                match below(4) {
                    0 => now += below(reach),
                    1 => {
                        let which = below(u64::from(slot) + 1) as u32;
                        wheel.unset(which);
                        model.remove(&which);
                    }
                    _ => {
                        let at = now.saturating_sub(1_000) + below(reach);
                        wheel.set(slot, Tick::from_nanos(at));
                        model.insert(slot, at);
                    }
                }
                let tick = Tick::from_nanos(now);
                while let Some(off) = wheel.next(tick) {
                    let at = model.remove(&off).unwrap();
                    assert!(at <= now, "{seed}: early");
                }
                for at in model.values() {
                    assert!(at + (2 << STEP) > now, "{seed}: late");
                    let wake = wheel.wake().unwrap().as_nanos();
                    assert!(wake > now && wake < at + (2 << STEP), "{seed}: asleep");
                }
            }
        }
    }

    #[test]
    fn what_is_hurried_goes_off_at_once() {
        let mut wheel = Wheel::new();
        let now = Tick::from_nanos(77 << STEP);
        assert_eq!(wheel.next(now), None);
        wheel.set(3, Tick::NEVER);
        assert_eq!(wheel.next(now), None);
        wheel.hurry(3);
        assert!(wheel.wake().unwrap() <= now);
        assert_eq!(wheel.next(now), Some(3));
        assert_eq!(wheel.next(now), None);
    }
}
