//! Every interleaving of taking, giving back, waiting, leaving and resizing.

use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use super::config::ConcurrencyConfig;
use super::lane::Ticket;
use super::seats::{Joined, Seats};
use crate::num::count;

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}

fn seats(limit: u32, queue: u32) -> Arc<Seats> {
    Arc::new(Seats::new(
        ConcurrencyConfig::new(count(limit)).queue(queue),
    ))
}

/// Waits as a task does: looks, sleeps until woken, looks again. Loom reports a wait without end.
fn wait(seats: &Seats, ticket: Ticket) {
    let waker = Waker::from(StdArc::new(Unpark(thread::current())));
    let cx = Context::from_waker(&waker);
    while seats.poll(ticket, &cx).is_pending() {
        thread::park();
    }
}

fn enter(seats: &Seats) {
    if seats.admit(&mut seats.count()) {
        return;
    }
    match seats.join() {
        Joined::Seated => {}
        Joined::Waits(ticket) => wait(seats, ticket),
        Joined::Full => panic!("the queue has room for everybody"),
    }
}

fn is_empty(seats: &Seats) -> bool {
    let count = seats.count();
    (count.in_flight(), count.waiting()) == (0, 0)
}

#[test]
fn loom_whoever_waits_gets_a_place_that_comes_free() {
    loom::model(|| {
        let seats = seats(1, 2);
        let other = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                enter(&seats);
                seats.release();
            })
        };
        enter(&seats);
        assert!(seats.count().in_flight() <= 1);
        seats.release();
        other.join().unwrap();
        assert!(is_empty(&seats), "{:?}", seats.count());
    });
}

#[test]
fn loom_a_waiter_that_leaves_passes_on_what_it_was_granted() {
    // Three threads besides the first: every order of up to three preemptions.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let seats = seats(1, 2);
        assert!(seats.admit(&mut seats.count()));
        let Joined::Waits(leaver) = seats.join() else {
            panic!("it waits");
        };
        let stayer = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                enter(&seats);
                seats.release();
            })
        };
        let holder = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                seats.release();
            })
        };
        // Its time is over, or its caller has left: at the same moment as its turn comes.
        if seats.leave(leaver) {
            seats.release();
        }
        holder.join().unwrap();
        stayer.join().unwrap();
        assert!(is_empty(&seats), "{:?}", seats.count());
    });
}

#[test]
fn loom_a_greater_limit_lets_waiters_in_and_a_smaller_one_forgets_none() {
    loom::model(|| {
        let seats = seats(1, 2);
        assert!(seats.admit(&mut seats.count()));
        let waiter = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                enter(&seats);
                seats.release();
            })
        };
        let config = ConcurrencyConfig::new(count(2)).queue(2);
        seats.set(config);
        seats.pass_on();
        seats.set(ConcurrencyConfig::new(count(1)).queue(2));
        seats.pass_on();
        seats.release();
        waiter.join().unwrap();
        assert!(is_empty(&seats), "{:?}", seats.count());
    });
}

#[test]
fn loom_nobody_is_admitted_above_the_limit() {
    loom::model(|| {
        let seats = seats(1, 0);
        let taken = |seats: &Seats| {
            let taken = seats.admit(&mut seats.count());
            if taken {
                let count = seats.count();
                assert!(count.in_flight() == 1, "{count:?}");
                seats.release();
            }
            taken
        };
        let other = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || taken(&seats))
        };
        let mine = taken(&seats);
        let others = other.join().unwrap();
        assert!(mine || others, "one of the two finds the place free");
        assert!(is_empty(&seats));
    });
}

#[test]
fn loom_a_poll_of_a_granted_waiter_is_ready() {
    loom::model(|| {
        let seats = seats(1, 1);
        assert!(seats.admit(&mut seats.count()));
        let Joined::Waits(ticket) = seats.join() else {
            panic!("it waits");
        };
        let holder = {
            let seats = Arc::clone(&seats);
            thread::spawn(move || {
                seats.release();
            })
        };
        let polled = seats.poll(ticket, &Context::from_waker(Waker::noop()));
        holder.join().unwrap();
        if polled.is_pending() {
            let again = seats.poll(ticket, &Context::from_waker(Waker::noop()));
            assert_eq!(again, Poll::Ready(()));
        }
        seats.release();
        assert!(is_empty(&seats));
    });
}
