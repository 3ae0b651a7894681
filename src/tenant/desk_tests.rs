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

/// A desk with one cell, in which a seat may stay.
fn keeping(capacity: u32, tiers: impl IntoIterator<Item = Tier>) -> Desk {
    let tiers = Tiers::new(tiers).unwrap();
    let config = SchedulerConfig::new(count(capacity), tiers);
    Desk::new(config.tenants(count(16)), 1)
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

fn whole(name: &'static str) -> Tier {
    Tier::new(name).tenant_share(Ratio::ONE)
}

fn of_tier(desk: &Desk, tier: u8) -> Whose {
    let tier = TierId::new(tier);
    Whose {
        at: desk.slots.shared(tier),
        tier,
        ..whose(desk)
    }
}

fn admitted(desk: &Desk, whose: &Whose) -> Taken {
    assert_eq!(desk.admit(whose, || NOW), Ok(()));
    Taken::outside(whose)
}

fn release(desk: &Desk, taken: Taken) {
    desk.release(taken, Tick::ZERO, || NOW);
}

#[test]
fn a_kept_seat_is_found_again_and_is_in_no_call() {
    let desk = keeping(4, [whole("only")]);
    let whose = whose(&desk);
    for calls in 1..5_000 {
        release(&desk, admitted(&desk, &whose));
        assert_eq!(desk.kept(), 1);
        assert_eq!(desk.calls_of(0, slot(&desk)), (0, calls));
        assert_eq!(desk.admitted()[0], calls);
        assert_eq!(desk.in_flight().map(|(_, calls)| calls).sum::<u32>(), 0);
    }
}

#[test]
fn a_kept_seat_keeps_nobody_out() {
    for tier in [0, 1] {
        let desk = keeping(4, [whole("best"), whole("least")]);
        release(&desk, admitted(&desk, &of_tier(&desk, 0)));
        // Of whatever tier they are: it is taken over, or comes back when somebody asks at the desk.
        let whose = of_tier(&desk, tier);
        let mut seats: Vec<_> = (0..4).map(|_| admitted(&desk, &whose)).collect();
        assert!(desk.admit(&whose, || NOW).is_err(), "four are taken");
        // Half of the pool is taken until the third comes back.
        for kept in [0, 0, 1, 1] {
            release(&desk, seats.pop().unwrap());
            assert_eq!(desk.kept(), kept);
        }
        let both = [0, 1].map(|tier| desk.admitted()[tier]);
        assert_eq!(both.iter().sum::<u64>(), 5);
    }
}

#[test]
fn nothing_is_kept_while_somebody_waits() {
    let desk = keeping(4, [Tier::new("only").tenant_share(Ratio::percent(25))]);
    let whose = whose(&desk);
    release(&desk, admitted(&desk, &whose));
    let first = admitted(&desk, &whose);
    assert!(desk.admit(&whose, || NOW).is_err(), "a tenant has one");
    let waiter = waits(desk.join(&whose, Tick::NEVER, NOW));
    release(&desk, first);
    assert_eq!(desk.kept(), 0);
    release(&desk, seated(&desk, waiter));
    is_empty(&desk);
}

#[test]
fn a_kept_seat_does_not_outlast_the_rules_that_allowed_it() {
    let tier = |percent| Tier::new("only").tenant_share(Ratio::percent(percent));
    let desk = keeping(8, [tier(50)]);
    let whose = whose(&desk);
    let mut seats: Vec<_> = (0..3).map(|_| admitted(&desk, &whose)).collect();
    release(&desk, seats.pop().unwrap());
    assert_eq!(desk.kept(), 1);
    desk.reload(Tiers::new([tier(13)]).unwrap(), NOW).unwrap();
    assert_eq!(desk.kept(), 0, "a tenant has one now");
    release(&desk, seats.pop().unwrap());
    assert_eq!(desk.kept(), 0, "it still has as many as it may");
    assert!(desk.admit(&whose, || NOW).is_err());
    release(&desk, seats.pop().unwrap());
    assert_eq!(desk.kept(), 1);
    desk.resize(count(1));
    assert_eq!(desk.kept(), 0, "half of one is none");
}

/// Rule 3 of the kept seats.
#[test]
fn kept_seats_leave_those_that_are_newly_held_for_others() {
    let tiers = |held| {
        let held = Ratio::percent(held);
        let best = whole("priority").reserved(held).held(held);
        [best, whole("best-effort").reserved(Ratio::ZERO)]
    };
    let desk = keeping(100, tiers(0));
    let whose = of_tier(&desk, 1);
    let mut seats: Vec<_> = (0..50).map(|_| admitted(&desk, &whose)).collect();
    release(&desk, seats.pop().unwrap());
    assert_eq!(desk.kept(), 1);
    seats.push(admitted(&desk, &whose));
    desk.reload(Tiers::new(tiers(60)).unwrap(), NOW).unwrap();
    for _ in 0..100 {
        release(&desk, seats.pop().unwrap());
        if desk.admit(&whose, || NOW).is_ok() {
            seats.push(Taken::outside(&whose));
        }
    }
    assert_eq!(seats.len(), 40, "60 are held");
    let best = of_tier(&desk, 0);
    let held: Vec<_> = (0..60).map(|_| admitted(&desk, &best)).collect();
    for taken in held.into_iter().chain(seats) {
        release(&desk, taken);
    }
}

/// The slot of this tenant in the only tier.
fn found(desk: &Desk, tenant: u64) -> Whose {
    let whose = whose(desk);
    let at = desk.find(&tenant.into(), whose.tier);
    Whose { at, ..whose }
}

fn of(desk: &Desk, whose: &Whose) -> (u32, u64) {
    let number = whose.at.number;
    desk.calls_of(number, desk.slots.slot(number).unwrap())
}

#[test]
fn calls_of_who_had_the_slot_before_are_not_told_of_who_has_it_now() {
    let tiers = || Tiers::new([whole("only")]).unwrap();
    let desk = keeping(4, [whole("only")]);
    let first = found(&desk, 0);
    for _ in 0..5 {
        release(&desk, admitted(&desk, &first));
    }
    assert_eq!(of(&desk, &first), (0, 5));
    // Its seat is given back, and its calls stay in the cell.
    desk.reload(tiers(), NOW).unwrap();
    let second = (1..).map(|tenant| found(&desk, tenant));
    let second = { second }
        .find(|second| second.at.number == first.at.number)
        .unwrap();
    assert_ne!(second.at, first.at);
    assert_eq!(of(&desk, &second), (0, 0));
    release(&desk, admitted(&desk, &second));
    assert_eq!(of(&desk, &second), (0, 1));
    assert_eq!(desk.admitted()[0], 6);
}

#[test]
fn a_kept_seat_gives_way_to_a_tenant_of_its_shard_and_to_no_other() {
    let desk = keeping(8, [whole("only")]);
    let shard = |tenant: u64| desk.slots.shard_of(&tenant.into());
    // Each shard has room for one.
    let mut here = (0..).filter(|tenant| shard(*tenant) == 0);
    let elsewhere = (0..).find(|tenant| shard(*tenant) == 1).unwrap();
    let mut next = || found(&desk, here.next().unwrap());
    let first = next();
    release(&desk, admitted(&desk, &first));
    assert_eq!(desk.kept(), 1);
    let second = next();
    assert_eq!((second.at.number, desk.kept()), (first.at.number, 0));
    let call = admitted(&desk, &second);
    let other = found(&desk, elsewhere);
    release(&desk, admitted(&desk, &other));
    // There is no room that a kept seat takes.
    assert!(next().at.is_shared());
    assert_eq!(desk.kept(), 1, "another shard's");
    release(&desk, admitted(&desk, &second));
    assert_eq!(of(&desk, &second), (1, 2));
    assert!(next().at.is_shared());
    assert_eq!(desk.kept(), 1, "its tenant has a call");
    let taken = admitted(&desk, &second);
    release(&desk, call);
    release(&desk, taken);
    assert!(!next().at.is_shared());
    assert_eq!(desk.kept(), 0);
}
