//! Sagas on PostgreSQL: every crash point, a server that dies, instances that are killed and stopped at random while a
//! receiver counts what it is asked to do, and the main job over three processes.
//!
//! One server for all tests but those that kill it, a schema for each. Where there is no PostgreSQL the tests are
//! reported as ignored, and with `MAINSTAY_REQUIRE_SERVICES=1` they fail. `MAINSTAY_SAGAS` and `MAINSTAY_PAIRS=1` make
//! them longer (`.ci/long`), `MAINSTAY_SEED` repeats a run.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "servers and processes live in real time, and the environment says what is required"
)]

#[path = "../pay_invoices/books.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the example use more of it"
)]
mod books;
mod doubles;
#[path = "../journal_postgres/fixture.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod fixture;
mod instance;
mod invoices;
mod outage;
mod pages;
#[path = "../pay_invoices/program.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the example use more of it"
)]
mod program;
mod receiver;
#[path = "../saga_support/mod.rs"]
mod saga_support;
#[path = "../journal_postgres/suite.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the tests of the journal use more of it"
)]
mod suite;
mod sweep;

fn main() {
    if instance::is_asked_for() {
        return instance::live();
    }
    suite::run("saga_postgres", |suite| {
        sweep::add(suite);
        outage::add(suite);
        doubles::add(suite);
        invoices::add(suite);
        pages::add(suite);
    });
}

/// A size that the environment may change.
fn size(name: &str, default: u32) -> u32 {
    let set = std::env::var(name).ok();
    set.and_then(|size| size.parse().ok()).unwrap_or(default)
}
