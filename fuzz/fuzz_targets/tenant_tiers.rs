//! Any tiers: they are refused for a reason, or come to seats that fit the pool at every capacity.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::num::{Ratio, count};
use mainstay::tenant::scheduler::Seating;
use mainstay::tenant::tier::{Tier, TierId, Tiers, Weight};

#[derive(Arbitrary, Debug)]
struct Case {
    tiers: Vec<Settings>,
    capacity: u32,
    in_flight: Vec<u32>,
    tier: u8,
}

#[derive(Arbitrary, Debug)]
struct Settings {
    name: String,
    weight: u32,
    reserved: f64,
    held: f64,
    limit: f64,
    tenant_share: f64,
}

impl Settings {
    fn tier(self) -> Tier {
        let share = |value: f64| Ratio::new("share", value).unwrap_or(Ratio::ONE);
        Tier::new(self.name)
            .weight(Weight::new("weight", self.weight).unwrap_or(Weight::ONE))
            .reserved(Ratio::new("reserved", self.reserved).unwrap_or(Ratio::ZERO))
            .held(Ratio::new("held", self.held).unwrap_or(Ratio::ZERO))
            .limit(share(self.limit))
            .tenant_share(share(self.tenant_share))
    }
}

fuzz_target!(|case: Case| {
    let tiers = match Tiers::new(case.tiers.into_iter().map(Settings::tier)) {
        Ok(tiers) => tiers,
        Err(error) => {
            assert!(!error.field().is_empty() && !error.expected().is_empty());
            return;
        }
    };
    assert!((1..=Tiers::MOST).contains(&tiers.count()));
    for (id, tier) in tiers.iter() {
        assert_eq!(tiers.find(tier.name()), id);
    }
    let capacity = case.capacity.max(1);
    let seating = Seating::new(&tiers, count(capacity));
    let (mut reserved, mut held) = (0, 0);
    for (id, _) in tiers.iter() {
        reserved += seating.reserved(id);
        held += seating.held(id);
        assert!(seating.held(id) <= seating.reserved(id));
        assert!(seating.reserved(id) <= seating.limit(id));
        assert!((1..=capacity).contains(&seating.limit(id)));
        assert!((1..=seating.limit(id)).contains(&seating.tenant_limit(id)));
    }
    assert!(reserved <= capacity && held < capacity);
    let taken: u64 = case
        .in_flight
        .iter()
        .take(tiers.count())
        .map(|n| u64::from(*n))
        .sum();
    if seating.admits(&case.in_flight, TierId::new(case.tier)) {
        assert!(taken < u64::from(capacity));
    }
});
