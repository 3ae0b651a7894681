//! The rules:
//!
//! 1. On demand is the greatest of its share, rounded up, its floor, and the floor's share, and no more than all.
//! 2. What may be spent an hour is what is left over the hours that are left; the last hour counts as a whole one. Without
//!    hours or money, or with numbers that make no sense, nothing may be spent on spot.
//! 3. Above that, spot shrinks until nine tenths of it are spent. On demand never does: urgent work needs it.

use crate::autoscale::words::ceil;
use crate::num::Ratio;

/// How many of a count are on demand.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::spot::Mix;
/// use mainstay::num::Ratio;
///
/// let mix = Mix::new(Ratio::percent(30)).floor(3, Ratio::percent(20));
/// assert_eq!(mix.split(100).on_demand(), 30);
/// assert_eq!(mix.split(4).on_demand(), 3);
/// assert_eq!(mix.split(2).on_demand(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    share: Ratio,
    floor: u32,
    floor_share: Ratio,
}

impl Mix {
    /// This share on demand, without a floor.
    #[must_use]
    pub const fn new(on_demand: Ratio) -> Self {
        Self {
            share: on_demand,
            floor: 0,
            floor_share: Ratio::ZERO,
        }
    }

    /// At least so many, and at least such a share, whatever the share of the mix is.
    #[must_use]
    pub const fn floor(mut self, count: u32, share: Ratio) -> Self {
        self.floor = count;
        self.floor_share = share;
        self
    }

    /// Rule 1.
    #[must_use]
    pub fn split(&self, total: u32) -> Split {
        let of = |share: Ratio| ceil(f64::from(total) * share.get());
        let floor = self.floor.max(of(self.floor_share)).min(total);
        let on_demand = of(self.share).max(floor).min(total);
        Split {
            on_demand,
            spot: total.saturating_sub(on_demand),
        }
    }
}

/// So many on demand, and so many spot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Split {
    on_demand: u32,
    spot: u32,
}

impl Split {
    /// So many of each.
    #[must_use]
    pub const fn new(on_demand: u32, spot: u32) -> Self {
        Self { on_demand, spot }
    }

    /// How many on demand.
    #[must_use]
    pub const fn on_demand(self) -> u32 {
        self.on_demand
    }

    /// How many spot.
    #[must_use]
    pub const fn spot(self) -> u32 {
        self.spot
    }
}

/// What may still be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    left: f64,
    hours: f64,
}

/// Which share of the limit is spent after it was exceeded.
const AFTER: f64 = 0.9;

impl Budget {
    /// So much money for so many hours.
    #[must_use]
    pub const fn new(left: f64, hours: f64) -> Self {
        Self { left, hours }
    }

    /// What may be spent an hour: rule 2.
    #[must_use]
    pub fn hourly(&self) -> f64 {
        let sensible = |value: f64| (0.0..=f64::MAX).contains(&value);
        if sensible(self.left) && sensible(self.hours) {
            self.left / self.hours.max(1.0)
        } else {
            0.0
        }
    }

    /// How much of a split can be had at these prices an hour: rule 3.
    #[must_use]
    pub fn afford(&self, split: Split, on_demand_price: f64, spot_price: f64) -> Split {
        let limit = self.hourly();
        let (fixed, spot) = (
            f64::from(split.on_demand) * on_demand_price,
            f64::from(split.spot),
        );
        let rate = fixed + spot * spot_price;
        if rate <= limit {
            return split;
        }
        let room = (limit * AFTER - fixed) / spot_price;
        let afforded = if room >= 1.0 { ceil(room.floor()) } else { 0 };
        Split::new(split.on_demand, afforded.min(split.spot))
    }
}

/// Where work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Pool {
    /// Stays until it is given back.
    OnDemand,
    /// May be taken away.
    Spot,
}

/// Whose work it is, as the placement of tiers has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Class {
    /// Either pool, the cheap one first.
    Business,
    /// On demand first, spot rather than nothing.
    Enterprise,
    /// Spot only.
    Starter,
}

impl Class {
    /// The pools in which its work may run, the preferred one first.
    #[must_use]
    pub const fn pools(self) -> &'static [Pool] {
        match self {
            Self::Enterprise => &[Pool::OnDemand, Pool::Spot],
            Self::Business => &[Pool::Spot, Pool::OnDemand],
            Self::Starter => &[Pool::Spot],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_1_within_the_total_at_the_extremes() {
        let mix = Mix::new(Ratio::percent(30)).floor(3, Ratio::percent(20));
        for total in [0, 1, 3, 10, 15, 16, u32::MAX] {
            let split = mix.split(total);
            assert_eq!(split.on_demand() + split.spot(), total);
            assert!(split.on_demand() >= total.min(3));
        }
        assert_eq!(Mix::new(Ratio::ZERO).split(u32::MAX).spot(), u32::MAX);
    }

    #[test]
    fn rule_2_the_last_hour_does_not_divide_by_nothing() {
        assert!((Budget::new(50.0, 0.0).hourly() - 50.0).abs() < 1e-9);
        assert!((Budget::new(50.0, 0.5).hourly() - 50.0).abs() < 1e-9);
        for odd in [f64::NAN, -1.0, f64::INFINITY] {
            assert!(Budget::new(odd, 1.0).hourly() <= 0.0);
            assert!(Budget::new(1.0, odd).hourly() <= 0.0);
        }
    }

    #[test]
    fn rule_3_the_floor_is_never_cut() {
        let split = Split::new(4, 20);
        assert_eq!(
            Budget::new(0.0, 10.0).afford(split, 3.0, 1.0),
            Split::new(4, 0)
        );
        assert_eq!(Budget::new(320.0, 10.0).afford(split, 3.0, 1.0), split);
        assert_eq!(
            Budget::new(310.0, 10.0).afford(split, 3.0, 1.0),
            Split::new(4, 15)
        );
        for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(Budget::new(1.0, 1.0).afford(split, odd, odd).on_demand(), 4);
            assert!(Budget::new(1.0, 1.0).afford(split, 1.0, odd).spot() <= 20);
        }
    }
}
