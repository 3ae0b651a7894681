//! Sagas that are carried over to another version of their definition: the rules of `saga::migration`, one by one and on
//! random definitions, in the engine at every crash, and over a rolling upgrade.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "it waits in virtual time, and takes its seed from the environment"
)]

#[path = "saga_migration/engine.rs"]
mod engine;
#[path = "saga_migration/random.rs"]
mod random;
#[path = "saga_migration/rules.rs"]
mod rules;
