//! tower's concurrency limit under its load shed.

use super::{Action, Job, Nanos, Policy, Run};

pub const ABOUT: &str = "tower's `LoadShed` over `ConcurrencyLimit`, modelled: a request takes a permit or is refused at once, whoever \
     sends it. The service is cloned for every request, as servers do, so a refused request keeps no place. tower cannot \
     change a limit; here it follows the seats, as with a semaphore of the user's (`with_semaphore`).";

pub fn build(_: &Run) -> Box<dyn Policy> {
    Box::new(Shed::default())
}

#[derive(Debug, Default)]
struct Shed {
    seats: usize,
    running: usize,
}

impl Policy for Shed {
    fn arrive(&mut self, job: &Job, _: Nanos, out: &mut Vec<Action>) {
        if self.running < self.seats {
            self.running += 1;
            out.push(Action::Start(job.id));
        } else {
            out.push(Action::Refuse(job.id, "overloaded", None));
        }
    }

    fn finish(&mut self, _: &Job, _: Nanos, _: Nanos, _: &mut Vec<Action>) {
        self.running -= 1;
    }

    fn leave(&mut self, _: &Job, _: Nanos, _: &mut Vec<Action>) {}

    fn resize(&mut self, seats: u32, _: Nanos, _: &mut Vec<Action>) {
        self.seats = seats as usize;
    }

    fn known(&self) -> (usize, usize) {
        (0, self.running)
    }
}
