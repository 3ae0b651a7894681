//! A shell that lets requests in without the scheduler while nobody waits, as the module's documentation describes it:
//! the bounds hold on both paths together, whatever comes in which order.

use std::collections::BTreeMap;

use super::field::{MILLI, Verdict, below, same, spread, within};
use super::loads::any_tiers;
use crate::num::count;
use crate::rng::Rng;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::scheduler::{Arrival, Ask, Scheduler, SchedulerConfig, Seat, TenantId, Ticket};
use crate::tenant::tier::{TierId, Tiers};
use crate::time::Tick;

enum Held {
    Inside(Seat),
    Outside {
        tier: TierId,
        tenant: u64,
        since: Tick,
    },
}

struct Shell {
    pool: Scheduler<u64>,
    now: Tick,
    /// The word: the outside seats of each tier, and whether somebody waits.
    word: [u32; Tiers::MOST],
    somebody_waits: bool,
    counters: BTreeMap<(TierId, u64), u32>,
    held: Vec<Held>,
    waiting: Vec<(Ticket, TierId, u64)>,
    /// Seats of both kinds, told anew.
    inside: BTreeMap<(TierId, u64), u32>,
}

impl Shell {
    fn of_tier(&self, tier: TierId) -> u32 {
        let inside = self.inside.iter().filter(|((of, _), _)| *of == tier);
        inside.map(|(_, seats)| *seats).sum::<u32>() + self.word[tier.place()]
    }

    fn all(&self) -> [u32; Tiers::MOST] {
        std::array::from_fn(|place| self.of_tier(TierId::new(place as u8)))
    }

    fn counter(&self, tier: TierId, tenant: u64) -> u32 {
        self.counters.get(&(tier, tenant)).copied().unwrap_or(0)
    }

    fn of_tenant(&self, tier: TierId, tenant: u64) -> u32 {
        let inside = self.inside.get(&(tier, tenant)).copied().unwrap_or(0);
        inside + self.counter(tier, tenant)
    }

    fn come(&mut self, tier: TierId, tenant: u64, rng: &mut Rng) -> Verdict {
        let seating = *self.pool.seating();
        if !self.somebody_waits
            && seating.admits(&self.all(), tier)
            && self.of_tenant(tier, tenant) < seating.tenant_limit(tier)
        {
            self.word[tier.place()] += 1;
            *self.counters.entry((tier, tenant)).or_default() += 1;
            let since = self.now;
            self.held.push(Held::Outside {
                tier,
                tenant,
                since,
            });
            return Ok(());
        }
        self.somebody_waits = true;
        for place in 0..Tiers::MOST {
            let tier = TierId::new(place as u8);
            if place < self.pool.config().tiers().count() {
                self.pool.outside(tier, self.word[place]);
            }
        }
        // One of the same tenant may have counted itself in a moment too soon.
        let shaky = u32::from(below(rng, 4) == 0);
        if shaky > 0 {
            let counted = self.counter(tier, tenant) + shaky;
            self.ask(tier, tenant, counted)?;
        }
        self.ask(tier, tenant, self.counter(tier, tenant))?;
        self.drain()
    }

    fn ask(&mut self, tier: TierId, tenant: u64, counted: u32) -> Verdict {
        let ask = Ask::new(TenantId::new(tenant), tier).outside(counted);
        match self.pool.admit(ask, tenant, self.now) {
            Arrival::Granted { seat, .. } => self.seated(tier, tenant, seat),
            Arrival::Queued {
                ticket, evicted, ..
            } => {
                self.waiting.push((ticket, tier, tenant));
                if let Some(refused) = evicted {
                    self.waiting
                        .retain(|(ticket, ..)| Some(*ticket) != refused.ticket);
                }
                Ok(())
            }
            Arrival::Refused(_) => Ok(()),
        }
    }

    fn seated(&mut self, tier: TierId, tenant: u64, seat: Seat) -> Verdict {
        let seating = *self.pool.seating();
        if !seating.admits(&self.all(), tier) {
            return Err(format!("rule 1: {:?} and one more of {tier:?}", self.all()));
        }
        if self.of_tenant(tier, tenant) >= seating.tenant_limit(tier) {
            return Err("rule 1: a tenant has one more than it may, both paths together".into());
        }
        *self.inside.entry((tier, tenant)).or_default() += 1;
        self.held.push(Held::Inside(seat));
        Ok(())
    }

