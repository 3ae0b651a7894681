//! P1 to P13, and the traps that concern the machine. Each takes a seed and a flaw, and says what it saw go wrong.

use std::num::NonZeroU32;
use std::time::Duration;

use super::field::{Event, Fate, Field, MILLI, Request, Verdict, below, same, spread, within};
use crate::num::{Period, Ratio, count};
use crate::rng::Rng;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::scheduler::{Refusal, SchedulerConfig, Seating, TenantId};
use crate::tenant::tier::{Tier, TierId, Tiers, Weight};
use crate::time::Tick;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn ratio(share: f64) -> Ratio {
    Ratio::new("share", share).unwrap()
}

fn ms(millis: u64) -> u64 {
    millis * MILLI
}

fn period(nanos: u64) -> Period {
    Period::new("period", Duration::from_nanos(nanos)).unwrap()
}

fn seats(n: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap()).unwrap()
}

/// One tier without bounds, but for those that a law is about.
fn open(name: &'static str) -> Tier {
    Tier::new(name)
        .queue(1_000_000)
        .tenant_queue(1_000_000)
        .patience(period(ms(100_000_000)))
        .tenant_share(Ratio::ONE)
}

fn one(tier: Tier) -> Tiers {
    Tiers::new([tier]).unwrap()
}

/// Any tiers that are allowed, so many.
pub(super) fn any_tiers(rng: &mut Rng, tiers: u64) -> Tiers {
    let mut left = 100;
    let mut all = Vec::new();
    for name in NAMES.into_iter().take(usize::try_from(tiers).unwrap()) {
        let reserved = below(rng, left.min(60) + 1);
        left -= reserved;
        let held = below(rng, reserved + 1) * below(rng, 2);
        let limit = match below(rng, 3) {
            0 => within(rng, reserved.max(1), 100),
            _ => 100,
        };
        let percent = |n: u64| ratio(n as f64 / 100.0);
        let tier = Tier::new(name)
            .weight(Weight::of(within(rng, 1, 9) as u16))
            .reserved(percent(reserved))
            .held(percent(held))
            .limit(percent(limit))
            .queue(below(rng, 20) as u32)
            .tenant_queue(below(rng, 8) as u32)
            .patience(period(ms(within(rng, 1, 400))))
            .tenant_share(percent(within(rng, 1, 100)))
            .shed(below(rng, 3) as u8);
        all.push(tier);
    }
    Tiers::new(all).unwrap()
}

/// P1, P2, P8, P9, P12, rules 1, 4, 7 and 8, traps 1, 4, 8: any operations, held against the naive model after each.
pub(super) fn any_operations(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tiers = within(&mut rng, 1, 4);
    let first = any_tiers(&mut rng, tiers);
    let config = SchedulerConfig::new(seats(within(&mut rng, 1, 12)), first)
        .queue(within(&mut rng, 1, 40) as u32)
        .guess(period(ms(within(&mut rng, 1, 50))));
    let mut field = Field::new(config, flaw);
    let tenants = within(&mut rng, 1, 10);
    for _ in 0..250 {
        match below(&mut rng, 20) {
            0 => field.resize(within(&mut rng, 1, 12) as u32)?,
            1 => field.reload(any_tiers(&mut rng, tiers))?,
            2 | 3 if !field.stories.is_empty() => {
                let back = below(&mut rng, 30.min(field.stories.len() as u64)) as usize;
                field.cancel(field.stories.len() - 1 - back)?;
            }
            4..8 => {
                let time = spread(&mut rng, ms(20));
                field.pass(time)?;
            }
            _ => {
                let cost = spread(&mut rng, ms(30));
                let tier = below(&mut rng, tiers) as u8;
                let mut request = Request::new(below(&mut rng, tenants), tier, cost)
                    .weight(within(&mut rng, 1, 5) as u16);
                if below(&mut rng, 2) == 0 {
                    request.told = Some(spread(&mut rng, ms(30)));
                }
                if below(&mut rng, 3) == 0 {
                    let after = spread(&mut rng, ms(50));
                    request.deadline = Some(Tick::from_nanos(field.now.as_nanos() + after));
                }
                field.come(request)?;
            }
        }
    }
    field.finish()
}

