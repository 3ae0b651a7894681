//! What a run was worth.

use std::collections::BTreeMap;

use super::draw::{Nanos, SECOND, seconds};

/// Counts of durations, to 0.8 %.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    counts: Vec<u64>,
    all: u64,
    sum: u128,
    max: Nanos,
}

const FINE: u32 = 7;

impl Durations {
    pub fn add(&mut self, duration: Nanos) {
        let place = Self::place(duration);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] += 1;
        self.all += 1;
        self.sum += u128::from(duration);
        self.max = self.max.max(duration);
    }

    fn place(duration: Nanos) -> usize {
        if duration < 1 << FINE {
            return duration as usize;
        }
        let shift = duration.ilog2() - FINE;
        (((shift + 1) << FINE) + (duration >> shift) as u32 - (1 << FINE)) as usize
    }

    /// The middle of a place.
    fn value(place: usize) -> f64 {
        let fine = 1_usize << FINE;
        if place < fine {
            return place as f64;
        }
        let shift = place / fine - 1;
        ((place % fine + fine) as f64 + 0.5) * (1_u64 << shift) as f64
    }

    pub fn count(&self) -> u64 {
        self.all
    }

    /// In seconds; 0 of nothing.
    pub fn mean(&self) -> f64 {
        if self.all == 0 {
            return 0.0;
        }
        self.sum as f64 / self.all as f64 / SECOND
    }

    pub fn max(&self) -> f64 {
        seconds(self.max)
    }

    /// The duration, in seconds, that a share of all does not exceed; 0 of nothing.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = ((self.all as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (place, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Self::value(place).min(self.max as f64) / SECOND;
            }
        }
        0.0
    }
}

/// What became of the requests of one group.
#[derive(Clone, Debug, Default)]
pub struct Fate {
    pub offered: u64,
    pub served: u64,
    /// Told no by the policy, on arrival or later.
    pub refused: u64,
    /// Still waiting when the caller's patience ended, and so told nothing.
    pub gave_up: u64,
    pub cancelled: u64,
    /// Why they got no seat, in the policy's words; `left` where the policy had none.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Waits of those that got a seat.
    pub waits: Durations,
    /// From the arrival to the no, or to the end of patience.
    pub refusals: Durations,
    /// Seat-seconds held within the window.
    pub used: f64,
    /// Seat-seconds asked for by the requests that came within the window.
    pub wanted: f64,
}

impl Fate {
    /// Of the requests whose callers stayed.
    pub fn served_share(&self) -> f64 {
        let stayed = self.offered - self.cancelled;
        if stayed == 0 {
            1.0
        } else {
            self.served as f64 / stayed as f64
        }
    }
}

/// One tenant, in counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    pub offered: u32,
    pub served: u32,
    pub cancelled: u32,
    pub used: f64,
}

/// A run, measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub groups: Vec<Fate>,
    /// Seat-seconds held by each tier within the window.
    pub used: Vec<f64>,
    /// Seat-seconds that there were.
    pub capacity: f64,
    /// Seat-seconds free while somebody waited.
    pub idle: f64,
    /// Each group's worst tenant: the share of its requests that was served, of those with ten at least.
    pub worst: Vec<f64>,
    /// Least and most seat-seconds of a tenant, by group.
    pub spread: Vec<(f64, f64)>,
    /// Requests that were started although no seat was free.
    pub over: u64,
    /// Requests that the policy still counts, or was never told of, after all is over.
    pub leaked: u64,
    /// Requests that the policy left waiting beyond their patience, so that the caller had to see to it.
    pub late: u64,
    /// The most tenants that the policy remembered, where it can say.
    pub tracked: Option<usize>,
    pub events: u64,
    /// Seats, and seats held by each tier, over time.
    pub course: Vec<(f64, Vec<f64>)>,
}
