//! What is known about a component.

use std::fmt;

/// What is known about a component.
///
/// `Unknown` is a verdict of its own: no data is neither up nor down, and nothing here turns it into one of them.
///
/// # Example
///
/// ```
/// use mainstay::health::Verdict;
///
/// let replicas = [Verdict::Up, Verdict::Down, Verdict::Unknown];
/// assert_eq!(Verdict::of_pool(replicas), Verdict::Degraded, "one of them is down");
/// assert_eq!(Verdict::of_pool([]), Verdict::Unknown, "no replicas are neither healthy nor an outage");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever decides by it should see all four"
)]
pub enum Verdict {
    /// It does its work.
    Up,
    /// It works, and worse than it should.
    Degraded,
    /// It does not.
    Down,
    /// Nothing is known, or what was known is too old.
    #[default]
    Unknown,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Up, Self::Degraded, Self::Down, Self::Unknown];

    /// The word for it: `up`, `degraded`, `down`, `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }

    /// Whether anything is known.
    #[must_use]
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// The worse of two things that are both needed: `Down` is the worst; what is unknown could be anything, so it is
    /// only as good as the other where that is down.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        match (self, other) {
            (Self::Down, _) | (_, Self::Down) => Self::Down,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Degraded, _) | (_, Self::Degraded) => Self::Degraded,
            (Self::Up, Self::Up) => Self::Up,
        }
    }

    /// The worse of what two observers of one thing say: who says `Unknown` abstains.
    ///
    /// ```
    /// use mainstay::health::Verdict::{Degraded, Down, Unknown, Up};
    ///
    /// assert_eq!(Up.worse(Degraded), Degraded);
    /// assert_eq!(Degraded.worse(Down), Down);
    /// assert_eq!(Up.worse(Unknown), Up, "who knows nothing has no say");
    /// ```
    #[must_use]
    pub const fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Down, _) | (_, Self::Down) => Self::Down,
            (Self::Degraded, _) | (_, Self::Degraded) => Self::Degraded,
            (Self::Up, _) | (_, Self::Up) => Self::Up,
            (Self::Unknown, Self::Unknown) => Self::Unknown,
        }
    }

    /// A pool of like members, any of which does the work: down when all that are known are, degraded when one of them
    /// is not up, unknown when nothing is known of any, as in an empty pool.
    #[must_use]
    pub fn of_pool(members: impl IntoIterator<Item = Self>) -> Self {
        let mut pool = Self::Unknown;
        for member in members {
            pool = match (pool, member) {
                (pool, Self::Unknown) => pool,
                (Self::Unknown, member) => member,
                (Self::Up, Self::Up) => Self::Up,
                (Self::Down, Self::Down) => Self::Down,
                _ => Self::Degraded,
            };
        }
        pool
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, Degraded, Down, Unknown, Up};

    #[test]
    fn a_pool_does_not_hang_on_the_order_of_its_members() {
        for a in Verdict::ALL {
            for b in Verdict::ALL {
                assert_eq!(Verdict::of_pool([a, b]), Verdict::of_pool([b, a]));
                for c in Verdict::ALL {
                    let pool = Verdict::of_pool([a, b, c]);
                    assert_eq!(pool, Verdict::of_pool([c, b, a]));
                    assert_eq!(pool, Verdict::of_pool([b, c, a]));
                }
            }
        }
    }

    #[test]
    fn who_knows_nothing_abstains() {
        for verdict in Verdict::ALL {
            assert_eq!(verdict.worse(Unknown), verdict);
            assert_eq!(Unknown.worse(verdict), verdict);
        }
        let worse = [Up.worse(Degraded), Degraded.worse(Down), Up.worse(Up)];
        assert_eq!(worse, [Degraded, Down, Up]);
    }

    #[test]
    fn what_is_unknown_is_neither_up_nor_down() {
        assert_eq!(Verdict::of_pool([Unknown, Unknown]), Unknown);
        assert_eq!(Verdict::of_pool([Unknown, Up]), Up);
        assert_eq!(Verdict::of_pool([Unknown, Down]), Down);
        assert_eq!(Verdict::of_pool([Down, Up]), Degraded);
        assert_eq!(Up.both(Unknown), Unknown);
        assert_eq!(Down.both(Unknown), Down);
    }
}
