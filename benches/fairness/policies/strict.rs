//! The best tier first, always.

use std::collections::BTreeSet;

use super::{Action, Job, Nanos, Policy, Run};

pub const ABOUT: &str = "the waiting request of the best tier, within a tier in the order of arrival: a priority queue. No bound on \
     the queue but patience.";

pub fn build(_: &Run) -> Box<dyn Policy> {
    Box::new(Strict::default())
}

#[derive(Debug, Default)]
struct Strict {
    seats: usize,
    running: usize,
    /// Tiers are numbered from the best.
    waiting: BTreeSet<(usize, u64)>,
}

impl Strict {
    fn dispatch(&mut self, out: &mut Vec<Action>) {
        while self.running < self.seats {
            let Some((_, id)) = self.waiting.pop_first() else {
                return;
            };
            self.running += 1;
            out.push(Action::Start(id));
        }
    }
}

impl Policy for Strict {
    fn arrive(&mut self, job: &Job, _: Nanos, out: &mut Vec<Action>) {
        self.waiting.insert((job.tier, job.id));
        self.dispatch(out);
    }

    fn finish(&mut self, _: &Job, _: Nanos, _: Nanos, out: &mut Vec<Action>) {
        self.running -= 1;
        self.dispatch(out);
    }

    fn leave(&mut self, job: &Job, _: Nanos, _: &mut Vec<Action>) {
        self.waiting.remove(&(job.tier, job.id));
    }

    fn resize(&mut self, seats: u32, _: Nanos, out: &mut Vec<Action>) {
        self.seats = seats as usize;
        self.dispatch(out);
    }

    fn known(&self) -> (usize, usize) {
        (self.waiting.len(), self.running)
    }
}
