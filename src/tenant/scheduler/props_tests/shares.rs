//! P3, P4, traps 2 and 11, scenarios A and D: what tiers and tenants get of the seats. Each law takes a seed and a flaw, and
//! says what it saw go wrong.

use super::field::{Event, Field, Request, Verdict, below, spread, within};
use super::loads::{Backlog, Load, NAMES, any_tiers, ms, one, open, ratio};
use crate::num::{Ratio, count};
use crate::rng::Rng;
use crate::tenant::scheduler::flaw::Flaw;
use crate::tenant::scheduler::{SchedulerConfig, Seating};
use crate::tenant::tier::{Tier, Tiers, Weight};
use crate::time::Tick;

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
