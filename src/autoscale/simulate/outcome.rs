/// What a replay came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub(super) replica_seconds: u64,
    pub(super) seconds: u64,
    pub(super) requests: f64,
    pub(super) long: f64,
    pub(super) waited: f64,
    pub(super) longest: u64,
    pub(super) turns: u32,
    pub(super) most_turns: u32,
    pub(super) blind_removals: u32,
    pub(super) moments: Vec<Moment>,
}

/// How it was at one moment of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Moment {
    /// Seconds since the trace began.
    pub second: u64,
    /// Requests that arrive a second.
    pub demand: f64,
    /// Requests a second that are served at most.
    pub capacity: f64,
    /// The same, counting what is starting.
    pub ordered: f64,
    /// How many wait.
    pub backlog: f64,
    /// How long, in seconds, the one has waited that is next.
    pub wait: f64,
}

impl Outcome {
    /// Hours of replicas that were paid for: serving, starting or draining.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn replica_hours(&self) -> f64 {
        self.replica_seconds as f64 / 3_600.0
    }

    /// The share of the requests that waited for long.
    #[must_use]
    pub fn long_share(&self) -> f64 {
        if self.requests > 0.0 {
            self.long / self.requests
        } else {
            0.0
        }
    }

    /// How long requests waited on average, in seconds.
    #[must_use]
    pub fn mean_wait(&self) -> f64 {
        if self.requests > 0.0 {
            self.waited / self.requests
        } else {
            0.0
        }
    }

    /// The longest wait in seconds.
    #[must_use]
    pub const fn longest_wait(&self) -> u64 {
        self.longest
    }

    /// How often an hour the count turned: grew after shrinking, or shrank after growing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn turns_an_hour(&self) -> f64 {
        f64::from(self.turns) * 3_600.0 / (self.seconds.max(1) as f64)
    }

    /// The most turns within any hour.
    #[must_use]
    pub const fn most_turns(&self) -> u32 {
        self.most_turns
    }

    /// How often replicas were taken away while there were no metrics.
    #[must_use]
    pub const fn blind_removals(&self) -> u32 {
        self.blind_removals
    }

    /// How it was, a moment a minute, where the [world](super::World::moments) was told to keep them.
    #[must_use]
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }
}
