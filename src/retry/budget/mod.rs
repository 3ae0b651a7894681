//! How many retries may be made in all: the settings of four kinds, one machine, and its shell for many policies.

mod concurrency;
mod config;
mod machine;
mod quota;
mod ratio;
#[cfg(feature = "tower")]
mod shared;
mod throttle;

/// One retry, in the unit in which tokens are counted: fine enough for a ratio of one in a million.
const TOKEN: u64 = 1_000_000;

pub use concurrency::ConcurrencyBudget;
pub use config::BudgetConfig;
pub use machine::{Budget, Grant};
pub use quota::QuotaBudget;
pub use ratio::RatioBudget;
#[cfg(feature = "tower")]
pub(super) use shared::Account;
#[cfg(feature = "tower")]
pub use shared::SharedBudget;
pub use throttle::ThrottleBudget;
