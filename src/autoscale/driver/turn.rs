use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tower::BoxError;

use super::{Metrics, Target};
use crate::autoscale::{Autoscaler, Decision, Signal};
use crate::num::Period;
use crate::observe::{self, Asked, Name, Sight};
use crate::rt;
use crate::time::{Tick, Timestamp};

/// What is asked for while there are no metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// Nothing.
    #[default]
    Hold,
    /// This count.
    Fixed(u32),
    /// What was decided last, where that was more than the fleet had and could not be applied yet; once it could, nothing.
    LastGood,
}

/// What became of a count.
#[derive(Debug)]
#[non_exhaustive]
pub enum Applied {
    /// The fleet was asked for so many.
    Done(u32),
    /// It would have been.
    Dry(u32),
    /// It was, and that failed.
    Failed(u32, BoxError),
    /// There was nothing to ask for.
    Unchanged,
}

/// What one turn saw, decided and did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Turn {
    /// When.
    pub at: Timestamp,
    /// What the policy decided, or why it could not be asked.
    pub decision: Result<Decision, BoxError>,
    /// The signals that the metrics could not have, and why.
    pub failures: Vec<(Signal, String)>,
    /// What became of it.
    pub applied: Applied,
}

/// Carries the decisions of a policy out.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::driver::{Applied, Driver, Metrics, Target};
/// use mainstay::autoscale::tracking::{Tracking, TrackingConfig};
/// use mainstay::autoscale::{Amount, Bounds, Fleet, Reading, Sample, Signal};
/// use mainstay::time::Timestamp;
/// use tower::BoxError;
///
/// struct Busy;
/// impl Metrics for Busy {
///     async fn observe(&mut self, now: Timestamp) -> Result<Sample, BoxError> {
///         Ok(Sample::new(Fleet::new(4)).measured(Signal::Cpu, Reading::new(0.9, now)))
///     }
/// }
/// struct Print;
/// impl Target for Print {
///     async fn apply(&mut self, replicas: u32) -> Result<(), BoxError> {
///         println!("{replicas} replicas");
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let config = TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, Amount::percent(60));
/// let mut driver = Driver::new(Tracking::new(config), Busy, Print);
/// let turn = driver.turn().await; // or `driver.run(|turn| ..)` for ever
/// assert!(matches!(turn.applied, Applied::Done(6)));
/// # }
/// ```
#[derive(Debug)]
pub struct Driver<A, M, T> {
    name: Name,
    policy: A,
    metrics: M,
    target: T,
    interval: Period,
    patience: Period,
    missing: Missing,
    dry: bool,
    /// The wall clock and the monotonic one at the same moment: turns are as far apart as the latter says.
    begun: (Timestamp, Tick),
    /// A raise that was decided and is not applied yet.
    raise: Option<u32>,
    /// How many were ordered when that was last known.
    ordered: Option<u32>,
    sight: Sight,
}

impl<A: Autoscaler, M: Metrics, T: Target> Driver<A, M, T> {
    /// Asks `policy` about what `metrics` say, and tells `target`.
    #[must_use]
    pub fn new(policy: A, metrics: M, target: T) -> Self {
        Self {
            name: "autoscaler".into(),
            policy,
            metrics,
            target,
            interval: Period::secs(15),
            patience: Period::secs(5),
            missing: Missing::Hold,
            dry: false,
            begun: (rt::wall(), rt::now()),
            raise: None,
            ordered: None,
            sight: Sight::Clear,
        }
    }

    /// Its label in metrics and events. Defaults to `autoscaler`.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How far apart two turns begin. Defaults to 15 s, as Kubernetes has it.
    #[must_use]
    pub fn interval(mut self, interval: Period) -> Self {
        self.interval = interval;
        self
    }

    /// How long metrics and target may take each. Defaults to 5 s.
    #[must_use]
    pub fn patience(mut self, patience: Period) -> Self {
        self.patience = patience;
        self
    }

    /// What is asked for while there are no metrics. Defaults to nothing.
    #[must_use]
    pub fn missing(mut self, missing: Missing) -> Self {
        self.missing = missing;
        self
    }

