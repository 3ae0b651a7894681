//! Tests that share one PostgreSQL server, each with a schema of its own.
//!
//! Where there is no PostgreSQL they are reported as ignored, and with `MAINSTAY_REQUIRE_SERVICES=1` they fail.

use std::future::Future;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use mainstay_test_support::postgres::{Absent, Server};

use super::fixture::Fixture;

/// Runs the tests that `collect` adds, as the command line asks, and ends the process.
pub(crate) fn run(binary: &str, collect: impl FnOnce(&mut Suite)) -> ! {
    let arguments = Arguments::from_args();
    let required = std::env::var_os("MAINSTAY_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    // From this thread, which outlives the tests: the server dies with the thread that starts it.
    let server = (!arguments.list).then(|| Server::start(&[]));
    let missing = matches!(&server, Some(Err(Absent::NotInstalled))) && !required;
    if let Some(Err(absent)) = &server {
        eprintln!("tests/{binary}: {absent}");
    }
    let server = server.map(|server| Arc::new(server.map_err(|absent| absent.to_string())));
    let mut suite = Suite {
        server,
        missing,
        trials: Vec::new(),
    };
    collect(&mut suite);
    let conclusion = libtest_mimic::run(&arguments, suite.trials);
    // Before `exit`, which drops nothing.
    drop(suite.server);
    conclusion.exit()
}

/// Collects the tests.
pub(crate) struct Suite {
    /// `None` where tests are only listed.
    server: Option<Arc<Result<Server, String>>>,
    missing: bool,
    trials: Vec<Trial>,
}

impl Suite {
    /// Adds a test, which is given a schema of its own.
    pub(crate) fn test<F, Running>(&mut self, name: &str, test: F)
    where
        F: FnOnce(Fixture) -> Running + Send + 'static,
        Running: Future<Output = ()>,
    {
        let ignored = self.missing;
        self.add(name, ignored, test);
    }

    /// Adds one that only runs when asked for.
    pub(crate) fn on_request<F, Running>(&mut self, name: &str, test: F)
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
