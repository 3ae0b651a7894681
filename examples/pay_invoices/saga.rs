//! The payment of one invoice as a saga, in two orders.
//!
//! | step | `standard` | its undo | `documented` | its undo |
//! |---|---|---|---|---|
//! | `validate_invoice` | check | – | check | – |
//! | `check_budget` | check | – | check | – |
//! | `create_payment` | step | void the payment | step | void the payment |
//! | `update_invoice` | step | revert the invoice | step | revert the invoice |
//! | `post_gl` | **pivot** | – | step | reverse the entry |
//! | `notify` | then | – | step | send a cancellation |
//!
//! In the documents' order a notification that cannot be sent takes a posted payment back. In the standard order
//! posting is the point of no return: a notification is retried until it is out, and the books stay as they are.
//!
//! Each step says how sure it is. What a backend refuses under an idempotency key had no effect, in no attempt
//! (`refused`). What a passing failure has done is not known, and the same call again finds out (`retry`). A failure
//! that stays may have had its effect, so the step is undone like one that is done (`unknown`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mainstay::retry::Backoff;
use mainstay::saga::{Cx, DefinitionError, Saga, Step, StepError};
use serde::{Deserialize, Serialize};

use crate::chart::Coding;
use crate::erp::{Erp, Trouble};
use crate::invoice::Invoice;

/// Which of the two orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Documented,
    Standard,
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "documented" => Ok(Self::Documented),
            "standard" => Ok(Self::Standard),
            _ => Err("standard or documented".to_owned()),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Documented => "documented",
            Self::Standard => "standard",
        })
    }
}

/// The steps as they are shown.
pub(crate) const STEPS: [&str; 10] = [
    "validate_invoice",
    "check_budget",
    "create_payment",
    "update_invoice",
    "post_gl",
    "notify",
    "undo notify",
    "undo post_gl",
    "undo update_invoice",
    "undo create_payment",
];

/// How often an undo is tried that fails in a way that stays, before a person has to look.
const UNDO_ATTEMPTS: u32 = 2;

/// The saga in this order.
pub(crate) fn pay_invoice(order: Order) -> Result<Saga<Erp, Invoice, Notified>, DefinitionError> {
    let head = Saga::builder("invoice_payment")
        .version(1)
        .check("validate_invoice", patient(validate_invoice))
        .check("check_budget", patient(check_budget))
        .step("create_payment", patient(create_payment))
        .undo(patient(void_payment))
        .step("update_invoice", patient(update_invoice))
        .undo(patient(revert_invoice));
    match order {
        Order::Standard => head
            .pivot("post_gl", patient(post_gl))
            .then("notify", patient(notify))
            .build(),
        Order::Documented => head
            .step("post_gl", patient(post_gl))
            .undo(patient(reverse_gl))
            .step("notify", patient(notify_or_fail))
            .undo(patient(send_cancellation))
            .build(),
    }
}

/// A step that outlasts every outage. The stack below retries a single call; what it gives up on waits here, between a
/// twentieth of the documents' first and last delay of external calls, without holding anything.
fn patient<A>(step: A) -> Step<A> {
    let backoff = Backoff::exponential(Duration::from_millis(25), Duration::from_millis(500));
    Step::new(step)
        .until_done()
        .backoff(backoff)
        .timeout(Duration::from_secs(10))
}

type Context = Cx<Erp, Invoice>;

/// What is known before money moves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Validated {
    coding: Coding,
}

/// Whether the supplier was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Notified {
    Sent,
    /// The supplier cannot be reached; the payment stands.
    Undeliverable,
}

async fn validate_invoice(cx: Context, (): ()) -> Result<Validated, StepError> {
    let work = async {
        cx.app().check_invoice(cx.input()).await.map_err(forward)?;
        Ok(Validated {
            coding: cx.app().code_invoice(cx.input()).await,
        })
    };
    timed(&cx, "validate_invoice", work).await
}

async fn check_budget(cx: Context, validated: Validated) -> Result<Validated, StepError> {
    timed(&cx, "check_budget", cx.app().check_budget(cx.input()))
        .await
        .map_err(forward)?;
    Ok(validated)
}

async fn create_payment(cx: Context, validated: Validated) -> Result<Validated, StepError> {
    timed(
        &cx,
        "create_payment",
        cx.app().create_payment(cx.input(), &key(&cx)),
    )
    .await
    .map_err(forward)?;
    Ok(validated)
}

