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
mod sweep;

use std::future::Future;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mainstay_test_support::postgres::{Absent, Server};

use self::fixture::Fixture;

fn main() {
    if instance::is_asked_for() {
        return instance::live();
    }
    let arguments = Arguments::from_args();
    let required = std::env::var_os("MAINSTAY_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    // From this thread, which outlives the tests: the server dies with the thread that starts it.
    let server = (!arguments.list).then(|| Server::start(&[]));
    let missing = matches!(&server, Some(Err(Absent::NotInstalled))) && !required;
    if let Some(Err(absent)) = &server {
        eprintln!("tests/saga_postgres: {absent}");
    }
    let server = server.map(|server| Arc::new(server.map_err(|absent| absent.to_string())));
    let mut trials = Vec::new();
    let mut suite = Suite {
        server,
        missing,
        trials: &mut trials,
    };
    sweep::add(&mut suite);
    outage::add(&mut suite);
    doubles::add(&mut suite);
    invoices::add(&mut suite);
    let server = suite.server.take();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before `exit`, which drops nothing.
    drop(server);
    conclusion.exit();
}

/// Collects the tests.
struct Suite<'a> {
    /// `None` where tests are only listed.
    server: Option<Arc<Result<Server, String>>>,
    missing: bool,
    trials: &'a mut Vec<Trial>,
}

impl Suite<'_> {
    /// Adds a test, which is given a schema of its own.
    fn test<F, Running>(&mut self, name: &str, test: F)
    where
        F: FnOnce(Fixture) -> Running + Send + 'static,
        Running: Future<Output = ()>,
    {
        let ignored = self.missing;
        let server = self.server.clone();
        let trial = Trial::test(name, move || {
            let server = server.ok_or("only listed")?;
            if let Err(absent) = &*server {
                return Err(Failed::from(absent.as_str()));
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(test(Fixture::new(server)));
            Ok(())
        });
        self.trials.push(trial.with_ignored_flag(ignored));
    }
}

/// A size that the environment may change.
fn size(name: &str, default: u32) -> u32 {
    let set = std::env::var(name).ok();
    set.and_then(|size| size.parse().ok()).unwrap_or(default)
}