    /// Whether nothing is applied. Defaults to no.
    #[must_use]
    pub fn dry_run(mut self, dry: bool) -> Self {
        self.dry = dry;
        self
    }

    /// The policy, whose state is to be kept.
    pub const fn policy(&self) -> &A {
        &self.policy
    }

    /// Takes one turn.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it applies, it may have been applied or not; the next turn sees which.
    pub async fn turn(&mut self) -> Turn {
        let (wall, tick) = self.begun;
        let at = wall.after(rt::now().since(tick));
        let until = rt::now() + self.patience.get();
        let sample = within(self.metrics.observe(at), until, "metrics").await;
        let mut failures = Vec::new();
        let (decision, count) = match sample {
            Ok(sample) => {
                self.ordered = Some(sample.fleet().ordered());
                failures = sample.failures().to_vec();
                let decision = self.policy.decide(&sample, at);
                let raises = decision.target() > sample.fleet().ordered();
                self.raise = raises.then(|| decision.target());
                let count = decision.is_change().then(|| decision.target());
                (Ok(decision), count)
            }
            Err(error) => (Err(error), self.without_metrics()),
        };
        let applied = match count {
            None => Applied::Unchanged,
            Some(count) if self.dry => Applied::Dry(count),
            Some(count) => {
                let until = rt::now() + self.patience.get();
                match within(self.target.apply(count), until, "the target").await {
                    Ok(()) => {
                        self.raise = None;
                        Applied::Done(count)
                    }
                    Err(error) => Applied::Failed(count, error),
                }
            }
        };
        let turn = Turn {
            at,
            decision,
            failures,
            applied,
        };
        self.tell(&turn);
        turn
    }

    fn tell(&mut self, turn: &Turn) {
        let decision = turn.decision.as_ref().ok();
        let sight = match decision {
            None => Sight::NoSample,
            Some(decision) if !decision.is_blind() => Sight::Clear,
            Some(_) if turn.failures.is_empty() => Sight::Stale,
            Some(_) => Sight::NoSignal,
        };
        let before = std::mem::replace(&mut self.sight, sight);
        observe::autoscaler_turned(&self.name, sight, before);
        if let (Some(decision), Some(ordered)) = (decision, self.ordered) {
            observe::replicas(&self.name, ordered);
            observe::replicas_wanted(&self.name, decision.target());
        }
        let (to, outcome) = match turn.applied {
            Applied::Done(to) => (to, Asked::Done),
            Applied::Dry(to) => (to, Asked::Dry),
            Applied::Failed(to, _) => (to, Asked::Failed),
            Applied::Unchanged => return,
        };
        let why = decision.map(Decision::why);
        observe::replicas_changed(&self.name, self.ordered, to, outcome, why);
        if outcome == Asked::Done {
            self.ordered = Some(to);
        }
    }

    /// Takes turns for ever, and shows each of them. What is to be kept or logged is `seen`'s business.
    ///
    /// # Cancel safety
    ///
    /// As [`turn`](Self::turn).
    pub async fn run(&mut self, mut seen: impl FnMut(&A, &Turn)) {
        loop {
            let next = rt::now() + self.interval.get();
            let turn = self.turn().await;
            seen(&self.policy, &turn);
            rt::sleep_until(next).await;
        }
    }

    /// Rule 2.
    fn without_metrics(&self) -> Option<u32> {
        match self.missing {
            Missing::Hold => None,
            Missing::Fixed(count) => Some(count),
            Missing::LastGood => self.raise,
        }
    }
}

/// The outcome of `future`, or an error when it is not there by then.
pub(super) async fn within<T>(
    future: impl Future<Output = Result<T, BoxError>>,
    until: Tick,
    who: &str,
) -> Result<T, BoxError> {
    let (mut future, mut over) = (pin!(future), pin!(rt::sleep_until(until)));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = future.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        let late = || Err(format!("{who} did not answer in time").into());
        over.as_mut().poll(cx).map(|()| late())
    })
    .await
}
