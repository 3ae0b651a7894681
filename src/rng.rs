//! The seeded source of jitter and sampling.
//!
//! Not for secrets. Entropy for the seed comes from the shell, so a test that fixes the seed repeats the run.

/// SplitMix64: eight bytes of state, one multiplication chain a draw, equidistributed over 2⁶⁴ draws.
///
/// # Source
///
/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014; the constants are those of
/// its reference implementation.
///
/// # Example
///
/// ```
/// use mainstay::rng::Rng;
///
/// let mut rng = Rng::new(7);
/// assert!((0.0..1.0).contains(&rng.unit()));
/// assert_eq!(Rng::new(7).next_u64(), Rng::new(7).next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A source that repeats itself for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws 64 uniform bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Draws a uniform number in `[0, 1)`.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Splits off a source of its own, so that two users do not draw the same numbers.
    #[must_use]
    pub const fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_draws_match_the_reference() {
        // From the reference implementation with seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn forks_differ_from_their_parent_and_each_other() {
        let mut parent = Rng::new(1);
        let (mut a, mut b) = (parent.fork(), parent.fork());
        assert_ne!(a.next_u64(), b.next_u64());
    }
}
