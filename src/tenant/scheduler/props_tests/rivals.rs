//! Another scheduler under the same measure, so that it is known to tell a fair one from one that is not: deficit round
//! robin, which loses its order where a tenant has a limit of its own, and its exactness where the quantum is large.

use std::collections::VecDeque;

use super::field::{MILLI, below, within};
use super::loads::Lag;
use crate::rng::Rng;

struct Drr {
    ring: VecDeque<usize>,
    deficit: Vec<u64>,
    in_flight: Vec<u32>,
    quantum: u64,
    limit: u32,
}

impl Drr {
    /// Who is next, of tenants that all have work; `next` says what their next requests take.
    fn next(&mut self, next: &[u64]) -> Option<usize> {
        loop {
            let who = *self.ring.front()?;
            if self.in_flight[who] >= self.limit {
                // Until one of its own ends.
                self.ring.pop_front();
                continue;
            }
            if self.deficit[who] >= next[who] {
                self.deficit[who] -= next[who];
                self.in_flight[who] += 1;
                return Some(who);
            }
            // Its turn is over: it goes to the end, and gets its quantum when that has come.
            self.ring.rotate_left(1);
            let who = *self.ring.front()?;
            self.deficit[who] += self.quantum;
        }
    }

    fn end(&mut self, who: usize) {
        self.in_flight[who] -= 1;
        if !self.ring.contains(&who) {
            self.ring.push_back(who);
        }
    }
}

/// The greatest lag, in units of the bound.
fn lag(seed: u64, seats: usize, limit: u32, quantum: u64) -> f64 {
    let mut rng = Rng::new(seed);
    let costs: Vec<(u64, u64)> = (0..6)
        .map(|_| {
            let low = within(&mut rng, 1, 2) * MILLI;
            (low, low * within(&mut rng, 1, 3))
        })
        .collect();
    let mut drr = Drr {
        ring: (0..costs.len()).collect(),
        deficit: vec![0; costs.len()],
        in_flight: vec![0; costs.len()],
        quantum,
        limit,
    };
    let mut draw = |who: usize| {
        let (low, high) = costs[who];
        low + below(&mut rng, high - low + 1)
    };
    let mut next: Vec<u64> = (0..costs.len()).map(&mut draw).collect();
    let mut running: Vec<(u64, usize)> = Vec::new();
    let mut lag = Lag::new(costs.len());
    let mut now = 0;
    for _ in 0..4_000 {
        while running.len() < seats
            && let Some(who) = drr.next(&next)
        {
            lag.add(who, next[who] as f64);
            running.push((now + next[who], who));
            next[who] = draw(who);
        }
        running.sort_unstable();
        let (end, who) = running.remove(0);
        now = end;
        drr.end(who);
    }
    lag.worst(|who| costs[who].1 as f64)
}

#[test]
fn the_measure_tells_a_large_quantum_and_a_reached_limit() {
    for seed in 0..5 {
        let exact = lag(seed, 1, 9, MILLI / 10);
        let coarse = lag(seed, 1, 9, 20 * MILLI);
        let held_back = lag(seed, 6, 2, MILLI / 10);
        assert!(exact < 1.5, "{seed}: {exact}");
        assert!(coarse > 2.0, "{seed}: {coarse}");
        assert!(held_back > 10.0, "{seed}: {held_back}");
    }
}
