//! How many retries may be made in all, in four ways.
//!
//! | kind | a retry is allowed | use it |
//! |---|---|---|
//! | [`RatioBudget`] | when calls have earned it | by default: the load grows by a known share at most |
//! | [`QuotaBudget`] | while tokens last; one that helps gives its own back | for callees that fail rarely and then for all |
//! | [`ThrottleBudget`] | while most attempts of late succeed | to do as gRPC's service configs say |
//! | [`ConcurrencyBudget`] | while few others are in flight | where calls are slow and numerous |

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
