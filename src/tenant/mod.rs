//! Tenants: fair admission by tier, so that no tenant can hurt another, whatever it sends.
//!
//! | you want to | look at |
//! |---|---|
//! | say what each class of tenants gets | [`tier`] |
//! | decide who is next, with plain calls | [`scheduler`] |

pub mod scheduler;
pub mod tier;
