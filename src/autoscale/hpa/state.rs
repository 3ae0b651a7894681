//! What an autoscaler remembers from one decision to the next.

use super::history::{Recommendation, ScaleEvent};
use crate::time::Timestamp;

/// The memory of an autoscaler: keep it, and give it to the next decision.
///
/// It is data, so a restart continues where it was. What is not known is not the same as what is known to be nothing:
/// an [`unknown`](Self::unknown) history holds the count that there is for as long as the window lasts, as Kubernetes
/// does after a restart of its controller; an [`empty`](Self::empty) one holds nothing.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Recommendation, State};
/// use mainstay::time::Timestamp;
///
/// let state = State::empty().recommended([Recommendation::new(5, Timestamp::from_millis(0))]);
/// let text = serde_json::to_string(&state)?;
/// assert_eq!(serde_json::from_str::<State>(&text)?, state);
/// assert_ne!(State::unknown(), State::empty());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct State {
    /// What the metrics asked for; `None` when nobody knows.
    pub(super) history: Option<Vec<Recommendation>>,
    pub(super) up: Vec<ScaleEvent>,
    pub(super) down: Vec<ScaleEvent>,
    pub(super) zero_is_ours: bool,
    /// Since when external metrics have been failing, by their label.
    pub(super) failing: Vec<(String, Timestamp)>,
}

impl State {
    /// Of an autoscaler whose past nobody knows.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            history: None,
            up: Vec::new(),
            down: Vec::new(),
            zero_is_ours: false,
            failing: Vec::new(),
        }
    }

    /// Of an autoscaler that never recommended anything.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            history: Some(Vec::new()),
            up: Vec::new(),
            down: Vec::new(),
            zero_is_ours: false,
            failing: Vec::new(),
        }
    }

    /// With these recommendations in place of all that were known.
    #[must_use]
    pub fn recommended(mut self, history: impl IntoIterator<Item = Recommendation>) -> Self {
        self.history = Some(history.into_iter().collect());
        self
    }

    /// With these changes upwards, and downwards, in place of all that were known.
    #[must_use]
    pub fn scaled(
        mut self,
        up: impl IntoIterator<Item = ScaleEvent>,
        down: impl IntoIterator<Item = ScaleEvent>,
    ) -> Self {
        self.up = up.into_iter().collect();
        self.down = down.into_iter().collect();
        self
    }

    /// Whether it was the autoscaler that took the target to zero, so that it may bring it back.
    #[must_use]
    pub const fn scaled_to_zero(mut self, ours: bool) -> Self {
        self.zero_is_ours = ours;
        self
    }

    /// What was recommended, in no order; `None` when nobody knows.
    #[must_use]
    pub fn history(&self) -> Option<&[Recommendation]> {
        self.history.as_deref()
    }

    /// The changes upwards, in no order.
    #[must_use]
    pub fn up_events(&self) -> &[ScaleEvent] {
        &self.up
    }

    /// The changes downwards, in no order.
    #[must_use]
    pub fn down_events(&self) -> &[ScaleEvent] {
        &self.down
    }

    /// Whether it was the autoscaler that took the target to zero.
    #[must_use]
    pub const fn is_zero_ours(&self) -> bool {
        self.zero_is_ours
    }

    /// Since when the external metric of this label has been failing.
    #[must_use]
    pub fn failing_since(&self, label: &str) -> Option<Timestamp> {
        let mut failing = self.failing.iter();
        failing
            .find(|(known, _)| known == label)
            .map(|(_, since)| *since)
    }
}
