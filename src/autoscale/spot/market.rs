//! The rules:
//!
//! 1. An offer counts while its price is at most the cap's share of its price on demand, and none of it makes no sense.
//! 2. Machines are spread: each is taken where the fewest are taken yet, the cheaper offer first and then the earlier one;
//!    no offer beyond its share of all nor beyond what there is of it.
//! 3. What finds no place is had on demand where that is wished, and is missing otherwise.
//! 4. An offer whose machines are being taken away gets none: it is left out by its place.

use crate::autoscale::words::ceil;
use crate::num::Ratio;

/// A kind of machine in a zone.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::spot::Offer;
///
/// let offer = Offer::new("a100", "us-east-1a", 1.3, 4.1).available(20);
/// assert_eq!(offer.kind(), "a100");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    kind: String,
    zone: String,
    price: f64,
    on_demand: f64,
    available: u32,
    reclaiming: bool,
}

impl Offer {
    /// A kind in a zone, at a price an hour, and what it costs on demand.
    #[must_use]
    pub fn new(
        kind: impl Into<String>,
        zone: impl Into<String>,
        price: f64,
        on_demand: f64,
    ) -> Self {
        Self {
            kind: kind.into(),
            zone: zone.into(),
            price,
            on_demand,
            available: u32::MAX,
            reclaiming: false,
        }
    }

    /// How many there are. Defaults to as many as one likes.
    #[must_use]
    pub fn available(mut self, count: u32) -> Self {
        self.available = count;
        self
    }

    /// Whether its machines are being taken away.
    #[must_use]
    pub fn reclaiming(mut self, reclaiming: bool) -> Self {
        self.reclaiming = reclaiming;
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone
    }

    fn is_within(&self, cap: Ratio) -> bool {
        let sensible = |price: f64| price > 0.0 && price.is_finite();
        sensible(self.price)
            && sensible(self.on_demand)
            && self.price <= self.on_demand * cap.get()
            && !self.reclaiming
    }
}

/// How spot machines are bought.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::spot::{Market, Offer};
/// use mainstay::num::Ratio;
///
/// let offers = [
///     Offer::new("a100", "us-east-1a", 2.0, 4.0),
///     Offer::new("a100", "us-east-1b", 3.9, 4.0), // above the cap
///     Offer::new("a10g", "us-east-1a", 0.5, 1.0).available(3),
/// ];
/// let placement = Market::new(Ratio::percent(70)).place(8, &offers);
/// assert_eq!(placement.taken(), [5, 0, 3]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Market {
    cap: Ratio,
    most: Ratio,
    fallback: bool,
}

/// Where machines are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    taken: Vec<u32>,
    on_demand: u32,
    missing: u32,
}

impl Placement {
    /// How many of each offer, in the order of the offers.
    #[must_use]
    pub fn taken(&self) -> &[u32] {
        &self.taken
    }

    /// How many on demand in their place.
    #[must_use]
    pub const fn on_demand(&self) -> u32 {
        self.on_demand
    }

    /// How many find none.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.missing
    }
}

impl Market {
    /// At this share of the price on demand at most.
    #[must_use]
    pub const fn new(cap: Ratio) -> Self {
        Self {
            cap,
            most: Ratio::ONE,
            fallback: false,
        }
    }

    /// No offer has more than this share of all. Defaults to all: they are spread evenly as far as there are offers.
    #[must_use]
    pub const fn most(mut self, share: Ratio) -> Self {
        self.most = share;
        self
    }

    /// What finds no place is had on demand. Defaults to no.
    #[must_use]
    pub const fn fallback(mut self, on_demand: bool) -> Self {
        self.fallback = on_demand;
        self
    }

    /// Spreads `count` machines over the offers: rules 1 to 4.
    #[must_use]
    pub fn place(&self, count: u32, offers: &[Offer]) -> Placement {
        let most = ceil(f64::from(count) * self.most.get());
        let room = |offer: &Offer| {
            if offer.is_within(self.cap) {
                offer.available.min(most)
            } else {
                0
            }
        };
        let rooms: Vec<u32> = offers.iter().map(room).collect();
        let mut taken = vec![0_u32; offers.len()];
        let mut left = count;
        // Each round fills the open offers evenly up to the smallest of them, so there are no more rounds than offers.
        loop {
            let mut open: Vec<usize> = (0..offers.len())
                .filter(|place| taken.get(*place) < rooms.get(*place))
                .collect();
            if left == 0 || open.is_empty() {
                break;
            }
            let price = |place: &usize| offers.get(*place).map_or(f64::MAX, |offer| offer.price);
            open.sort_by(|a, b| price(a).total_cmp(&price(b)));
            let number = u32::try_from(open.len()).unwrap_or(u32::MAX);
            let free = |place: &usize| {
                let room = rooms.get(*place).copied().unwrap_or_default();
                room.saturating_sub(taken.get(*place).copied().unwrap_or_default())
            };
            let smallest = open.iter().map(free).min().unwrap_or_default();
            let each = smallest.min(left / number);
            let mut odd = if each == 0 { left } else { 0 };
            for place in open {
                if let Some(taken) = taken.get_mut(place) {
                    let more = each.max(u32::from(odd > 0));
                    odd = odd.saturating_sub(1);
                    *taken = taken.saturating_add(more);
                    left = left.saturating_sub(more);
                }
            }
        }
        let on_demand = if self.fallback { left } else { 0 };
        Placement {
            taken,
            on_demand,
            missing: left.saturating_sub(on_demand),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(rooms: &[u32]) -> Vec<Offer> {
        let offer = |room: &u32| Offer::new("k", "z", 1.0, 2.0).available(*room);
        rooms.iter().map(offer).collect()
    }

    const MARKET: Market = Market::new(Ratio::percent(70));

    #[test]
    fn rule_2_spread_evenly_and_within_what_there_is() {
        assert_eq!(MARKET.place(7, &offers(&[9, 9, 9])).taken(), [3, 2, 2]);
        assert_eq!(MARKET.place(10, &offers(&[1, 9, 3])).taken(), [1, 6, 3]);
        let capped = MARKET
            .most(Ratio::percent(40))
            .place(10, &offers(&[99, 99]));
        assert_eq!((capped.taken(), capped.missing()), (&[4, 4][..], 2));
        assert_eq!(MARKET.place(u32::MAX, &offers(&[u32::MAX, 5])).missing(), 0);
    }

    #[test]
    fn rule_2_the_cheaper_one_first() {
        let offers = [
            Offer::new("a", "z", 1.2, 2.0),
            Offer::new("b", "z", 0.8, 2.0),
        ];
        assert_eq!(MARKET.place(1, &offers).taken(), [0, 1]);
    }

    #[test]
    fn rule_3_and_4_what_finds_no_place() {
        let gone = [Offer::new("k", "z", 1.0, 2.0).reclaiming(true)];
        assert_eq!(MARKET.place(5, &gone).missing(), 5);
        assert_eq!(MARKET.fallback(true).place(5, &gone).on_demand(), 5);
        for odd in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert_eq!(
                MARKET.place(5, &[Offer::new("k", "z", odd, 2.0)]).missing(),
                5
            );
            assert_eq!(
                MARKET.place(5, &[Offer::new("k", "z", 1.0, odd)]).missing(),
                5
            );
        }
    }
}
