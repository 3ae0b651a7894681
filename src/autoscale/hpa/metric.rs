//! What an autoscaler looks at: sources, targets, and why a metric may give no count.

use std::fmt;

use super::condition::Reason;
use super::quantity::Quantity;
use crate::error::ConfigError;

/// A Kubernetes object by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRef {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

impl ObjectRef {
    /// The object called `name` of this `kind`.
    #[must_use]
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            api_version: String::new(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    /// Of this version of the interface, such as `apps/v1`.
    #[must_use]
    pub fn api_version(mut self, version: impl Into<String>) -> Self {
        self.api_version = version.into();
        self
    }

    /// The kind, such as `Deployment`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the interface; empty where none was given.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.api_version
    }
}

/// One requirement of a [`Selector`]: a label's key, an operator such as `In`, and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

impl Requirement {
    /// The label.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator
    }

    /// The values that it may or may not have.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }
}

/// Which series of a metric are meant.
///
/// Its text is the one that Kubernetes puts into events and conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// In the order of their keys.
    pub(super) labels: Vec<(String, String)>,
    pub(super) requirements: Vec<Requirement>,
}

impl Selector {
    /// Labels and their values, in the order of the labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels = self.labels.iter();
        labels.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What else is required.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("&LabelSelector{MatchLabels:map[string]string{")?;
        for (key, value) in &self.labels {
            write!(f, "{key}: {value},")?;
        }
        f.write_str("},MatchExpressions:[]LabelSelectorRequirement{")?;
        for Requirement {
            key,
            operator,
            values,
        } in &self.requirements
        {
            let values = values.join(" ");
            write!(
                f,
                "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},"
            )?;
        }
        f.write_str("},}")
    }
}

/// How many replicas an external metric asks for while it cannot be had.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Fallback;
///
/// let ten = Fallback::new(10, 180)?;
/// assert_eq!(ten.seconds(), 180);
/// assert!(Fallback::new(10, 60).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    replicas: i32,
    seconds: i32,
}

impl Fallback {
    /// The shortest time of failing, and the default.
    pub const SHORTEST: i32 = 180;

    /// Checks a fallback: so many replicas, once the metric has been failing for so many seconds.
    ///
    /// # Errors
    ///
    /// Names `replicas` below 1 and `failureDurationSeconds` below 180.
    pub fn new(replicas: i32, seconds: i32) -> Result<Self, ConfigError> {
        if replicas < 1 {
            let expected = "a count from 1 to 2147483647";
            return Err(ConfigError::new("replicas", replicas, expected));
        }
        if seconds < Self::SHORTEST {
            let expected = "at least 180 seconds";
            return Err(ConfigError::new(
                "failureDurationSeconds",
                seconds,
                expected,
            ));
        }
        Ok(Self { replicas, seconds })
    }

    /// The count that is proposed.
    #[must_use]
    pub const fn replicas(self) -> i32 {
        self.replicas
    }

    /// After how many seconds of failing.
    #[must_use]
    pub const fn seconds(self) -> i32 {
        self.seconds
    }
}

/// What a metric's value should be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// So many percent of what the pods request, on average.
    Utilization(i32),
    /// So much a pod, on average.
    AverageValue(Quantity),
    /// So much in all.
    Value(Quantity),
}

/// Where a metric comes from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// One container's share of what the pods use of a resource.
    ContainerResource {
        /// `cpu`, `memory`, …
        resource: String,
        /// Which container of each pod.
        container: String,
    },
    /// A metric from outside of the cluster, of one or several series.
    External {
        /// Its name.
        name: String,
        /// Which series.
        selector: Option<Selector>,
        /// What it asks for while it cannot be had.
        fallback: Option<Fallback>,
    },
    /// A metric of one object, such as the requests of an ingress.
    Object {
        /// Its name.
        name: String,
        /// Which series.
        selector: Option<Selector>,
        /// The object.
        object: ObjectRef,
    },
    /// A metric that each pod has.
    Pods {
        /// Its name.
        name: String,
        /// Which series.
        selector: Option<Selector>,
    },
    /// What the pods use of a resource.
    Resource {
        /// `cpu`, `memory`, …
        resource: String,
    },
    /// A kind that there is not. Kubernetes lets none of these in; should one be there, it fails.
    Unknown(String),
}

