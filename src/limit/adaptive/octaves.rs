use std::time::Duration;

use crate::time::nanos;

/// A length of time on a scale of doublings, in steps of 1/256: what a thousandth and a thousand seconds have in
/// common with their neighbours is the ratio. It fits 14 bits.
///
/// Means are taken on this scale, so one call of ten seconds does not drown a hundred of ten milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Octaves(u32);

impl Octaves {
    /// Steps to a doubling.
    pub(super) const STEPS: u32 = 256;

    pub(super) const fn new(place: u32) -> Self {
        Self(place)
    }

    pub(super) const fn get(self) -> u32 {
        self.0
    }

    /// The place of a length of time; zero is a nanosecond.
    pub(super) fn of(time: Duration) -> Self {
        let nanos = nanos(time).max(1);
        let whole = u64::from(nanos.ilog2());
        // The eight bits below the first, as a line between two powers of two, bent towards the logarithm: the
        // parabola errs by less than 1 %.
        let aligned = nanos << nanos.leading_zeros();
        let steps = u64::from(Self::STEPS);
        let part = (aligned >> 55) & (steps - 1);
        let bent = part + ((part * (steps - part) * 88) >> 16);
        let place = whole * steps + bent.min(steps - 1);
        Self(u32::try_from(place).unwrap_or(u32::MAX))
    }

    /// The length of time at this place.
    pub(super) fn time(self) -> Duration {
        let octaves = f64::from(self.0) / f64::from(Self::STEPS);
        let nanos = octaves.exp2().min(u64::MAX as f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and brought within the range"
        )]
        Duration::from_nanos(nanos as u64)
    }

    /// How much further on the scale `factor` times as long is.
    pub(super) fn times(factor: f64) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a factor is at least 1 and finite, so this is from 0 to 262144"
        )]
        {
            (factor.max(1.0).log2() * f64::from(Self::STEPS)) as u32
        }
    }

    /// How many times as long `self` is as `other`.
    pub(super) fn over(self, other: Self) -> f64 {
        ((f64::from(self.0) - f64::from(other.0)) / f64::from(Self::STEPS)).exp2()
    }

    pub(super) const fn plus(self, steps: u32) -> Self {
        Self(self.0.saturating_add(steps))
    }

    /// Halfway between two.
    pub(super) const fn middle(self, other: Self) -> Self {
        Self(self.0.midpoint(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_the_logarithm_within_a_hundredth() {
        for nanos in [
            1_u64,
            2,
            3,
            1_000,
            1_500,
            999_999,
            20_000_000,
            1 << 40,
            u64::MAX,
        ] {
            let exact = (nanos as f64).log2() * 256.0;
            let got = f64::from(Octaves::of(Duration::from_nanos(nanos)).0);
            assert!((exact - got).abs() <= 3.7, "{nanos}: {exact} {got}");
        }
        assert_eq!(Octaves::of(Duration::ZERO), Octaves(0));
        assert!(Octaves::of(Duration::MAX).0 < 1 << 14);
    }

    #[test]
    fn longer_is_never_before_shorter() {
        let places = (1..10_000_u64).map(|n| Octaves::of(Duration::from_nanos(n * 37)));
        assert!(places.collect::<Vec<_>>().is_sorted());
    }
}
