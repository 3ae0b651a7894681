//! P5, P6, P7, P10, P11, P12, P13: how far apart tenants get that always have work.

use super::field::{Event, Fate, Field, Request, Story, Verdict, below, same, spread, within};
use super::loads::{Backlog, Lag, Load, ms, one, open, period, seats};
use crate::num::{Ratio, count};
use crate::rng::Rng;
use crate::tenant::scheduler::SchedulerConfig;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::tier::{TierId, Tiers, Weight};
use crate::time::Tick;

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
    // What ends is counted, so one more. With many seats each most runs end far within this, and a few near it.
    let bound = f64::from(limit + 2);
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
        let wait = |it: &Story| it.began.as_nanos() - it.came.as_nanos();
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