async fn void_payment(cx: Context, _: Option<Validated>) -> Result<(), StepError> {
    timed(
        &cx,
        "undo create_payment",
        cx.app().void_payment(cx.input(), &undo_key(&cx), &key(&cx)),
    )
    .await
    .map_err(|trouble| backward(&cx, trouble))
}

async fn update_invoice(cx: Context, validated: Validated) -> Result<Validated, StepError> {
    timed(
        &cx,
        "update_invoice",
        cx.app().mark_paid(cx.input(), &key(&cx)),
    )
    .await
    .map_err(forward)?;
    Ok(validated)
}

async fn revert_invoice(cx: Context, _: Option<Validated>) -> Result<(), StepError> {
    timed(
        &cx,
        "undo update_invoice",
        cx.app()
            .revert_invoice(cx.input(), &undo_key(&cx), &key(&cx)),
    )
    .await
    .map_err(|trouble| backward(&cx, trouble))
}

async fn post_gl(cx: Context, validated: Validated) -> Result<(), StepError> {
    let account = &validated.coding.account;
    timed(
        &cx,
        "post_gl",
        cx.app().post_entry(cx.input(), &key(&cx), account),
    )
    .await
    .map_err(forward)
}

async fn reverse_gl(cx: Context, _: Option<()>) -> Result<(), StepError> {
    timed(
        &cx,
        "undo post_gl",
        cx.app()
            .reverse_entry(cx.input(), &undo_key(&cx), &key(&cx)),
    )
    .await
    .map_err(|trouble| backward(&cx, trouble))
}

async fn notify(cx: Context, (): ()) -> Result<Notified, StepError> {
    match timed(&cx, "notify", cx.app().send_notice(cx.input(), &key(&cx))).await {
        Ok(()) => Ok(Notified::Sent),
        Err(Trouble::Refused(_)) => Ok(Notified::Undeliverable),
        Err(Trouble::Passing(why, after)) => Err(again(why, after)),
        Err(Trouble::Lasting(why)) => Err(StepError::retry(why)),
    }
}

async fn notify_or_fail(cx: Context, (): ()) -> Result<Notified, StepError> {
    match timed(&cx, "notify", cx.app().send_notice(cx.input(), &key(&cx))).await {
        Ok(()) => Ok(Notified::Sent),
        // Not `refused`: a mailbox that is full today may take the same notice tomorrow.
        Err(Trouble::Refused(why)) => Err(StepError::fail(why)),
        Err(trouble) => Err(forward(trouble)),
    }
}

async fn send_cancellation(cx: Context, _: Option<Notified>) -> Result<(), StepError> {
    timed(
        &cx,
        "undo notify",
        cx.app()
            .cancel_notice(cx.input(), &undo_key(&cx), &key(&cx)),
    )
    .await
    .map_err(|trouble| backward(&cx, trouble))
}

/// Runs the work of a step, or of an undo, and measures it.
async fn timed<T>(cx: &Context, step: &'static str, work: impl Future<Output = T>) -> T {
    cx.app().timings.of(step, work).await
}

/// The idempotency key of a step.
///
/// `cx.idempotency_key()`, and `cx.undoes()` in an undo, are what a service takes whose business keys are used more than
/// once: they differ from saga to saga. An invoice is paid by one saga, so here its number and the step will do, and the
/// books of two runs can be compared row by row, keys and all.
fn key(cx: &Context) -> String {
    format!("{}/{}", cx.input().key(), cx.step())
}

/// The idempotency key of a step's undo.
fn undo_key(cx: &Context) -> String {
    format!("{}/undo", key(cx))
}

fn forward(trouble: Trouble) -> StepError {
    match trouble {
        Trouble::Refused(why) => StepError::refused(why),
        Trouble::Passing(why, after) => again(why, after),
        Trouble::Lasting(why) => StepError::unknown(why),
    }
}

/// An undo must succeed in the end, or a person must look.
fn backward(cx: &Context, trouble: Trouble) -> StepError {
    match trouble {
        Trouble::Passing(why, after) => again(why, after),
        Trouble::Lasting(why) if cx.attempt() < UNDO_ATTEMPTS => StepError::retry(why),
        Trouble::Lasting(why) | Trouble::Refused(why) => StepError::halt(why),
    }
}

fn again(why: String, after: Option<Duration>) -> StepError {
    match after {
        Some(after) => StepError::retry_after(why, after),
        None => StepError::retry(why),
    }
}
