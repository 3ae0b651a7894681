//! Settings as data: what is written is read, what is documented holds, what is wrong is said, and what runs goes on.
//!
//! A failure of the random tests prints its seed; `PROPTEST_RNG_SEED` repeats a run and `PROPTEST_CASES` makes it longer.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test panics to fail, and waits on the paused clock"
)]

#[path = "settings/example.rs"]
mod example;
#[path = "settings/keys.rs"]
mod keys;
#[path = "settings/ladders.rs"]
mod ladders;
#[path = "settings/live.rs"]
mod live;
#[path = "settings/refused.rs"]
mod refused;
#[path = "settings/round_trip.rs"]
mod round_trip;
