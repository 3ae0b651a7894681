//! What several observers say together.
//!
//! 1. Who says `Unknown` abstains; so does an observer that is tilted.
//! 2. Under the least number of votes nothing is known: a monitor that is cut off from the others decides nothing.
//! 3. Down when at least the quorum of the votes says down; degraded when at least the quorum says down or degraded, or
//!    when any vote says down without reaching it; else up.
//! 4. The order of the votes does not matter.

use std::num::NonZeroU32;

use super::verdict::Verdict;
use crate::error::ConfigError;

/// How many observers must agree.
///
/// # Example
///
/// ```
/// use mainstay::health::{Quorum, Verdict};
/// use mainstay::num::count;
///
/// // Two of the observers must say so, and two must say anything.
/// let quorum = Quorum::new(count(2), count(2))?;
/// assert_eq!(quorum.of([Verdict::Down, Verdict::Down, Verdict::Up]), Verdict::Down);
/// assert_eq!(quorum.of([Verdict::Down, Verdict::Up, Verdict::Up]), Verdict::Degraded);
/// assert_eq!(quorum.of([Verdict::Down, Verdict::Unknown]), Verdict::Unknown, "one vote is none");
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    agree: u32,
    vote: u32,
}

impl Quorum {
    /// `agree` must say so, and at least `vote` must say anything.
    ///
    /// # Errors
    ///
    /// If fewer need to vote than must agree.
    pub fn new(agree: NonZeroU32, vote: NonZeroU32) -> Result<Self, ConfigError> {
        if vote < agree {
            let expected = format!("at least as many as must agree, {agree}");
            return Err(ConfigError::new("vote", vote, expected));
        }
        Ok(Self {
            agree: agree.get(),
            vote: vote.get(),
        })
    }

    /// More than half of `observers`, which is also how many must vote.
    #[must_use]
    pub const fn majority(observers: NonZeroU32) -> Self {
        let half = observers.get() / 2 + 1;
        Self {
            agree: half,
            vote: half,
        }
    }

    /// What they say together.
    #[must_use]
    pub fn of(&self, votes: impl IntoIterator<Item = Verdict>) -> Verdict {
        let (mut up, mut degraded, mut down) = (0_u32, 0_u32, 0_u32);
        for vote in votes {
            let count = match vote {
                Verdict::Up => &mut up,
                Verdict::Degraded => &mut degraded,
                Verdict::Down => &mut down,
                Verdict::Unknown => continue,
            };
            *count = count.saturating_add(1);
        }
        let worse = degraded.saturating_add(down);
        if up.saturating_add(worse) < self.vote {
            Verdict::Unknown
        } else if down >= self.agree {
            Verdict::Down
        } else if worse >= self.agree || down > 0 {
            Verdict::Degraded
        } else {
            Verdict::Up
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Verdict::{Degraded, Down, Unknown, Up};
    use crate::num::count;

    /// Every vote of five observers, against the rules said once more.
    #[test]
    fn all_votes_of_five() {
        let quorum = Quorum::majority(count(5));
        for n in 0..4_usize.pow(5) {
            let votes: Vec<_> = (0..5)
                .map(|at| Verdict::ALL[n / 4_usize.pow(at) % 4])
                .collect();
            let says = |verdict| votes.iter().filter(|vote| **vote == verdict).count();
            let expected = if 5 - says(Unknown) < 3 {
                Unknown
            } else if says(Down) >= 3 {
                Down
            } else if says(Down) + says(Degraded) >= 3 || says(Down) > 0 {
                Degraded
            } else {
                Up
            };
            assert_eq!(quorum.of(votes.iter().copied()), expected, "{votes:?}");
            assert_eq!(quorum.of(votes.iter().rev().copied()), expected);
        }
    }

    #[test]
    fn nobody_decides_alone() {
        assert_eq!(Quorum::majority(count(3)).of([Down]), Unknown);
        assert_eq!(Quorum::majority(count(3)).of([]), Unknown);
        assert_eq!(Quorum::new(count(3), count(2)).unwrap_err().field(), "vote");
        assert_eq!(Quorum::majority(count(1)).of([Up, Degraded]), Degraded);
    }
}
