//! Single moments of a desk, step by step; `loom_tests` has every interleaving.

use std::task::{Context, Poll, Waker};

use super::desk::{Arrived, Desk, No, Taken, Whose, Why};
use super::entries::Place;
use super::scheduler::{Refusal, SchedulerConfig};
use super::slots::Slot;
use super::tier::{Tier, TierId, Tiers, Weight};
use crate::num::{Ratio, count};
use crate::scope::TierName;
use crate::time::Tick;

const NOW: Tick = Tick::from_nanos(1_000);

fn desk(capacity: u32, tier: Tier) -> Desk {
    let tiers = Tiers::new([tier]).unwrap();
    Desk::new(
        SchedulerConfig::new(count(capacity), tiers).tenants(count(16)),
        0,
    )
}

/// A tenant has one of four seats, and one call that waits.
fn narrow() -> Desk {
    let tier = Tier::new("only").tenant_share(Ratio::percent(25));
    desk(4, tier.tenant_queue(1))
}

fn whose(desk: &Desk) -> Whose {
    let tier = TierId::new(0);
    Whose {
        at: desk.slots.shared(tier),
        tier,
        name: TierName::new("any").unwrap(),
        weight: Weight::ONE,
    }
}

fn slot(desk: &Desk) -> &Slot {
    desk.slots.slot(0).unwrap()
}

fn waits(arrived: Arrived) -> Place {
    match arrived {
        Arrived::Waits(place, _) => place,
        other => panic!("{other:?}"),
    }
}

fn poll(desk: &Desk, place: Place) -> Poll<Result<Taken, No>> {
    desk.poll(place, &Context::from_waker(Waker::noop()))
}

fn seated(desk: &Desk, place: Place) -> Taken {
    match poll(desk, place) {
        Poll::Ready(Ok(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

fn is_empty(desk: &Desk) {
    assert_eq!(desk.in_flight().map(|(_, calls)| calls).sum::<u32>(), 0);
    assert_eq!((slot(desk).calls(), slot(desk).waiting()), (0, 0));
    let whose = whose(desk);
    assert_eq!(desk.admit(&whose, || NOW), Ok(()), "nobody waits");
    desk.release(Taken::outside(&whose), Tick::ZERO, || NOW);
}

/// One that waits for another of its tenant that has only counted itself in, and goes back to ask.
fn held_back_by_who_looks_in(desk: &Desk) -> Place {
    let whose = whose(desk);
    slot(desk).enter(0, 1).unwrap();
    assert!(desk.admit(&whose, || NOW).is_err(), "its tenant has one");
    let waiter = waits(desk.join(&whose, Tick::NEVER, NOW));
    assert!(desk.admit(&whose, || NOW).is_err(), "somebody waits");
    slot(desk).take_back();
    waiter
}

#[test]
fn rule_6_who_looked_in_lets_on_whom_it_held_back() {
    let desk = narrow();
    let first = held_back_by_who_looks_in(&desk);
    // Its tenant's only place in the line is free again, too.
    let second = waits(desk.join(&whose(&desk), Tick::NEVER, NOW));
    let taken = seated(&desk, first);
    assert!(poll(&desk, second).is_pending());
    desk.release(taken, NOW, || NOW);
    desk.release(seated(&desk, second), NOW, || NOW);
    is_empty(&desk);
}

#[test]
fn rule_6_who_looked_in_lets_others_on_though_its_time_is_over() {
    let desk = narrow();
    let waiter = held_back_by_who_looks_in(&desk);
    match desk.join(&whose(&desk), NOW, NOW) {
        Arrived::Refused(no) => assert_eq!(no.why, Why::Said(Refusal::Deadline)),
        other => panic!("{other:?}"),
    }
    desk.release(seated(&desk, waiter), NOW, || NOW);
    is_empty(&desk);
}

#[test]
fn rule_6_who_looked_in_lets_others_on_though_no_more_can_be_counted() {
    let desk = narrow();
    let waiter = held_back_by_who_looks_in(&desk);
    let mut counted = 0;
    while slot(&desk).wait(0).is_ok() {
        counted += 1;
    }
    match desk.join(&whose(&desk), Tick::NEVER, NOW) {
        Arrived::Refused(no) => assert_eq!(no.why, Why::Said(Refusal::TenantFull)),
        other => panic!("{other:?}"),
    }
    for _ in 0..counted {
        slot(&desk).end_wait();
    }
    desk.release(seated(&desk, waiter), NOW, || NOW);
    is_empty(&desk);
}

/// Rule 4 of the slots.
#[test]
fn a_count_of_one_tenant_does_not_run_over() {
    let desk = desk(20_000, Tier::new("only").tenant_share(Ratio::ONE));
    let whose = whose(&desk);
    let mut seats = Vec::new();
    while desk.admit(&whose, || NOW).is_ok() {
        seats.push(Taken::outside(&whose));
        assert!(seats.len() <= 20_000, "no more than there are");
    }
    // Also through the scheduler, and after a change of capacity.
    for capacity in [30_000, 40_000] {
        let place = waits(desk.join(&whose, Tick::NEVER, NOW));
        desk.resize(count(capacity));
        desk.pass_on(NOW);
        assert!(poll(&desk, place).is_pending());
        let taken = (slot(&desk).calls(), slot(&desk).waiting());
        assert_eq!(taken, (Slot::MOST.get(), 1));
        desk.leave(place, NOW);
    }
    assert_eq!(seats.len(), 8_000);
    for taken in seats {
        desk.release(taken, NOW, || NOW);
    }
    is_empty(&desk);
}
