//! The main job over three processes, from outside: instances are killed, the parent is killed and run again, and the
//! books are those of one undisturbed process on SQLite.

use std::time::Duration;

use mainstay::rng::Rng;

use super::Suite;
use super::books::{assert_same, invoices, number};
use super::fixture::{Fixture, seed};
use super::program::Scene;

pub(crate) fn add(suite: &mut Suite<'_>) {
    suite.test(
        "invoices::three_killed_processes_pay_as_one_that_was_not",
        killed,
    );
}

async fn killed(fixture: Fixture) {
    let mut rng = Rng::new(seed());
    let address = fixture.server().address();
    tokio::task::spawn_blocking(move || {
        let scene = Scene::new(&invoices(240));
        for saga in ["standard", "documented"] {
            let alone = ["--faults", "none", "--saga", saga];
            let undisturbed = scene.run(&format!("one-{saga}"), &alone);
            let expected = undisturbed.report();
            let three = ["--store", "postgres", "--postgres", &address, "--instances", "3"];
            let few = ["--in-flight", "4", "--kill", "3"];
            let flags = [&alone[..], &three, &few].concat();
            let run = scene.run(&format!("three-{saga}"), &flags);
            for _ in 0..2 {
                let mut started = run.start();
                started.until_said("instance 3 is process");
                std::thread::sleep(Duration::from_millis(100 + rng.next_u64() % 700));
                drop(started.kill());
            }
            let report = run.report();
            assert_eq!(assert_same((&run, &report), (&undisturbed, &expected)), Ok(()));
            assert_eq!(number(&report, "instances"), 3);
            println!(
                "{saga}: {} finished before the last run, {} restarts in it",
                number(&report, "finished_earlier"),
                number(&report, "instance_restarts")
            );
            // The same command again finds everything done; started over, it finds nothing.
            assert_eq!(number(&run.report(), "finished_earlier"), scene.invoices);
        }
    })
    .await
    .unwrap();
}
