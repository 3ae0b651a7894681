//! Curves: every policy at every headroom over the same traces.

use mainstay::autoscale::Amount;
use mainstay::autoscale::simulate::{Curve, Outcome, Trace, World};
use mainstay::num::Period;
use std::error::Error;

use crate::policies::Kind;

/// From none to what holds the worst trace without scaling.
const HEADROOMS: [f64; 16] = [
    1.0, 1.03, 1.06, 1.1, 1.15, 1.25, 1.4, 1.6, 1.8, 2.0, 2.3, 2.7, 3.2, 5.0, 12.0, 30.0,
];
const FEW: [f64; 8] = [1.0, 1.03, 1.06, 1.1, 1.25, 1.6, 2.3, 3.2];

#[derive(Clone, Copy)]
pub(crate) struct Sweep {
    pub(crate) capacity: u32,
    pub(crate) warm_up: u32,
    /// Seconds that are for learning and count for nobody.
    pub(crate) learning: u64,
    pub(crate) full: bool,
}

pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) curve: Curve,
    pub(crate) blind_removals: u32,
}

impl Sweep {
    pub(crate) fn world(self) -> World {
        World::new(Amount::of(self.capacity), Period::secs(self.warm_up))
            .counted_from(self.learning)
    }

    fn headrooms(self) -> &'static [f64] {
        if self.full { &HEADROOMS } else { &FEW }
    }

    fn row(self, kind: Kind, traces: &[Trace]) -> Result<Row, Box<dyn Error>> {
        let mut row = Row {
            kind,
            curve: Curve::new(),
            blind_removals: 0,
        };
        for &headroom in self.headrooms() {
            let mut outcomes: Vec<Outcome> = Vec::new();
            for trace in traces {
                let mut policy = kind.build(self.capacity.into(), headroom, self.warm_up)?;
                outcomes.push(self.world().run(trace, &mut *policy));
            }
            row.blind_removals += outcomes.iter().map(Outcome::blind_removals).sum::<u32>();
            row.curve.outcomes(headroom, &outcomes);
        }
        Ok(row)
    }

    pub(crate) fn rows(self, kinds: &[Kind], traces: &[Trace]) -> Result<Vec<Row>, Box<dyn Error>> {
        kinds.iter().map(|kind| self.row(*kind, traces)).collect()
    }
}
