//! The main job, from outside: the example's binary is run, killed and run again, and its books are compared.
//!
//! Every random test prints its seed; `MAINSTAY_SEED` sets it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test panics to fail"
)]
#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

#[path = "pay_invoices/books.rs"]
mod books;
#[path = "pay_invoices/program.rs"]
mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mainstay::rng::Rng;
use serde_json::Value;

use books::{assert_same, bouncing_invoices, invoices, number, sound};
use program::{Run, Scene, is_alive, kill_process};

/// Kills that must hit unfinished sagas: `MAINSTAY_KILLS`, 40 without it.
fn kills() -> usize {
    let set = std::env::var("MAINSTAY_KILLS").ok();
    set.and_then(|kills| kills.parse().ok()).unwrap_or(40)
}

/// Few enough at once that a kill finds something unfinished.
const UNDISTURBED: &[&str] = &["--faults", "none", "--in-flight", "16"];

/// The order that has the most to undo.
const DOCUMENTED: &[&str] = &[
    "--faults",
    "none",
    "--in-flight",
    "16",
    "--saga",
    "documented",
];

/// The tests use what the machine has; side by side they would only slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A source of randomness that can be repeated.
fn seeded() -> Rng {
    let seed = std::env::var("MAINSTAY_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| mainstay::rt::wall().as_millis().unsigned_abs());
    eprintln!("MAINSTAY_SEED={seed}");
    Rng::new(seed)
}

#[test]
fn an_undisturbed_run_holds_its_audit_in_both_orders() {
    let _guard = ONE_AT_A_TIME.lock();
    let scene = Scene::new(&invoices(120));
    let report = scene.run("standard", &["--faults", "none"]).report();
    assert_eq!(sound(&report, scene.invoices), Ok(()));
    assert_eq!(
        (
            number(&report, "paid"),
            number(&report, "compensated"),
            number(&report, "incidents")
        ),
        (102, 18, 0)
    );

    // In the documents' order a notification that cannot be sent takes the payment back.
    let documented = scene.run("documented", &["--faults", "none", "--saga", "documented"]);
    let report = documented.report();
    assert_eq!(sound(&report, scene.invoices), Ok(()));
    assert_eq!(
        (
            number(&report, "paid"),
            number(&report, "compensated"),
            number(&report, "incidents")
        ),
        (99, 21, 0)
    );
    let reversals = "SELECT count(*) FROM entry r JOIN entry e ON r.reverses = e.id AND r.debit_minor = e.credit_minor";
    let reversals: i64 = documented
        .open("ledger.sqlite")
        .query_row(reversals, [], |row| row.get(0))
        .unwrap();
    assert_eq!(reversals, 6);

    // The same command again finds everything done.
    let again = documented.report();
    assert_eq!(number(&again, "finished_earlier"), scene.invoices);
    assert_eq!(again["paid"], report["paid"]);

    // Without a journal that lasts nothing is found, and the books are begun anew.
    let forgetful = scene.run("memory", &["--faults", "none", "--store", "memory"]);
    for _ in 0..2 {
        let report = forgetful.report();
        assert_eq!(sound(&report, scene.invoices), Ok(()));
        assert_eq!(number(&report, "finished_earlier"), 0);
    }
}

#[test]
fn the_audit_reads_the_books_and_not_the_program() {
    let _guard = ONE_AT_A_TIME.lock();
    let scene = Scene::new(&invoices(20));
    for (n, fraud) in [
        "DELETE FROM entry WHERE rowid = (SELECT min(rowid) FROM entry)",
        "UPDATE payment SET state = 'created' WHERE rowid = (SELECT min(rowid) FROM payment WHERE state = 'settled')",
        "INSERT INTO payment SELECT invoice_no, tenant, amount_minor, currency, state, 'twice' FROM payment LIMIT 1",
        "UPDATE payment SET amount_minor = amount_minor + 1 WHERE state = 'settled'",
        "INSERT INTO payment VALUES ('INV-0', 'nobody', 1, 'EUR', 'settled', 'unknown')",
    ]
    .into_iter()
    .enumerate()
    {
        let run = scene.run(&format!("fraud-{n}"), &["--faults", "none"]);
        run.report();
        let books = run.open("ledger.sqlite");
        books.execute_batch(&format!("PRAGMA foreign_keys = OFF; {fraud}")).unwrap();
        drop(books);
        assert_eq!(run.output().status.code(), Some(1), "{fraud}");
        let report = run.last_report();
        assert_eq!(report["audit"], false);
        assert!(!report["findings"].as_array().unwrap().is_empty());
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let _guard = ONE_AT_A_TIME.lock();
    let scene = Scene::new(&invoices(3));
    let refused = |run: Run| {
        let Output { status, stderr, .. } = run.output();
        assert_eq!(status.code(), Some(2));
        String::from_utf8(stderr).unwrap()
    };
    for (flags, words) in [
        (
            &["--faults", "hot"][..],
            &["--faults", "hot", "none, mild or severe"][..],
        ),
        (&["--seed", "many"], &["--seed", "many", "whole number"]),
        (&["--frobnicate"], &["--frobnicate", "--help"]),
        (&["--in-flight", "0"], &["--in-flight", "\"0\""]),
        (&["--store", "paper"], &["--store", "paper", "memory"]),
        (&["--store", "postgres"], &["--postgres", "DATABASE_URL"]),
        (
            &["--store", "postgres", "--postgres", "nowhere"],
            &["--postgres", "postgres://"],
        ),
        (&["--instances", "3"], &["--instances", "--store postgres"]),
    ] {
        let said = refused(scene.run("refused", flags));
        for word in words {
            assert!(said.contains(word), "{flags:?}: {said}");
        }
    }

    scene
        .run("state", &["--faults", "none", "--seed", "7"])
        .report();
    let said = refused(scene.run("state", &["--faults", "none", "--seed", "8"]));
    assert!(said.contains("seed 7") && said.contains("seed 8"), "{said}");
    let said = refused(scene.run(
        "state",
        &["--faults", "none", "--seed", "7", "--saga", "documented"],
    ));
    assert!(
        said.contains("saga standard") && said.contains("saga documented"),
        "{said}"
    );
    fs::write(&scene.input, invoices(4)).unwrap();
    let said = refused(scene.run("state", &["--faults", "none", "--seed", "7"]));
    assert!(said.contains("made from input"), "{said}");
    assert_eq!(
        number(
            &scene
                .run("state", &["--faults", "none", "--seed", "8", "--fresh"])
                .report(),
            "invoices"
        ),
        4
    );

    fs::write(&scene.input, "INV-1,acme,smb,S,d,1.00,EUR,2026-01-01\n").unwrap();
    let said = refused(scene.run("other", &["--faults", "none"]));
    assert!(
        said.contains("header") && said.contains("invoice_no"),
        "{said}"
    );
}

#[test]
fn the_shipped_file_has_the_defects_that_its_documentation_lists() {
    let _guard = ONE_AT_A_TIME.lock();
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/invoices.csv");
    let scene = Scene::new(&invoices(1));
    let run = Run {
        input,
        ..scene.run("shipped", &["--faults", "none", "--in-flight", "256"])
    };
    let report = run.report();
    assert_eq!(sound(&report, 1_966), Ok(()));
    assert_eq!(number(&report, "rejected"), 34);

    let mut rejects = csv::Reader::from_path(run.state.join("rejects.csv")).unwrap();
    let rows: Vec<(u64, String, String, String)> =
        rejects.deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 34);
    let mut by_reason = BTreeMap::new();
    for (line, column, _, reason) in rows {
        assert!((2..=2_001).contains(&line));
        let reason = reason.split(';').next().unwrap().to_owned();
        *by_reason.entry(format!("{column}: {reason}")).or_insert(0) += 1;
    }
    let count = |what: &str| {
        by_reason
            .iter()
            .filter(|(reason, _)| reason.contains(what))
            .map(|(_, n)| n)
            .sum::<i32>()
    };
    assert_eq!(count(": missing"), 5, "{by_reason:#?}");
    assert_eq!(
        count("amount: ") - count("too many decimals"),
        8,
        "{by_reason:#?}"
    );
    assert_eq!(count("too many decimals"), 2, "{by_reason:#?}");
    assert_eq!(count("duplicate"), 5, "{by_reason:#?}");
    assert_eq!(count("unknown currency"), 4, "{by_reason:#?}");
    assert_eq!(count("not UTF-8"), 3, "{by_reason:#?}");
    assert_eq!(count("not a date"), 3, "{by_reason:#?}");
    assert_eq!(count("unknown tier"), 2, "{by_reason:#?}");
    assert_eq!(count("fields"), 2, "{by_reason:#?}");
}

/// Runs until `kills` kills have hit unfinished sagas, each state to its end, and gives every run that has ended to
/// `check`. The first complaint ends it.
fn kill_at_random(
    scene: &Scene,
    kills: usize,
    flags: &[&str],
    check: impl Fn(&Run, &Value) -> Result<(), String>,
) -> Result<(), String> {
    let (mut rng, mut hits) = (seeded(), 0);
    for round in 0.. {
        let run = scene.run(&format!("killed-{round}"), flags);
        // Each state is killed a few times and then left alone, so that its end can be looked at.
        for _ in 0..6 {
            let mut started = run.start();
            started.until_said("paying");
            std::thread::sleep(Duration::from_millis(rng.next_u64() % 400));
            if started.has_ended() {
                break;
            }
            let backends = started.backends();
            let said = started.kill();
            if run.unfinished() > 0 {
                hits += 1;
            }
            // What was said to be finished is finished.
            let claimed = said.iter().filter_map(|line| {
                line.strip_prefix("finished ")?
                    .split(' ')
                    .next()?
                    .parse()
                    .ok()
            });
            let claimed: i64 = claimed.max().unwrap_or(0);
            let found = run.at_rest();
            if found < claimed {
                return Err(format!("{claimed} were said to be finished, {found} are"));
            }
            // The backends end by themselves.
            let since = Instant::now();
            while backends.values().any(|process| is_alive(*process)) {
                assert!(
                    since.elapsed() < Duration::from_secs(5),
                    "a backend outlives its parent"
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let status = run.output().status;
        let report = run.last_report();
        if status.code() != Some(if report["audit"] == true { 0 } else { 1 }) {
            return Err(format!("the exit code was {status}"));
        }
        check(&run, &report)?;
        if hits >= kills {
            eprintln!(
                "{hits} kills hit unfinished sagas, over {} states",
                round + 1
            );
            return Ok(());
        }
        assert!(round < 100 + 10 * kills, "the kills do not hit");
    }
    Ok(())
}

#[test]
fn killed_without_faults_the_books_equal_those_of_an_undisturbed_run() {
    let _guard = ONE_AT_A_TIME.lock();
    for (kills, flags) in [(kills(), UNDISTURBED), (kills() / 4, DOCUMENTED)] {
        assert_eq!(killed_and_compared(kills, flags), Ok(()));
    }
}

#[test]
fn killed_with_faults_the_audit_holds() {
    let _guard = ONE_AT_A_TIME.lock();
    let (mild, severe) = (["--faults", "mild"], ["--faults", "severe"]);
    for (input, kills, flags) in [
        (
            invoices(160),
            kills() / 3,
            [&mild[..], &["--saga", "documented"]].concat(),
        ),
        (invoices(160), kills() / 3, severe.to_vec()),
        (bouncing_invoices(100), kills() / 3 + 1, DOCUMENTED.to_vec()),
    ] {
        assert_eq!(killed_and_audited(&input, kills, &flags), Ok(()));
    }
}

/// The checks above are worth something only if they fail for an engine that is broken.
#[test]
fn broken_engines_are_caught() {
    let _guard = ONE_AT_A_TIME.lock();
    let flags = [UNDISTURBED, &["--mutant", "ack-early"]].concat();
    let caught = killed_and_compared(4 * kills(), &flags).unwrap_err();
    eprintln!("ack-early: {caught}");

    let flags = [DOCUMENTED, &["--mutant", "no-unwind"]].concat();
    let caught = killed_and_audited(&bouncing_invoices(100), 4 * kills(), &flags).unwrap_err();
    eprintln!("no-unwind: {caught}");
}

/// Kills runs and compares what they leave with what a run leaves that is not killed.
fn killed_and_compared(kills: usize, flags: &[&str]) -> Result<(), String> {
    let scene = Scene::new(&invoices(160));
    let undisturbed = scene.run("undisturbed", flags);
    let expected = undisturbed.report();
    kill_at_random(&scene, kills, flags, |run, report| {
        assert_same((run, report), (&undisturbed, &expected))
    })
}

/// Kills runs and audits what they leave.
fn killed_and_audited(input: &str, kills: usize, flags: &[&str]) -> Result<(), String> {
    let scene = Scene::new(input);
    kill_at_random(&scene, kills, flags, |_, report| {
        sound(report, scene.invoices)
    })
}

#[test]
fn killed_backends_come_back_and_change_nothing() {
    let _guard = ONE_AT_A_TIME.lock();
    let mut rng = seeded();
    let scene = Scene::new(&invoices(240));
    let undisturbed = scene.run("undisturbed", UNDISTURBED);
    let expected = undisturbed.report();
    let run = scene.run("killed", UNDISTURBED);
    let mut started = run.start();
    started.until_said("paying");
    let mut killed = 0;
    while !started.has_ended() {
        std::thread::sleep(Duration::from_millis(100 + rng.next_u64() % 300));
        let backends: Vec<u32> = started.backends().into_values().collect();
        if killed < 6 {
            kill_process(backends[(rng.next_u64() % 3) as usize]);
            killed += 1;
        }
    }
    assert!(killed > 0);
    let report = run.last_report();
    assert_eq!(
        assert_same((&run, &report), (&undisturbed, &expected)),
        Ok(())
    );
}
