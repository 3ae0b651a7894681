//! How much of a capability is served, and what holds when two facts disagree.
//!
//! ```text
//!              Full
//!               │
//!            Limited
//!           ╱       ╲
//!     WriteOnly   ReadOnly
//!         │          │
//!       Queued       │
//!         │          │
//!       Manual       │
//!           ╲       ╱
//!           Disabled
//!               │
//!           FailOver
//! ```
//!
//! The meet of two modes is the best that is no better than either: the highest point from which both can be reached
//! upwards. So it does not matter in which order facts are met, nor how often one of them is.
//!
//! - `ReadOnly` refuses writes, and with them everything that takes a write for later: it meets `WriteOnly`, `Queued` and
//!   `Manual` in `Disabled`.
//! - `Queued` takes a write and does it later; `Manual` takes it on paper. Both are less than `WriteOnly`.
//! - `FailOver` is the lowest: this region decides nothing any more, and what the other region serves is its own
//!   judgement, by its own ladder. So a capability that a broken part disables here is still found over there when the
//!   whole region is out, and no other failure here brings it back.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// How much of a capability is served.
///
/// # Example
///
/// ```
/// use mainstay::degrade::Mode;
///
/// assert_eq!(Mode::ReadOnly.meet(&Mode::WriteOnly), Mode::Disabled);
/// let limited = Mode::limited("no historical context");
/// assert_eq!(Mode::Full.meet(&limited), limited);
/// assert!(Mode::Queued.is_at_most(&limited));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Everything.
    #[default]
    Full,
    /// Everything, with less: the notes say what is missing.
    Limited(Notes),
    /// What writes is done, what only reads is refused.
    WriteOnly,
    /// What only reads is done, what writes is refused.
    ReadOnly,
    /// What writes is taken, kept durably and done later; what only reads is refused.
    Queued,
    /// Not by this program: people do it by hand.
    Manual,
    /// Nothing.
    Disabled,
    /// Nothing here: the other region serves it, as it judges.
    FailOver,
}

impl Mode {
    /// Served with less, and what is missing.
    #[must_use]
    pub fn limited(note: impl Into<Arc<str>>) -> Self {
        Self::Limited(Notes(BTreeSet::from([note.into()])))
    }

    /// The mode without its notes.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Full => Kind::Full,
            Self::Limited(_) => Kind::Limited,
            Self::WriteOnly => Kind::WriteOnly,
            Self::ReadOnly => Kind::ReadOnly,
            Self::Queued => Kind::Queued,
            Self::Manual => Kind::Manual,
            Self::Disabled => Kind::Disabled,
            Self::FailOver => Kind::FailOver,
        }
    }

    /// The best mode that is no better than either. Of two that are limited the notes of both hold.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        match self.kind().meet(other.kind()) {
            Kind::Full => Self::Full,
            Kind::Limited => {
                let notes = self.notes().chain(other.notes()).map(Arc::clone);
                Self::Limited(Notes(notes.collect()))
            }
            Kind::WriteOnly => Self::WriteOnly,
            Kind::ReadOnly => Self::ReadOnly,
            Kind::Queued => Self::Queued,
            Kind::Manual => Self::Manual,
            Kind::Disabled => Self::Disabled,
            Kind::FailOver => Self::FailOver,
        }
    }

    /// Whether this mode serves nothing that `other` does not.
    #[must_use]
    pub fn is_at_most(&self, other: &Self) -> bool {
        self.meet(other) == *self
    }

    fn notes(&self) -> impl Iterator<Item = &Arc<str>> {
        let notes = match self {
            Self::Limited(notes) => Some(&notes.0),
            _ => None,
        };
        notes.into_iter().flatten()
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().as_str())?;
        match self {
            Self::Limited(notes) if !notes.0.is_empty() => write!(f, " ({notes})"),
            _ => Ok(()),
        }
    }
}

/// What is missing where a capability is limited, in alphabetical order, each once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Notes(BTreeSet<Arc<str>>);

impl Notes {
    #[cfg(feature = "serde")]
    pub(super) fn of(notes: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self(notes.into_iter().collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|note| &**note)
    }
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, note) in self.iter().enumerate() {
            let between = if n == 0 { "" } else { "; " };
            write!(f, "{between}{note}")?;
        }
        Ok(())
    }
}

