//! Tiers and tenants to try the scheduler on, and the measure of how far apart they get.

use std::num::NonZeroU32;
use std::time::Duration;

use super::field::{Fate, Field, MILLI, Request, Verdict, below, within};
use crate::num::{Period, Ratio};
use crate::rng::Rng;
use crate::tenant::tier::{Tier, Tiers, Weight};

pub(super) const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

pub(super) fn ratio(share: f64) -> Ratio {
    Ratio::new("share", share).unwrap()
}

pub(super) fn ms(millis: u64) -> u64 {
    millis * MILLI
}

pub(super) fn period(nanos: u64) -> Period {
    Period::new("period", Duration::from_nanos(nanos)).unwrap()
}

pub(super) fn seats(n: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap()).unwrap()
}

/// One tier without bounds, but for those that a law is about.
pub(super) fn open(name: &'static str) -> Tier {
    Tier::new(name)
        .queue(1_000_000)
        .tenant_queue(1_000_000)
        .patience(period(ms(100_000_000)))
        .tenant_share(Ratio::ONE)
}

pub(super) fn one(tier: Tier) -> Tiers {
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

/// Everybody of `loads` always has `deep` requests waiting.
pub(super) struct Backlog {
    pub(super) loads: Vec<Load>,
    pub(super) deep: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) tenant: u64,
    pub(super) tier: u8,
    pub(super) weight: u16,
    pub(super) low: u64,
    pub(super) high: u64,
    /// Of what it takes it tells this share in thousandths; none if it says nothing.
    pub(super) tells: Option<u64>,
}

impl Backlog {
    pub(super) fn fill(&self, field: &mut Field, rng: &mut Rng) -> Verdict {
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
    pub(super) had: Vec<f64>,
    pub(super) ahead: Vec<Vec<(f64, f64)>>,
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
