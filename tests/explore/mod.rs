//! A small world around the pure machine, and an exhaustive search through everything that can happen in it.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a module of a test, which panics to fail"
)]

pub mod outside;
pub mod rules;
pub mod search;
pub mod turns;
pub mod world;
