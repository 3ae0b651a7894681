//! What a layer says when it refuses, and what a setting says when it is wrong.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::time::nanos;

/// Why a layer refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: the callee failed too often.
    CircuitOpen,
    /// As many calls as may be are under way, and as many as may wait do.
    ConcurrencyLimit,
    /// The time for the call is over, or was before it began.
    DeadlineExceeded,
    /// The capability is not served now, or not in this way.
    Degraded,
    /// The other region serves the capability.
    FailedOver,
    /// An operator, or a switch in an operator's hand, holds the circuit open.
    ForcedOpen,
    /// The call would have waited longer than it may, by how fast its line moves.
    PredictedWait,
    /// The circuit is half-open and all its probes are out.
    ProbesBusy,
    /// As many calls of its tier wait as may, or as many entries of a durable queue.
    QueueFull,
    /// The call waited for a place for as long as it may.
    QueueTimeout,
    /// More calls than the rate allows.
    RateLimit,
    /// The circuit closed a short while ago and lets calls back in by and by.
    Readmitting,
    /// As many calls of its tenant wait as may, or its tenant's line was the longest when one had to go.
    TenantQueueFull,
}

impl Reason {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::ConcurrencyLimit => "concurrency_limit",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Degraded => "degraded",
            Self::FailedOver => "failed_over",
            Self::ForcedOpen => "forced_open",
            Self::PredictedWait => "predicted_wait",
            Self::ProbesBusy => "probes_busy",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::RateLimit => "rate_limit",
            Self::Readmitting => "readmitting",
            Self::TenantQueueFull => "tenant_queue_full",
        }
    }

    /// Each, in the order of its number.
    pub(crate) const ALL: [Self; 13] = [
        Self::CircuitOpen,
        Self::ConcurrencyLimit,
        Self::DeadlineExceeded,
        Self::Degraded,
        Self::FailedOver,
        Self::ForcedOpen,
        Self::PredictedWait,
        Self::ProbesBusy,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::RateLimit,
        Self::Readmitting,
        Self::TenantQueueFull,
    ];
}

/// The kind of layer that refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// A circuit breaker.
    Breaker,
    /// A limit of the calls under way.
    Concurrency,
    /// A total deadline.
    Deadline,
    /// The gate of a capability.
    Gate,
    /// A limit of the calls in a time.
    Rate,
    /// An admission by tenant and tier.
    Tenant,
}

impl LayerKind {
    /// A short name that never changes, for labels and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker => "breaker",
            Self::Concurrency => "concurrency",
            Self::Deadline => "deadline",
            Self::Gate => "gate",
            Self::Rate => "rate",
            Self::Tenant => "tenant",
        }
    }

    /// Each of them.
    #[cfg(feature = "grpc")]
    pub(crate) const ALL: [Self; 6] = [
        Self::Breaker,
        Self::Concurrency,
        Self::Deadline,
        Self::Gate,
        Self::Rate,
        Self::Tenant,
    ];
}

/// A refusal with an answer in it: why, by which layer, and when it is worth coming back.
///
/// It is a decision of this process, not a word of the callee: a breaker never counts one and a retry never retries
/// one. Whether the callee may have seen the call all the same, [`is_untried`](Self::is_untried) tells. It is 16 bytes
/// and travels by value.
///
/// # Example
///
/// ```
/// use mainstay::error::{LayerKind, Reason, Rejected};
/// use std::time::Duration;
///
/// let rejected = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen)
///     .retry_after(Duration::from_millis(1_500));
/// assert_eq!(rejected.to_string(), "refused by breaker: circuit_open, retry after 1.5s");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub struct Rejected(Told);

/// What a refusal says; as an error, the source of the refusal.
///
/// A boxed error can only be asked for its type where it borrows nothing, which an `async` block that is spawned does
/// not promise of the errors in it. Its source can always be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Told {
    /// Nanoseconds, `u64::MAX` for none: an `Option<Duration>` would take as much as all the rest.
    retry_after: u64,
    reason: Reason,
    layer: LayerKind,
    tried: bool,
}

impl Rejected {
    /// A refusal that does not say when to come back.
    pub const fn new(layer: LayerKind, reason: Reason) -> Self {
        Self(Told {
            retry_after: u64::MAX,
            reason,
            layer,
            tried: false,
        })
    }

    /// The same refusal of a call of which an attempt was sent before.
    pub const fn tried(mut self) -> Self {
        self.0.tried = true;
        self
    }

    /// Whether no attempt of the call was sent: then it surely had no effect.
    ///
    /// Not so when a retry was refused after a first attempt, or when time ran out under way.
    #[must_use]
    pub const fn is_untried(&self) -> bool {
        !self.0.tried
    }

    /// The same refusal with the time after which a new call may be let in.
    pub const fn retry_after(mut self, after: Duration) -> Self {
        let after = nanos(after);
        self.0.retry_after = if after == u64::MAX { after - 1 } else { after };
        self
    }

    /// The time after which a new call may be let in, where the layer knows it.
    #[must_use]
    pub const fn hint(&self) -> Option<Duration> {
        match self.0.retry_after {
            u64::MAX => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.0.reason
    }

    /// By which kind of layer.
    #[must_use]
    pub const fn layer(&self) -> LayerKind {
        self.0.layer
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "refused by {}: {}",
            self.layer().as_str(),
            self.reason().as_str()
        )?;
        match self.hint() {
            Some(after) => write!(f, ", retry after {after:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("layer", &self.layer())
            .field("reason", &self.reason())
            .field("retry_after", &self.hint())
            .field("untried", &self.is_untried())
            .finish()
    }
}

/// Its source says whether an attempt was sent.
impl Error for Rejected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tried {
            "an attempt of the call was sent before"
        } else {
            "no attempt of the call was sent"
        })
    }
}

