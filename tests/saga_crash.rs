//! Every crash point and every failure, on every store; and that these tests would notice an engine that lies.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

mod saga_support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Answer, Append, Journal, LogId, Place};
use mainstay::saga::testing::{Opener, Survey, Trial};
use mainstay::saga::{Ended, Saga};
use saga_support::{Erp, Invoice, books_hold, documented, invoice, recommended};

fn trial(saga: &Saga<Erp, Invoice, String>) -> Trial<Erp, Invoice, String> {
    Trial::new(saga, invoice(), Erp::default).holds(books_hold)
}

fn sqlite() -> Opener {
    let folder = tempfile::tempdir().unwrap();
    Box::new(move || Arc::new(SqliteJournal::open(folder.path().join("sagas.sqlite")).unwrap()))
}

fn covers(survey: &Survey) {
    println!("{survey:?}");
    assert!(survey.crashed > 300, "{survey:?}");
    assert!(
        survey.completed > 100 && survey.compensated > 100,
        "{survey:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn recommended_order_on_memory() {
    let survey = trial(&recommended().unwrap()).run().await.unwrap();
    covers(&survey);
    assert!(
        survey.incidents > 0,
        "an unknown pivot is an incident: {survey:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn documented_order_on_memory() {
    let survey = trial(&documented().unwrap()).run().await.unwrap();
    covers(&survey);
    assert_eq!(
        survey.incidents, 0,
        "without a pivot everything can be undone: {survey:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn recommended_order_on_sqlite() {
    covers(
        &trial(&recommended().unwrap())
            .store(sqlite)
            .run()
            .await
            .unwrap(),
    );
}

#[tokio::test(start_paused = true)]
async fn documented_order_on_sqlite() {
    covers(
        &trial(&documented().unwrap())
            .store(sqlite)
            .run()
            .await
            .unwrap(),
    );
}

#[tokio::test(start_paused = true)]
async fn two_crashes() {
    let saga = Saga::builder("small")
        .check("check_budget", saga_support::check_budget)
        .step("create_payment", saga_support::create_payment)
        .undo(saga_support::undo)
        .step("update_invoice", saga_support::effect)
        .undo(saga_support::undo)
        .build()
        .unwrap();
    let survey = Trial::new(&saga, invoice(), Erp::default)
        .holds(|erp, ended| {
            let events = erp.books().events.clone();
            let legal: &[&[&str]] = match ended {
                Ended::Completed(_) => &[&["+create_payment", "+update_invoice"]],
                _ => &[
                    &[],
                    &["+create_payment", "-create_payment"],
                    &[
                        "+create_payment",
                        "+update_invoice",
                        "-update_invoice",
                        "-create_payment",
                    ],
                ],
            };
            if legal.iter().any(|legal| events == *legal) {
                Ok(())
            } else {
                Err(format!("{events:?}"))
            }
        })
        .double_crashes()
        .run()
        .await
        .unwrap();
    println!("{survey:?}");
    assert!(survey.crashed > 2_000, "{survey:?}");
}

// === journals that lie ===

/// How a journal lies.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// It acknowledges a record before it has it, and loses the last one in a crash.
    AcknowledgesEarly,
    /// It keeps the decision to unwind and the finished undos in memory until the end: the defect of engines that
    /// have no durable unwinding.
    KeepsUnwinding,
    /// It acknowledges the decision to unwind, and never writes it.
    LosesUnwind,
    /// It acknowledges finished undos, and never writes them.
    LosesUndone,
    /// It does not write that a step is done.
    LosesDone,
}

/// A journal in memory behind a liar. What the liar holds back dies with it.
#[derive(Debug)]
struct Liar {
    inner: MemoryJournal,
    lie: Lie,
    /// Per log: what is held back, and how many records were swallowed.
    state: Mutex<HashMap<LogId, (Vec<Append>, u64)>>,
}

impl Liar {
    fn swallows(&self, append: &Append) -> bool {
        match self.lie {
            Lie::AcknowledgesEarly | Lie::KeepsUnwinding => false,
            Lie::LosesUnwind => append.body.contains("\"unwind\""),
            Lie::LosesUndone => append.body.contains("undone") && !append.body.contains("finished"),
            Lie::LosesDone => append.body.contains("done\":{\"step\":\"create_payment"),
        }
    }

    /// What is written now instead of this record.
    fn instead(&self, mut append: Append) -> Vec<Append> {
        let mut state = self.state.lock().unwrap();
        let (held, swallowed) = state.entry(append.id).or_default();
        append.expect = Place::new(append.expect.epoch, append.expect.records - *swallowed);
        if self.swallows(&append) {
            *swallowed += 1;
            return vec![];
        }
        let last = append.body.contains("finished");
        let body = &append.body;
        let unwinding = ["\"unwind\"", "undone", "\"undo\":true", "\"unwinding\""]
            .iter()
            .any(|word| body.contains(word));
        let now = match self.lie {
            Lie::KeepsUnwinding if unwinding && !last => vec![],
            _ => std::mem::take(held),
        };
        match self.lie {
            Lie::AcknowledgesEarly | Lie::KeepsUnwinding if !last => {
                held.push(append);
                // What goes forward is written at once by the one, and one record later by the other.
                if matches!(self.lie, Lie::KeepsUnwinding) && !unwinding {
                    std::mem::take(held)
                } else {
                    now
                }
            }
            _ => now.into_iter().chain([append]).collect(),
        }
    }
}

impl Journal for Liar {
    fn append(&self, append: Append) -> Answer<'_, ()> {
        Box::pin(async move {
            for append in self.instead(append) {
                self.inner.append(append).await?;
            }
            Ok(())
        })
    }

    mainstay::journal::pass_on!(inner: begin claim load list join beat leave release post prune changed);
}

async fn caught(lie: Lie) -> String {
    let store = move || -> Opener {
        let inner = MemoryJournal::new();
        Box::new(move || {
            Arc::new(Liar {
                inner: inner.clone(),
                lie,
                state: Mutex::default(),
            })
        })
    };
    let violation = trial(&documented().unwrap())
        .store(store)
        .run()
        .await
        .unwrap_err();
    println!("{lie:?}: {violation}");
    violation.reason.clone()
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_acknowledges_early_is_caught() {
    caught(Lie::AcknowledgesEarly).await;
}

#[tokio::test(start_paused = true)]
async fn unwinding_that_is_not_durable_is_caught() {
    let reason = caught(Lie::KeepsUnwinding).await;
    assert!(reason.contains("ran after an undo"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_loses_the_decision_to_unwind_is_caught() {
    caught(Lie::LosesUnwind).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_loses_undos_is_caught() {
    caught(Lie::LosesUndone).await;
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_loses_a_done_step_is_caught() {
    caught(Lie::LosesDone).await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_without_keys_is_caught() {
    // A receiver without keys: the second delivery is a second effect.
    static PAID: AtomicUsize = AtomicUsize::new(0);
    let saga = Saga::builder("careless")
        .pivot("pay", |_cx: mainstay::saga::Cx<(), ()>, (): ()| async {
            PAID.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .build()
        .unwrap();
    let violation = Trial::new(&saga, (), || PAID.store(0, Ordering::SeqCst))
        .holds(|(), _| {
            let paid = PAID.load(Ordering::SeqCst);
            if paid <= 1 {
                Ok(())
            } else {
                Err(format!("paid {paid} times"))
            }
        })
        .run()
        .await
        .unwrap_err();
    println!("{violation}");
    assert!(violation.reason.contains("paid 2 times"));
}
