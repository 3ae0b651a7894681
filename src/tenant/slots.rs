//! The tenants that a pool knows, each with the word that its calls are counted in.
//!
//! 1. A tenant has a slot for each tier that it comes in. A slot is found by name under the lock of its shard, and by its
//!    number without any.
//! 2. At most so many slots are kept. One is given to another tenant only when nothing of its own is under way and the
//!    scheduler does not know it; its generation moves on then, so that whoever still has its number notices.
//! 3. A tenant for whom there is no room shares one slot with the others of its tier that found none, as do all whose
//!    name is not known: together they are one tenant.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;

use super::identity::TenantId;
use super::tier::{TierId, Tiers};
use crate::rt;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// Calls under way.
const CALLS: u64 = (1 << 16) - 1;
/// The scheduler knows the tenant: its count changes only under the lock of the line.
const LINED: u64 = 1 << 16;
const GENERATION: u32 = 17;
const GENERATIONS: u64 = (1 << 15) - 1;
/// Above everything else, so that it may overflow.
const ADMITTED: u32 = 32;

/// The count of one tenant in one tier, on a cache line of its own.
#[repr(align(64))]
pub(super) struct Slot {
    word: AtomicU64,
    /// How often the calls that were admitted have filled their field.
    rounds: AtomicU32,
    pub(super) waited: AtomicU32,
    pub(super) refused: AtomicU32,
}

/// Why a slot cannot be entered in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// As many calls are under way as the tenant may have, or it is known to the scheduler.
    Busy,
    /// The slot is another tenant's by now.
    Stale,
}

impl Slot {
    const fn new_word() -> u64 {
        0
    }

    fn new() -> Self {
        Self {
            word: AtomicU64::new(Self::new_word()),
            rounds: AtomicU32::new(0),
            waited: AtomicU32::new(0),
            refused: AtomicU32::new(0),
        }
    }

    /// Whether a call could be let in, as of now.
    #[inline]
    pub(super) fn look(&self, generation: u32, most: u32) -> Result<u64, Closed> {
        let word = self.word.load(Ordering::Relaxed);
        Self::open(word, generation, most).map(|()| word)
    }

    #[inline]
    fn open(word: u64, generation: u32, most: u32) -> Result<(), Closed> {
        if generation_of(word) != generation {
            return Err(Closed::Stale);
        }
        if word & LINED != 0 || calls_of(word) >= most.min(CALLS as u32) {
            return Err(Closed::Busy);
        }
        Ok(())
    }

