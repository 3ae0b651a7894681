use std::ops::Range;

use super::shape::{Course, Shape, whole};
use crate::num::Ratio;
use crate::rng::Rng;

/// Arrivals, a number for each second, and what goes wrong meanwhile.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::simulate::{Shape, Trace};
///
/// let trace = Trace::generated(Shape::Square, 1, 7);
/// assert_eq!(trace.arrivals().len(), 86_400);
/// assert_eq!(trace, Trace::generated(Shape::Square, 1, 7)); // the same for ever
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    name: String,
    arrivals: Vec<u32>,
    outages: Vec<Range<u64>>,
    reclaims: Vec<(u64, Ratio)>,
}

/// How strongly the load wanders from minute to minute, and how much of it stays.
const WANDER: f64 = 0.034;
const STAYS: f64 = 0.8;

impl Trace {
    /// So many arrive in each second.
    #[must_use]
    pub fn new(name: impl Into<String>, arrivals: Vec<u32>) -> Self {
        Self {
            name: name.into(),
            arrivals,
            outages: Vec::new(),
            reclaims: Vec::new(),
        }
    }

    /// A load of this shape, over `days` from midnight on. The same for the same seed.
    #[must_use]
    pub fn generated(shape: Shape, days: u32, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut course = Course::new(shape, days, &mut rng);
        let mut wander = 0.0;
        let seconds = u64::from(days) * 86_400;
        let arrivals = (0..seconds).map(|second| {
            if second % 60 == 0 {
                wander = WANDER.mul_add(2.0 * rng.unit() - 1.0, STAYS * wander);
            }
            let rate = course.rate(second, &mut rng);
            draw(rate * (1.0 + wander), &mut rng)
        });
        let mut trace = Self::new(shape.as_str(), arrivals.collect());
        let mut within = |day: u32, most: f64| u64::from(day) * 86_400 + whole(most * rng.unit());
        for day in 0..days {
            if shape == Shape::Reclaim {
                let at = within(day, 86_000.0);
                trace = trace.reclaim(at, Ratio::percent(50));
            }
            if shape == Shape::Outage {
                for _ in 0..2 {
                    let begins = within(day, 80_000.0);
                    let lasts = 600 + within(0, 3_000.0);
                    trace = trace.outage(begins..begins + lasts);
                }
            }
        }
        trace
    }

    /// No metrics in these seconds.
    #[must_use]
    pub fn outage(mut self, seconds: Range<u64>) -> Self {
        self.outages.push(seconds);
        self
    }

    /// In this second so many of the replicas that serve are taken away.
    #[must_use]
    pub fn reclaim(mut self, second: u64, share: Ratio) -> Self {
        self.reclaims.push((second, share));
        self.reclaims.sort_by_key(|(second, _)| *second);
        self
    }

    /// So many times as many arrivals, rounded down with the rest carried on.
    #[must_use]
    pub fn times(mut self, factor: f64) -> Self {
        let factor = factor.clamp(0.0, 1e6);
        let mut rest = 0.0;
        for arrivals in &mut self.arrivals {
            let exact = f64::from(*arrivals) * factor + rest;
            let whole = whole(exact).min(u32::MAX.into());
            #[expect(clippy::cast_precision_loss, reason = "at most a u32")]
            {
                rest = (exact - whole as f64).clamp(0.0, 1.0);
            }
            *arrivals = u32::try_from(whole).unwrap_or(u32::MAX);
        }
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many arrive in each second.
    #[must_use]
    pub fn arrivals(&self) -> &[u32] {
        &self.arrivals
    }

    pub(super) fn is_out(&self, second: u64) -> bool {
        self.outages.iter().any(|outage| outage.contains(&second))
    }

    pub(super) fn reclaims(&self) -> &[(u64, Ratio)] {
        &self.reclaims
    }
}

/// A Poisson number; above 30 by the sum of twelve uniform ones, whose tails are a little light.
fn draw(mean: f64, rng: &mut Rng) -> u32 {
    if mean < 30.0 {
        let floor = (-mean).exp();
        let mut product = rng.unit();
        let mut number = 0;
        while product > floor {
            product *= rng.unit();
            number += 1;
        }
        return number;
    }
    let normal = (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let drawn = normal.mul_add(mean.sqrt(), mean).round().max(0.0);
    u32::try_from(whole(drawn)).unwrap_or(u32::MAX)
}
