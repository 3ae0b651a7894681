//! The laws of the scheduler, each run over many seeds; and each mistake of [`Flaw`], which some law must notice.
//!
//! | P | law | trap | where |
//! |---|---|---|---|
//! | 1, 2, 8, 12 | `any_operations`, `both_paths` | 1, 16 | `told_in_time` |
//! | 3 | `seats_of_shares` | 2 | `absence_earns_nothing`, `debts_outlast_pressure` |
//! | 4 | `no_starvation` | 4 | `any_operations`, `both_paths` |
//! | 5, 11, 12 | `lag_of_known_costs` | 7 | a capacity is not zero by its type |
//! | 6 | `lag_of_estimates` | 8 | `seats_of_shares` |
//! | 7 | `first_service` | 9 | `shares_in_overload` |
//! | 9 | `told_in_time` | 10 | `lag_of_estimates`, `heavy_neighbour` |
//! | 10 | `debts_outlast_pressure` | 11 | `no_starvation` |
//! | 13 | `metamorphoses` | 12 | `benches/scheduler.rs` |
//! | | | 13 | `a_million_names` |
//! | | | 17 | `machine_tests.rs` |
//!
//! Traps 3, 5, 6, 14, 18 and 19 are the shell's; 15 has nothing here that could fall into it.
//!
//! `PROPTEST_CASES=25600` runs a hundred times as many seeds of each; `PROPTEST_RNG_SEED` repeats a run.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small draws"
)]

mod field;
mod lags;
mod loads;
mod outside;
mod overload;
mod queues;
mod rivals;
mod shares;

use field::Verdict;
use lags::{
    debts_outlast_pressure, first_service, lag_of_estimates, lag_of_known_costs, metamorphoses,
};
use outside::both_paths;
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use queues::{
    a_million_names, any_operations, honest_forecasts, the_longest_queue_pays, told_in_time,
};
use shares::{
    absence_earns_nothing, heavy_neighbour, no_starvation, seats_of_shares, shares_in_overload,
};

use super::flaw::Flaw;

type Law = fn(u64, Option<Flaw>) -> Verdict;

/// Runs a law over so many seeds, or as many times more as `PROPTEST_CASES` is of its own default.
fn hold(law: Law, seeds: u32) {
    let default = ProptestConfig::default();
    let cases = (u64::from(default.cases) * u64::from(seeds) / 256).max(1);
    let config = ProptestConfig {
        cases: u32::try_from(cases).unwrap_or(u32::MAX),
        failure_persistence: None,
        // A seed does not become simpler by being smaller.
        max_shrink_iters: 0,
        ..default
    };
    let held = TestRunner::new(config).run(&any::<u64>(), |seed| {
        law(seed, None).map_err(|broken| TestCaseError::fail(format!("seed {seed}: {broken}")))
    });
    if let Err(broken) = held {
        panic!("{broken}");
    }
}

macro_rules! laws {
    ($($law:ident: $seeds:literal,)*) => {
        mod holds {
            $(
                #[test]
                fn $law() {
                    super::hold(super::$law, $seeds);
                }
            )*
        }

        const LAWS: &[(&str, Law)] = &[$((stringify!($law), $law),)*];
    };
}

laws! {
    any_operations: 60,
    both_paths: 40,
    seats_of_shares: 60,
    no_starvation: 16,
    lag_of_known_costs: 24,
    lag_of_estimates: 24,
    first_service: 12,
    told_in_time: 2,
    debts_outlast_pressure: 6,
    metamorphoses: 6,
    absence_earns_nothing: 4,
    shares_in_overload: 2,
    heavy_neighbour: 3,
    the_longest_queue_pays: 20,
    honest_forecasts: 2,
    a_million_names: 3,
}

/// Each mistake, and the laws that must notice it in a few seeds.
#[test]
fn every_mistake_is_noticed() {
    for flaw in Flaw::ALL {
        let law = notices(flaw);
        let (_, law) = LAWS.iter().find(|(name, _)| *name == law).unwrap();
        let noticed = (0..40).find_map(|seed| law(seed, Some(flaw)).err());
        assert!(noticed.is_some(), "{flaw:?} passes");
    }
}

const fn notices(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::ChargeOnDrop => "shares_in_overload",
        Flaw::CountCharging => "heavy_neighbour",
        Flaw::ExpireAtTurn
        | Flaw::IgnoreHold
        | Flaw::IgnoreTenantLimit
        | Flaw::LeakOnLeave
        | Flaw::NoReservation => "any_operations",
        Flaw::FloorReservation | Flaw::StrictPriority => "no_starvation",
        Flaw::ForgiveDebt => "debts_outlast_pressure",
        Flaw::IgnoreWeight => "lag_of_known_costs",
        Flaw::ForfeitAtLimit | Flaw::NoCorrection => "lag_of_estimates",
        Flaw::NoLift => "absence_earns_nothing",
    }
}