impl Source {
    /// What the pods use of a resource, such as `cpu`.
    #[must_use]
    pub fn resource(resource: impl Into<String>) -> Self {
        Self::Resource {
            resource: resource.into(),
        }
    }

    /// What one container of each pod uses of a resource.
    #[must_use]
    pub fn container(container: impl Into<String>, resource: impl Into<String>) -> Self {
        Self::ContainerResource {
            resource: resource.into(),
            container: container.into(),
        }
    }

    /// A metric of each pod.
    #[must_use]
    pub fn pods(name: impl Into<String>) -> Self {
        Self::Pods {
            name: name.into(),
            selector: None,
        }
    }

    /// A metric of an object.
    #[must_use]
    pub fn object(object: ObjectRef, name: impl Into<String>) -> Self {
        Self::Object {
            name: name.into(),
            selector: None,
            object,
        }
    }

    /// A metric from outside of the cluster.
    #[must_use]
    pub fn external(name: impl Into<String>) -> Self {
        Self::External {
            name: name.into(),
            selector: None,
            fallback: None,
        }
    }

    pub(super) fn is_cpu(&self) -> bool {
        matches!(self, Self::Resource { resource } | Self::ContainerResource { resource, .. } if resource == "cpu")
    }

    /// Whether it can be had without any pod.
    pub(super) const fn is_outside_of_pods(&self) -> bool {
        matches!(self, Self::Object { .. } | Self::External { .. })
    }

    /// Why an autoscaler is not active when this metric gives no count.
    pub(super) const fn failure(&self) -> Reason {
        match self {
            Self::ContainerResource { .. } => Reason::FailedGetContainerResourceMetric,
            Self::External { .. } => Reason::FailedGetExternalMetric,
            Self::Object { .. } => Reason::FailedGetObjectMetric,
            Self::Pods { .. } => Reason::FailedGetPodsMetric,
            Self::Resource { .. } => Reason::FailedGetResourceMetric,
            Self::Unknown(_) => Reason::InvalidMetricSourceType,
        }
    }
}

/// A source and the target of its value.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Metric, Quantity, Source, Target};
///
/// let cpu = Metric::new(Source::resource("cpu"), Target::Utilization(70));
/// assert_eq!(cpu.label(), "cpu resource utilization (percentage of request)");
/// let queue = Metric::new(Source::external("queue"), Target::AverageValue(Quantity::from_milli(30_000)));
/// assert_eq!(queue.label(), "external metric queue(nil)");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    source: Source,
    target: Target,
    label: String,
}

impl Metric {
    /// This source with this target.
    #[must_use]
    pub fn new(source: Source, target: Target) -> Self {
        let label = label(&source, target);
        Self {
            source,
            target,
            label,
        }
    }

    /// Where it comes from.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// What its value should be.
    #[must_use]
    pub const fn target(&self) -> Target {
        self.target
    }

