//! Every crash point and every failure, on every store; and that these tests would notice an engine that lies.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

mod saga_support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mainstay::journal::memory::MemoryJournal;
use mainstay::journal::sqlite::SqliteJournal;
use mainstay::journal::{Answer, Append, Journal, LogId, Place};
use mainstay::saga::testing::{Fault, Opener, Survey, Trial};
use mainstay::saga::{Cx, Ended, Reconciled, Saga, Step, StepError};
use saga_support::{Erp, Invoice, books_hold, documented, invoice, recommended};

fn trial(saga: &Saga<Erp, Invoice, String>) -> Trial<Erp, Invoice, String> {
    Trial::new(saga, invoice(), Erp::default).holds(books_hold)
}

fn sqlite() -> Opener {
    let folder = tempfile::tempdir().unwrap();
    Box::new(move || Arc::new(SqliteJournal::open(folder.path().join("sagas.sqlite")).unwrap()))
}

/// Without what adds nothing about a store: every run syncs a disk.
fn on_sqlite(saga: &Saga<Erp, Invoice, String>) -> Trial<Erp, Invoice, String> {
    let trial = trial(saga).store(sqlite);
    let left_out = [
        Fault::Panics,
        Fault::Halts,
        Fault::RetryAlways,
        Fault::Refuses,
    ];
    left_out.into_iter().fold(trial, Trial::without)
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
    covers(&on_sqlite(&recommended().unwrap()).run().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn documented_order_on_sqlite() {
    covers(&on_sqlite(&documented().unwrap()).run().await.unwrap());
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

/// Pays once for each call: a receiver without keys, and a list in which a transfer can be found. It refuses tokens that
/// are not the newest: without that, a stopped instance that wakes pays again after the list was searched.
#[derive(Default)]
struct Counter {
    newest: Mutex<u64>,
    calls: Mutex<HashMap<String, usize>>,
    undone: Mutex<Vec<String>>,
}

impl Counter {
    fn sees(&self, token: u64) -> Result<(), StepError> {
        let mut newest = self.newest.lock().unwrap();
        if token < *newest {
            return Err(StepError::halt("a stale token"));
        }
        *newest = token;
        Ok(())
    }
}

async fn pay(cx: Cx<Counter, ()>, (): ()) -> Result<(), StepError> {
    cx.app().sees(cx.fencing_token())?;
    let mut calls = cx.app().calls.lock().unwrap();
    *calls.entry(cx.idempotency_key().into()).or_default() += 1;
    Ok(())
}

async fn void(cx: Cx<Counter, ()>, _: Option<()>) -> Result<(), StepError> {
    cx.app().sees(cx.fencing_token())?;
    let key = cx.undoes().unwrap_or_default().to_owned();
    cx.app().undone.lock().unwrap().push(key);
    Ok(())
}

async fn find(cx: Cx<Counter, ()>, (): ()) -> Result<Reconciled<()>, StepError> {
    cx.app().sees(cx.fencing_token())?;
    let calls = cx.app().calls.lock().unwrap();
    Ok(match calls.get(cx.idempotency_key()) {
        Some(_) => Reconciled::Applied(()),
        None => Reconciled::NotApplied,
    })
}

/// No step was called twice, and what was called is undone or stands, as the end says.
fn paid_once(counter: &Counter, ended: &Ended<()>) -> Result<(), String> {
    let calls = counter.calls.lock().unwrap();
    if let Some((key, times)) = calls.iter().find(|(_, times)| **times > 1) {
        return Err(format!("{key} was paid {times} times"));
    }
    let undone = counter.undone.lock().unwrap();
    let left = calls.keys().filter(|key| !undone.contains(key)).count();
    match ended {
        Ended::Completed(()) if left == 3 && undone.is_empty() => Ok(()),
        Ended::Compensated { .. } if left == 0 => Ok(()),
        Ended::Incident(_) => Ok(()),
        _ => Err(format!("{ended:?} with {left} left, {undone:?} undone")),
    }
}

/// Crashes at every place, two of them as well, and no receiver that knows a key: nothing is done twice.
#[tokio::test(start_paused = true)]
async fn steps_that_run_at_most_once() {
    let once = || Step::new(pay).at_most_once();
    let guessed = Saga::builder("guessed")
        .step("a", once())
        .undo(void)
        .pivot("b", once())
        .then("c", once())
        .build()
        .unwrap();
    let asked = Saga::builder("asked")
        .step("a", once())
        .reconcile(find)
        .undo(void)
        .pivot("b", once())
        .reconcile(find)
        .then("c", once())
        .reconcile(find)
        .build()
        .unwrap();
    for (saga, sure) in [(guessed, false), (asked, true)] {
        let trial = Trial::new(&saga, (), Counter::default).holds(paid_once);
        let survey = trial.double_crashes().run().await.unwrap();
        println!("{}: {survey:?}", saga.name());
        assert!(survey.crashed > 500, "{survey:?}");
        assert_eq!(survey.incidents == 0, sure, "{survey:?}");
    }
}

/// The negative control: the same steps without the setting are done twice, and it is seen.
#[tokio::test(start_paused = true)]
async fn steps_that_run_again_without_keys_are_caught() {
    let saga = Saga::builder("again")
        .step("a", pay)
        .undo(void)
        .pivot("b", pay)
        .then("c", pay)
        .build()
        .unwrap();
    let trial = Trial::new(&saga, (), Counter::default).holds(paid_once);
    let violation = trial.run().await.unwrap_err();
    assert!(violation.reason.contains("times"), "{violation}");
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
    /// It acknowledges intents, and never writes them.
    LosesIntents,
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
            Lie::LosesIntents => append.body.contains("\"intent\""),
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

fn liar(lie: Lie) -> Opener {
    let inner = MemoryJournal::new();
    Box::new(move || {
        Arc::new(Liar {
            inner: inner.clone(),
            lie,
            state: Mutex::default(),
        })
    })
}

/// The negative control of the intent: what was done without one is no legal log.
#[tokio::test(start_paused = true)]
async fn a_journal_that_loses_intents_is_caught() {
    let saga = Saga::builder("once")
        .pivot("a", Step::new(pay).at_most_once())
        .build()
        .unwrap();
    let trial = Trial::new(&saga, (), Counter::default)
        .store(|| liar(Lie::LosesIntents))
        .holds(
            |counter, _| match counter.calls.lock().unwrap().values().max() {
                Some(2..) => Err("paid twice".into()),
                _ => Ok(()),
            },
        );
    let violation = trial.run().await.unwrap_err();
    assert!(violation.reason.contains("intent first"), "{violation}");
}

async fn caught(lie: Lie) -> String {
    let store = move || liar(lie);
    let violation = trial(&documented().unwrap())
        .store(store)
        // The list of what operators may do names the unwinding, which this liar looks for.
        .without(Fault::Halts)
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
        .pivot("pay", |_cx: Cx<(), ()>, (): ()| async {
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

// === what a trial tells ===

fn refunding() -> Trial<Counter, (), ()> {
    let saga = Saga::builder("order")
        .step("reserve", pay)
        .undo(|_cx: Cx<Counter, ()>, _: Option<()>| async { Ok(()) })
        .pivot("ship", |_cx: Cx<Counter, ()>, (): ()| async { Ok(()) })
        .build()
        .unwrap();
    Trial::new(&saga, (), Counter::default).holds(|counter, ended| {
        let left = counter.calls.lock().unwrap().len();
        match ended {
            Ended::Compensated { .. } if left > 0 => Err(format!("{left} reserved")),
            _ => Ok(()),
        }
    })
}

/// A violation is told by the fewest faults that show it, and its last line repeats it.
#[tokio::test(start_paused = true)]
async fn a_violation_is_short_and_can_be_repeated() {
    let trial = refunding();
    let violation = trial.run().await.unwrap_err();
    println!("{violation}");
    assert_eq!(
        violation.disturbance.to_string(),
        "step reserve=unknown_after"
    );
    let text = violation.to_string();
    let (_, schedule) = text.rsplit_once("MAINSTAY_TRIAL=\"").unwrap();
    let again = trial.replay(schedule.trim_end_matches('"')).await;
    assert_eq!(again.unwrap_err().to_string(), text);
    assert!(trial.replay("nothing").await.is_ok());
    assert!(trial.replay("crash 1").await.is_ok());
    let none = trial.replay("step reserve=explodes").await.unwrap_err();
    assert!(none.reason.contains("is none of"), "{none}");
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_trial_run_alone() {
    let recommended = recommended().unwrap();
    let trial = trial(&recommended);
    let survey = trial.fail_at_each_step().await.unwrap();
    // Nothing; two checks that fail; two steps and a pivot that fail or are refused.
    assert_eq!((survey.runs, survey.compensated), (9, 8), "{survey:?}");
    let survey = trial.unknown_at_each_step().await.unwrap();
    assert_eq!(survey.incidents, 2, "of the pivot: {survey:?}");
    let survey = trial.each_step_twice().await.unwrap();
    assert_eq!((survey.runs, survey.completed), (9, 7), "{survey:?}");
    let crashes = trial.crash_at_each_place().await.unwrap();
    let stalls = trial.stall_at_each_place().await.unwrap();
    println!("{crashes:?} {stalls:?}");
    assert_eq!(crashes.crashed, stalls.stalled);
    assert!(crashes.crashed >= 22 && crashes.stalled == 0);
}

/// A trial does not hang, whatever the saga does.
#[tokio::test(start_paused = true)]
async fn a_run_that_has_no_end_is_told() {
    let saga = Saga::builder("endless")
        .pivot("a", |_cx: Cx<Counter, ()>, (): ()| async {
            Err::<(), _>(StepError::retry("never"))
        })
        .build()
        .unwrap();
    let violation = Trial::new(&saga, (), Counter::default).run().await;
    let reason = violation.unwrap_err().reason;
    assert_eq!(reason, "it goes on without end");
    let saga = Saga::builder("stuck")
        .pivot(
            "a",
            Step::new(|_cx: Cx<Counter, ()>, (): ()| async {
                std::future::pending::<Result<(), StepError>>().await
            })
            .timeout(std::time::Duration::from_secs(u64::MAX)),
        )
        .build()
        .unwrap();
    let short = std::time::Duration::from_millis(200);
    let trial = Trial::new(&saga, (), Counter::default).patience(short);
    let reason = trial.run().await.unwrap_err().reason;
    assert!(reason.contains("within 200ms"), "{reason}");
}

/// The negative control of stale instances: a receiver that looks at neither keys nor tokens after it was asked.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_does_not_look_at_tokens_is_caught() {
    async fn careless(cx: Cx<Counter, ()>, (): ()) -> Result<(), StepError> {
        let mut calls = cx.app().calls.lock().unwrap();
        *calls.entry(cx.idempotency_key().into()).or_default() += 1;
        Ok(())
    }
    let saga = Saga::builder("asked")
        .pivot("a", Step::new(careless).at_most_once())
        .reconcile(find)
        .build()
        .unwrap();
    let trial = Trial::new(&saga, (), Counter::default).holds(|counter, _| {
        match counter.calls.lock().unwrap().values().max() {
            Some(2..) => Err("paid twice".into()),
            _ => Ok(()),
        }
    });
    let violation = trial.run().await.unwrap_err();
    println!("{violation}");
    assert_eq!(violation.reason, "paid twice");
    assert!(violation.disturbance.stall.is_some(), "{violation}");
    let trial = trial.stale_instances(false);
    assert!(trial.run().await.is_ok(), "crashes alone do not show it");
}
