use super::outcome::Outcome;

/// What a policy costs and whom it keeps waiting, over a sweep of its headroom.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::simulate::Curve;
///
/// let mut curve = Curve::new();
/// curve.point(1.0, 100.0, 0.10);
/// curve.point(1.2, 120.0, 0.001);
/// // Half way in orders of magnitude is half way in hours.
/// assert!((curve.at(0.01).unwrap() - 110.0).abs() < 1e-9);
/// assert_eq!(curve.at(0.0001), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    points: Vec<(f64, f64, f64)>,
    turns: f64,
}

/// Shares below this are as good as none, and have a logarithm.
const NONE: f64 = 1e-6;

impl Curve {
    /// Without a point.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            points: Vec::new(),
            turns: 0.0,
        }
    }

    /// A point: at this headroom so many replica hours, and such a share of long waits.
    pub fn point(&mut self, headroom: f64, hours: f64, share: f64) {
        self.points.push((headroom, hours, share));
    }

    /// The mean of outcomes at one headroom, such as those of several seeds.
    pub fn outcomes(&mut self, headroom: f64, outcomes: &[Outcome]) {
        let mean = |of: fn(&Outcome) -> f64| {
            let count = u32::try_from(outcomes.len()).unwrap_or(u32::MAX).max(1);
            outcomes.iter().map(of).sum::<f64>() / f64::from(count)
        };
        self.point(
            headroom,
            mean(Outcome::replica_hours),
            mean(Outcome::long_share),
        );
        for outcome in outcomes {
            self.turns = self.turns.max(outcome.turns_an_hour());
        }
    }

    /// The points in the order in which they came: headroom, hours, share.
    #[must_use]
    pub fn points(&self) -> &[(f64, f64, f64)] {
        &self.points
    }

    /// The most turns an hour of any outcome.
    #[must_use]
    pub const fn turns_an_hour(&self) -> f64 {
        self.turns
    }

    /// The fewest hours at which the share of long waits is `share`: of a point, or between two neighbours of which one
    /// is above and the other not.
    #[must_use]
    pub fn at(&self, share: f64) -> Option<f64> {
        let enough = self.points.iter().filter(|(.., waits)| *waits <= share);
        let points = enough.map(|(_, hours, _)| *hours);
        let pairs = self.points.iter().zip(self.points.iter().skip(1));
        let between = pairs.filter_map(|(left, right)| {
            let (above, below) = if left.2 > right.2 {
                (left, right)
            } else {
                (right, left)
            };
            if above.2 <= share || below.2 > share {
                return None;
            }
            let log = |share: f64| share.max(NONE).ln();
            let way = (log(above.2) - log(share)) / (log(above.2) - log(below.2));
            // A policy that gives nothing for its hours until it gives all has no value between.
            let honest = above.2 < 0.5;
            (honest && way.is_finite()).then(|| above.1 + way.clamp(0.0, 1.0) * (below.1 - above.1))
        });
        points.chain(between).reduce(f64::min)
    }
}