    /// How Kubernetes calls it in events and conditions.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

fn label(source: &Source, target: Target) -> String {
    /// As Go prints a selector that may not be there.
    fn go(selector: Option<&Selector>) -> String {
        selector.map_or_else(|| "nil".to_owned(), Selector::to_string)
    }
    let share = match target {
        Target::Utilization(_) => " utilization (percentage of request)",
        Target::AverageValue(_) | Target::Value(_) => "",
    };
    match (source, target) {
        (Source::Resource { resource }, _) => format!("{resource} resource{share}"),
        (Source::ContainerResource { resource, .. }, _) => {
            format!("{resource} container resource{share}")
        }
        (Source::Pods { name, .. }, _) => format!("pods metric {name}"),
        // Kubernetes calls an object's metric an external one where its target is an average.
        (Source::Object { name, selector, .. }, Target::AverageValue(_))
        | (Source::External { name, selector, .. }, _) => {
            format!("external metric {name}({})", go(selector.as_ref()))
        }
        (Source::Object { name, object, .. }, _) => format!("{} metric {name}", object.kind),
        (Source::Unknown(kind), _) => format!("unknown metric source type {kind:?}"),
    }
}

/// Why a metric gives no count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum MetricError {
    /// A pod has no container of that name.
    ContainerNotFound {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// Whoever asked for it got no answer, and says why.
    Fetch(String),
    /// The target does not suit the source, or is not above 0.
    InvalidTarget,
    /// A container of a pod does not say how much it requests.
    MissingRequest {
        /// Of what.
        resource: String,
        /// The container; empty where no container says anything.
        container: String,
        /// The pod.
        pod: String,
    },
    /// The samples are of no pod that requests anything.
    NoMatchingMetrics,
    /// No sample is left: pods that are not ready do not count.
    NoMetrics,
    /// There is no pod.
    NoPods,
    /// The observation says nothing of this metric, or something of another kind.
    NoReading,
    /// There is no such source.
    UnknownSource(String),
}

impl MetricError {
    /// A short name that never changes.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::ContainerNotFound { .. } => "container_not_found",
            Self::Fetch(_) => "fetch_failed",
            Self::InvalidTarget => "invalid_target",
            Self::MissingRequest { .. } => "missing_request",
            Self::NoMatchingMetrics => "no_matching_metrics",
            Self::NoMetrics => "no_metrics",
            Self::NoPods => "no_pods",
            Self::NoReading => "no_reading",
            Self::UnknownSource(_) => "unknown_source",
        }
    }
}

impl fmt::Display for MetricError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContainerNotFound { container, pod } => {
                write!(f, "container {container} not found in Pod {pod}")
            }
            Self::Fetch(why) => f.write_str(why),
            Self::InvalidTarget => {
                f.write_str("the target does not suit the metric source or is not above 0")
            }
            Self::MissingRequest {
                resource,
                container,
                pod,
            } => write!(
                f,
                "missing request for {resource} in container {container} of Pod {pod}"
            ),
            Self::NoMatchingMetrics => f.write_str("no metrics returned matched known pods"),
            Self::NoMetrics => {
                f.write_str("did not receive metrics for targeted pods (pods might be unready)")
            }
            Self::NoPods => {
                f.write_str("no pods returned by selector while calculating replica count")
            }
            Self::NoReading => f.write_str("the observation has no reading of this metric"),
            Self::UnknownSource(kind) => write!(f, "unknown metric source type {kind:?}"),
        }
    }
}

impl std::error::Error for MetricError {}

impl Metric {
    /// What Kubernetes says when this metric failed with `error`, in the namespace.
    pub(super) fn complaint(&self, error: &MetricError, namespace: &str) -> String {
        let fetch = matches!(error, MetricError::Fetch(_) | MetricError::NoReading);
        let ready = match error {
            MetricError::NoPods => "unable to calculate ready pods: ",
            _ => "",
        };
        match &self.source {
            Source::Resource { resource } | Source::ContainerResource { resource, .. } => {
                let what = match self.target {
                    Target::Utilization(_) => "utilization",
                    Target::AverageValue(_) | Target::Value(_) => "usage",
                };
                let unable = match fetch {
                    true => format!("unable to get metrics for resource {resource}: "),
                    false => String::new(),
                };
                format!("failed to get {resource} {what}: {unable}{error}")
            }
            Source::Pods { name, .. } if fetch => format!("unable to get metric {name}: {error}"),
            Source::Object { name, object, .. } if fetch => format!(
                "unable to get metric {name}: {} on {namespace} {}/{error}",
                object.kind, object.name
            ),
            Source::External { name, selector, .. } if fetch => {
                let selector = selector.as_ref();
                let selector = selector.map_or_else(|| "nil".to_owned(), Selector::to_string);
                format!("unable to get external metric {namespace}/{name}/{selector}: {error}")
            }
            Source::Object { .. } | Source::External { .. } => format!("{ready}{error}"),
            Source::Pods { .. } | Source::Unknown(_) => error.to_string(),
        }
    }
}
