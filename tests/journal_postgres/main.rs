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
mod fixture;
mod plans;
mod proxy;
mod replies;
mod rules;
mod speed;
mod tx;
mod wakeups;

use std::future::Future;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mainstay_test_support::postgres::{Absent, Server};

use self::fixture::Fixture;

fn main() {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("MAINSTAY_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    // From this thread, which outlives the tests: the server dies with the thread that starts it.
    let server = (!arguments.list).then(|| Server::start(&[]));
    let missing = matches!(&server, Some(Err(Absent::NotInstalled))) && !required;
    if let Some(Err(absent)) = &server {
        eprintln!("tests/journal_postgres: {absent}");
    }
    let server = server.map(|server| Arc::new(server.map_err(|absent| absent.to_string())));
    let mut trials = Vec::new();
    let mut suite = Suite {
        server,
        missing,
        trials: &mut trials,
    };
    contract::add(&mut suite);
    rules::add(&mut suite);
    wakeups::add(&mut suite);
    replies::add(&mut suite);
    plans::add(&mut suite);
    tx::add(&mut suite);
    chaos::add(&mut suite);
    speed::add(&mut suite);
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
        self.add(name, ignored, test);
    }

    /// Adds one that only runs when asked for.
    fn on_request<F, Running>(&mut self, name: &str, test: F)
    where
        F: FnOnce(Fixture) -> Running + Send + 'static,
        Running: Future<Output = ()>,
    {
        self.add(name, true, test);
    }

    fn add<F, Running>(&mut self, name: &str, ignored: bool, test: F)
    where
        F: FnOnce(Fixture) -> Running + Send + 'static,
        Running: Future<Output = ()>,
    {
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
