//! The tenants that a pool knows, each with the word that its calls are counted in.
//!
//! 1. A tenant has a slot for each tier that it comes in. A slot is found by name under the lock of its shard, and by its
//!    number without any.
//! 2. At most so many slots are kept. One is given to another tenant only when nothing of its own is under way or waits;
//!    its generation moves on then, so that whoever still has its number notices.
//! 3. A tenant for whom there is no room shares one slot with the others of its tier that found none, as do all whose
//!    name is not known: together they are one tenant.
//! 4. A tenant has no more than [`Slot::MOST`] seats in a tier, whatever its share of them: its count must not run over. Half
//!    of what fits, and a little less: a tenant that the scheduler has forgotten shares a place there with others, up to
//!    the limit of one tenant beside those seats that the scheduler did not give; and whoever looks in counts for a moment.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64 as AtomicHash, Ordering::Relaxed};

use super::grow::grow;
use super::identity::TenantKey;
use super::index::Index;
use super::scheduler::TenantId;
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
    /// By what number the scheduler knows the tenant: a hash of its key by a secret, so that whoever comes back after its
    /// slot was given away still owes what it owed. 0 of those who are not known; a tenant whose key has that hash shares
    /// with them, one in 2⁶⁴.
    tenant: AtomicHash,
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
    /// Rule 4.
    pub(super) const MOST: NonZeroU32 = NonZeroU32::new(8_000).unwrap();

    fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            rounds: AtomicU32::new(0),
            given: AtomicU32::new(0),
            waited: AtomicU32::new(0),
            refused: AtomicU32::new(0),
            tenant: AtomicHash::new(0),
        }
    }

    /// The tenant, as the scheduler knows it. Whoever is counted here can ask.
    #[inline]
    pub(super) fn tenant(&self) -> TenantId {
        TenantId::new(self.tenant.load(Relaxed))
    }

    #[cfg(all(test, mainstay_loom))]
    pub(super) fn belongs_to(&self, tenant: TenantId) {
        self.tenant.store(tenant.get(), Relaxed);
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
        let mut word = self.word.load(Relaxed);
        while word >> ADMITTED > 0 {
            match self.exchange(word, word - (CALL | ONE_ADMITTED)) {
                Ok(()) => return,
                Err(now) => word = now,
            }
        }
        // The rounds before the call: once that is gone the slot may be another's.
        let before = self.word.fetch_sub(ONE_ADMITTED, Ordering::AcqRel);
        if before >> ADMITTED == 0 {
            self.rounds.fetch_sub(1, Relaxed);
        }
        self.leave();
    }

    /// A call is over, and so many were admitted that are not counted yet.
    pub(super) fn leave_and_count(&self, calls: u64) {
        let fits = |word: u64| (word >> ADMITTED) + calls <= u64::MAX >> ADMITTED;
        let mut word = self.word.load(Relaxed);
        while fits(word) {
            match self.exchange(word, word + (calls << ADMITTED) - CALL) {
                Ok(()) => return,
                Err(now) => word = now,
            }
        }
        let before = self.word.fetch_add(calls << ADMITTED, Ordering::AcqRel);
        if !fits(before) {
            self.rounds.fetch_add(1, Relaxed);
        }
        self.leave();
    }

    /// So many were admitted that are not counted yet. Says whether it is still their tenant's.
    pub(super) fn count(&self, generation: u32, calls: u64) -> bool {
        let counted = self.change(generation, |word| Ok(word.wrapping_add(calls << ADMITTED)));
        counted.is_ok()
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
    ///
    /// It writes, so that whoever counts a call in or out afterwards, and looks at the word of the pool then, sees that
    /// somebody waits.
    pub(super) fn outside(&self, generation: u32) -> u32 {
        let word = self.word.fetch_add(0, Ordering::AcqRel);
        if generation_of(word) != generation {
            return 0;
        }
        ((word & FIELD) as u32).saturating_sub(self.given.load(Relaxed))
    }

    /// How often the slot was given to another tenant, as far as that is counted.
    pub(super) fn generation(&self) -> u32 {
        generation_of(self.word.load(Relaxed))
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
                    // Nothing else can make it smaller.
                    if next < word {
                        self.rounds.fetch_add(1, Relaxed);
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
        let next = (u64::from(generation_of(word)) + 1) & GENERATIONS;
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

/// Where a slot is, and whose it was when that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SlotAt {
    pub(super) number: u32,
    pub(super) generation: u32,
}

impl SlotAt {
    /// Whether it is one that those share who are not known, or found no room. Nobody is given it in another's place, so
    /// its generation does not tell when there is room again.
    #[inline]
    pub(super) const fn is_shared(self) -> bool {
        (self.number as usize) < Tiers::MOST
    }

    /// In which shard its tenant is, if it is not shared.
    pub(super) const fn shard(self) -> usize {
        (self.number as usize).wrapping_sub(Tiers::MOST) % SHARDS
    }
}

/// All slots of a pool.
pub(super) struct Slots {
    /// Each made when it is needed: a slot never moves. The first slots of the first are those of the tiers, for whoever is
    /// not known.
    chunks: Box<[OnceLock<Box<[Slot]>>]>,
    shards: Box<[Shard]>,
    hasher: RandomState,
}

/// The keys whose hash ends alike, and the slots whose number does.
type Shard = Mutex<Places>;

struct Places {
    /// By hash of the key and the tier, where in `whose`.
    known: Index,
    whose: Vec<Key>,
    most: usize,
    /// Where the search for a slot that can be given to another begins.
    hand: usize,
    /// What was admitted in slots that were given away.
    gone: [u64; Tiers::MOST],
}

#[derive(Debug)]
struct Key {
    key: TenantKey,
    tier: TierId,
}

const CHUNK: usize = 64;
const SHARDS: usize = 16;
/// So many slots are looked at for one that can be given away: whoever finds none shares.
const LOOKS: usize = 16;

impl Slots {
    pub(super) fn new(most: NonZeroU32) -> Self {
        let most = most.get() as usize;
        let shard = |which: usize| {
            Mutex::new(Places {
                known: Index::default(),
                whose: Vec::new(),
                most: most / SHARDS + usize::from(which < most % SHARDS),
                hand: 0,
                gone: [0; Tiers::MOST],
            })
        };
        // The numbers of a shard are as far apart as there are shards.
        let numbers = Tiers::MOST + most.next_multiple_of(SHARDS);
        let slots = Self {
            chunks: (0..numbers.div_ceil(CHUNK))
                .map(|_| OnceLock::new())
                .collect(),
            shards: (0..SHARDS).map(shard).collect(),
            hasher: rt::hasher(),
        };
        slots.make(0);
        slots
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
        let number = number as usize;
        let chunk = self.chunks.get(number / CHUNK)?.get()?;
        chunk.get(number % CHUNK)
    }

    fn make(&self, number: usize) -> Option<&Slot> {
        let chunk = self.chunks.get(number / CHUNK)?;
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| Slot::new()).collect());
        chunk.get(number % CHUNK)
    }

    /// The slot of this tenant in this tier; the shared one if there is no room.
    pub(super) fn find(&self, key: &TenantKey, tier: TierId) -> SlotAt {
        let tenant = self.hasher.hash_one(key);
        let which = shard_of(tenant);
        let found = self.find_in(which, tenant, key, tier);
        found.map_or_else(
            || self.shared(tier),
            |(number, generation)| SlotAt { number, generation },
        )
    }

    /// In which shard a tenant is looked for.
    pub(super) fn shard_of(&self, key: &TenantKey) -> usize {
        shard_of(self.hasher.hash_one(key))
    }

    fn find_in(
        &self,
        which: usize,
        tenant: u64,
        key: &TenantKey,
        tier: TierId,
    ) -> Option<(u32, u32)> {
        let mut places = lock(self.shards.get(which)?);
        let hash = hash_in(tenant, tier);
        let found = places.known.find(hash, |place| {
            let there = places.whose.get(place as usize);
            there.is_some_and(|there| there.key == *key && there.tier == tier)
        });
        if let Some(place) = found {
            let number = u32::try_from(number(which, place as usize)).ok()?;
            let word = self.slot(number)?.word.load(Relaxed);
            return Some((number, generation_of(word)));
        }
        let new = Key {
            key: key.clone(),
            tier,
        };
        let place = if places.whose.len() < places.most {
            grow(&mut places.whose, 1);
            places.whose.push(new);
            places.whose.len() - 1
        } else {
            let place = self.give_away(which, &mut places)?;
            let old = std::mem::replace(places.whose.get_mut(place)?, new);
            let hash = hash_in(self.hasher.hash_one(&old.key), old.tier);
            places.known.remove(hash, u32::try_from(place).ok()?);
            place
        };
        let number = number(which, place);
        let slot = self.make(number)?;
        slot.tenant.store(tenant, Relaxed);
        let word = slot.word.load(Relaxed);
        places.known.insert(hash, u32::try_from(place).ok()?);
        Some((u32::try_from(number).ok()?, generation_of(word)))
    }

    fn give_away(&self, which: usize, places: &mut Places) -> Option<usize> {
        let len = places.whose.len();
        for _ in 0..LOOKS.min(len) {
            let place = places.hand % len;
            places.hand = place + 1;
            let number = u32::try_from(number(which, place)).ok()?;
            let Some(admitted) = self.slot(number).and_then(Slot::recycle) else {
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

    /// How many tenants have a slot of their own.
    pub(super) fn known(&self) -> usize {
        let known = |shard: &Shard| lock(shard).whose.len();
        self.shards.iter().map(known).sum()
    }

    /// Looks at each tenant that has a slot of its own, under the lock of its shard.
    pub(super) fn each(&self, mut f: impl FnMut(&TenantKey, TierId, u32, &Slot)) {
        for (which, shard) in self.shards.iter().enumerate() {
            let places = lock(shard);
            for (place, key) in places.whose.iter().enumerate() {
                let number = u32::try_from(number(which, place)).unwrap_or(u32::MAX);
                if let Some(slot) = self.slot(number) {
                    f(&key.key, key.tier, number, slot);
                }
            }
        }
    }

    /// The calls of each tier that were admitted so far.
    pub(super) fn admitted(&self) -> [u64; Tiers::MOST] {
        let mut admitted = [0; Tiers::MOST];
        for (sum, slot) in admitted.iter_mut().zip(self.shared_slots()) {
            *sum += slot.admitted();
        }
        for shard in &self.shards {
            for (sum, gone) in admitted.iter_mut().zip(lock(shard).gone) {
                *sum += gone;
            }
        }
        self.each(|_, tier, _, slot| {
            if let Some(sum) = admitted.get_mut(tier.place()) {
                *sum += slot.admitted();
            }
        });
        admitted
    }

    /// Those who are not known, by tier.
    pub(super) fn shared_slots(&self) -> impl Iterator<Item = &Slot> {
        (0..)
            .take(Tiers::MOST)
            .filter_map(|number| self.slot(number))
    }
}

/// A tenant in a tier: of the hash of its key the half that does not say in which shard it is.
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn hash_in(tenant: u64, tier: TierId) -> u32 {
    (tenant as u32).rotate_left(tier.place() as u32 * 4)
}

/// The shard of a tenant, by the hash of its key.
const fn shard_of(tenant: u64) -> usize {
    (tenant >> 32) as usize % SHARDS
}

/// The number of a place in a shard.
const fn number(which: usize, place: usize) -> usize {
    Tiers::MOST + place * SHARDS + which
}
