//! The PostgreSQL journal: the suite of all stores, what only it promises, and what happens when its server, its
//! connections or its replies go missing.
//!
//! One server for all tests, a schema for each; it is started by the test binary in a temporary folder. Where there is
//! no PostgreSQL the tests say so and are reported as ignored, and with `MAINSTAY_REQUIRE_SERVICES=1` they fail.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "the server's time is real, and the environment says what is required"
)]

mod chaos;
mod contract;
#[expect(dead_code, reason = "some of it is for files")]
mod crowd;
mod fixture;
mod plans;
mod proxy;
mod queue;
mod replies;
mod rules;
mod speed;
mod suite;
mod tx;
mod wakeups;
#[path = "../queue/world.rs"]
#[expect(dead_code, reason = "some of it is for the other tests of queues")]
mod world;

fn main() {
    suite::run("journal_postgres", |suite| {
        contract::add(suite);
        rules::add(suite);
        wakeups::add(suite);
        replies::add(suite);
        plans::add(suite);
        tx::add(suite);
        queue::add(suite);
        chaos::add(suite);
        speed::add(suite);
    });
}
