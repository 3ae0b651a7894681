//! Every interleaving of coming and going with and without the lock, of waiting, leaving, timeouts, and new capacities.
//!
//! After each of them the seats in use are the calls that run, and nobody waits for a seat that is free: loom reports a
//! wait without end.

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use super::desk::{Arrived, Desk, Taken, Whose};
use super::entries::Place;
use super::scheduler::{SchedulerConfig, TenantId};
use super::tier::{Tier, TierId, Tiers, Weight};
use crate::num::{Ratio, count};
use crate::scope::TierName;
use crate::time::Tick;

const NOW: Tick = Tick::from_nanos(1_000);

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

fn desk(capacity: u32) -> Arc<Desk> {
    let tier = |name: &'static str| Tier::new(name).tenant_share(Ratio::ONE);
    let tiers = Tiers::new([tier("best"), tier("least")]).unwrap();
    let config = SchedulerConfig::new(count(capacity), tiers).tenants(count(16));
    Arc::new(Desk::new(config, 0))
}

/// Those of a tier who are not known: no look-up, which is another lock.
fn whose(desk: &Desk, tier: u8) -> Whose {
    let tier = TierId::new(tier);
    Whose {
        at: desk.slots.shared(tier),
        tier,
        name: TierName::new("any").unwrap(),
        weight: Weight::ONE,
    }
}

fn join(desk: &Desk, whose: &Whose) -> Result<Taken, Place> {
    match desk.join(whose, Tick::NEVER, NOW) {
        Arrived::Seated(taken) => Ok(taken),
        Arrived::Waits(place, _) => Err(place),
        Arrived::Refused(no) => panic!("{no:?}"),
        Arrived::Stale => panic!("nobody else's"),
    }
}

/// Waits as a task does: looks, sleeps until woken, looks again.
fn wait(desk: &Desk, place: Place) -> Taken {
    let waker = Waker::from(StdArc::new(Unpark(thread::current())));
    let cx = Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(answer) = desk.poll(place, &cx) {
            return answer.unwrap();
        }
        thread::park();
    }
}

/// Finds a free seat.
fn first(desk: &Desk, tier: u8) -> Taken {
    let whose = whose(desk, tier);
    desk.admit(&whose, || NOW).unwrap();
    Taken::outside(&whose)
}

fn enter(desk: &Desk, whose: &Whose) -> Taken {
    match desk.admit(whose, || NOW) {
        Ok(()) => Taken::outside(whose),
        Err(_) => join(desk, whose).unwrap_or_else(|place| wait(desk, place)),
    }
}

fn release(desk: &Desk, taken: Taken) {
    desk.release(taken, Tick::ZERO, || NOW);
}

fn in_flight(desk: &Desk) -> u32 {
    desk.in_flight().map(|(_, calls)| calls).sum()
}

/// As before anybody came, by the word, by the slots and by the scheduler.
fn is_empty(desk: &Desk) {
    assert_eq!(in_flight(desk), 0);
    for (number, slot) in (0..).zip(desk.slots.shared_slots()) {
        assert_eq!((desk.calls_of(number, slot).0, slot.waiting()), (0, 0));
    }
    let (running, waiting) = desk.look(|scheduler| (scheduler.in_flight(), scheduler.waiting()));
    assert_eq!(waiting, 0);
    // What the scheduler was told last of the seats outside is said anew when somebody waits.
    assert!(running <= 2, "{running}");
    release(desk, first(desk, 1));
}

fn model(bound: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(bound);
    model.check(f);
}

#[test]
fn loom_a_desk_lets_two_in_one_after_the_other() {
    model(3, || {
        let desk = desk(1);
        let running = StdArc::new(AtomicU32::new(0));
        let work = |desk: &Desk, running: &AtomicU32, tier| {
            let taken = enter(desk, &whose(desk, tier));
            assert_eq!(running.fetch_add(1, Relaxed), 0, "one seat");
            running.fetch_sub(1, Relaxed);
            release(desk, taken);
        };
        let other = {
            let (desk, running) = (Arc::clone(&desk), StdArc::clone(&running));
            thread::spawn(move || work(&desk, &running, 0))
        };
        work(&desk, &running, 1);
        other.join().unwrap();
        is_empty(&desk);
    });
}

