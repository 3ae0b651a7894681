//! The conditions of an autoscaler, with Kubernetes' reasons and words.

use std::borrow::Cow;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Why a condition holds or does not: Kubernetes' own words.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])+ $name,)+
        }

        impl Reason {
            /// The word as the status of an autoscaler has it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// Nothing limits the count.
    DesiredWithinRange,
    /// The usage of a container could not be had.
    FailedGetContainerResourceMetric,
    /// An external metric could not be had.
    FailedGetExternalMetric,
    /// The metric of an object could not be had.
    FailedGetObjectMetric,
    /// A metric of the pods could not be had.
    FailedGetPodsMetric,
    /// The usage of a resource could not be had.
    FailedGetResourceMetric,
    /// A metric is of no kind that there is.
    InvalidMetricSourceType,
    /// The autoscaler did not take the target to zero.
    NotScaledToZero,
    /// The stabilized count is the one that the metrics ask for.
    ReadyForNewScale,
    /// The count may not fall faster.
    ScaleDownLimit,
    /// Recent recommendations were higher.
    ScaleDownStabilized,
    /// The count may not rise faster.
    ScaleUpLimit,
    /// Recent recommendations were lower.
    ScaleUpStabilized,
    /// The autoscaler took the target to zero, so it may bring it back.
    ScaledToZero,
    /// The target stands at zero: somebody paused it.
    ScalingDisabled,
    /// The target's count is known.
    SucceededGetScale,
    /// The target's count is to be changed.
    SucceededRescale,
    /// The count would be below the smallest one.
    TooFewReplicas,
    /// The count would be above the largest one.
    TooManyReplicas,
    /// At least one metric gave a count.
    ValidMetricFound,
}

impl Reason {
    /// What Kubernetes says for it, where that is always the same.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::DesiredWithinRange => "the desired count is within the acceptable range",
            Self::NotScaledToZero => "the HPA controller did not scale the workload to zero",
            Self::ReadyForNewScale => "recommended size matches current size",
            Self::ScaleDownLimit => {
                "the desired replica count is decreasing faster than the maximum scale rate"
            }
            Self::ScaleDownStabilized => {
                "recent recommendations were higher than current one, applying the highest recent recommendation"
            }
            Self::ScaleUpLimit => {
                "the desired replica count is increasing faster than the maximum scale rate"
            }
            Self::ScaleUpStabilized => {
                "recent recommendations were lower than current one, applying the lowest recent recommendation"
            }
            Self::ScaledToZero => "the HPA controller scaled the workload to zero",
            Self::ScalingDisabled => {
                "scaling is disabled since the replica count of the target is zero"
            }
            Self::SucceededGetScale => {
                "the HPA controller was able to get the target's current scale"
            }
            Self::TooFewReplicas => {
                "the desired replica count is less than the minimum replica count"
            }
            Self::TooManyReplicas => {
                "the desired replica count is more than the maximum replica count"
            }
            Self::FailedGetContainerResourceMetric
            | Self::FailedGetExternalMetric
            | Self::FailedGetObjectMetric
            | Self::FailedGetPodsMetric
            | Self::FailedGetResourceMetric
            | Self::InvalidMetricSourceType
            | Self::SucceededRescale
            | Self::ValidMetricFound => "",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether something holds, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Condition {
    holds: bool,
    reason: Reason,
    message: Cow<'static, str>,
}

impl Condition {
    pub(super) fn of(holds: bool, reason: Reason) -> Self {
        Self::new(holds, reason, reason.words())
    }

    pub(super) fn new(holds: bool, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            holds,
            reason,
            message: message.into(),
        }
    }

    /// Whether its status is `True`.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.holds
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Why, in a sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = if self.holds { "True" } else { "False" };
        write!(f, "{status} {}: {}", self.reason, self.message)
    }
}

/// What a decision says of an autoscaler's conditions.
///
/// `None` leaves a condition as it was before, as Kubernetes does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Conditions {
    pub(super) able_to_scale: Condition,
    pub(super) scaling_active: Option<Condition>,
    pub(super) scaling_limited: Option<Condition>,
    pub(super) scaled_to_zero: Option<Condition>,
}

impl Conditions {
    /// `AbleToScale`: whether the target can be scaled, and whether stabilization holds it.
    #[must_use]
    pub const fn able_to_scale(&self) -> &Condition {
        &self.able_to_scale
    }

    /// `ScalingActive`: whether metrics gave a count.
    #[must_use]
    pub const fn scaling_active(&self) -> Option<&Condition> {
        self.scaling_active.as_ref()
    }

    /// `ScalingLimited`: whether a limit changed the count.
    #[must_use]
    pub const fn scaling_limited(&self) -> Option<&Condition> {
        self.scaling_limited.as_ref()
    }

    /// `ScaledToZero`: whether the autoscaler itself took the target to zero.
    #[must_use]
    pub const fn scaled_to_zero(&self) -> Option<&Condition> {
        self.scaled_to_zero.as_ref()
    }
}
