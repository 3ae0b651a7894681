//! Any tiers and any sequence of operations against the tenants' scheduler. Nobody is lost or there twice, no more seats
//! are taken than may be, and nobody is granted one after its time.

#![no_main]

use std::collections::HashMap;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::num::{Period, Ratio, count};
use mainstay::tenant::scheduler::{
    Arrival, Ask, Refusal, Refused, Scheduler, SchedulerConfig, Seat, TenantId, Ticket,
};
use mainstay::tenant::tier::{Tier, TierId, Tiers, Weight};
use mainstay::time::Tick;

#[derive(Arbitrary, Debug)]
struct Case {
    capacity: u16,
    queue: u16,
    tenants: u8,
    debt: u64,
    guess: u64,
    tiers: Vec<Settings>,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Settings {
    weight: u16,
    reserved: u8,
    held: u8,
    limit: u8,
    queue: u8,
    tenant_queue: u8,
    patience: u64,
    tenant_share: u8,
    shed: u8,
}

#[derive(Arbitrary, Debug)]
enum Op {
    Admit {
        tenant: u8,
        tier: u8,
        weight: u16,
        cost: Option<u64>,
        left: Option<u64>,
        outside: Option<u8>,
    },
    Release(u8),
    Leave(u8),
    Pass(u32),
    PassLong(u64),
    Back(u32),
    Resize(u16),
    Reload(Vec<Settings>),
    Outside(u8, u8),
    ReleaseOutside(u8, u8, u8, u32),
    Forget(u8),
}

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn period(nanos: u64) -> Period {
    Period::new("period", Duration::from_nanos(nanos.max(1))).expect("neither zero nor too long")
}

/// Tiers of these settings, as many as `n`: what does not fit together is made smaller.
fn tiers(settings: &[Settings], n: usize) -> Tiers {
    let mut left = 100;
    let all = NAMES.into_iter().take(n).enumerate().map(|(at, name)| {
        let tier = Tier::new(name);
        let Some(it) = settings.get(at) else {
            return tier;
        };
        let reserved = it.reserved % (left + 1);
        left -= reserved;
        tier.weight(Weight::of(it.weight % 10_000 + 1))
            .reserved(Ratio::percent(reserved))
            .held(Ratio::percent(it.held % (reserved + 1)))
            .limit(Ratio::percent((it.limit % 101).max(reserved).max(1)))
            .queue(it.queue.into())
            .tenant_queue(it.tenant_queue.into())
            .patience(period(it.patience))
            .tenant_share(Ratio::percent(it.tenant_share % 100 + 1))
            .shed(it.shed)
    });
    Tiers::new(all).expect("they fit together")
}

struct Run {
    pool: Scheduler<u32>,
    now: Tick,
    next: u32,
    waiting: HashMap<u32, (Ticket, Tick)>,
    seats: Vec<Seat>,
    outside: bool,
}

impl Run {
    fn refused(&mut self, refused: &Refused<u32>) {
        assert!(refused.retry_after.is_none_or(|after| !after.is_zero()));
        let gone = self.waiting.remove(&refused.waiter);
        assert_eq!(gone.map(|(ticket, _)| ticket), refused.ticket);
    }

