//! The main job over three processes, from outside: instances are killed, the parent is killed and run again, and the
//! books are those of one undisturbed process on SQLite.

use std::time::Duration;

use mainstay::rng::Rng;

use super::books::{assert_same, invoices, number};
use super::fixture::{Fixture, seed};
use super::program::Scene;
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test(
        "invoices::three_killed_processes_pay_as_one_that_was_not",
        killed,
    );
}

async fn killed(fixture: Fixture) {
    let mut rng = Rng::new(seed());
    let address = fixture.server().address();
    tokio::task::spawn_blocking(move || {
        let scene = Scene::new(&invoices(160));
        // The order that has the most to undo.
        let alone = ["--faults", "none", "--saga", "documented"];
        let undisturbed = scene.run("one", &alone);
        let expected = undisturbed.report();
        let three = [
            "--store",
            "postgres",
            "--postgres",
            &address,
            "--instances",
            "3",
        ];
        let few = ["--in-flight", "8", "--kill", "2"];
        let run = scene.run("three", &[&alone[..], &three, &few].concat());
        let mut started = run.start();
        started.until_said("instance 3 is process");
        std::thread::sleep(Duration::from_millis(200 + rng.next_u64() % 800));
        drop(started.kill());
        let report = run.report();
        assert_eq!(
            assert_same((&run, &report), (&undisturbed, &expected)),
            Ok(())
        );
        assert_eq!(number(&report, "instances"), 3);
        println!(
            "{} finished before the parent was killed, {} restarts after that",
            number(&report, "finished_earlier"),
            number(&report, "instance_restarts")
        );
        // The same command again finds everything done.
        assert_eq!(number(&run.report(), "finished_earlier"), scene.invoices);
    })
    .await
    .unwrap();
}
