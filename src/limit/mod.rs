//! Limits: how much may pass.
//!
//! [`rate`] bounds the calls in a time, for callees with a quota and for tenants that share one service.

pub mod rate;
