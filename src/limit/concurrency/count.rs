/// How many calls are under way, how many wait, and how many may be under way: one word, so that a shell can change it
/// in one step while others do.
///
/// Each operation says what the count is afterwards, or that it cannot be done now. The machine takes the answer; the
/// shell exchanges it for what it started from and begins again if that has changed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(u64);

const BITS: u32 = 21;
const FIELD: u64 = (1 << BITS) - 1;
const CALL: u64 = 1;
const WAITER: u64 = 1 << BITS;
const LIMIT: u32 = 2 * BITS;

impl Count {
    /// The most that each of the three can be.
    pub(crate) const MOST: u32 = (1 << BITS) - 1;

    pub(crate) const fn new(limit: u32) -> Self {
        Self(0).resize(limit)
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// What one call under way adds to the word.
    #[cfg(feature = "tower")]
    pub(crate) const CALL: u64 = CALL;

    const fn field(self, shift: u32) -> u32 {
        (self.0 >> shift & FIELD) as u32
    }

    pub(crate) const fn in_flight(self) -> u32 {
        self.field(0)
    }

    pub(crate) const fn waiting(self) -> u32 {
        self.field(BITS)
    }

    pub(crate) const fn limit(self) -> u32 {
        self.field(LIMIT)
    }

    const fn is_full(self) -> bool {
        self.in_flight() >= self.limit()
    }

    /// A newcomer is admitted: there is a place, and nobody waits for it.
    pub(crate) const fn admit(self) -> Option<Self> {
        if self.is_full() || self.waiting() > 0 {
            return None;
        }
        Some(Self(self.0 + CALL))
    }

    /// A newcomer who was not admitted joins the line, if fewer than `queue` wait.
    pub(crate) const fn join(self, queue: u32) -> Option<Self> {
        if self.waiting() >= queue || self.waiting() >= Self::MOST {
            return None;
        }
        Some(Self(self.0 + WAITER))
    }

    /// One who waits gets a place.
    pub(crate) const fn grant(self) -> Option<Self> {
        if self.is_full() || self.waiting() == 0 {
            return None;
        }
        Some(Self(self.0 - WAITER + CALL))
    }

    /// One who waits leaves without a place.
    pub(crate) const fn leave(self) -> Self {
        if self.waiting() == 0 {
            return self;
        }
        Self(self.0 - WAITER)
    }

    /// A call is over.
    pub(crate) const fn release(self) -> Self {
        if self.in_flight() == 0 {
            return self;
        }
        Self(self.0 - CALL)
    }

    pub(crate) const fn resize(self, limit: u32) -> Self {
        let limit = if limit > Self::MOST {
            Self::MOST
        } else {
            limit
        };
        Self(self.0 & !(FIELD << LIMIT) | (limit as u64) << LIMIT)
    }

    /// Whether a newcomer would be refused.
    #[cfg(feature = "tower")]
    pub(crate) const fn is_shut(self, queue: u32) -> bool {
        self.admit().is_none() && self.join(queue).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_do_not_touch_each_other() {
        let mut count = Count::new(u32::MAX);
        assert_eq!(count.limit(), Count::MOST);
        for _ in 0..3 {
            count = count.admit().unwrap();
        }
        count = count.resize(2).join(9).unwrap().join(9).unwrap();
        assert_eq!(
            (count.in_flight(), count.waiting(), count.limit()),
            (3, 2, 2)
        );
        assert_eq!(
            (count.admit(), count.grant(), count.join(2)),
            (None, None, None)
        );
        count = count.release().release().grant().unwrap();
        assert_eq!(
            (count.in_flight(), count.waiting(), count.limit()),
            (2, 1, 2)
        );
        count = count.leave().release().release();
        assert_eq!(count, Count::new(2));
        assert_eq!((count.leave(), count.release()), (count, count));
    }
}
