//! What a store says about itself to those who watch.

/// How a store is.
///
/// # Example
///
/// ```
/// use mainstay::journal::Vitals;
///
/// let vitals = Vitals::of("mine").written(7, 2).listening(true);
/// assert_eq!((vitals.store, vitals.listening), ("mine", Some(true)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vitals {
    /// What kind of store it is, as it appears in labels: small letters and underscores.
    pub store: &'static str,
    /// Operations that wrote since it was opened, where it counts them.
    pub operations: Option<u64>,
    /// Commits that they shared.
    pub commits: Option<u64>,
    /// Whether it hears of changes by others at the moment; `None` where it is not meant to.
    pub listening: Option<bool>,
}

impl Vitals {
    /// A store of this kind that says no more.
    #[must_use]
    pub const fn of(store: &'static str) -> Self {
        Self {
            store,
            operations: None,
            commits: None,
            listening: None,
        }
    }

    /// So many operations wrote, in so many commits.
    #[must_use]
    pub const fn written(mut self, operations: u64, commits: u64) -> Self {
        self.operations = Some(operations);
        self.commits = Some(commits);
        self
    }

    /// Whether it hears of changes at the moment.
    #[must_use]
    pub const fn listening(mut self, listening: bool) -> Self {
        self.listening = Some(listening);
        self
    }
}
