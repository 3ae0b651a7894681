//! The tenants that a pool knows, each with the word that its calls are counted in.
//!
//! 1. A tenant has a slot for each tier that it comes in. A slot is found by name under the lock of its shard, and by its
//!    number without any.
//! 2. At most so many slots are kept. One is given to another tenant only when nothing of its own is under way or waits;
//!    its generation moves on then, so that whoever still has its number notices.
//! 3. A tenant for whom there is no room shares one slot with the others of its tier that found none, as do all whose
//!    name is not known: together they are one tenant.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::identity::TenantKey;
use super::tier::{TierId, Tiers};
use crate::rt;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

const BITS: u32 = 14;
const FIELD: u64 = (1 << BITS) - 1;
/// Calls under way.
const CALL: u64 = 1;
/// Calls that wait.
const WAITER: u64 = 1 << BITS;
const GENERATION: u32 = 2 * BITS;
const GENERATIONS: u64 = (1 << 16) - 1;
/// Calls that were admitted: above everything else, so that it may overflow.
const ADMITTED: u32 = GENERATION + 16;
const ONE_ADMITTED: u64 = 1 << ADMITTED;

/// The count of one tenant in one tier, on a cache line of its own.
#[repr(align(64))]
pub(super) struct Slot {
    word: AtomicU64,
    /// How often the admitted calls have filled their field.
    rounds: AtomicU32,
    /// Of the calls under way those whose seat the scheduler gave. Under the lock of the line.
    given: AtomicU32,
    pub(super) waited: AtomicU32,
    pub(super) refused: AtomicU32,
}

/// Why a slot cannot be entered in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// As many calls are under way as the tenant may have.
    Full,
    /// The slot is another tenant's by now.
    Stale,
}

impl Slot {
    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            rounds: AtomicU32::new(0),
            given: AtomicU32::new(0),
            waited: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    /// Counts a call in that has not got a seat yet, if the tenant may have one more.
    #[inline]
    pub(super) fn enter(&self, generation: u32, most: u32) -> Result<(), Closed> {
        let most = u64::from(most).min(FIELD);
        self.change(generation, |word| {
            if word & FIELD >= most {
                return Err(Closed::Full);
            }
            Ok(word.wrapping_add(CALL | ONE_ADMITTED))
        })
    }

    /// It got none.
    pub(super) fn take_back(&self) {
        let before = self
            .word
            .fetch_sub(CALL | ONE_ADMITTED, Ordering::AcqRel);
        if before >> ADMITTED == 0 {
            self.rounds.fetch_sub(1, Relaxed);
        }
    }

    /// A call is over.
    #[inline]
    pub(super) fn leave(&self) {
        self.word.fetch_sub(CALL, Ordering::AcqRel);
    }

    /// A call waits, and keeps the slot its tenant's.
    pub(super) fn wait(&self, generation: u32) -> Result<(), Closed> {
        self.change(generation, |word| {
            if word >> BITS & FIELD == FIELD {
                return Err(Closed::Full);
            }
            Ok(word + WAITER)
        })
    }

    /// It does no longer.
    pub(super) fn end_wait(&self) {
        self.word.fetch_sub(WAITER, Ordering::AcqRel);
    }

    /// The scheduler gave one of its calls a seat. Under the lock of the line.
    pub(super) fn seat(&self) {
        let before = self.word.fetch_add(CALL | ONE_ADMITTED, Ordering::AcqRel);
        self.count_round(before);
        self.given.store(self.given.load(Relaxed) + 1, Relaxed);
    }

    /// A call that had such a seat is over. Under the lock of the line.
    pub(super) fn unseat(&self) {
        self.given
            .store(self.given.load(Relaxed).saturating_sub(1), Relaxed);
        self.leave();
    }

    /// The seats that the scheduler did not give; none if the slot is another tenant's by now. Under the lock of the line.
    pub(super) fn outside(&self, generation: u32) -> u32 {
        let word = self.word.load(Ordering::Acquire);
        if generation_of(word) != generation {
            return 0;
        }
        ((word & FIELD) as u32).saturating_sub(self.given.load(Relaxed))
    }

    pub(super) fn calls(&self) -> u32 {
        (self.word.load(Relaxed) & FIELD) as u32
    }

