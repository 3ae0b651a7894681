//! The tenants that are told apart, each in each tier that it has work in.
//!
//! Forgetting is for another one's sake, takes those first that have been idle for longest, roughly, and looks at a few
//! only. A tenant is forgotten that has no work and owes nothing, so nothing is forgiven.

use std::collections::VecDeque;

use super::ask::TenantId;
use super::tag::Tag;
use super::waiters::{Line, NONE};
use crate::tenant::grow::grow;
use crate::tenant::index::Index;
use crate::tenant::tier::Weight;

/// How many idle tenants are looked at for one that can be forgotten.
pub(super) const LOOKS: usize = 8;

/// On one line of the cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Tenant {
    /// None for those that share a place.
    pub(super) id: Option<TenantId>,
    /// The end of what it was charged for.
    pub(super) finish: Tag,
    /// What its requests took lately, in nanoseconds; 0 before any ended.
    pub(super) estimate: u64,
    pub(super) era: u32,
    pub(super) in_flight: u32,
    pub(super) outside: u32,
    pub(super) line: Line,
    /// Where it is among those of its tier whose queues are as long.
    pub(super) place: u32,
    pub(super) weight: Weight,
    pub(super) tier: u8,
    is_listed: bool,
}

impl Tenant {
    const fn new(id: Option<TenantId>, tier: u8, finish: Tag, era: u32) -> Self {
        Self {
            id,
            finish,
            estimate: 0,
            era,
            in_flight: 0,
            outside: 0,
            line: Line::EMPTY,
            place: NONE,
            weight: Weight::ONE,
            tier,
            is_listed: false,
        }
    }

    pub(super) const fn seats(&self) -> u32 {
        self.in_flight.saturating_add(self.outside)
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.line.len == 0 && self.in_flight == 0
    }
}

#[derive(Debug)]
pub(super) struct Table {
    tenants: Vec<Tenant>,
    index: Index,
    free: Vec<u32>,
    /// Idle for longest first. Who is not idle any more leaves it when its turn comes.
    idle: VecDeque<u32>,
    bound: usize,
}

impl Table {
    pub(super) fn new(bound: u32) -> Self {
        Self {
            tenants: Vec::new(),
            index: Index::default(),
            free: Vec::new(),
            idle: VecDeque::new(),
            bound: usize::try_from(bound).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Tenant> {
        self.tenants.get(slot as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Tenant> {
        self.tenants.get_mut(slot as usize)
    }

    pub(super) fn find(&self, id: TenantId, tier: u8) -> Option<u32> {
        self.index.find(mix(id, tier), |slot| {
            let there = self.get(slot);
            there.is_some_and(|it| it.id == Some(id) && it.tier == tier)
        })
    }

    /// A place for a tenant that is not known; none if there is no room.
    pub(super) fn enter(&mut self, id: TenantId, tier: u8, finish: Tag, era: u32) -> Option<u32> {
        if self.index.len() >= self.bound {
            return None;
        }
        let slot = self.take(Tenant::new(Some(id), tier, finish, era));
        self.index.insert(mix(id, tier), slot);
        Some(slot)
    }

    /// A place for all that find no room.
    pub(super) fn share(&mut self, tier: u8, finish: Tag, era: u32) -> u32 {
        self.take(Tenant::new(None, tier, finish, era))
    }

    fn take(&mut self, tenant: Tenant) -> u32 {
        let free = self.free.pop();
        if let Some(slot) = free
            && let Some(place) = self.tenants.get_mut(slot as usize)
        {
            // It may still stand in the list of idle ones.
            let is_listed = place.is_listed;
            *place = tenant;
            place.is_listed = is_listed;
            return slot;
        }
        grow(&mut self.tenants, 1);
        self.tenants.push(tenant);
        u32::try_from(self.tenants.len() - 1).unwrap_or(NONE)
    }

    /// A tenant has no work any more.
    #[inline]
    pub(super) fn list(&mut self, slot: u32) {
        if let Some(tenant) = self.tenants.get_mut(slot as usize)
            && tenant.is_idle()
            && tenant.id.is_some()
            && !tenant.is_listed
        {
            tenant.is_listed = true;
            self.idle.push_back(slot);
        }
    }

    /// Forgets one tenant that is idle and of whom `owes` says no, if there is one among the first few.
    pub(super) fn forget(&mut self, mut owes: impl FnMut(&Tenant) -> bool) -> bool {
        for _ in 0..LOOKS {
            let Some(slot) = self.idle.pop_front() else {
                return false;
            };
            let Some(tenant) = self.tenants.get_mut(slot as usize) else {
                continue;
            };
            tenant.is_listed = false;
            let Some(id) = tenant.id.filter(|_| tenant.is_idle()) else {
                continue;
            };
            if owes(tenant) {
                self.list(slot);
                continue;
            }
            tenant.id = None;
            let tier = tenant.tier;
            self.index.remove(mix(id, tier), slot);
            self.free.push(slot);
            return true;
        }
        false
    }
}

/// Spreads numbers over a table. Not against somebody who chooses them: see [`TenantId`].
const fn mix(id: TenantId, tier: u8) -> u32 {
    let id = id.get() ^ (id.get() >> 32);
    // Far apart also in the lower bits, by which a table is searched: the same tenant may come in each tier.
    let id = id.wrapping_add((tier as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::scheduler::heap::Entry;

    #[test]
    fn the_tiers_of_a_tenant_are_apart_in_a_small_table() {
        let ids = (0..64_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut hits = vec![0_u32; 1_024];
        for id in ids {
            for tier in 0..8 {
                let at = mix(TenantId::new(id), tier) as usize % hits.len();
                hits[at] += 1;
            }
        }
        // Thrown at random, 512 leave about 620 places empty, and no place has more than six.
        let empty = hits.iter().filter(|hits| **hits == 0).count();
        assert!((500..720).contains(&empty), "{empty}");
        assert!(hits.iter().all(|hits| *hits <= 7), "{hits:?}");
    }

    #[test]
    fn a_tenant_takes_less_than_300_bytes() {
        // Its place, the index at its emptiest, the heap, the list of idle ones, the queues by length.
        let index = 8 * 8 / 3;
        let heaps = 2 * size_of::<Entry>() + 3 * 2 * 4;
        let bytes = size_of::<Tenant>() * 5 / 4 + index + heaps + 2 * 4 + 2 * 4;
        assert_eq!(size_of::<Tenant>(), 64);
        assert!(bytes <= 200, "{bytes}");
    }
}
