//! One file for all policies of a service.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::given::Given;
use super::place::{Place, Setting, as_data, check, join, write_map};
use crate::autoscale::gpu::GpuConfig;
use crate::autoscale::threshold::ThresholdConfig;
use crate::autoscale::tracking::TrackingConfig;
use crate::breaker::BreakerConfig;
use crate::degrade::Ladder;
use crate::error::{ConfigError, ConfigErrors};
use crate::fallback::FallbackConfig;
use crate::limit::adaptive::AdaptiveConfig;
use crate::limit::concurrency::ConcurrencyConfig;
use crate::limit::rate::{KeyedRateConfig, RateConfig};
use crate::num::Period;
use crate::retry::RetryConfig;
use crate::standard::StackConfig;
use crate::tenant::TenantConfig;

/// The settings of a service's policies, each by kind and name.
///
/// It is read with any crate for a self-describing format, such as `toml` or `serde_json`, and written with it too. An
/// error names everything that is wrong, with its path; [`Unchecked`] has them one by one.
///
/// # Example
///
/// ```
/// use mainstay::num::Period;
/// use mainstay::settings::Settings;
///
/// let text = r#"
///     [stacks.ledger]
///     deadline = "5s"
///     retry.attempts = 4
/// "#;
/// let settings: Settings = toml::from_str(text)?;
/// let ledger = settings.stack("ledger")?;
/// assert_eq!(ledger.total(), Period::secs(5));
/// assert_eq!(ledger.retries().attempts().get(), 4);
///
/// let missing = settings.stack("stock").unwrap_err();
/// assert_eq!(missing.to_string(), "stacks.stock: expected a table, got nothing");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    kinds: Kinds,
}

/// What a file says, before it is known whether it is right.
///
/// Whoever wants what is wrong as data reads this and [checks](Self::check) it: a deserialiser's error has only text.
///
/// # Example
///
/// ```
/// use mainstay::settings::Unchecked;
///
/// let text = r#"
///     [breakers.stock]
///     open_for = "soon"
///     trips.rate = { ratio = 1.5, min_calls = 0, window = "10s" }
/// "#;
/// let errors = toml::from_str::<Unchecked>(text)?.check().unwrap_err();
/// let wrong: Vec<_> = errors.iter().map(|error| error.field()).collect();
/// assert_eq!(
///     wrong,
///     [
///         "breakers.stock.trips.rate.ratio",
///         "breakers.stock.trips.rate.min_calls",
///         "breakers.stock.open_for",
///     ]
/// );
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unchecked(Given);

impl Unchecked {
    /// The settings, when all of them are right.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: unknown keys, values of the wrong kind or out of range, what is missing.
    pub fn check(self) -> Result<Settings, ConfigErrors> {
        check(self.0)
    }

    /// The ladder, when the file is one ladder by itself and all of it is right.
    ///
    /// # Errors
    ///
    /// As of [`check`](Self::check), and what does not fit together: see
    /// [`LadderBuilder::build`](crate::degrade::LadderBuilder::build).
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::settings::Unchecked;
    ///
    /// let text = r#"
    ///     name = "shop"
    ///     components = ["gpu"]
    ///     levels = [{ name = "everything" }, { name = "no pictures", cells = { pictures = "off" } }]
    ///     facts = [{ name = "no GPU", when = { down = "gpu" }, level = "no pictures" }]
    /// "#;
    /// let errors = toml::from_str::<Unchecked>(text)?.check_ladder().unwrap_err();
    /// let wrong: Vec<_> = errors.iter().map(|error| error.field()).collect();
    /// assert_eq!(wrong, ["levels[1].cells.pictures"]);
    /// let right = text.replace("off", "disabled");
    /// assert!(toml::from_str::<Unchecked>(&right)?.check_ladder().is_ok());
    /// # Ok::<(), toml::de::Error>(())
    /// ```
    pub fn check_ladder(self) -> Result<Ladder, ConfigErrors> {
        check(self.0)
    }
}