    /// Lets a call in, without the lock. `seen` is what [`look`](Self::look) saw.
    #[inline]
    pub(super) fn enter(&self, seen: u64, generation: u32, most: u32) -> Result<(), Closed> {
        let mut word = seen;
        loop {
            Self::open(word, generation, most)?;
            // The field of the admitted is the topmost: it overflows into nothing.
            let next = word.wrapping_add(1 + (1 << ADMITTED));
            match self.exchange(word, next) {
                Ok(()) => {
                    if next >> ADMITTED == 0 {
                        self.rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Err(now) => word = now,
            }
        }
    }

    /// Lets a call go, without the lock. `false` if the scheduler knows the tenant: then it takes the lock.
    #[inline]
    pub(super) fn leave(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & LINED != 0 {
                return false;
            }
            match self.exchange(word, word - 1) {
                Ok(()) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// The scheduler gets to know the tenant. Under the lock of the line. Says how many calls are under way, `None` if
    /// the slot is another tenant's by now.
    pub(super) fn line(&self, generation: u32) -> Option<u32> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if generation_of(word) != generation {
                return None;
            }
            match self.exchange(word, word | LINED) {
                Ok(()) => return Some(calls_of(word)),
                Err(now) => word = now,
            }
        }
    }

    /// The scheduler has forgotten the tenant. Under the lock of the line.
    pub(super) fn unline(&self) {
        self.word.fetch_and(!LINED, Ordering::AcqRel);
    }

    /// Whether the scheduler knows the tenant. Under the lock of the line.
    pub(super) fn is_lined(&self) -> bool {
        self.word.load(Ordering::Relaxed) & LINED != 0
    }

    /// A call is let in that the scheduler chose. Under the lock of the line.
    pub(super) fn seat(&self) {
        let before = self.word.fetch_add(1 + (1 << ADMITTED), Ordering::AcqRel);
        if before >> ADMITTED == u64::MAX >> ADMITTED {
            self.rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// A call goes whose tenant the scheduler knows. Under the lock of the line.
    pub(super) fn unseat(&self) {
        self.word.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn calls(&self) -> u32 {
        calls_of(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn admitted(&self) -> u64 {
        let rounds = self.rounds.load(std::sync::atomic::Ordering::Relaxed);
        (u64::from(rounds) << 32) + (self.word.load(Ordering::Relaxed) >> ADMITTED)
    }

    /// Gives the slot to another tenant if nothing of this one is left. Under the lock of the shard.
    fn recycle(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        if word & LINED != 0 || calls_of(word) > 0 {
            return false;
        }
        let next = u64::from(generation_of(word)) + 1 & GENERATIONS;
        let recycled = self.exchange(word, next << GENERATION).is_ok();
        if recycled {
            let relaxed = std::sync::atomic::Ordering::Relaxed;
            self.rounds.store(0, relaxed);
            self.waited.store(0, relaxed);
            self.refused.store(0, relaxed);
        }
        recycled
    }

    #[inline]
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        self.word
            .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
    }
}

#[inline]
const fn calls_of(word: u64) -> u32 {
    (word & CALLS) as u32
}

#[inline]
const fn generation_of(word: u64) -> u32 {
    (word >> GENERATION & GENERATIONS) as u32
}

/// Where a slot is, and whose it was when that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SlotAt {
    pub(super) number: u32,
    pub(super) generation: u32,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: TenantId,
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
    pub(super) fn find(&self, id: &TenantId, tier: TierId) -> SlotAt {
        let which = self.hasher.hash_one(id) as usize % self.shards.len();
        let found = self.shards.get(which).and_then(|shard| {
            let (place, generation) = shard.find(id, tier)?;
            let own = place as usize * SHARDS as usize + which + Tiers::MOST;
            let number = u32::try_from(own).ok()?;
            Some(SlotAt { number, generation })
        });
        found.unwrap_or_else(|| self.shared(tier))
    }

    /// How many tenants have a slot of their own.
    pub(super) fn known(&self) -> usize {
        let known = |shard: &Shard| lock(&shard.places).whose.len();
        self.shards.iter().map(known).sum()
    }

    /// Looks at each tenant that has a slot of its own, under the lock of its shard.
    pub(super) fn each(&self, mut f: impl FnMut(&TenantId, TierId, &Slot)) {
        for shard in &self.shards {
            let places = lock(&shard.places);
            for (place, key) in places.whose.iter().enumerate() {
                if let Some(slot) = shard.slot(place) {
                    f(&key.id, key.tier, slot);
                }
            }
        }
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

    fn find(&self, id: &TenantId, tier: TierId) -> Option<(u32, u32)> {
        let key = Key {
            id: id.clone(),
            tier,
        };
        let mut places = lock(&self.places);
        if let Some(place) = places.known.get(&key) {
            let word = self.slot(*place as usize)?.word.load(Ordering::Relaxed);
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
        let word = self.slot(place as usize)?.word.load(Ordering::Relaxed);
        Some((place, generation_of(word)))
    }

    fn give_away(&self, places: &mut Places) -> Option<usize> {
        let len = places.whose.len();
        for _ in 0..LOOKS.min(len) {
            let place = places.hand % len;
            places.hand = place + 1;
            if self.slot(place).is_some_and(Slot::recycle) {
                return Some(place);
            }
        }
        None
    }
}