#[test]
fn loom_a_desk_forgets_nobody_when_two_wait() {
    model(2, || {
        let desk = desk(1);
        let first = first(&desk, 1);
        let work = |desk: &Desk, tier| {
            let taken = enter(desk, &whose(desk, tier));
            release(desk, taken);
        };
        let others: Vec<_> = [0, 1]
            .into_iter()
            .map(|tier| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || work(&desk, tier))
            })
            .collect();
        release(&desk, first);
        for other in others {
            other.join().unwrap();
        }
        is_empty(&desk);
    });
}

#[test]
fn loom_a_desk_passes_on_the_seat_of_who_leaves() {
    model(2, || {
        let desk = desk(1);
        let first = first(&desk, 1);
        let leaver = join(&desk, &whose(&desk, 0)).unwrap_err();
        let stayer = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let taken = enter(&desk, &whose(&desk, 1));
                release(&desk, taken);
            })
        };
        let holder = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || release(&desk, first))
        };
        // Its caller has left, at the same moment as its turn comes.
        desk.leave(leaver, NOW);
        holder.join().unwrap();
        stayer.join().unwrap();
        is_empty(&desk);
    });
}

#[test]
fn loom_a_desk_takes_no_seat_from_whose_time_is_over() {
    model(2, || {
        let desk = desk(1);
        let first = first(&desk, 1);
        let late = join(&desk, &whose(&desk, 0)).unwrap_err();
        let stayer = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let taken = enter(&desk, &whose(&desk, 1));
                release(&desk, taken);
            })
        };
        let holder = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || release(&desk, first))
        };
        // The clock stands still, so that only this one gives up.
        if let Ok(taken) = desk.give_up(late, NOW) {
            assert_eq!(in_flight(&desk), 1, "granted in the last moment");
            release(&desk, taken);
        }
        holder.join().unwrap();
        stayer.join().unwrap();
        is_empty(&desk);
    });
}

#[test]
fn loom_a_desk_moves_its_capacity_and_forgets_nobody() {
    model(2, || {
        let desk = desk(1);
        let first = first(&desk, 1);
        let waiter = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let taken = enter(&desk, &whose(&desk, 0));
                release(&desk, taken);
            })
        };
        desk.resize(count(2));
        desk.pass_on(NOW);
        desk.resize(count(1));
        desk.pass_on(NOW);
        release(&desk, first);
        waiter.join().unwrap();
        is_empty(&desk);
    });
}

#[test]
fn loom_a_desk_lets_a_tenant_at_its_limit_wait_for_its_own_and_no_longer() {
    model(2, || {
        // Two seats, of which a tenant has one.
        let tier = Tier::new("only").tenant_share(Ratio::percent(50));
        let config = SchedulerConfig::new(count(2), Tiers::new([tier]).unwrap()).tenants(count(16));
        let desk = Arc::new(Desk::new(config, 0));
        let work = |desk: &Desk| {
            let taken = enter(desk, &whose(desk, 0));
            let calls = desk.slots.shared_slots().next().unwrap().calls();
            // One more may be counting itself in, and out again.
            assert!((1..=2).contains(&calls), "{calls}");
            release(desk, taken);
        };
        let other = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || work(&desk))
        };
        work(&desk);
        other.join().unwrap();
        assert_eq!(in_flight(&desk), 0);
        assert_eq!(desk.slots.shared_slots().next().unwrap().calls(), 0);
    });
}

/// Four seats, of which a tenant has one; one call of it may wait.
fn narrow() -> Arc<Desk> {
    narrow_with(0)
}

