//! Manifests of `autoscaling/v2`, read and checked.
//!
//! Rules:
//!
//! 1. A manifest is right as a whole or refused as a whole, with everything that is wrong with it.
//! 2. An error names the field's path: `spec.metrics[0].resource.target.averageUtilization: expected …, got …`.
//! 3. What Kubernetes' validation refuses is refused: bounds, required fields, a source that is not the one of its type,
//!    targets that are not positive, windows, periods, 0 replicas without an Object or External metric.
//! 4. So are fields that nobody knows, as with strict decoding, and a target whose type does not suit an object's metric,
//!    which Kubernetes lets in and then fails on. What stands in `status`, and in `metadata` besides the name and the
//!    namespace, is not looked at. `null` is as if the field were not there.
//! 5. Defaults are filled in field by field: `minReplicas` 1, CPU at 80 % without metrics, and the rules of `behavior`.
//! 6. A text is at most a mebibyte. In YAML, it is one document of at most 10 000 values, aliases counted as often as
//!    they are used, and 64 deep.

mod metrics;
mod read;
#[cfg(feature = "manifest")]
mod yaml;

use super::config::Hpa;
use super::metric::ObjectRef;
use crate::error::{ConfigError, ConfigErrors};
use crate::settings::Given;

/// A `HorizontalPodAutoscaler` of `autoscaling/v2`: what it scales, and how.
///
/// It is read from YAML or JSON with the feature `manifest`, or with any serde crate for a self-describing format.
/// Numbers of more than fifteen digits belong in quotes.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::hpa::Manifest;
///
/// let text = r#"
/// apiVersion: autoscaling/v2
/// kind: HorizontalPodAutoscaler
/// metadata: { name: web }
/// spec:
///   scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: web }
///   minReplicas: 5
///   maxReplicas: 3
///   metrics:
///     - type: Resource
///       resource:
///         name: cpu
///         target: { type: Utilization, averageUtilization: 0 }
/// "#;
/// let errors = Manifest::from_yaml(text).unwrap_err();
/// let wrong: Vec<_> = errors.iter().map(|error| error.field()).collect();
/// assert_eq!(
///     wrong,
///     ["spec.maxReplicas", "spec.metrics[0].resource.target.averageUtilization"]
/// );
///
/// let right = text.replace("Replicas: 3", "Replicas: 30").replace("Utilization: 0", "Utilization: 70");
/// let manifest = Manifest::from_yaml(&right)?;
/// assert_eq!(manifest.target().kind(), "Deployment");
/// assert_eq!(manifest.hpa().bounds().max(), 30);
/// # Ok::<(), mainstay::error::ConfigErrors>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    name: String,
    target: ObjectRef,
    hpa: Hpa,
}

/// The longest text that is read.
#[cfg(feature = "manifest")]
const LONGEST_TEXT: usize = 1 << 20;

impl Manifest {
    /// Reads YAML.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path; or that it is no YAML.
    #[cfg(feature = "manifest")]
    pub fn from_yaml(text: &str) -> Result<Self, ConfigErrors> {
        not_longer(text)?;
        let given = yaml::read(text).map_err(|error| unreadable(error, "YAML"))?;
        Self::check(given)
    }

    /// Reads JSON.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with its path; or that it is no JSON.
    #[cfg(feature = "manifest")]
    pub fn from_json(text: &str) -> Result<Self, ConfigErrors> {
        not_longer(text)?;
        let given = serde_json::from_str(text).map_err(|error| unreadable(error, "JSON"))?;
        Self::check(given)
    }

    fn check(given: Given) -> Result<Self, ConfigErrors> {
        let given = read::without_the_rest(given);
        if !matches!(given, Given::Table(_)) {
            let expected = "a HorizontalPodAutoscaler of autoscaling/v2";
            return Err(ConfigError::new("manifest", given, expected).into());
        }
        crate::settings::check(given)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it scales.
    #[must_use]
    pub const fn target(&self) -> &ObjectRef {
        &self.target
    }

    /// How it scales.
    #[must_use]
    pub const fn hpa(&self) -> &Hpa {
        &self.hpa
    }

    /// How it scales, to be changed: the controller's flags are not in a manifest.
    #[must_use]
    pub fn into_hpa(self) -> Hpa {
        self.hpa
    }
}

#[cfg(feature = "manifest")]
fn not_longer(text: &str) -> Result<(), ConfigErrors> {
    if text.len() > LONGEST_TEXT {
        let value = format!("{} bytes", text.len());
        return Err(ConfigError::new("manifest", value, "at most 1048576 bytes").into());
    }
    Ok(())
}

/// The text itself stays out of the error.
#[cfg(feature = "manifest")]
fn unreadable(error: impl std::fmt::Display, format: &'static str) -> ConfigErrors {
    ConfigError::new("manifest", error, format).into()
}

/// An error names everything that is wrong.
impl<'de> serde::Deserialize<'de> for Manifest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Given::deserialize(deserializer)?;
        Self::check(given).map_err(serde::de::Error::custom)
    }
}