/// P3, trap 8: what shares come to in seats.
pub(super) fn seats_of_shares(seed: u64, _: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let number = within(&mut rng, 1, 8);
    let tiers = any_tiers(&mut rng, number);
    let whole: f64 = tiers
        .iter()
        .map(|(_, tier)| tier.reserved_share().get())
        .sum();
    for capacity in 1..=80_u32 {
        let seating = Seating::new(&tiers, count(capacity));
        let (mut reserved, mut held) = (0, 0);
        for (id, tier) in tiers.iter() {
            let quota = tier.reserved_share().get() * f64::from(capacity);
            let own = f64::from(seating.reserved(id));
            let claim = f64::from(seating.claim(id)) / 1e6;
            if own >= quota + 1.0 || own + claim < quota - 1e-4 {
                return Err(format!("P3: {quota} came to {own} and a claim of {claim}"));
            }
            if seating.held(id) > seating.reserved(id)
                || seating.limit(id) < seating.reserved(id).max(1)
                || seating.limit(id) > capacity
                || seating.tenant_limit(id) == 0
                || seating.tenant_limit(id) > seating.limit(id)
            {
                return Err(format!("P3: {tier:?} came to {seating:?}"));
            }
            reserved += seating.reserved(id);
            held += seating.held(id);
        }
        let most = if whole < 0.999_999 {
            capacity - 1
        } else {
            capacity
        };
        if reserved > most || held >= capacity {
            return Err(format!(
                "P3: {reserved} reserved, {held} held of {capacity}"
            ));
        }
    }
    Ok(())
}

/// Everybody of `loads` always has `deep` requests waiting.
struct Backlog {
    loads: Vec<Load>,
    deep: usize,
}

#[derive(Clone, Copy)]
struct Load {
    tenant: u64,
    tier: u8,
    weight: u16,
    low: u64,
    high: u64,
    /// Of what it takes it tells this share in thousandths; none if it says nothing.
    tells: Option<u64>,
}

