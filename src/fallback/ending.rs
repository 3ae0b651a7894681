/// How a fallback went that was called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// It was dropped before it ended: by the deadline, by the caller, by a panic.
    Abandoned,
    /// It had no answer either. The caller got the call's own result.
    Failed,
    /// Too many were under way. The caller got the call's own result.
    Full,
    /// The call's time was over before it could start. The caller got the call's own result.
    Late,
    /// The request was not kept or cannot be made again. The caller got the call's own result.
    NoRequest,
    /// The caller got its answer.
    Served,
}

impl Ending {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
            Self::Full => "full",
            Self::Late => "late",
            Self::NoRequest => "no_request",
            Self::Served => "served",
        }
    }

    /// Each, in the order of its number.
    #[cfg(feature = "tower")]
    pub(crate) const ALL: [Self; 6] = [
        Self::Abandoned,
        Self::Failed,
        Self::Full,
        Self::Late,
        Self::NoRequest,
        Self::Served,
    ];
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use super::*;

    #[test]
    fn every_ending_stands_at_its_number() {
        for (i, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, i, "{ending:?}");
        }
    }
}