impl Error for Told {}

/// One attempt took longer than it may.
///
/// That is a failure of the callee, not a decision about load, so it is no [`Rejected`]: breakers count it and
/// retries try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    after: Duration,
}

impl TimedOut {
    /// An attempt that was given up after `after`.
    #[must_use]
    pub const fn new(after: Duration) -> Self {
        Self { after }
    }

    /// How long the attempt was given.
    #[must_use]
    pub const fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {:?}", self.after)
    }
}

impl Error for TimedOut {}

/// An error that can tell whether it is, or wraps, a refusal of this stack.
///
/// Outer layers ask it, so that a refusal is recognised however deep the stack is. Implement it for an error type of
/// your own together with `From<Rejected>`, and with `From<TimedOut>` where an attempt timeout stands below, as in every
/// [`Stack`](crate::standard::Stack).
///
/// # Example
///
/// ```
/// use mainstay::error::{AsRejected, Rejected, TimedOut};
///
/// enum PayError {
///     Ledger(std::io::Error),
///     Refused(Rejected),
///     Late(TimedOut),
/// }
///
/// impl From<TimedOut> for PayError {
///     fn from(timed_out: TimedOut) -> Self {
///         Self::Late(timed_out)
///     }
/// }
///
/// impl From<Rejected> for PayError {
///     fn from(rejected: Rejected) -> Self {
///         Self::Refused(rejected)
///     }
/// }
///
/// impl AsRejected for PayError {
///     fn as_rejected(&self) -> Option<Rejected> {
///         match self {
///             Self::Refused(rejected) => Some(*rejected),
///             Self::Ledger(_) | Self::Late(_) => None,
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell whether it is a refusal of a mainstay layer",
    note = "implement `AsRejected` and `From<Rejected>` for the error type, use `tower::BoxError`, \
            or let the refusal leave as a response: `.refuse_with(mainstay::http::AsResponse)`"
)]
pub trait AsRejected {
    /// The refusal, when this is one.
    fn as_rejected(&self) -> Option<Rejected>;
}

impl AsRejected for Rejected {
    fn as_rejected(&self) -> Option<Rejected> {
        Some(*self)
    }
}

/// Walks the sources, since a transport may have wrapped what a layer below it said.
impl AsRejected for Box<dyn Error + Send + Sync + '_> {
    fn as_rejected(&self) -> Option<Rejected> {
        self.source().and_then(rejection)
    }
}

/// The refusal among `error` and its sources.
pub(crate) fn rejection(error: &(dyn Error + 'static)) -> Option<Rejected> {
    let whole = find::<Rejected>(error).copied();
    whole.or_else(|| find::<Told>(error).copied().map(Rejected))
}

/// The first error of type `T` among `error` and its sources.
pub(crate) fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// A setting that cannot be: which, what it was, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: Cow<'static, str>,
    value: String,
    expected: Cow<'static, str>,
}

impl ConfigError {
    /// Refuses `value` for `field`.
    #[must_use]
    pub fn new(
        field: impl Into<Cow<'static, str>>,
        value: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            expected: expected.into(),
        }
    }

    /// The same error of a setting that is part of `whole`: its path is `whole.field`.
    #[must_use]
    pub fn within(mut self, whole: &str) -> Self {
        self.field = Cow::Owned(format!("{whole}.{}", self.field));
        self
    }

    /// The setting's path, such as `breaker.trip.window`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The value that was refused.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What would have been right.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, got {}",
            self.field, self.expected, self.value
        )
    }
}

impl Error for ConfigError {}

/// Everything that is wrong with a whole of settings; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `Err` with all of `errors`, or `Ok` when there is none.
    ///
    /// # Errors
    ///
    /// When `errors` holds any.
    pub fn check(errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }

    /// Each error, in the order of the settings.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_is_sixteen_bytes() {
        assert_eq!(size_of::<Rejected>(), 16);
    }

    #[test]
    fn every_reason_stands_at_its_number() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{reason:?}");
        }
    }

    #[test]
    fn a_hint_of_any_length_is_kept_apart_from_none() {
        let rejected = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen);
        assert_eq!(rejected.hint(), None);
        assert!(rejected.retry_after(Duration::MAX).hint().is_some());
    }

    #[test]
    fn a_wrapped_rejection_is_found() {
        #[derive(Debug)]
        struct Wrapped(Rejected);
        impl fmt::Display for Wrapped {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("transport")
            }
        }
        impl Error for Wrapped {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let rejected = Rejected::new(LayerKind::Breaker, Reason::CircuitOpen);
        let boxed: Box<dyn Error + Send + Sync> = Box::new(Wrapped(rejected));
        assert_eq!(boxed.as_rejected(), Some(rejected));
        let boxed: Box<dyn Error + Send + Sync> = Box::new(rejected);
        assert_eq!(boxed.as_rejected(), Some(rejected));
    }

    #[test]
    fn config_errors_name_field_value_and_expectation() {
        let errors = ConfigErrors::check(vec![
            ConfigError::new("a", 0, "more than 0"),
            ConfigError::new("b", "x", "a number"),
        ])
        .unwrap_err();
        assert_eq!(
            errors.to_string(),
            "a: expected more than 0, got 0; b: expected a number, got x"
        );
        assert!(ConfigErrors::check(vec![]).is_ok());
    }
}
