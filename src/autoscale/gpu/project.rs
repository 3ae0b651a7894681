//! What becomes of a backlog while replicas start.

use crate::autoscale::Fleet;
use crate::time::Timestamp;

/// A cluster as it will be: when each replica that starts will serve.
#[derive(Debug)]
pub(super) struct Projection {
    ready: u32,
    /// Seconds from now, the soonest first.
    arrivals: Vec<f64>,
    capacity: f64,
    horizon: f64,
}

impl Projection {
    /// `fleet` until `horizon` seconds from now, when what is ordered now will serve.
    pub(super) fn new(fleet: &Fleet, capacity: f64, horizon: f64, now: Timestamp) -> Self {
        let left = |since: &Timestamp| (horizon - now.since(*since).as_secs_f64()).max(0.0);
        let mut arrivals: Vec<f64> = fleet.starts().iter().map(left).collect();
        arrivals.sort_unstable_by(f64::total_cmp);
        Self {
            ready: fleet.ready(),
            arrivals,
            capacity,
            horizon,
        }
    }

    /// What is left of `backlog` at the horizon under a constant `load`, were there only `count` replicas: what starts
    /// last is cancelled first.
    pub(super) fn left(&self, backlog: f64, load: f64, count: u32) -> f64 {
        let starting = usize::try_from(count.saturating_sub(self.ready)).unwrap_or(usize::MAX);
        let mut serves = f64::from(self.ready.min(count)) * self.capacity;
        let (mut left, mut at) = (backlog, 0.0);
        for &arrival in self.arrivals.iter().take(starting) {
            left = (left + (load - serves) * (arrival - at)).max(0.0);
            at = arrival;
            serves += self.capacity;
        }
        (left + (load - serves) * (self.horizon - at)).max(0.0)
    }

    /// The least count from `least` to `most` that leaves no greater backlog than `most` replicas do.
    pub(super) fn least(&self, backlog: f64, load: f64, least: u32, most: u32) -> u32 {
        let best = self.left(backlog, load, most);
        let (mut least, mut most) = (least, most);
        while least < most {
            let middle = least + (most - least) / 2;
            if self.left(backlog, load, middle) <= best {
                most = middle;
            } else {
                least = middle.saturating_add(1);
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    #[test]
    fn what_starts_counts_from_when_it_is_ready() {
        let fleet = Fleet::new(2).starting([at(0), at(60)]);
        let projection = Projection::new(&fleet, 10.0, 100.0, at(60));
        // 40 a second: 20 too many for 40 s, 10 too many for 60 s, then it is 100 s.
        assert!((projection.left(0.0, 40.0, 4) - 1_400.0).abs() < 1e-9);
        // Without the last one, which would not have come in time anyway, the same.
        assert!((projection.left(0.0, 40.0, 3) - 1_400.0).abs() < 1e-9);
        assert!((projection.left(0.0, 40.0, 2) - 2_000.0).abs() < 1e-9);
    }

    #[test]
    fn the_least_count_that_does_no_harm() {
        let fleet = Fleet::new(10);
        let projection = Projection::new(&fleet, 10.0, 300.0, at(0));
        assert_eq!(projection.least(0.0, 41.0, 1, 10), 5);
        assert_eq!(projection.least(0.0, 41.0, 7, 10), 7);
        assert_eq!(projection.least(1e6, 41.0, 1, 10), 10);
    }
}