    fn drain(&mut self) {
        for _ in 0..2 {
            while let Some(refused) = self.pool.handle_timeout(self.now) {
                assert_eq!(refused.reason, Refusal::Deadline);
                self.refused(&refused);
            }
            while let Some(granted) = self.pool.grant(self.now) {
                let (ticket, until) = self.waiting.remove(&granted.waiter).expect("it waits");
                assert!(ticket == granted.ticket && until > self.now);
                assert!(self.pool.in_flight() <= self.pool.seating().capacity());
                self.seats.push(granted.seat);
            }
        }
        assert_eq!(self.pool.waiting() as usize, self.waiting.len());
        assert_eq!(self.pool.poll_timeout().is_some(), !self.waiting.is_empty());
        if !self.outside {
            assert_eq!(self.pool.in_flight() as usize, self.seats.len());
        }
        let tiers = self.pool.config().tiers();
        let sum = |f: fn(&Scheduler<u32>, TierId) -> u32| -> u64 {
            tiers
                .iter()
                .map(|(id, _)| u64::from(f(&self.pool, id)))
                .sum()
        };
        assert_eq!(
            sum(|pool, id| pool.tier(id).waiting),
            u64::from(self.pool.waiting())
        );
        assert!(self.pool.tenants() <= self.pool.config().most_tenants().get() as usize);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Admit {
                tenant,
                tier,
                weight,
                cost,
                left,
                outside,
            } => {
                let mut ask = Ask::new(TenantId::new(tenant.into()), TierId::new(tier))
                    .weight(Weight::of(weight % 10_000 + 1));
                if let Some(cost) = cost {
                    ask = ask.cost(Duration::from_nanos(cost));
                }
                if let Some(left) = left {
                    ask = ask.deadline(self.now + Duration::from_nanos(left));
                }
                if let Some(outside) = outside {
                    ask = ask.outside(outside.into());
                }
                let id = self.next;
                self.next += 1;
                match self.pool.admit(ask, id, self.now) {
                    Arrival::Granted { seat, waiter } => {
                        assert_eq!(waiter, id);
                        self.seats.push(seat);
                    }
                    Arrival::Queued {
                        ticket,
                        until,
                        evicted,
                    } => {
                        self.waiting.insert(id, (ticket, until));
                        if let Some(refused) = evicted {
                            self.refused(&refused);
                        }
                    }
                    Arrival::Refused(refused) => {
                        assert!(refused.waiter == id && refused.ticket.is_none());
                    }
                    _ => {}
                }
            }
            Op::Release(which) if !self.seats.is_empty() => {
                let seat = self
                    .seats
                    .swap_remove(usize::from(which) % self.seats.len());
                self.pool.release(seat, self.now);
            }
            Op::Leave(which) if !self.waiting.is_empty() => {
                let mut ids: Vec<u32> = self.waiting.keys().copied().collect();
                ids.sort_unstable();
                let id = ids[usize::from(which) % ids.len()];
                let (ticket, _) = self.waiting.remove(&id).expect("it waits");
                assert_eq!(self.pool.leave(ticket, self.now), Some(id));
                assert_eq!(self.pool.leave(ticket, self.now), None);
            }
            Op::Release(_) | Op::Leave(_) => {}
            Op::Pass(micros) => self.now = self.now + Duration::from_micros(micros.into()),
            Op::PassLong(nanos) => self.now = self.now + Duration::from_nanos(nanos),
            Op::Back(micros) => self.now = self.now.back(Duration::from_micros(micros.into())),
            Op::Resize(capacity) => self.pool.resize(count(u32::from(capacity).max(1))),
            Op::Reload(settings) => {
                let n = self.pool.config().tiers().count();
                let tiers = tiers(&settings, n);
                let reloaded = self.pool.reload(tiers, self.now);
                reloaded.expect("of the same names");
            }
            Op::Outside(tier, seats) => {
                self.outside = true;
                self.pool.outside(TierId::new(tier), seats.into());
            }
            Op::ReleaseOutside(tenant, tier, left, since) => {
                self.outside = true;
                let since = self.now.back(Duration::from_micros(since.into()));
                let (tenant, tier) = (TenantId::new(tenant.into()), TierId::new(tier));
                self.pool
                    .release_outside(tenant, tier, left.into(), since, self.now);
            }
            Op::Forget(most) => {
                self.pool.forget_idle(most.into());
            }
        }
    }
}

fuzz_target!(|case: Case| {
    let n = case.tiers.len().clamp(1, 8);
    let config = SchedulerConfig::new(
        count(u32::from(case.capacity).max(1)),
        tiers(&case.tiers, n),
    )
    .queue(case.queue.into())
    .tenants(count(u32::from(case.tenants).max(1)))
    .debt(period(case.debt))
    .guess(period(case.guess));
    let mut run = Run {
        pool: Scheduler::new(config),
        now: Tick::ZERO,
        next: 0,
        waiting: HashMap::new(),
        seats: Vec::new(),
        outside: false,
    };
    for op in case.ops {
        run.apply(op);
        run.drain();
    }
});