    fn drain(&mut self) -> Verdict {
        loop {
            while let Some(refused) = self.pool.handle_timeout(self.now) {
                self.waiting
                    .retain(|(ticket, ..)| Some(*ticket) != refused.ticket);
            }
            let Some(granted) = self.pool.grant(self.now) else {
                break;
            };
            let place = self.waiting.iter().position(|it| it.0 == granted.ticket);
            let (_, tier, tenant) = self.waiting.remove(place.ok_or("it waits")?);
            same(granted.waiter, tenant, "who waits")?;
            self.seated(tier, tenant, granted.seat)?;
        }
        // Whose time was over when its turn came.
        while let Some(refused) = self.pool.handle_timeout(self.now) {
            self.waiting
                .retain(|(ticket, ..)| Some(*ticket) != refused.ticket);
        }
        if self.pool.waiting() == 0 {
            self.somebody_waits = false;
        }
        same(
            self.pool.waiting() as usize,
            self.waiting.len(),
            "who waits",
        )?;
        if self.somebody_waits {
            same(
                self.pool.in_flight(),
                self.all().iter().sum(),
                "seats of both kinds",
            )?;
            let seating = self.pool.seating();
            let ready = self.waiting.iter().find(|(_, tier, tenant)| {
                seating.admits(&self.all(), *tier)
                    && self.of_tenant(*tier, *tenant) < seating.tenant_limit(*tier)
            });
            if let Some(ready) = ready {
                return Err(format!("P1: {ready:?} waits for a seat that is free"));
            }
        }
        Ok(())
    }

    fn end(&mut self, which: usize) -> Verdict {
        match self.held.swap_remove(which) {
            Held::Inside(seat) => {
                let tier = seat.tier();
                let key = self.pool.owner_of(&seat);
                *self.inside.entry((tier, key)).or_default() -= 1;
                self.pool.release(seat, self.now);
            }
            Held::Outside {
                tier,
                tenant,
                since,
            } => {
                self.word[tier.place()] -= 1;
                *self.counters.entry((tier, tenant)).or_default() -= 1;
                if self.somebody_waits {
                    let left = self.counter(tier, tenant);
                    let id = TenantId::new(tenant);
                    self.pool.release_outside(id, tier, left, since, self.now);
                }
            }
        }
        self.drain()
    }
}

pub(super) fn both_paths(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let number = within(&mut rng, 1, 3);
    let tiers = any_tiers(&mut rng, number);
    let config = SchedulerConfig::new(count(within(&mut rng, 1, 12) as u32), tiers);
    let mut pool = Scheduler::new(config);
    pool.flaw = flaw;
    let mut shell = Shell {
        pool,
        now: Tick::from_nanos(1_000 * MILLI),
        word: [0; Tiers::MOST],
        somebody_waits: false,
        counters: BTreeMap::new(),
        held: Vec::new(),
        waiting: Vec::new(),
        inside: BTreeMap::new(),
    };
    let load = within(&mut rng, 1, 4);
    for _ in 0..300 {
        let time = spread(&mut rng, 5 * MILLI);
        shell.now = Tick::from_nanos(shell.now.as_nanos() + time);
        shell.drain()?;
        match below(&mut rng, 8) {
            0 if !shell.waiting.is_empty() => {
                let which = below(&mut rng, shell.waiting.len() as u64) as usize;
                let (ticket, _, tenant) = shell.waiting.swap_remove(which);
                same(
                    shell.pool.leave(ticket, shell.now),
                    Some(tenant),
                    "who leaves",
                )?;
                shell.drain()?;
            }
            n if n > load && !shell.held.is_empty() => {
                let which = below(&mut rng, shell.held.len() as u64) as usize;
                shell.end(which)?;
            }
            _ => {
                let tier = TierId::new(below(&mut rng, number) as u8);
                let tenant = below(&mut rng, 4);
                shell.come(tier, tenant, &mut rng)?;
            }
        }
    }
    while !shell.held.is_empty() {
        shell.end(0)?;
    }
    for place in 0..number {
        shell.pool.outside(TierId::new(place as u8), 0);
    }
    same(
        (shell.pool.in_flight(), shell.pool.waiting()),
        (0, 0),
        "nobody is left",
    )
}
