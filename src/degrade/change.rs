//! What is told when something changes.

use std::fmt;
use std::sync::Arc;

use super::mode::Mode;
use super::reading::Reading;
use crate::order::Order;
use crate::time::Tick;

/// What brought a change about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Facts came or went.
    Facts {
        /// The names of those that came.
        came: Vec<Arc<str>>,
        /// The names of those that went.
        went: Vec<Arc<str>>,
        /// The pins whose time ended in the same moment.
        expired: Vec<Order>,
    },
    /// An operator pinned the level or a capability.
    Pinned(Order),
    /// An operator took a pin away.
    Unpinned(Order),
    /// The time of a pin is over, or of several.
    Expired(Vec<Order>),
    /// The ladder was replaced.
    Reloaded,
}

impl Cause {
    /// The word for it: `facts`, `pinned`, `unpinned`, `expired`, `reloaded`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Facts { .. } => "facts",
            Self::Pinned(_) => "pinned",
            Self::Unpinned(_) => "unpinned",
            Self::Expired(_) => "expired",
            Self::Reloaded => "reloaded",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Facts {
                came,
                went,
                expired,
            } => {
                for fact in came {
                    write!(f, " +{fact}")?;
                }
                for fact in went {
                    write!(f, " -{fact}")?;
                }
                expired.iter().try_for_each(|order| signed(order, f))
            }
            Self::Pinned(order) | Self::Unpinned(order) => signed(order, f),
            Self::Expired(orders) => orders.iter().try_for_each(|order| signed(order, f)),
            Self::Reloaded => Ok(()),
        }
    }
}

fn signed(order: &Order, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, " ({}: {})", order.actor(), order.reason())
}

/// A level, as a change tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    index: usize,
    name: Arc<str>,
}

impl At {
    /// Its place, 0 for the best.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A capability of which something else is served than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    capability: Arc<str>,
    from: Mode,
    to: Mode,
}

impl Moved {
    pub(super) const fn new(capability: Arc<str>, from: Mode, to: Mode) -> Self {
        Self {
            capability,
            from,
            to,
        }
    }

    /// Which capability.
    #[must_use]
    pub fn capability(&self) -> &str {
        &self.capability
    }

    /// What was served.
    #[must_use]
    pub const fn from(&self) -> &Mode {
        &self.from
    }

    /// What is served.
    #[must_use]
    pub const fn to(&self) -> &Mode {
        &self.to
    }
}

/// A change of the level or of what is served: what changed, what brought it about, and all that was known.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    from: At,
    to: At,
    cause: Cause,
    moved: Vec<Moved>,
    readings: Vec<(Arc<str>, Reading)>,
    at: Tick,
}

impl Change {
    pub(super) fn new(
        from: (usize, Arc<str>),
        to: (usize, Arc<str>),
        cause: Cause,
        moved: Vec<Moved>,
        readings: Vec<(Arc<str>, Reading)>,
        at: Tick,
    ) -> Self {
        let level = |(index, name)| At { index, name };
        Self {
            from: level(from),
            to: level(to),
            cause,
            moved,
            readings,
            at,
        }
    }

    /// The level before.
    #[must_use]
    pub const fn from(&self) -> &At {
        &self.from
    }

    /// The level now; the same where only what is served changed.
    #[must_use]
    pub const fn to(&self) -> &At {
        &self.to
    }

    /// What brought it about.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// The capabilities of which something else is served now.
    #[must_use]
    pub fn moved(&self) -> &[Moved] {
        &self.moved
    }

    /// What counted of each component.
    pub fn readings(&self) -> impl Iterator<Item = (&str, Reading)> {
        self.readings
            .iter()
            .map(|(name, reading)| (&**name, *reading))
    }

    /// When.
    #[must_use]
    pub const fn at(&self) -> Tick {
        self.at
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}: {}", self.from.name, self.to.name, self.cause)
    }
}
