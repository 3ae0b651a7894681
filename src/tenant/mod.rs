//! Tenants: fair admission by tier, so that no tenant can hurt another, whatever it sends.
//!
//! | you want to | look at |
//! |---|---|
//! | say what each class of tenants gets | [`tier`] |
//! | decide who is next, with plain calls | [`scheduler`] |

pub mod scheduler;
pub mod tier;

mod config;
#[cfg(feature = "tower")]
mod identity;

#[cfg(feature = "tower")]
mod count;
#[cfg(feature = "tower")]
mod desk;
#[cfg(feature = "tower")]
mod entries;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod identify;
#[cfg(feature = "tower")]
mod layer;
#[cfg(all(test, mainstay_loom))]
mod loom_tests;
#[cfg(feature = "tower")]
mod pool;
#[cfg(feature = "tower")]
mod quota;
#[cfg(feature = "tower")]
mod seat;
#[cfg(feature = "tower")]
mod service;
#[cfg(feature = "tower")]
mod slot;
#[cfg(feature = "tower")]
mod slots;
#[cfg(feature = "tower")]
mod spare;

pub use config::TenantConfig;
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
#[cfg(feature = "tower")]
pub use handle::{RankBy, TenantHandle, TenantReport, TierReport};
#[cfg(feature = "http")]
pub use identify::FromExtensions;
#[cfg(feature = "tower")]
pub use identify::{Always, Caller, Identify};
#[cfg(feature = "tower")]
pub use identity::Tenant;
#[cfg(feature = "tower")]
pub use identity::TenantKey;
#[cfg(feature = "tower")]
pub use layer::TenantLayer;
#[cfg(feature = "tower")]
pub use pool::TenantPool;
#[cfg(feature = "tower")]
pub use seat::TenantSeat;
#[cfg(feature = "tower")]
pub use service::TenantService;
#[cfg(feature = "tower")]
pub use slot::TenantSlot;
