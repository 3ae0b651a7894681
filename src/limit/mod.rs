//! Limits: how many calls are let through.
//!
//! | you know | look at |
//! |---|---|
//! | how many calls a callee stands at a time | [`concurrency`] |
//! | that it stands only so many, but not how many | [`adaptive`] |
//! | how many calls in a time it, or a tenant, may have | [`rate`] |
//!
//! A limit of calls under way protects what answers; a rate keeps a promise. Where a callee has a quota both stand: the
//! rate outside, since a call that waits for its turn should hold no place.
//!
//! ```text
//! total deadline ─► rate ─► concurrency or adaptive ─► retry ─► breaker ─► attempt timeout ─► callee
//! ```
//!
//! A [standard stack](crate::standard) has an adaptive limit already. What each kind can be told, and what its settings
//! are called in other libraries, stands in its module.

pub mod adaptive;
pub mod concurrency;
pub mod rate;