fn narrow_with(cells: usize) -> Arc<Desk> {
    let tier = Tier::new("only").tenant_share(Ratio::percent(25));
    let tiers = Tiers::new([tier.tenant_queue(1)]).unwrap();
    Arc::new(Desk::new(
        SchedulerConfig::new(count(4), tiers).tenants(count(16)),
        cells,
    ))
}

fn is_left(desk: &Desk) {
    assert_eq!(in_flight(desk), 0);
    let slot = desk.slots.shared_slots().next().unwrap();
    assert_eq!((desk.calls_of(0, slot).0, slot.waiting()), (0, 0));
    release(desk, first(desk, 0));
}

#[test]
fn loom_a_desk_lets_nobody_wait_for_who_only_looked_in() {
    model(3, || {
        let desk = narrow();
        // Neither is refused: of two one has the seat, and one the place in the line.
        let work = |desk: &Desk| {
            let taken = enter(desk, &whose(desk, 0));
            release(desk, taken);
        };
        let other = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || work(&desk))
        };
        work(&desk);
        other.join().unwrap();
        is_left(&desk);
    });
}

#[test]
fn loom_a_desk_lets_nobody_wait_for_who_only_looked_in_and_is_late() {
    model(3, || {
        let desk = narrow();
        let late = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let whose = whose(&desk, 0);
                match desk.admit(&whose, || NOW) {
                    Ok(()) => release(&desk, Taken::outside(&whose)),
                    Err(_) => assert!(matches!(desk.join(&whose, NOW, NOW), Arrived::Refused(_))),
                }
            })
        };
        let taken = enter(&desk, &whose(&desk, 0));
        release(&desk, taken);
        late.join().unwrap();
        is_left(&desk);
    });
}

#[test]
fn loom_a_desk_lets_nobody_wait_when_one_of_three_is_refused() {
    model(1, || {
        let desk = narrow();
        let work = |desk: &Desk| {
            let whose = whose(desk, 0);
            let taken = match desk.admit(&whose, || NOW) {
                Ok(()) => Taken::outside(&whose),
                Err(_) => match desk.join(&whose, Tick::NEVER, NOW) {
                    Arrived::Seated(taken) => taken,
                    Arrived::Waits(place, _) => wait(desk, place),
                    Arrived::Refused(_) => return,
                    Arrived::Stale => panic!("nobody else's"),
                },
            };
            release(desk, taken);
        };
        let others: Vec<_> = (0..2)
            .map(|_| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || work(&desk))
            })
            .collect();
        work(&desk);
        for other in others {
            other.join().unwrap();
        }
        is_left(&desk);
    });
}

/// The threads of a model share one cell: each may find in it what any of the others left.
#[test]
fn loom_a_desk_hands_a_kept_seat_to_one() {
    model(3, || {
        let desk = narrow_with(1);
        let running = StdArc::new(AtomicU32::new(0));
        let work = |desk: &Desk, running: &AtomicU32| {
            let taken = enter(desk, &whose(desk, 0));
            assert_eq!(running.fetch_add(1, Relaxed), 0, "one seat of a tenant");
            running.fetch_sub(1, Relaxed);
            release(desk, taken);
        };
        work(&desk, &running);
        assert_eq!(desk.kept(), 1);
        let other = {
            let (desk, running) = (Arc::clone(&desk), StdArc::clone(&running));
            thread::spawn(move || work(&desk, &running))
        };
        work(&desk, &running);
        other.join().unwrap();
        is_left(&desk);
        // One to see that nothing is left, and the first.
        assert_eq!(desk.admitted()[0], 4);
    });
}

