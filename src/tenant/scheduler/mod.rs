//! Who is next: seats of one pool, shared fairly by tiers and by the tenants of each.
//!
//! Use it where one pool serves many tenants and none may hurt another: a flood makes queues, and the scheduler decides
//! whose request leaves them. It bounds what runs, what waits and for how long, and says so early to whoever would wait
//! in vain. Not where a tenant has bought a rate: that is a [rate limit](crate::limit::rate), which stands before it.
//!
//! ```text
//!            a seat is free                              ┌───────────────┐
//!   ┌─────┐  and nobody waits                            │    running    │
//!   │ ask │ ────────────────────────────────────────────►│   (a seat)    │──► release: what it took is charged
//!   └─────┘            tier            tenant            └───────────────┘
//!     │      ┌─ reserved seats ─┐  ┌─ oldest tag ─┐             ▲
//!     ├─────►│  then by weight  │─►│  under its   │── grant ────┘
//!     │      └──────────────────┘  │  own limit   │
//!     │                            └──────────────┘
//!     │                               │ time over, or pushed out of the longest queue
//!     ▼                               ▼
//!   refused: a queue is full, or the turn would come too late; with the time after which it would not
//! ```
//!
//! # Example
//!
//! ```
//! use mainstay::num::count;
//! use mainstay::presets;
//! use mainstay::tenant::scheduler::{Arrival, Ask, Scheduler, SchedulerConfig, TenantId};
//! use mainstay::time::Tick;
//! use std::time::Duration;
//!
//! let tiers = presets::erp::tiers();
//! let (enterprise, small) = (tiers.find("enterprise"), tiers.find("smb"));
//! let mut pool = Scheduler::new(SchedulerConfig::new(count(1), tiers));
//! let now = Tick::ZERO;
//!
//! let Arrival::Granted { seat, .. } = pool.admit(Ask::new(TenantId::new(1), small), "first", now) else {
//!     panic!("the seat is free");
//! };
//! for n in 0..3 {
//!     let ask = Ask::new(TenantId::new(1), small);
//!     assert!(matches!(pool.admit(ask, "more of the same", now), Arrival::Queued { .. }), "{n}");
//! }
//! let ask = Ask::new(TenantId::new(2), enterprise);
//! assert!(matches!(pool.admit(ask, "the other", now), Arrival::Queued { .. }));
//!
//! let now = now + Duration::from_millis(50);
//! pool.release(seat, now);
//! let next = pool.grant(now).expect("a seat is free");
//! assert_eq!(next.waiter, "the other");
//! # pool.release(next.seat, now);
//! ```
//!
//! # A path without a lock
//!
//! While nobody waits there is nothing to decide, and a shell need not ask. It keeps one word for the pool, the seats
//! taken in each tier and a bit that says that somebody waits, and one counter for each tenant. A request whose word
//! has no such bit enters by [`Seating::admits`] and [`Seating::tenant_limit`] with an exchange of each; such a seat is
//! *outside*: the scheduler did not give it and does not know it. Everything else goes through the scheduler, under the
//! shell's lock:
//!
//! 1. Who cannot enter takes the lock, sets the bit and reads the word in one exchange. From then on nobody enters
//!    outside, and the outside seats of the word only become fewer. [`outside`](Scheduler::outside) tells the scheduler
//!    how many each tier has; numbers are absolute, so saying them twice does no harm.
//! 2. [`Ask::outside`] says what the tenant's counter reads. That may be one too many for a moment, when somebody of
//!    the same tenant counted itself and then met the bit: it takes it back, and asks under the lock with what the
//!    counter reads then. It does so even if its time is over, and whatever it is told, seats are granted afterwards:
//!    one of its tenant may wait for the seat that it never had.
//! 3. A release of an outside seat counts the tenant down, then the word, by an exchange that expects no bit. If there
//!    is one it takes the lock and calls [`release_outside`](Scheduler::release_outside) with what the tenant's counter
//!    reads. What it took is charged as a whole, since nothing was charged when it entered.
//! 4. Seats that the scheduler gave are released through it, bit or no bit; whoever waited can afford a lock.
//! 5. When [`waiting`](Scheduler::waiting) is 0 after a call, the shell clears the bit, still under the lock, and the
//!    word has the seats of both kinds. A word whose bit was not set is not the scheduler's concern: it is told anew at
//!    the next switch.
//!
//! So a tenant's limit holds on both paths: outside it is the counter, inside it is the counter and the seats that were
//! given. A tenant with outside seats at the switch owes nothing for them until they end; while nobody waited, they took
//! nothing from anybody.
//!
//! # Sources
//!
//! Goyal, Vin, Cheng: "Start-time fair queueing", SIGCOMM 1996: fair whatever the rate of the server, which here is
//! unknown and moves. Gulati, Merchant, Varman: "mClock", OSDI 2010: reservation, weight and limit in one scheduler;
//! its rates are seats here, since the time that a request takes is not known. Kubernetes, "API priority and fairness":
//! cost in seat-seconds, estimated, then corrected.

mod ask;
mod config;
mod flaw;
mod heap;
mod lane;
mod machine;
#[cfg(test)]
mod machine_tests;
#[cfg(test)]
mod props_tests;
mod seating;
mod table;
mod tag;
mod waiters;
mod wheel;

pub use ask::{Arrival, Ask, Granted, Refusal, Refused, Seat, TenantId, Ticket};
pub use config::SchedulerConfig;
pub use machine::{Scheduler, TenantCount, TierCount};
pub use seating::Seating;
