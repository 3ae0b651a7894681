//! P1, P2, P8, P9, P12: who waits, for how long, and who is turned away.

use super::field::{Event, Fate, Field, Request, Story, Verdict, below, same, spread, within};
use super::loads::{Backlog, Load, any_tiers, ms, one, open, period, seats};
use crate::num::count;
use crate::rng::Rng;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::scheduler::{Refusal, SchedulerConfig, TenantId};
use crate::tenant::tier::{TierId, Tiers};
use crate::time::Tick;

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
    let known = |it: &&Story| it.request.tenant < 3 && it.began != Tick::NEVER;
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
