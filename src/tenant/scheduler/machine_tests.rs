//! Single rules, by number; what holds whatever happens is in `props_tests`.

use std::time::Duration;

use super::{Arrival, Ask, Refusal, Scheduler, SchedulerConfig, Seat, TenantId};
use crate::num::{Period, Ratio, count};
use crate::tenant::tier::{Tier, TierId, Tiers, Weight};
use crate::time::Tick;

fn at(millis: u64) -> Tick {
    Tick::ZERO + Duration::from_millis(millis)
}

fn ask(tenant: u64, tier: u8) -> Ask {
    Ask::new(TenantId::new(tenant), TierId::new(tier))
}

fn pool(capacity: u32, tiers: impl IntoIterator<Item = Tier>) -> SchedulerConfig {
    SchedulerConfig::new(count(capacity), Tiers::new(tiers).unwrap())
}

#[test]
fn trap_17_a_tier_that_there_is_not_is_the_lowest() {
    let tiers = [Tier::new("a").reserved(Ratio::percent(50)), Tier::new("b")];
    let mut pool = Scheduler::new(pool(2, tiers));
    let Arrival::Granted { seat, .. } = pool.admit(ask(1, 77), (), at(0)) else {
        panic!("a seat is free");
    };
    assert_eq!(seat.tier(), TierId::new(1));
    pool.release(seat, at(1));
}

fn seat_of<T>(arrival: Arrival<T>) -> Seat {
    match arrival {
        Arrival::Granted { seat, .. } => seat,
        _ => panic!("a seat is free"),
    }
}

fn waits<T>(arrival: &Arrival<T>) {
    assert!(matches!(arrival, Arrival::Queued { .. }), "it waits");
}

#[test]
fn rule_3_a_seat_is_charged_while_it_is_taken_and_never_twice() {
    let (a, b) = (TierId::new(0), TierId::new(1));
    let mut pool = Scheduler::new(pool(2, [Tier::new("a"), Tier::new("b")]));
    let first = seat_of(pool.admit(ask(1, 0), 'a', at(0)));
    let second = seat_of(pool.admit(ask(2, 0), 'a', at(0)));
    waits(&pool.admit(ask(3, 0), 'a', at(0)));
    waits(&pool.admit(ask(4, 1), 'b', at(0)));
    pool.release(first, at(100));
    let after = pool.charged_of(a);
    // Time that steps back changes nothing, and the same time again as little.
    for millis in [50, 0, 100] {
        pool.release_outside(TenantId::new(9), b, 0, at(millis), at(millis));
        pool.reload(pool.config().tiers().clone(), at(millis))
            .unwrap();
        assert_eq!(pool.charged_of(a), after);
    }
    // It runs yet, and counts already.
    let granted = pool.grant(at(900)).unwrap();
    assert_eq!(granted.waiter, 'b');
    assert!(after.is_before(pool.charged_of(a)));
    pool.release(second, at(900));
    pool.release(granted.seat, at(900));
}

#[test]
fn rule_3_a_seat_from_outside_is_charged_when_it_comes_back() {
    let mut pool = Scheduler::new(pool(1, [Tier::new("a"), Tier::new("b")]));
    // Nobody was there for long.
    pool.outside(TierId::new(0), 1);
    waits(&pool.admit(ask(1, 0), 'a', at(100_000)));
    waits(&pool.admit(ask(2, 1), 'b', at(100_000)));
    let tier = TierId::new(0);
    pool.release_outside(TenantId::new(1), tier, 0, at(100_000), at(100_500));
    let granted = pool.grant(at(100_500)).unwrap();
    assert_eq!(granted.waiter, 'b');
    pool.release(granted.seat, at(100_500));
}

#[cfg(feature = "tower")]
#[test]
fn rule_3_a_seat_from_outside_that_no_call_had_is_not_charged() {
    let tier = TierId::new(0);
    let granted = |no_call: bool| {
        let mut pool = Scheduler::new(pool(1, [Tier::new("a"), Tier::new("b")]));
        pool.outside(tier, 1);
        waits(&pool.admit(ask(1, 0), 'a', at(100_000)));
        waits(&pool.admit(ask(2, 1), 'b', at(100_000)));
        if no_call {
            pool.leave_outside(TenantId::new(1), tier, 0, at(100_500));
        } else {
            pool.release_outside(TenantId::new(1), tier, 0, at(100_000), at(100_500));
        }
        pool.grant(at(100_500)).unwrap().waiter
    };
    assert_eq!((granted(false), granted(true)), ('b', 'a'));
}

#[test]
fn rule_10_what_was_used_was_used_by_the_weights_of_then() {
    let patient = |name| Tier::new(name).patience(Period::secs(60));
    let mut pool = Scheduler::new(pool(2, [patient("a"), patient("b")]));
    let seats = [1, 2].map(|tenant| seat_of(pool.admit(ask(tenant, 0), 'a', at(0))));
    for tenant in 3..20 {
        waits(&pool.admit(ask(tenant, 0), 'a', at(0)));
        waits(&pool.admit(ask(tenant, 1), 'b', at(0)));
    }
    let tiers = [patient("a").weight(Weight::of(100)), patient("b")];
    pool.reload(Tiers::new(tiers).unwrap(), at(5_000)).unwrap();
    for seat in seats {
        pool.release(seat, at(5_000));
    }
    for step in 0..10 {
        let granted = pool.grant(at(5_000 + step)).unwrap();
        assert_eq!(granted.waiter, 'b', "grant {step}");
        pool.release(granted.seat, at(5_001 + step));
    }
}