    pub(super) fn waiting(&self) -> u32 {
        (self.word.load(Relaxed) >> BITS & FIELD) as u32
    }

    pub(super) fn admitted(&self) -> u64 {
        let rounds = u64::from(self.rounds.load(Relaxed)) << (u64::BITS - ADMITTED);
        rounds + (self.word.load(Relaxed) >> ADMITTED)
    }

    #[inline]
    fn change(
        &self,
        generation: u32,
        mut step: impl FnMut(u64) -> Result<u64, Closed>,
    ) -> Result<(), Closed> {
        let mut word = self.word.load(Relaxed);
        loop {
            if generation_of(word) != generation {
                return Err(Closed::Stale);
            }
            let next = step(word)?;
            match self.exchange(word, next) {
                Ok(()) => {
                    if next < word {
                        self.count_round(word);
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }

    fn count_round(&self, before: u64) {
        if before >> ADMITTED == u64::MAX >> ADMITTED {
            self.rounds.fetch_add(1, Relaxed);
        }
    }

    /// Gives the slot to another tenant if nothing of this one is left. Under the lock of the shard. Says how many of its
    /// calls were admitted.
    fn recycle(&self) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        if word & (FIELD | FIELD << BITS) != 0 {
            return None;
        }
        let admitted = self.admitted();
        let next = u64::from(generation_of(word)) + 1 & GENERATIONS;
        self.exchange(word, next << GENERATION).ok()?;
        self.rounds.store(0, Relaxed);
        self.waited.store(0, Relaxed);
        self.refused.store(0, Relaxed);
        Some(admitted)
    }

    #[inline]
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.word
            .compare_exchange_weak(old, new, Ordering::AcqRel, Relaxed)
            .map(drop)
    }
}

#[inline]
const fn generation_of(word: u64) -> u32 {
    (word >> GENERATION & GENERATIONS) as u32
}

/// Where a slot is, whose it was when that was asked, and by what number the scheduler knows the tenant: a hash of its
/// key by a secret, so that whoever comes back after its slot was given away still owes what it owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SlotAt {
    pub(super) number: u32,
    pub(super) generation: u32,
    pub(super) tenant: u64,
}

/// All slots of a pool.
pub(super) struct Slots {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// One for each tier, for those who are not known.
    shared: Box<[Slot]>,
}

struct Shard {
    places: Mutex<Places>,
    /// Each twice as long as all before it together, and made when it is needed: a slot never moves.
    segments: [OnceLock<Box<[Slot]>>; SEGMENTS],
}

struct Places {
    known: HashMap<Key, u32>,
    whose: Vec<Key>,
    most: usize,
    /// Where the search for a slot that can be given to another begins.
    hand: usize,
    /// What was admitted in slots that were given away.
    gone: [u64; Tiers::MOST],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    key: TenantKey,
    tier: TierId,
}

const SHARDS: u32 = 16;
const FIRST: usize = 16;
const SEGMENTS: usize = 24;
/// So many slots are looked at for one that can be given away: whoever finds none shares.
const LOOKS: usize = 16;

impl Slots {
    pub(super) fn new(most: NonZeroU32) -> Self {
        let shard = |which: u32| Shard {
            places: Mutex::new(Places {
                known: HashMap::with_hasher(rt::hasher()),
                whose: Vec::new(),
                most: (most.get() / SHARDS + u32::from(which < most.get() % SHARDS)) as usize,
                hand: 0,
                gone: [0; Tiers::MOST],
            }),
            segments: [const { OnceLock::new() }; SEGMENTS],
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: rt::hasher(),
            shared: (0..Tiers::MOST).map(|_| Slot::new()).collect(),
        }
    }

    /// The slot of those of this tier who are not known.
    pub(super) fn shared(&self, tier: TierId) -> SlotAt {
        SlotAt {
            number: u32::try_from(tier.place()).unwrap_or(0),
            generation: 0,
            // A tenant whose key has this hash shares with them: one in 2⁶⁴.
            tenant: 0,
        }
    }

