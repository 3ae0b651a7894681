//! How often and how long a step is tried.

use std::num::NonZeroU32;
use std::time::Duration;

use super::error::DefinitionError;
use super::shape::Kind;
use crate::num::Attempts;
use crate::retry::{Backoff, RetryConfig};

/// What a step was told about its attempts; what it was not told is its kind's default.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    attempts: Option<Limit>,
    backoff: Option<Backoff>,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
    at_most_once: bool,
    key_valid_for: Option<Duration>,
    in_journal: Option<&'static str>,
}

impl Settings {
    /// Its effect and its record are one transaction of a journal of this kind.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn in_journal(medium: &'static str) -> Self {
        Self {
            in_journal: Some(medium),
            ..Self::default()
        }
    }

    /// With what the action itself says.
    pub(super) fn around(mut self, inner: &Self) -> Self {
        self.in_journal = inner.in_journal;
        self
    }
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Forever,
    Times(Attempts),
}

/// A step's function with settings of its own.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use mainstay::num::Attempts;
/// use mainstay::saga::{Cx, Saga, Step, StepError};
///
/// async fn post(cx: Cx<(), String>, (): ()) -> Result<u64, StepError> {
///     Ok(cx.input().len() as u64)
/// }
///
/// let saga = Saga::builder("posting")
///     .pivot("post", Step::new(post).attempts(Attempts::total(5)).timeout(Duration::from_secs(3)))
///     .build()?;
/// # Ok::<(), mainstay::saga::DefinitionError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Step<A> {
    pub(super) action: A,
    pub(super) settings: Settings,
}

impl<A> Step<A> {
    /// A step with the defaults of its kind.
    pub fn new(action: A) -> Self {
        Self {
            action,
            settings: Settings::default(),
        }
    }

    /// Tries at most so often in all, the first time included.
    ///
    /// Defaults to 3 for a check and a step (the stack below has retried what is worth it), to 10 for an undo, and to
    /// [no end](Self::until_done) for a pivot and what follows it: giving up there leaves work for people.
    #[must_use]
    pub const fn attempts(mut self, attempts: Attempts) -> Self {
        self.settings.attempts = Some(Limit::Times(attempts));
        self
    }

    /// Tries until it is done, or fails in a way that is not worth trying again.
    #[must_use]
    pub const fn until_done(mut self) -> Self {
        self.settings.attempts = Some(Limit::Forever);
        self
    }

    /// How long to wait between attempts. Defaults to [`Backoff::exponential`] from 100 ms, to 5 s for a check and a
    /// step and to 30 s for everything else, which may have to outlast an outage.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = Some(backoff);
        self
    }

    /// Attempts and delays of a retry policy, for instance of a preset. Its budget is left out: it guards a service
    /// against callers in a hurry, and a saga is not in one.
    #[must_use]
    pub const fn retry(self, policy: &RetryConfig) -> Self {
        self.attempts(policy.attempts()).backoff(policy.delays())
    }

    /// How long one attempt may take. Defaults to 30 s. What took longer may have had its effect.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// How long all attempts may take together, from the first one. Defaults to no limit. A step after the pivot
    /// becomes an incident then. A restart begins anew, unless a wait of a second or more was written down before it:
    /// then the first attempt is that of the earlier process.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// Never runs it again after an attempt whose end is not known: for a receiver that does not know keys.
    ///
    /// Costs one more durable write, the intent, before the step runs. It is attempted once, whatever
    /// [`attempts`](Self::attempts) says. Where its end is not known, also after a crash, it is
    /// [asked](super::WithoutUndo::reconcile) if it can be; else it is undone with `None` before the pivot, and an
    /// operator decides from the pivot on. For a step, a pivot, and what follows it.
    #[must_use]
    pub const fn at_most_once(mut self) -> Self {
        self.settings.at_most_once = true;
        self
    }

    /// How long the receiver remembers an idempotency key. Defaults to for ever.
    ///
    /// A step that may have been attempted longer ago, because of a crash or a long wait, is not run again under the
    /// key: its end counts as not known. Counted by the wall clock from the record before the first possible attempt,
    /// so state less than the receiver promises: by as much as clocks may differ, and an attempt may take. For a step,
    /// a pivot, and what follows it.
    #[must_use]
    pub const fn key_valid_for(mut self, time: Duration) -> Self {
        self.settings.key_valid_for = Some(time);
        self
    }
}

/// Settings with every default filled in.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) attempts: Option<NonZeroU32>,
    pub(crate) backoff: Backoff,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) at_most_once: bool,
    pub(crate) key_valid_for: Option<Duration>,
    /// The kind of journal whose transaction it needs.
    pub(crate) in_journal: Option<&'static str>,
}

impl Policy {
    pub(crate) fn of_step(
        name: &str,
        kind: Kind,
        settings: &Settings,
    ) -> Result<Self, DefinitionError> {
        if kind == Kind::Check {
            only_effects(name, settings)?;
            no_record(name, settings)?;
        }
        match kind {
            Kind::Check | Kind::Step => resolve(
                name,
                settings,
                Limit::Times(Attempts::total(3)),
                Duration::from_secs(5),
            ),
            Kind::Pivot | Kind::Then => {
                resolve(name, settings, Limit::Forever, Duration::from_secs(30))
            }
        }
    }

    /// Of an undo, and of the question whether a step had its effect.
    pub(crate) fn of_undo(name: &str, settings: &Settings) -> Result<Self, DefinitionError> {
        only_effects(name, settings)?;
        resolve(
            name,
            settings,
            Limit::Times(Attempts::total(10)),
            Duration::from_secs(30),
        )
    }
}

/// What an undo must not be told: it runs until it is done. Nor a check, which has no effect.
fn only_effects(name: &str, settings: &Settings) -> Result<(), DefinitionError> {
    let setting = match (settings.at_most_once, settings.key_valid_for) {
        (true, _) => "at_most_once",
        (_, Some(_)) => "key_valid_for",
        _ => return Ok(()),
    };
    Err(DefinitionError::Misplaced {
        step: name.to_owned(),
        setting,
    })
}

/// What leaves no record of its own cannot be one transaction with it.
fn no_record(name: &str, settings: &Settings) -> Result<(), DefinitionError> {
    match settings.in_journal {
        None => Ok(()),
        Some(_) => Err(DefinitionError::Misplaced {
            step: name.to_owned(),
            setting: "TxStep",
        }),
    }
}

fn resolve(
    name: &str,
    settings: &Settings,
    attempts: Limit,
    longest: Duration,
) -> Result<Policy, DefinitionError> {
    // What is never in doubt is not asked about, and may be tried again.
    let doubtful = settings.in_journal.is_none();
    let at_most_once = settings.at_most_once && doubtful;
    let attempts = match settings.attempts.unwrap_or(attempts) {
        _ if at_most_once => Some(NonZeroU32::MIN),
        Limit::Forever => None,
        Limit::Times(times) => NonZeroU32::new(times.get()),
    };
    let timeout = settings.timeout.unwrap_or(Duration::from_secs(30));
    let times = [Some(timeout), settings.deadline, settings.key_valid_for];
    if times.into_iter().flatten().any(|time| time.is_zero()) {
        return Err(DefinitionError::NoTime(name.to_owned()));
    }
    let backoff = settings
        .backoff
        .unwrap_or_else(|| Backoff::exponential(Duration::from_millis(100), longest));
    Ok(Policy {
        attempts,
        backoff,
        timeout,
        deadline: settings.deadline,
        at_most_once,
        key_valid_for: settings.key_valid_for.filter(|_| doubtful),
        in_journal: settings.in_journal,
    })
}