#[test]
fn rule_4_of_equal_tags_the_first_to_come_is_the_first_to_go() {
    let mut pool = Scheduler::new(pool(1, [Tier::new("a")]));
    let Arrival::Granted { seat, .. } = pool.admit(ask(0, 0), 0, at(0)) else {
        panic!("a seat is free");
    };
    // Nobody of these was served before.
    for tenant in 1..50 {
        let Arrival::Queued { .. } = pool.admit(ask(tenant, 0), tenant, at(0)) else {
            panic!("{tenant} may wait");
        };
    }
    let mut seat = Some(seat);
    for tenant in 1..50 {
        pool.release(seat.take().unwrap(), at(tenant));
        let granted = pool.grant(at(tenant)).unwrap();
        assert_eq!(granted.waiter, tenant);
        seat = Some(granted.seat);
    }
    pool.release(seat.unwrap(), at(50));
}

#[test]
fn rule_8_whoever_has_no_time_is_refused_and_never_waits() {
    let mut pool = Scheduler::new(pool(1, [Tier::new("a")]));
    let late = ask(1, 0).deadline(at(5));
    let Arrival::Refused(refused) = pool.admit(late, 'x', at(5)) else {
        panic!("its time is over");
    };
    assert_eq!((refused.reason, refused.waiter), (Refusal::Deadline, 'x'));
    assert_eq!((pool.waiting(), pool.tenants()), (0, 0));
}

#[test]
fn rule_8_a_forecast_reaches_no_further_than_the_queue_has_stood() {
    let tier = Tier::new("a").patience(Period::millis(100));
    let mut pool = Scheduler::new(pool(1, [tier]));
    let Arrival::Granted { seat, .. } = pool.admit(ask(0, 0), 0, at(0)) else {
        panic!("a seat is free");
    };
    // Each takes two milliseconds, and there are always more who wait than can be served in a hundred.
    let mut seat = Some(seat);
    let mut first = None;
    for step in 1..150 {
        let now = at(step * 2);
        while pool.handle_timeout(now).is_some() {}
        for tenant in 1..20 {
            let arrival = pool.admit(ask(tenant, 0), 0, now);
            if let Arrival::Refused(refused) = arrival {
                assert_eq!(refused.reason, Refusal::Predicted);
                first = first.or(Some(step * 2));
            }
        }
        pool.release(seat.take().unwrap(), now);
        seat = Some(pool.grant(now).unwrap().seat);
    }
    pool.release(seat.unwrap(), at(300));
    assert!(first.is_some_and(|first| first >= 102), "{first:?}");
}

#[test]
fn rule_9_who_is_handed_back_late_may_be_forgotten_before() {
    let tiers = [Tier::new("a"), Tier::new("b")];
    let mut pool = Scheduler::new(pool(1, tiers).tenants(count(1)));
    let Arrival::Granted { seat, .. } = pool.admit(ask(1, 0), 1, at(0)) else {
        panic!("a seat is free");
    };
    let short = ask(2, 0).deadline(at(3));
    assert!(matches!(
        pool.admit(short, 2, at(1)),
        Arrival::Queued { .. }
    ));
    // Its turn comes after its time, and before anybody looked at the timers.
    pool.release(seat, at(4));
    assert!(pool.grant(at(4)).is_none());
    assert_eq!(pool.tier(TierId::new(0)).waiting, 1);
    for other in 3..9 {
        if let Arrival::Granted { seat, .. } = pool.admit(ask(other, 1), 3, at(60_000)) {
            pool.release(seat, at(60_000));
        }
    }
    assert_eq!(pool.handle_timeout(at(60_000)).unwrap().waiter, 2);
    assert_eq!(pool.tier(TierId::new(0)).waiting, 0);
    assert_eq!(pool.waiting(), 0);
}

#[test]
fn rule_10_other_tiers_are_refused_and_change_nothing() {
    let mut pool = Scheduler::<()>::new(pool(4, [Tier::new("a"), Tier::new("b")]));
    let before = pool.config().clone();
    let others = Tiers::new([Tier::new("b"), Tier::new("a")]).unwrap();
    let error = pool.reload(others, at(0)).unwrap_err();
    assert_eq!(error.field(), "tiers");
    assert_eq!(pool.config(), &before);

    let same = [Tier::new("a").weight(Weight::of(3)), Tier::new("b")];
    pool.reload(Tiers::new(same).unwrap(), at(0)).unwrap();
    assert_eq!(
        pool.config()
            .tiers()
            .tier(TierId::new(0))
            .share_weight()
            .get(),
        3
    );
}

#[test]
fn the_greatest_queues_are_known_without_a_search() {
    let tier = Tier::new("a").patience(Period::secs(60));
    let mut pool = Scheduler::new(pool(1, [tier]));
    let mut seats = Vec::new();
    for (tenant, requests) in [(1, 1), (2, 5), (3, 2), (4, 1), (5, 3)] {
        for _ in 0..requests {
            if let Arrival::Granted { seat, .. } = pool.admit(ask(tenant, 0), (), at(0)) {
                seats.push(seat);
            }
        }
    }
    let top = pool.top(TierId::new(0), 3);
    let top = top.iter().map(|it| (it.tenant.unwrap().get(), it.waiting));
    assert_eq!(top.collect::<Vec<_>>(), [(2, 5), (5, 3), (3, 2)]);
    assert_eq!(
        pool.top(TierId::new(0), 9).len(),
        4,
        "one has a seat and waits no more"
    );
}
