//! Pods and their samples, and how much a pod requests.

use super::metric::MetricError;
use crate::time::Timestamp;

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Phase {
    /// A container failed and none runs any more.
    Failed,
    /// Not yet placed, or its images are on their way.
    Pending,
    /// At least one container runs.
    #[default]
    Running,
    /// All containers ended well.
    Succeeded,
    /// Nobody knows.
    Unknown,
}

/// A container and what it requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Container {
    name: String,
    /// Of each resource, in thousandths.
    requests: Vec<(String, i64)>,
}

impl Container {
    /// A container that requests nothing.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            requests: Vec::new(),
        }
    }

    /// It requests so many thousandths of a resource.
    #[must_use]
    pub fn request(mut self, resource: impl Into<String>, milli: i64) -> Self {
        self.requests.push((resource.into(), milli));
        self
    }
}

fn requested(requests: &[(String, i64)], resource: &str) -> Option<i64> {
    let mut requests = requests.iter().rev();
    let found = requests.find(|(name, _)| name == resource);
    found.map(|(_, milli)| *milli)
}

/// A pod as the cluster knows it.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::{Container, Pod};
/// use mainstay::time::Timestamp;
///
/// let pod = Pod::new("web-0")
///     .started(Timestamp::from_millis(0))
///     .ready(true, Timestamp::from_millis(5_000))
///     .container(Container::new("app").request("cpu", 500))
///     .container(Container::new("proxy").request("cpu", 100));
/// assert_eq!(pod.request("cpu", None, false), Ok(600));
/// assert_eq!(pod.request("cpu", Some("app"), false), Ok(500));
/// assert!(pod.request("memory", None, false).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pod {
    name: String,
    phase: Phase,
    deleting: bool,
    started: Option<Timestamp>,
    ready: Option<(bool, Timestamp)>,
    /// Containers, and those that are started first and then run beside them.
    containers: Vec<Container>,
    pod_level: Vec<(String, i64)>,
}

impl Pod {
    /// A running pod of which nothing else is known.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Where it is in its life. Defaults to running.
    #[must_use]
    pub const fn phase(mut self, phase: Phase) -> Self {
        self.phase = phase;
        self
    }

    /// Whether it is being deleted.
    #[must_use]
    pub const fn deleting(mut self, deleting: bool) -> Self {
        self.deleting = deleting;
        self
    }

    /// When it was started.
    #[must_use]
    pub const fn started(mut self, at: Timestamp) -> Self {
        self.started = Some(at);
        self
    }

    /// Its condition `Ready`, and when that changed last.
    #[must_use]
    pub const fn ready(mut self, ready: bool, changed: Timestamp) -> Self {
        self.ready = Some((ready, changed));
        self
    }

    /// One more container. Init containers belong here when they restart always, and nowhere else.
    #[must_use]
    pub fn container(mut self, container: Container) -> Self {
        self.containers.push(container);
        self
    }

    /// What the pod as a whole requests of a resource, in thousandths.
    #[must_use]
    pub fn pod_level_request(mut self, resource: impl Into<String>, milli: i64) -> Self {
        self.pod_level.push((resource.into(), milli));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn is_ignored(&self) -> bool {
        self.deleting || matches!(self.phase, Phase::Failed)
    }

    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.phase, Phase::Pending)
    }

    pub(super) const fn life(&self) -> (Option<Timestamp>, Option<(bool, Timestamp)>) {
        (self.started, self.ready)
    }

    /// Whether it runs and is ready; one that is being deleted may be.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.phase, Phase::Running) && matches!(self.ready, Some((true, _)))
    }

    /// What it requests of `resource`, in thousandths: of one container, or of all.
    ///
    /// With `pod_level`, what the pod requests as a whole counts where no container is named and anything is requested
    /// as a whole; what the whole does not mention is then the sum of the containers that do.
    ///
    /// # Errors
    ///
    /// [`MetricError::MissingRequest`] when a container that counts requests nothing, and
    /// [`MetricError::ContainerNotFound`].
    pub fn request(
        &self,
        resource: &str,
        container: Option<&str>,
        pod_level: bool,
    ) -> Result<i64, MetricError> {
        let missing = |container: &str| MetricError::MissingRequest {
            resource: resource.to_owned(),
            container: container.to_owned(),
            pod: self.name.clone(),
        };
        let all = || self.containers.iter();
        if let Some(name) = container {
            let found = all().find(|container| container.name == name);
            let found = found.ok_or_else(|| MetricError::ContainerNotFound {
                container: name.to_owned(),
                pod: self.name.clone(),
            })?;
            return requested(&found.requests, resource).ok_or_else(|| missing(name));
        }
        if pod_level && !self.pod_level.is_empty() {
            if let Some(milli) = requested(&self.pod_level, resource) {
                return Ok(milli);
            }
            let known = all().filter_map(|container| requested(&container.requests, resource));
            return known.reduce(i64::saturating_add).ok_or_else(|| missing(""));
        }
        let mut sum = 0_i64;
        for container in all() {
            let request = requested(&container.requests, resource);
            sum = sum.saturating_add(request.ok_or_else(|| missing(&container.name))?);
        }
        Ok(sum)
    }
}

/// What one pod showed of a metric.
///
/// Of several samples with the same pod the last one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Sample {
    pod: String,
    pub(super) value: i64,
    pub(super) at: Timestamp,
    /// Milliseconds.
    pub(super) window: i64,
}

impl Sample {
    /// So many thousandths, at a time, over so many seconds before it.
    #[must_use]
    pub fn new(pod: impl Into<String>, milli: i64, at: Timestamp, window_seconds: u32) -> Self {
        Self {
            pod: pod.into(),
            value: milli,
            at,
            window: i64::from(window_seconds) * 1_000,
        }
    }

    /// The pod's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Thousandths.
    #[must_use]
    pub const fn milli(&self) -> i64 {
        self.value
    }
}

/// What a pod uses: the sum of its containers, or the usage of the one that is named.
///
/// `None` when there is no such container, or none at all: then the pod has no sample.
#[must_use]
pub fn pod_usage<'a>(
    containers: impl IntoIterator<Item = (&'a str, i64)>,
    container: Option<&str>,
) -> Option<i64> {
    let counts = |name: &str| container.is_none_or(|wanted| wanted == name);
    let counted = containers.into_iter().filter(|(name, _)| counts(name));
    counted.map(|(_, milli)| milli).reduce(i64::saturating_add)
}
