//! The general ledger: a gRPC service in a process of its own, with a SQLite file of its own.
//!
//! - [`books`]: the file and every effect on it, each applied once per idempotency key.
//! - [`server`]: the service in front of it.
//! - [`pb`]: client, server and messages, generated from `ledger.proto` (which says how) and committed.

pub(crate) mod books;
#[rustfmt::skip]
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub(crate) mod pb;
pub(crate) mod server;
