//! Twice what a pool can do comes, and one tier asks for less than is its own: it is served, and soon, whatever the
//! requests are like. Shorter than in `benches/fairness.rs`, with seeds that are always the same.

use super::field::{Field, MILLI, Request, Story, below, spread};
use super::loads::{ms, period};
use crate::num::{Ratio, count};
use crate::rng::Rng;
use crate::tenant::scheduler::SchedulerConfig;
use crate::tenant::tier::{Tier, Tiers, Weight};
use crate::time::Tick;

/// A half, and three quarters twice, of 64 seats whose weights are 6 : 3 : 1; a caller waits for a second. What the first
/// tier's requests came to.
fn first_tier(seed: u64, mean: u64, mut cost: impl FnMut(&mut Rng) -> u64) -> Had {
    let mut rng = Rng::new(seed);
    let offered = [0.5, 0.75, 0.75];
    let tier = |name, weight, reserved| {
        Tier::new(name)
            .weight(Weight::of(weight))
            .reserved(Ratio::percent(reserved))
            .queue(1_000)
            .tenant_queue(100)
            .patience(period(ms(1_000)))
    };
    let tiers = [tier("a", 6, 10), tier("b", 3, 10), tier("c", 1, 5)];
    let config = SchedulerConfig::new(count(64), Tiers::new(tiers).unwrap());
    let mut field = Field::new(config, None).loose();
    let start = field.now.as_nanos();
    let (from, to) = (start + ms(20_000), start + ms(80_000));
    let mut next: Vec<u64> = vec![start; 3];
    loop {
        let tier = (0..3).min_by_key(|tier| next[*tier]).unwrap();
        if next[tier] >= to {
            break;
        }
        field.until(Tick::from_nanos(next[tier])).unwrap();
        let tenant = below(&mut rng, [100, 1_000, 10_000][tier]);
        let cost = cost(&mut rng);
        field.come(Request::new(tenant, tier as u8, cost)).unwrap();
        while field.next_event().is_some() {}
        let gap = mean as f64 / 64.0 / offered[tier];
        next[tier] += spread(&mut rng, gap as u64);
    }
    // Whoever came in the last second may wait yet.
    field.pass(ms(1_100)).unwrap();
    let asked = field.stories.iter();
    let asked: Vec<&Story> = asked
        .filter(|it| it.request.tier == 0 && it.came.as_nanos() >= from)
        .collect();
    let served = asked.iter().filter(|it| it.began != Tick::NEVER);
    let mut waits: Vec<u64> = served
        .map(|it| it.began.as_nanos() - it.came.as_nanos())
        .collect();
    waits.sort_unstable();
    Had {
        asked: asked.len(),
        served: waits.len(),
        p99: waits[waits.len() * 99 / 100] / MILLI,
    }
}

struct Had {
    asked: usize,
    served: usize,
    /// Of the waits of those who were served, in milliseconds.
    p99: u64,
}

#[test]
fn rule_3_few_very_long_requests_cost_a_tier_nothing_of_its_share() {
    // One in twenty takes two seconds, and the rest ten milliseconds.
    let played = [1, 2].map(|seed| {
        first_tier(seed, 109_500_000, |rng| {
            if below(rng, 20) == 0 {
                ms(2_000)
            } else {
                ms(10)
            }
        })
    });
    let sum = |of: fn(&Had) -> usize| played.iter().map(of).sum::<usize>() as f64;
    let served = sum(|it| it.served) / sum(|it| it.asked);
    assert!(served >= 0.995, "{served} served");
}

#[test]
fn rule_3_a_queue_that_is_empty_for_a_moment_costs_a_tier_nothing() {
    for seed in [1, 2] {
        let had = first_tier(seed, ms(100), |rng| spread(rng, ms(100)));
        assert!(had.p99 <= 60, "seed {seed}: p99 {} ms", had.p99);
        let lost = had.asked - had.served;
        assert!(lost * 1_000 <= had.asked, "seed {seed}: {lost} lost");
    }
}