#[test]
fn loom_a_desk_forgets_nobody_when_a_seat_is_left_as_others_come_to_wait() {
    model(1, || {
        let desk = narrow_with(1);
        let first = first(&desk, 0);
        let waiters: Vec<_> = (0..2)
            .map(|n| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || {
                    let whose = whose(&desk, 0);
                    let taken = match desk.admit(&whose, || NOW) {
                        Ok(()) => Taken::outside(&whose),
                        Err(_) => match desk.join(&whose, Tick::NEVER, NOW) {
                            Arrived::Seated(taken) => taken,
                            Arrived::Waits(place, _) => wait(&desk, place),
                            Arrived::Refused(_) => return,
                            Arrived::Stale => panic!("nobody else's {n}"),
                        },
                    };
                    release(&desk, taken);
                })
            })
            .collect();
        release(&desk, first);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        is_left(&desk);
    });
}

/// The seat of one tenant is taken over by another's call while a call of the first comes to wait for it.
#[test]
fn loom_a_desk_forgets_nobody_when_a_seat_is_taken_over() {
    model(3, || {
        let desk = narrow_with(1);
        // A look-up draws its hashes by chance.
        let one = whose(&desk, 0);
        let at = desk.slots.shared(TierId::new(1));
        let two = Whose { at, ..one };
        let slot = desk.slots.slot(two.at.number).unwrap();
        slot.belongs_to(TenantId::new(1));
        let first = enter(&desk, &one);
        release(&desk, first);
        assert_eq!(desk.kept(), 1);
        let other = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let taken = enter(&desk, &two);
                release(&desk, taken);
            })
        };
        let taken = enter(&desk, &one);
        release(&desk, taken);
        other.join().unwrap();
        assert_eq!(in_flight(&desk), 0);
        for whose in [one, two] {
            let number = whose.at.number;
            let slot = desk.slots.slot(number).unwrap();
            assert_eq!((desk.calls_of(number, slot).0, slot.waiting()), (0, 0));
            assert_eq!(slot.calls(), desk.kept_of(number));
        }
        assert_eq!(desk.admitted().iter().sum::<u64>(), 3);
    });
}

/// The seat of one tier is taken over by a call of another while a call of the first comes to wait for it.
#[test]
fn loom_a_desk_forgets_nobody_when_a_seat_goes_to_another_tier() {
    model(3, || {
        let best = Tier::new("best").limit(Ratio::percent(50));
        let tiers = [best, Tier::new("least")].map(|tier| tier.tenant_share(Ratio::ONE));
        let config = SchedulerConfig::new(count(2), Tiers::new(tiers).unwrap()).tenants(count(16));
        let desk = Arc::new(Desk::new(config, 1));
        let running = StdArc::new(AtomicU32::new(0));
        let (one, two) = (whose(&desk, 0), whose(&desk, 1));
        let first = enter(&desk, &one);
        release(&desk, first);
        assert_eq!(desk.kept(), 1);
        let work = |desk: &Desk, running: &AtomicU32, whose: &Whose| {
            let taken = enter(desk, whose);
            assert!(running.fetch_add(1, Relaxed) < 2, "two seats");
            running.fetch_sub(1, Relaxed);
            release(desk, taken);
        };
        let other = {
            let (desk, running) = (Arc::clone(&desk), StdArc::clone(&running));
            thread::spawn(move || work(&desk, &running, &two))
        };
        work(&desk, &running, &one);
        other.join().unwrap();
        assert_eq!(in_flight(&desk), 0);
        for (number, slot) in (0..2).zip(desk.slots.shared_slots()) {
            assert_eq!((desk.calls_of(number, slot).0, slot.waiting()), (0, 0));
            assert_eq!(slot.calls(), desk.kept_of(number));
        }
        assert_eq!(desk.admitted()[..2], [2, 1]);
    });
}

#[test]
fn loom_a_desk_keeps_no_seat_that_new_rules_forbid() {
    model(3, || {
        let desk = narrow_with(1);
        let first = first(&desk, 0);
        let other = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || release(&desk, first))
        };
        desk.resize(count(1));
        desk.pass_on(NOW);
        other.join().unwrap();
        assert_eq!(desk.kept(), 0, "half of one seat is none");
        is_left(&desk);
    });
}
