//! Who decides which request gets a seat next.

pub mod apf;
mod fifo;
mod mainstay;
mod strict;
mod tower;

use super::draw::Nanos;
use super::world::{Run, Tier};

/// A request as a policy sees it: it does not know how long the request will take.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Unique, and in the order of arrival.
    pub id: u64,
    pub tenant: u32,
    pub tier: usize,
    /// Of its tenant, within the tier.
    pub weight: f64,
    /// The end of its caller's patience.
    pub deadline: Nanos,
}

/// What a policy wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Start(u64),
    /// Told no, why, and perhaps when to come again.
    Refuse(u64, &'static str, Option<Nanos>),
}

/// A policy is told of everything that happens and says which requests start and which are refused.
pub trait Policy {
    fn arrive(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>);

    /// A request gives back its seat, which it held for so long.
    fn finish(&mut self, job: &Job, held: Nanos, now: Nanos, out: &mut Vec<Action>);

    /// The caller of a waiting request is gone.
    fn leave(&mut self, job: &Job, now: Nanos, out: &mut Vec<Action>);

    fn resize(&mut self, seats: u32, now: Nanos, out: &mut Vec<Action>);

    /// The tiers have new weights.
    fn reload(&mut self, _tiers: &[Tier], _now: Nanos, _out: &mut Vec<Action>) {}

    /// When it wants to be woken.
    fn wake_at(&mut self) -> Option<Nanos> {
        None
    }

    fn wake(&mut self, _now: Nanos, _out: &mut Vec<Action>) {}

    /// Requests that it knows of: waiting, running.
    fn known(&self) -> (usize, usize);

    /// How many tenants it remembers, where it remembers any.
    fn tracked(&self) -> Option<usize> {
        None
    }
}

/// A policy by name, with what it is.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    pub name: &'static str,
    pub about: &'static str,
    pub build: fn(&Run) -> Box<dyn Policy>,
}

/// Ours first.
pub const ALL: &[Entrant] = &[
    Entrant {
        name: "mainstay",
        about: mainstay::ABOUT,
        build: mainstay::build,
    },
    Entrant {
        name: "FIFO",
        about: fifo::ABOUT,
        build: fifo::build,
    },
    Entrant {
        name: "strict priority",
        about: strict::ABOUT,
        build: strict::build,
    },
    Entrant {
        name: "tower",
        about: tower::ABOUT,
        build: tower::build,
    },
    Entrant {
        name: "APF-like",
        about: apf::ABOUT,
        build: apf::build,
    },
    Entrant {
        name: "APF-like, lent",
        about: apf::ABOUT_LENT,
        build: apf::build_lent,
    },
];