impl Backlog {
    fn fill(&self, field: &mut Field, rng: &mut Rng) -> Verdict {
        for load in &self.loads {
            while field.waiting_of(load.tier, load.tenant) < self.deep {
                let cost = within(rng, load.low, load.high);
                let request = Request::new(load.tenant, load.tier, cost).weight(load.weight);
                let told = load.tells.map(|share| (cost * share / 1_000).max(1));
                let id = field.come(Request { told, ..request })?;
                if let Fate::Refused(_) = field.stories[id].fate {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What each of several had, on a common scale, and how far any two were ever apart.
pub(super) struct Lag {
    had: Vec<f64>,
    ahead: Vec<Vec<(f64, f64)>>,
}

impl Lag {
    pub(super) fn new(n: usize) -> Self {
        Self {
            had: vec![0.0; n],
            ahead: vec![vec![(0.0, 0.0); n]; n],
        }
    }

    pub(super) fn add(&mut self, who: usize, what: f64) {
        self.had[who] += what;
        for other in 0..self.had.len() {
            let apart = self.had[who] - self.had[other];
            for (one, two, apart) in [(who, other, apart), (other, who, -apart)] {
                let (least, most) = &mut self.ahead[one][two];
                *least = least.min(apart);
                *most = most.max(apart);
            }
        }
    }

    /// The greatest change of the distance of any two, in units of what `bound` says of each of them together.
    pub(super) fn worst(&self, bound: impl Fn(usize) -> f64) -> f64 {
        let mut worst = 0.0_f64;
        for (one, row) in self.ahead.iter().enumerate() {
            for (two, (least, most)) in row.iter().enumerate().filter(|(two, _)| *two != one) {
                worst = worst.max((most - least) / (bound(one) + bound(two)));
            }
        }
        worst
    }
}

/// P5, P11, P12: with known costs, no two that always have work are ever further apart than one request of each, across
/// the end of the tags' scale and changes of weights and capacity.
pub(super) fn lag_of_known_costs(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let capacity = [1, 2, 16, 64][below(&mut rng, 4) as usize];
    let config = SchedulerConfig::new(count(capacity), one(open("all")));
    let mut field = Field::new(config, flaw).loose();
    field.pool.set_clocks(u64::MAX - below(&mut rng, 1 << 36));
    let n = within(&mut rng, 2, 7) as usize;
    // Many requests may end at one moment, and everybody always has work.
    let mut backlog = Backlog {
        loads: Vec::new(),
        deep: 130,
    };
    for tenant in 0..n as u64 {
        let low = ms(within(&mut rng, 1, 20));
        backlog.loads.push(Load {
            tenant,
            tier: 0,
            weight: within(&mut rng, 1, 8) as u16,
            low,
            high: low * within(&mut rng, 1, 10),
            tells: Some(1_000),
        });
    }
    for round in 0..2 {
        // After a change a request that waited before may count by either weight.
        let mut least: Vec<f64> = backlog
            .loads
            .iter()
            .map(|it| f64::from(it.weight))
            .collect();
        if round == 1 {
            for (load, least) in backlog.loads.iter_mut().zip(&mut least) {
                load.weight = within(&mut rng, 1, 8) as u16;
                *least = least.min(f64::from(load.weight));
            }
            field.resize(within(&mut rng, 1, 64) as u32)?;
            // A weight is that of the latest request.
            backlog.deep += 1;
        }
        let mut lag = Lag::new(n);
        backlog.fill(&mut field, &mut rng)?;
        while field.next_event().is_some() {}
        let mut left = 600;
        let mut clock = field.pool.clock_of(TierId::new(0));
        while left > 0 {
            field.step(Tick::NEVER)?;
            let later = field.pool.clock_of(TierId::new(0));
            if later.is_before(clock) {
                return Err("P11: the clock went back".into());
            }
            clock = later;
            backlog.fill(&mut field, &mut rng)?;
            while let Some(event) = field.next_event() {
                if let Event::Granted(id) = event {
                    let request = field.stories[id].request;
                    let who = request.tenant as usize;
                    let by = f64::from(backlog.loads[who].weight);
                    lag.add(who, request.cost as f64 / by);
                    left -= 1;
                }
            }
        }
        let worst = lag.worst(|who| backlog.loads[who].high as f64 / least[who]);
        if worst > 1.000_001 {
            return Err(format!("P5: {worst} times the bound in round {round}"));
        }
    }
    Ok(())
}

/// P6, trap 10: with estimates, and with limits of tenants that are reached, and whatever anybody says of itself.
pub(super) fn lag_of_estimates(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let capacity = [1, 4, 16, 64][below(&mut rng, 4) as usize];
    let n = within(&mut rng, 4, 8) as usize;
    let share = [100, 50, 25][below(&mut rng, 3) as usize];
    let tier = open("all").tenant_share(Ratio::percent(share));
    let config = SchedulerConfig::new(count(capacity), one(tier)).guess(period(ms(10)));
    let mut field = Field::new(config, flaw).loose();
    let mut backlog = Backlog {
        loads: Vec::new(),
        deep: 70,
    };
    for tenant in 0..n as u64 {
        let low = ms(within(&mut rng, 1, 10));
        let tells = [None, None, Some(100), Some(1_000), Some(3_000)];
        backlog.loads.push(Load {
            tenant,
            tier: 0,
            weight: 1,
            low,
            high: low * within(&mut rng, 1, 10),
            tells: tells[below(&mut rng, 5) as usize],
        });
    }
    let mut lag = Lag::new(n);
    let mut events = 0;
    while events < 1_500 {
        backlog.fill(&mut field, &mut rng)?;
        field.step(Tick::NEVER)?;
        while let Some(event) = field.next_event() {
            if let Event::Ended(id) = event {
                let request = field.stories[id].request;
                events += 1;
                // What is not known yet is not what this is about.
                if events > 300 {
                    lag.add(request.tenant as usize, request.cost as f64);
                }
            }
        }
    }
    let limit = field.pool.seating().tenant_limit(TierId::new(0));
    // What ends is counted, so one more. The bound itself where somebody says what is not so; otherwise it is far off.
    let is_honest = |load: &Load| load.tells.is_none_or(|share| share == 1_000);
    let most = if backlog.loads.iter().all(is_honest) {
        limit.min(15)
    } else {
        limit
    };
    let bound = f64::from(most + 2);
    // Somebody who says that it takes three times as much is held to that until it turns out.
    let worst = lag.worst(|who| {
        let load = backlog.loads[who];
        load.high as f64
            * load
                .tells
                .map_or(1.0, |share| (share as f64 / 1e3).max(1.0))
    });
    if worst > bound {
        return Err(format!(
            "P6: {worst} times the bound at {capacity} seats, {limit} each"
        ));
    }
    Ok(())
}

/// P7: whoever comes new to a tier meets one request of each other at most.
pub(super) fn first_service(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let share = [25, 50, 100][below(&mut rng, 3) as usize];
    let tier = open("all").tenant_share(Ratio::percent(share));
    let config = SchedulerConfig::new(seats(within(&mut rng, 1, 16)), one(tier));
    let mut field = Field::new(config, flaw).loose();
    let n = within(&mut rng, 2, 20);
    let loads = (0..n).map(|tenant| Load {
        tenant,
        tier: 0,
        weight: 1,
        low: ms(1),
        high: ms(30),
        tells: Some(1_000),
    });
    let backlog = Backlog {
        loads: loads.collect(),
        deep: 4,
    };
    for new in 0..6 {
        for _ in 0..40 {
            backlog.fill(&mut field, &mut rng)?;
            field.step(Tick::NEVER)?;
        }
        while field.next_event().is_some() {}
        let newcomer = field.come(Request::new(n + new, 0, ms(10)).told())?;
        let mut before = vec![0; n as usize];
        'met: loop {
            while let Some(event) = field.next_event() {
                match event {
                    Event::Granted(id) if id == newcomer => break 'met,
                    Event::Granted(id) => before[field.stories[id].request.tenant as usize] += 1,
                    _ => {}
                }
            }
            field.step(Tick::NEVER)?;
            backlog.fill(&mut field, &mut rng)?;
        }
        if before.iter().any(|n| *n > 1) {
            return Err(format!("P7: {before:?} before the newcomer"));
        }
    }
    Ok(())
}

/// P4, trap 11: every tier that has work gets what is reserved, and its share by weight of what is left.
pub(super) fn no_starvation(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let n = within(&mut rng, 2, 4);
    let mut left = 90;
    let mut all = Vec::new();
    for name in NAMES.into_iter().take(n as usize) {
        let reserved = below(&mut rng, left.min(50)) * below(&mut rng, 2);
        left -= reserved;
        all.push(
            open(name)
                .weight(Weight::of([1, 1, 3, 10, 100][below(&mut rng, 5) as usize]))
                .reserved(ratio(reserved as f64 / 100.0)),
        );
    }
    let tiers = Tiers::new(all).unwrap();
    let capacity = [1, 2, 3, 8, 20][below(&mut rng, 5) as usize];
    let fair = floors(&tiers, f64::from(capacity));
    let mut field = Field::new(SchedulerConfig::new(count(capacity), tiers), flaw).loose();
    let mut backlog = Backlog {
        loads: Vec::new(),
        deep: 2,
    };
    for tier in 0..n {
        for tenant in 0..3 {
            backlog.loads.push(Load {
                tenant,
                tier: tier as u8,
                weight: 1,
                low: ms(1),
                high: ms(10),
                tells: [None, Some(1_000)][below(&mut rng, 2) as usize],
            });
        }
    }
    let start = field.now.as_nanos();
    let (from, to) = (start + ms(500), start + ms(3_500));
    while field.now.as_nanos() < to {
        backlog.fill(&mut field, &mut rng)?;
        field.step(Tick::NEVER)?;
    }
    let mut had = vec![0.0; n as usize];
    for story in field
        .stories
        .iter()
        .filter(|story| story.began != Tick::NEVER)
    {
        let end = story.began.as_nanos() + story.request.cost;
        let inside = end.min(to).saturating_sub(story.began.as_nanos().max(from));
        had[usize::from(story.request.tier)] += inside as f64 / (to - from) as f64;
    }
    for (tier, (had, fair)) in had.iter().zip(&fair).enumerate() {
        // Whole seats: half a one where there are two, which rounding may give to another; a tenth of the only one.
        let slack = [0.1, 0.6]
            .get(capacity as usize - 1)
            .copied()
            .unwrap_or(1.0);
        if *had < fair - slack {
            return Err(format!(
                "P4: tier {tier} had {had} of {fair} seats, of {capacity}"
            ));
        }
    }
    Ok(())
}

/// What each of several that all have work should have: its weight's part, but no less than is reserved.
fn floors(tiers: &Tiers, capacity: f64) -> Vec<f64> {
    let parts: Vec<(f64, f64)> = tiers
        .iter()
        .map(|(_, it)| {
            (
                it.reserved_share().get() * capacity,
                f64::from(it.share_weight().get()),
            )
        })
        .collect();
    let total = |level: f64| -> f64 { parts.iter().map(|(r, w)| r.max(level * w)).sum() };
    let (mut low, mut high) = (0.0, capacity);
    for _ in 0..100 {
        let mid = (low + high) / 2.0;
        if total(mid) > capacity {
            high = mid
        } else {
            low = mid
        }
    }
    parts.iter().map(|(r, w)| r.max(low * w)).collect()
}

/// P9, trap 16: in a flood everybody is told in time.
pub(super) fn told_in_time(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tier = open("all")
        .patience(period(ms(200)))
        .queue(300)
        .tenant_queue(100);
    let mut field = Field::new(SchedulerConfig::new(count(4), one(tier)), flaw).loose();
    for _ in 0..3_000 {
        let wait = spread(&mut rng, ms(1));
        field.pass(wait)?;
        let cost = spread(&mut rng, ms(20));
        field.come(Request::new(below(&mut rng, 30), 0, cost))?;
    }
    field.finish()?;
    for story in &field.stories {
        let (came, began) = (story.came.as_nanos(), story.began.as_nanos());
        let waited = match story.fate {
            Fate::Refused(_) => story.ended.as_nanos() - came,
            _ => began - came,
        };
        if waited > ms(200) + ms(3) {
            return Err(format!("P9: {story:?} waited for {waited}"));
        }
    }
    Ok(())
}

/// P10, trap 2: a tenant is not forgotten while it owes, and what it owes has an end.
pub(super) fn debts_outlast_pressure(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let place = |room: u32, rng: &mut Rng| -> Result<usize, String> {
        let config = SchedulerConfig::new(count(2), one(open("all"))).tenants(count(room));
        let mut field = Field::new(config, flaw).loose();
        let loads = [1, 2].map(|tenant| Load {
            tenant,
            tier: 0,
            weight: 1,
            low: ms(10),
            high: ms(10),
            tells: Some(1_000),
        });
        let backlog = Backlog {
            loads: loads.to_vec(),
            deep: 2,
        };
        backlog.fill(&mut field, rng)?;
        // It says ten milliseconds and takes ten seconds.
        let request = Request {
            told: Some(ms(10)),
            ..Request::new(0, 0, ms(10_000))
        };
        let heavy = field.come(request)?;
        while field.stories[heavy].fate != Fate::Served {
            field.step(Tick::NEVER)?;
            backlog.fill(&mut field, rng)?;
        }
        for other in 0..200 {
            field.come(Request::new(100 + other, 0, ms(1)).told())?;
            if field.pool.tenants() > room as usize {
                return Err("P10: more tenants than there is room for".into());
            }
            field.step(Tick::NEVER)?;
            backlog.fill(&mut field, rng)?;
        }
        while field.next_event().is_some() {}
        let back = field.come(Request::new(0, 0, ms(10)).told())?;
        let mut before = 0;
        loop {
            while let Some(event) = field.next_event() {
                match event {
                    Event::Granted(id) if id == back => return Ok(before),
                    Event::Granted(_) => before += 1,
                    _ => {}
                }
            }
            if before > 10_000 {
                return Ok(before);
            }
            field.step(Tick::NEVER)?;
            backlog.fill(&mut field, rng)?;
        }
    };
    let wide = place(10_000, &mut rng.clone())?;
    let narrow = place(within(&mut rng, 6, 40) as u32, &mut rng)?;
    if wide < 100 || narrow < wide / 2 {
        return Err(format!(
            "P10: {wide} before it with room for all, {narrow} without"
        ));
    }
    Ok(())
}

/// P13: all times by the same factor, other names, and twice the weight.
pub(super) fn metamorphoses(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let waits = |factor: u64, rename: bool| -> Result<Vec<u64>, String> {
        let mut rng = Rng::new(seed);
        let tiers = [("a", 4), ("b", 1)].map(|(name, weight)| {
            open(name)
                .weight(Weight::of(weight))
                .reserved(Ratio::percent(25))
                .tenant_share(Ratio::percent(50))
        });
        let tiers = Tiers::new(tiers).unwrap();
        let config = SchedulerConfig::new(count(4), tiers).guess(period(ms(1) * factor));
        let mut field = Field::new(config, flaw).loose();
        // Only what waits has a place in time: the run starts where the clock does.
        field.now = Tick::ZERO;
        for _ in 0..300 {
            let wait = spread(&mut rng, ms(2)) * factor;
            field.pass(wait)?;
            let tenant = below(&mut rng, 6);
            let tenant = if rename {
                9_000_000_007 * (tenant + 3)
            } else {
                tenant
            };
            let cost = spread(&mut rng, ms(12)) * factor;
            let request = Request::new(tenant, below(&mut rng, 2) as u8, cost);
            let weight = [1, 2, 4][below(&mut rng, 3) as usize];
            field.come(request.weight(weight).told())?;
        }
        field.finish()?;
        let wait = |it: &super::field::Story| it.began.as_nanos() - it.came.as_nanos();
        Ok(field.stories.iter().map(wait).collect())
    };
    let plain = waits(1, false)?;
    let threefold: Vec<u64> = plain.iter().map(|wait| wait * 3).collect();
    same(waits(3, false)?, threefold, "P13: three times as slow")?;
    same(waits(1, true)?, plain, "P13: under other names")?;

    let mut rng = Rng::new(seed);
    let mut field = Field::new(SchedulerConfig::new(count(8), one(open("all"))), flaw).loose();
    let loads = [1, 2, 4].map(|weight| Load {
        tenant: u64::from(weight),
        tier: 0,
        weight,
        low: ms(1),
        high: ms(9),
        tells: Some(1_000),
    });
    let backlog = Backlog {
        loads: loads.to_vec(),
        deep: 2,
    };
    let mut had = [0.0_f64; 5];
    for _ in 0..2_000 {
        backlog.fill(&mut field, &mut rng)?;
        field.step(Tick::NEVER)?;
        while let Some(event) = field.next_event() {
            if let Event::Ended(id) = event {
                let request = field.stories[id].request;
                had[request.tenant as usize] += request.cost as f64;
            }
        }
    }
    for (less, more) in [(1, 2), (2, 4)] {
        let factor = had[more] / had[less];
        if !(1.9..2.1).contains(&factor) {
            return Err(format!("P13: twice the weight had {factor} times as much"));
        }
    }
    Ok(())
}

/// Trap 2: whoever was away for ten minutes, a tenant or a whole tier, is not let in with ten minutes' worth.
pub(super) fn absence_earns_nothing(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tiers = Tiers::new([open("a"), open("b")]).unwrap();
    let mut field = Field::new(SchedulerConfig::new(count(4), tiers), flaw).loose();
    let load = |tenant, tier| Load {
        tenant,
        tier,
        weight: 1,
        low: ms(50),
        high: ms(50),
        tells: Some(1_000),
    };
    // Those who come back were there before.
    for (tenant, tier) in [(9, 0), (9, 1)] {
        field.come(Request::new(tenant, tier, ms(50)).told())?;
    }
    let busy = Backlog {
        loads: vec![load(1, 0), load(2, 0)],
        deep: 2,
    };
    let end = field.now.as_nanos() + ms(60_000);
    while field.now.as_nanos() < end {
        busy.fill(&mut field, &mut rng)?;
        field.step(Tick::NEVER)?;
    }
    while field.next_event().is_some() {}
    let tier = below(&mut rng, 2) as u8;
    let back = Backlog {
        loads: vec![load(9, tier)],
        deep: 30,
    };
    back.fill(&mut field, &mut rng)?;
    let (mut of_it, mut of_others) = (0, 0);
    while of_it + of_others < 40 {
        while let Some(event) = field.next_event() {
            if let Event::Granted(id) = event {
                if field.stories[id].request.tenant == 9 {
                    of_it += 1
                } else {
                    of_others += 1
                }
            }
        }
        field.step(Tick::NEVER)?;
        busy.fill(&mut field, &mut rng)?;
    }
    // Half of the seats as a tier of two, a third as a tenant of three; and what P5 allows.
    if of_it > 24 {
        return Err(format!(
            "trap 2: {of_it} of the first forty were of who was away"
        ));
    }
    Ok(())
}

/// Scenario A, trap 9: twice what the pool can do comes; the shares are those of the weights.
pub(super) fn shares_in_overload(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let offered = [0.5, 0.75, 0.75];
    let tier = |name, weight, reserved| {
        Tier::new(name)
            .weight(Weight::of(weight))
            .reserved(Ratio::percent(reserved))
            .queue(100_000)
            .tenant_queue(1_000)
    };
    let tiers = [tier("a", 6, 10), tier("b", 3, 10), tier("c", 1, 5)];
    let config = SchedulerConfig::new(count(64), Tiers::new(tiers).unwrap()).queue(100_000);
    let mut field = Field::new(config, flaw).loose();
    let start = field.now.as_nanos();
    let (from, to) = (start + ms(3_000), start + ms(13_000));
    let mean = ms(100);
    let mut next: Vec<u64> = vec![start; 3];
    loop {
        let tier = (0..3).min_by_key(|tier| next[*tier]).unwrap();
        if next[tier] >= to {
            break;
        }
        field.until(Tick::from_nanos(next[tier]))?;
        let cost = spread(&mut rng, mean);
        let tenant = below(&mut rng, [10, 100, 1_000][tier]);
        field.come(Request::new(tenant, tier as u8, cost))?;
        let gap = mean as f64 / 64.0 / offered[tier];
        next[tier] += spread(&mut rng, gap as u64);
    }
    let (mut had, mut asked) = ([0.0; 3], [0.0; 3]);
    for story in &field.stories {
        let tier = usize::from(story.request.tier);
        let whole = (to - from) as f64 * 64.0 / 100.0;
        if story.came.as_nanos() >= from {
            asked[tier] += story.request.cost as f64 / whole;
        }
        if story.began != Tick::NEVER {
            let end = (story.began.as_nanos() + story.request.cost).min(to);
            let inside = end.saturating_sub(story.began.as_nanos().max(from));
            had[tier] += inside as f64 / whole;
        }
    }
    // Weighted max-min of what was asked for.
    let first = asked[0].min(60.0);
    let should = [first, (100.0 - first) * 0.75, (100.0 - first) * 0.25];
    for tier in 0..3 {
        if (had[tier] - should[tier]).abs() > 2.0 {
            return Err(format!("A: {had:?} instead of {should:?} per cent"));
        }
    }
    Ok(())
}

/// Scenario D: of eight that always have work one has requests of twenty times the length. It has an eighth of the
/// seats.
pub(super) fn heavy_neighbour(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let share = [25, 100][below(&mut rng, 2) as usize];
    let tier = open("all").tenant_share(Ratio::percent(share));
    let mut field = Field::new(SchedulerConfig::new(count(64), one(tier)), flaw).loose();
    let loads = (0..8).map(|tenant| Load {
        tenant,
        tier: 0,
        weight: 1,
        low: if tenant == 0 { ms(400) } else { ms(20) },
        high: if tenant == 0 { ms(3_600) } else { ms(180) },
        tells: None,
    });
    let backlog = Backlog {
        loads: loads.collect(),
        deep: 20,
    };
    let start = field.now.as_nanos();
    let (from, to) = (start + ms(20_000), start + ms(80_000));
    while field.now.as_nanos() < to {
        backlog.fill(&mut field, &mut rng)?;
        field.step(Tick::NEVER)?;
    }
    let mut had = [0.0; 8];
    for story in field
        .stories
        .iter()
        .filter(|story| story.began != Tick::NEVER)
    {
        let end = (story.began.as_nanos() + story.request.cost).min(to);
        let inside = end.saturating_sub(story.began.as_nanos().max(from));
        had[story.request.tenant as usize] += inside as f64 / ((to - from) as f64 * 0.64);
    }
    if had.iter().any(|had| (had - 12.5).abs() > 1.0) {
        return Err(format!("D: {had:?} per cent"));
    }
    Ok(())
}

/// Rule 7: whoever has least waiting loses nothing to whoever has most; the tier that is shed first loses first.
pub(super) fn the_longest_queue_pays(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tier = |name, order| open(name).queue(60).tenant_queue(40).shed(order);
    let tiers = Tiers::new([tier("good", 1), tier("least", 0)]).unwrap();
    let config = SchedulerConfig::new(count(1), tiers).queue(90);
    let mut field = Field::new(config, flaw);
    field.come(Request::new(0, 0, ms(1_000_000)))?;
    for _ in 0..200 {
        let tier = below(&mut rng, 2) as u8;
        let few = below(&mut rng, 12) + 1;
        let tenant = below(&mut rng, few);
        let own = field.waiting_of(tier, tenant);
        let before: Vec<Vec<usize>> = (0..2)
            .map(|tier| {
                (0..12)
                    .map(|tenant| field.waiting_of(tier, tenant))
                    .collect()
            })
            .collect();
        while field.next_event().is_some() {}
        field.come(Request::new(tenant, tier, ms(1)))?;
        let Some(Event::Refused(id)) = field.next_event() else {
            continue;
        };
        let story = field.stories[id];
        let victim = story.request;
        let longest = |tier: u8| *before[usize::from(tier)].iter().max().unwrap();
        match story.fate {
            Fate::Refused(Refusal::Shed) => {
                let had = before[usize::from(victim.tier)][victim.tenant as usize];
                same(had, longest(victim.tier), "rule 7: the longest queue pays")?;
                if victim.tier == tier && had <= own + 1 {
                    return Err("rule 7: a queue as short as its own paid".into());
                }
                if victim.tier < tier {
                    return Err("rule 7: the better tier was shed for the lesser".into());
                }
            }
            Fate::Refused(Refusal::TenantFull) => same(own, 40, "rule 7: its own are as many")?,
            Fate::Refused(Refusal::TierFull | Refusal::PoolFull) => {
                if tier == 0
                    && before[1].iter().sum::<usize>() > 0
                    && before[0].iter().sum::<usize>() < 60
                {
                    return Err(
                        "rule 7: the good tier was refused before the least was shed".into(),
                    );
                }
                if longest(tier) > own + 1 {
                    return Err("rule 7: refused though another has more".into());
                }
            }
            other => return Err(format!("rule 7: {other:?}")),
        }
    }
    Ok(())
}

/// Rule 8: whoever is told to come back later is told the truth, and whoever is let wait is seldom let down.
pub(super) fn honest_forecasts(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tier = open("all")
        .patience(period(ms(500)))
        .queue(5_000)
        .tenant_queue(5_000);
    let mut field = Field::new(SchedulerConfig::new(count(8), one(tier)), flaw).loose();
    let end = field.now.as_nanos() + ms(20_000);
    while field.now.as_nanos() < end {
        // 8 seats of 20 ms are 400 a second; 700 a second come.
        let gap = spread(&mut rng, ms(1_000) / 700);
        field.pass(gap)?;
        let tenant = below(&mut rng, 20);
        field.come(Request::new(tenant, 0, spread(&mut Rng::new(gap), ms(20))))?;
    }
    field.finish()?;
    let (mut early, mut late, mut served) = (0, 0, 0);
    for story in &field.stories {
        match story.fate {
            Fate::Refused(Refusal::Predicted) => early += 1,
            Fate::Refused(Refusal::Deadline) => late += 1,
            _ => served += 1,
        }
    }
    // What cannot be served is told so at once, and the seats are not idle for it.
    if early < late * 2 || served < 7_000 {
        return Err(format!(
            "rule 8: {early} told early, {late} late, {served} served"
        ));
    }
    Ok(())
}

/// Rule 9: whoever finds no room has one tenant's part together with all others like it.
pub(super) fn a_million_names(seed: u64, flaw: Option<Flaw>) -> Verdict {
    let mut rng = Rng::new(seed);
    let tier = open("all")
        .patience(period(ms(300)))
        .queue(2_000)
        .tenant_queue(500);
    let config = SchedulerConfig::new(count(4), one(tier)).tenants(count(20));
    let mut field = Field::new(config, flaw).loose();
    let loads = (0..3).map(|tenant| Load {
        tenant,
        tier: 0,
        weight: 1,
        low: ms(5),
        high: ms(5),
        tells: Some(1_000),
    });
    let backlog = Backlog {
        loads: loads.collect(),
        deep: 4,
    };
    let end = field.now.as_nanos() + ms(2_000);
    let mut name = 100;
    while field.now.as_nanos() < end {
        backlog.fill(&mut field, &mut rng)?;
        for _ in 0..4 {
            name += 1;
            field.come(Request::new(name, 0, ms(5)).told())?;
        }
        if field.pool.tenants() > 20 {
            return Err("rule 9: more tenants than there is room for".into());
        }
        field.pass(ms(1))?;
    }
    let known = |it: &&super::field::Story| it.request.tenant < 3 && it.began != Tick::NEVER;
    let served = field.stories.iter().filter(known).count();
    // 4 seats of 5 ms for 2 s are 1,600; three of the at most 21 places are known.
    if served < 1_600 * 3 / 22 {
        return Err(format!("rule 9: the three had {served}"));
    }
    let id = TenantId::new(1);
    if field.pool.tenant(id, TierId::new(0)).is_none() {
        return Err("rule 9: one who has work was forgotten".into());
    }
    Ok(())
}