impl Settings {
    /// No policy at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These, and those of one more policy: its kind is that of its settings. One of the same kind and name goes.
    ///
    /// # Example
    ///
    /// ```
    /// use mainstay::breaker::{BreakerConfig, Trip};
    /// use mainstay::settings::Settings;
    ///
    /// let settings = Settings::new().policy("stock", BreakerConfig::new(Trip::consecutive(5)));
    /// let text = toml::to_string(&settings)?;
    /// assert!(text.contains("consecutive = 5"));
    /// assert_eq!(toml::from_str::<Settings>(&text)?, settings);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn policy(mut self, name: impl Into<String>, policy: impl Into<Policy>) -> Self {
        self.kinds.put(name.into(), policy.into());
        self
    }

    /// The kind and the name of each policy.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.kinds.names().into_iter()
    }
}

fn find<T: Setting + Clone>(
    kind: &'static str,
    all: &BTreeMap<String, T>,
    name: &str,
) -> Result<T, ConfigError> {
    all.get(name)
        .cloned()
        .ok_or_else(|| ConfigError::new(join(kind, name), "nothing", T::expected()))
}

/// Writes out what is the same for every kind of policy.
macro_rules! kinds {
    ($($kind:ident: $(#[$doc:meta])+ $one:ident $variant:ident($config:ty);)+) => {
        /// The settings of one policy, of any kind.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Policy {
            $(
                $(#[$doc])+
                $variant($config),
            )+
        }

        $(
            impl From<$config> for Policy {
                fn from(config: $config) -> Self {
                    Self::$variant(config)
                }
            }
        )+

        #[derive(Clone, Debug, Default, PartialEq)]
        struct Kinds {
            $($kind: BTreeMap<String, $config>,)+
        }

        impl Kinds {
            fn put(&mut self, name: String, policy: Policy) {
                match policy {
                    $(Policy::$variant(config) => drop(self.$kind.insert(name, config)),)+
                }
            }

            fn names(&self) -> Vec<(&'static str, &str)> {
                let mut names = Vec::new();
                $(names.extend(self.$kind.keys().map(|name| (stringify!($kind), name.as_str())));)+
                names
            }
        }

        impl Settings {
            $(
                $(#[$doc])+
                ///
                /// # Errors
                ///
                /// When no policy of this kind has the name.
                pub fn $one(&self, name: &str) -> Result<$config, ConfigError> {
                    find(stringify!($kind), &self.kinds.$kind, name)
                }
            )+
        }

        impl Setting for Settings {
            fn expected() -> Cow<'static, str> {
                "a table of kinds of policies".into()
            }

            fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
                place.table(given, Self::expected(), |keys| {
                    let kinds = Kinds { $($kind: keys.map(stringify!($kind)),)+ };
                    Some(Self { kinds })
                })
            }

            fn write(&self) -> Given {
                let mut entries = Vec::new();
                $(
                    if !self.kinds.$kind.is_empty() {
                        entries.push((stringify!($kind).to_owned(), write_map(&self.kinds.$kind)));
                    }
                )+
                Given::Table(entries)
            }
        }
    };
}

kinds! {
    deadlines:
        /// How long a call, or an attempt, may take.
        deadline Deadline(Period);
    stacks:
        /// A standard stack.
        stack Stack(StackConfig);
    breakers:
        /// A breaker, of one circuit or of many.
        breaker Breaker(BreakerConfig);
    retries:
        /// A retry.
        retry Retry(RetryConfig);
    fallbacks:
        /// A fallback.
        fallback Fallback(FallbackConfig);
    adaptive_limits:
        /// An adaptive limit.
        adaptive_limit AdaptiveLimit(AdaptiveConfig);
    concurrency_limits:
        /// A limit of the calls under way.
        concurrency_limit ConcurrencyLimit(ConcurrencyConfig);
    rate_limits:
        /// A limit of the calls in a time.
        rate_limit RateLimit(RateConfig);
    keyed_rate_limits:
        /// A limit of the calls in a time, for each of many keys.
        keyed_rate_limit KeyedRateLimit(KeyedRateConfig);
    tenant_pools:
        /// A pool whose seats tenants share.
        tenant_pool TenantPool(TenantConfig);
    ladders:
        /// A ladder of degradation, named as the file names it unless it says its own name.
        ladder Ladder(Ladder);
    threshold_scalings:
        /// An autoscaler by thresholds.
        threshold_scaling ThresholdScaling(ThresholdConfig);
    tracking_scalings:
        /// An autoscaler that brings a signal to its target.
        tracking_scaling TrackingScaling(TrackingConfig);
    gpu_scalings:
        /// The autoscaler of a GPU cluster.
        gpu_scaling GpuScaling(GpuConfig);
}

as_data!(Settings);
