//! Tenants: fair admission by tier, so that no tenant can hurt another, whatever it sends.
//!
//! Use it where many tenants share something that does so much at a time and no more: the handlers of a service, the GPUs
//! behind it, the connections of a shard. It says whose call gets the next seat: each tier has what is reserved for it, and
//! beyond that its weight's part; inside a tier each tenant has as much of the time as any other. It needs to know who
//! calls, so it stands inside of what authenticates. Not where one tenant calls: a
//! [concurrency limit](crate::limit::concurrency) is enough there. And not to sell a rate: that is a
//! [quota](TenantConfig::quota), which stands beside it.
//!
//! ```text
//!  request ──► who calls? ──► quota ──► a free seat, and nobody waits? ───────────────────────► runs in the scope
//!              authenticated   │                     │ no                                       of its tier
//!              facts           ▼                     ▼                                             ▲
//!                          refused: 429      the tier's line ──── the next by reservation, ────────┤
//!                                                    │            weight, and turn of its tenant   │
//!                                                    ▼                                             ▼
//!                                            refused: 429 or 503, with the              over: the seat goes to
//!                                            time after which to come back              the next, or is free
//! ```
//!
//! | you want to | look at |
//! |---|---|
//! | put it around a service | [`TenantLayer`], of a [`TenantPool`] |
//! | say who calls | [`Identify`]; [`FromExtensions`] where authentication left a [`Tenant`] |
//! | say what each class of tenants gets | [`tier`], [`TenantConfig`] |
//! | see and change it while it runs | [`TenantHandle`] |
//! | let the tier travel to the next process | [`TierHeader`](crate::http::TierHeader) |
//! | decide who is next, with plain calls | [`scheduler`] |
//!
//! While nobody waits a call takes no lock and allocates nothing: it counts itself in its tenant's slot and in one word of
//! the pool. A [`TenantSlot`] at hand saves the look-up of the tenant.
//!
//! A tenant's part is its part of one process. Of several instances each has a pool of its own, so a tenant that reaches
//! all of them has its part of each.
//!
//! `docs/tenants.md` has the whole story, and what Kubernetes and Netflix call it; `examples/noisy_neighbour` shows it.

pub mod scheduler;
pub mod tier;

mod config;
mod grow;
#[cfg(feature = "tower")]
mod identity;
#[cfg(feature = "serde")]
mod settings;

#[cfg(feature = "tower")]
mod count;
#[cfg(feature = "tower")]
mod desk;
#[cfg(all(test, feature = "tower", not(mainstay_loom)))]
#[expect(clippy::unwrap_used, reason = "a test panics to fail")]
mod desk_tests;
#[cfg(feature = "tower")]
mod entries;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod handle;
#[cfg(feature = "tower")]
mod identify;
mod index;
#[cfg(feature = "tower")]
mod kept;
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
mod shedding;
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
