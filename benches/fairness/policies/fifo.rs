//! First come, first served.

use std::collections::BTreeSet;

use super::{Action, Job, Nanos, Policy, Run};

pub const ABOUT: &str = "one queue for all, in the order of arrival: a semaphore that waiters leave when their patience ends. No bound \
     on the queue but patience.";

pub fn build(_: &Run) -> Box<dyn Policy> {
    Box::new(Fifo::default())
}

#[derive(Debug, Default)]
struct Fifo {
    seats: usize,
    running: usize,
    waiting: BTreeSet<u64>,
}

impl Fifo {
    fn dispatch(&mut self, out: &mut Vec<Action>) {
        while self.running < self.seats {
            let Some(id) = self.waiting.pop_first() else {
                return;
            };
            self.running += 1;
            out.push(Action::Start(id));
        }
    }
}

impl Policy for Fifo {
    fn arrive(&mut self, job: &Job, _: Nanos, out: &mut Vec<Action>) {
        self.waiting.insert(job.id);
        self.dispatch(out);
    }

    fn finish(&mut self, _: &Job, _: Nanos, _: Nanos, out: &mut Vec<Action>) {
        self.running -= 1;
        self.dispatch(out);
    }

    fn leave(&mut self, job: &Job, _: Nanos, _: &mut Vec<Action>) {
        self.waiting.remove(&job.id);
    }

    fn resize(&mut self, seats: u32, _: Nanos, out: &mut Vec<Action>) {
        self.seats = seats as usize;
        self.dispatch(out);
    }

    fn known(&self) -> (usize, usize) {
        (self.waiting.len(), self.running)
    }
}