    /// The slot of this number.
    #[inline]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        let Some(own) = (number as usize).checked_sub(Tiers::MOST) else {
            return self.shared.get(number as usize);
        };
        let shards = SHARDS as usize;
        self.shards.get(own % shards)?.slot(own / shards)
    }

    /// The slot of this tenant in this tier; the shared one if there is no room.
    pub(super) fn find(&self, key: &TenantKey, tier: TierId) -> SlotAt {
        let tenant = self.hasher.hash_one(key);
        let which = (tenant >> 32) as usize % self.shards.len();
        let found = self.shards.get(which).and_then(|shard| {
            let (place, generation) = shard.find(key, tier)?;
            let own = place as usize * SHARDS as usize + which + Tiers::MOST;
            let number = u32::try_from(own).ok()?;
            Some(SlotAt {
                number,
                generation,
                tenant,
            })
        });
        found.unwrap_or_else(|| self.shared(tier))
    }

    /// How many tenants have a slot of their own.
    pub(super) fn known(&self) -> usize {
        let known = |shard: &Shard| lock(&shard.places).whose.len();
        self.shards.iter().map(known).sum()
    }

    /// Looks at each tenant that has a slot of its own, under the lock of its shard.
    pub(super) fn each(&self, mut f: impl FnMut(&TenantKey, TierId, &Slot)) {
        for shard in &self.shards {
            let places = lock(&shard.places);
            for (place, key) in places.whose.iter().enumerate() {
                if let Some(slot) = shard.slot(place) {
                    f(&key.key, key.tier, slot);
                }
            }
        }
    }

    /// The calls of each tier that were admitted so far.
    pub(super) fn admitted(&self) -> [u64; Tiers::MOST] {
        let mut admitted = [0; Tiers::MOST];
        for (sum, slot) in admitted.iter_mut().zip(&self.shared) {
            *sum += slot.admitted();
        }
        for shard in &self.shards {
            let places = lock(&shard.places);
            for (sum, gone) in admitted.iter_mut().zip(places.gone) {
                *sum += gone;
            }
            for (place, key) in places.whose.iter().enumerate() {
                if let (Some(sum), Some(slot)) =
                    (admitted.get_mut(key.tier.place()), shard.slot(place))
                {
                    *sum += slot.admitted();
                }
            }
        }
        admitted
    }

    /// Those who are not known, by tier.
    pub(super) fn shared_slots(&self) -> &[Slot] {
        &self.shared
    }
}

impl Shard {
    #[inline]
    fn slot(&self, place: usize) -> Option<&Slot> {
        // Segment 0 has the places below FIRST, segment n those from FIRST·2ⁿ⁻¹.
        let segment = (usize::BITS - (place / FIRST).leading_zeros()) as usize;
        let begins = match segment {
            0 => 0,
            n => FIRST << (n - 1),
        };
        self.segments.get(segment)?.get()?.get(place - begins)
    }

    fn find(&self, key: &TenantKey, tier: TierId) -> Option<(u32, u32)> {
        let key = Key {
            key: key.clone(),
            tier,
        };
        let mut places = lock(&self.places);
        if let Some(place) = places.known.get(&key) {
            let word = self.slot(*place as usize)?.word.load(Relaxed);
            return Some((*place, generation_of(word)));
        }
        let place = if places.whose.len() < places.most {
            let place = places.whose.len();
            let segment = (usize::BITS - (place / FIRST).leading_zeros()) as usize;
            let len = match segment {
                0 => FIRST,
                n => FIRST << (n - 1),
            };
            self.segments
                .get(segment)?
                .get_or_init(|| (0..len).map(|_| Slot::new()).collect());
            places.whose.push(key.clone());
            place
        } else {
            let place = self.give_away(&mut places)?;
            let old = std::mem::replace(places.whose.get_mut(place)?, key.clone());
            places.known.remove(&old);
            place
        };
        let place = u32::try_from(place).ok()?;
        places.known.insert(key, place);
        let word = self.slot(place as usize)?.word.load(Relaxed);
        Some((place, generation_of(word)))
    }

    fn give_away(&self, places: &mut Places) -> Option<usize> {
        let len = places.whose.len();
        for _ in 0..LOOKS.min(len) {
            let place = places.hand % len;
            places.hand = place + 1;
            let Some(admitted) = self.slot(place).and_then(Slot::recycle) else {
                continue;
            };
            let tier = places.whose.get(place)?.tier.place();
            if let Some(gone) = places.gone.get_mut(tier) {
                *gone += admitted;
            }
            return Some(place);
        }
        None
    }
}