/// A [`Mode`] without its notes: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// [`Mode::Full`]
    Full = 0,
    /// [`Mode::Limited`]
    Limited = 1,
    /// [`Mode::WriteOnly`]
    WriteOnly = 2,
    /// [`Mode::ReadOnly`]
    ReadOnly = 3,
    /// [`Mode::Queued`]
    Queued = 4,
    /// [`Mode::Manual`]
    Manual = 5,
    /// [`Mode::Disabled`]
    Disabled = 6,
    /// [`Mode::FailOver`]
    FailOver = 7,
}

/// The written table: what holds where two facts disagree. Row and column in the order of [`Kind::ALL`].
#[rustfmt::skip]
const MEETS: [[Kind; 8]; 8] = {
    use Kind::{Disabled as D, FailOver as O, Full as F, Limited as L, Manual as M, Queued as Q, ReadOnly as R, WriteOnly as W};
    //   Full Limited WriteOnly ReadOnly Queued Manual Disabled FailOver
    [
        [F,   L,      W,        R,       Q,     M,     D,       O], // Full
        [L,   L,      W,        R,       Q,     M,     D,       O], // Limited
        [W,   W,      W,        D,       Q,     M,     D,       O], // WriteOnly
        [R,   R,      D,        R,       D,     D,     D,       O], // ReadOnly
        [Q,   Q,      Q,        D,       Q,     M,     D,       O], // Queued
        [M,   M,      M,        D,       M,     M,     D,       O], // Manual
        [D,   D,      D,        D,       D,     D,     D,       O], // Disabled
        [O,   O,      O,        O,       O,     O,     O,       O], // FailOver
    ]
};

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Limited,
        Self::WriteOnly,
        Self::ReadOnly,
        Self::Queued,
        Self::Manual,
        Self::Disabled,
        Self::FailOver,
    ];

    /// The word for it, as in settings and on dashboards.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Limited => "limited",
            Self::WriteOnly => "write_only",
            Self::ReadOnly => "read_only",
            Self::Queued => "queued",
            Self::Manual => "manual",
            Self::Disabled => "disabled",
            Self::FailOver => "fail_over",
        }
    }

    /// The best kind that is no better than either.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there are eight of each")]
    pub const fn meet(self, other: Self) -> Self {
        MEETS[self as usize][other as usize]
    }

    /// Whether what only reads is done.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Full | Self::Limited | Self::ReadOnly)
    }

    /// Whether what writes is done at once.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Full | Self::Limited | Self::WriteOnly)
    }

    /// Back from the byte that it was stored as; what is no kind is `Disabled`.
    #[cfg(any(feature = "tower", test))]
    #[must_use]
    pub(crate) const fn of_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Full,
            1 => Self::Limited,
            2 => Self::WriteOnly,
            3 => Self::ReadOnly,
            4 => Self::Queued,
            5 => Self::Manual,
            7 => Self::FailOver,
            _ => Self::Disabled,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Mode};

    #[test]
    fn the_table_is_a_meet() {
        for a in Kind::ALL {
            assert_eq!(a.meet(a), a);
            assert_eq!(Kind::Full.meet(a), a);
            assert_eq!(Kind::FailOver.meet(a), Kind::FailOver);
            for b in Kind::ALL {
                let ab = a.meet(b);
                assert_eq!(ab, b.meet(a), "{a} and {b}");
                assert_eq!(ab.meet(a), ab, "{ab} is no better than {a}");
                for c in Kind::ALL {
                    assert_eq!(ab.meet(c), a.meet(b.meet(c)), "{a}, {b}, {c}");
                    // Nothing that is no better than both lies above it.
                    if c.meet(a) == c && c.meet(b) == c {
                        assert_eq!(
                            c.meet(ab),
                            c,
                            "{c} is below {a} and {b}, and not below {ab}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_two_facts_serve_each_of_them_serves() {
        for a in Kind::ALL {
            for b in Kind::ALL {
                let both = a.meet(b);
                assert!(!both.reads() || (a.reads() && b.reads()), "{a} and {b}");
                assert!(!both.writes() || (a.writes() && b.writes()), "{a} and {b}");
            }
        }
        assert_eq!(Mode::ReadOnly.meet(&Mode::WriteOnly), Mode::Disabled);
    }

    #[test]
    fn notes_add_up() {
        let a = Mode::limited("no history");
        let b = Mode::limited("no images");
        let both = a.meet(&b);
        assert_eq!(both, b.meet(&a));
        assert_eq!(both.to_string(), "limited (no history; no images)");
        assert!(both.is_at_most(&a) && both.is_at_most(&b) && !a.is_at_most(&b));
    }

    #[test]
    fn a_kind_comes_back_from_its_byte() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_byte(kind as u8), kind);
        }
        assert_eq!(Kind::of_byte(200), Kind::Disabled);
    }
}
