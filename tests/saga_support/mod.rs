//! A business with a ledger outside of the engine, for the saga tests.
//!
//! The ledger is what a careful receiver is: it applies a key once, lets an undo name the key of what it undoes, and
//! refuses what was undone before it came. What it was asked to do is kept, in order, to be compared exactly.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    clippy::allow_attributes,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "each test binary uses a part of it, and waits in virtual time"
)]

pub mod many;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use mainstay::saga::{Cx, DefinitionError, Ended, Saga, StepError};

/// The steps that have effects, in the order of both definitions.
pub const EFFECTS: [&str; 4] = ["create_payment", "update_invoice", "post_gl", "notify"];

#[derive(Default)]
pub struct Erp {
    books: Mutex<Books>,
}

#[derive(Default, Debug)]
pub struct Books {
    /// Effects that stand, by key.
    applied: BTreeMap<String, String>,
    /// Keys that must not be applied any more.
    tombstones: BTreeSet<String>,
    /// First applications, in order: `+step` and `-step`.
    pub events: Vec<String>,
    /// Every key that a step or an undo came with: one each, if keys are stable.
    keys: BTreeMap<String, BTreeSet<String>>,
    fences: Vec<u64>,
}

impl Books {
    /// Refuses a token that is not the newest: an instance that was stopped for longer than its lease has it.
    fn sees(&mut self, token: u64) -> Result<(), StepError> {
        if self.fences.last().is_some_and(|newest| token < *newest) {
            return Err(StepError::halt("a stale token"));
        }
        self.fences.push(token);
        Ok(())
    }
}

impl Erp {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn apply(&self, cx: &Cx<Self, Invoice>) -> Result<String, StepError> {
        let mut books = self.books();
        let key = cx.idempotency_key().to_owned();
        books
            .keys
            .entry(format!("+{}", cx.step()))
            .or_default()
            .insert(key.clone());
        books.sees(cx.fencing_token())?;
        if books.tombstones.contains(&key) {
            return Err(StepError::fail("it was undone before it came"));
        }
        if books
            .applied
            .insert(key.clone(), cx.step().to_owned())
            .is_none()
        {
            books.events.push(format!("+{}", cx.step()));
        }
        Ok(format!("{}:{key}", cx.step()))
    }

    fn undo(&self, cx: &Cx<Self, Invoice>, output: Option<&str>) -> Result<(), StepError> {
        let mut books = self.books();
        let undoes = cx
            .undoes()
            .ok_or_else(|| StepError::halt("not an undo"))?
            .to_owned();
        if output.is_some_and(|output| output != format!("{}:{undoes}", cx.step())) {
            return Err(StepError::halt("the output of another step"));
        }
        books
            .keys
            .entry(format!("-{}", cx.step()))
            .or_default()
            .insert(cx.idempotency_key().to_owned());
        books.sees(cx.fencing_token())?;
        books.tombstones.insert(undoes.clone());
        if books.applied.remove(&undoes).is_some() {
            books.events.push(format!("-{}", cx.step()));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Invoice {
    pub number: String,
    pub minor: i64,
}

pub fn invoice() -> Invoice {
    Invoice {
        number: "INV-1".into(),
        minor: 129_900,
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Budget {
    pub left: i64,
}

pub async fn validate_invoice(cx: Cx<Erp, Invoice>, (): ()) -> Result<(), StepError> {
    if cx.input().minor <= 0 {
        Err(StepError::fail("nothing to pay"))
    } else {
        Ok(())
    }
}

pub async fn check_budget(_cx: Cx<Erp, Invoice>, (): ()) -> Result<Budget, StepError> {
    Ok(Budget { left: 1_000_000 })
}

pub async fn create_payment(cx: Cx<Erp, Invoice>, budget: Budget) -> Result<String, StepError> {
    if budget.left < cx.input().minor {
        return Err(StepError::fail("over budget"));
    }
    cx.app().apply(&cx)
}

pub async fn effect(cx: Cx<Erp, Invoice>, _: String) -> Result<String, StepError> {
    // Somewhere a network: the run is not one poll.
    tokio::task::yield_now().await;
    cx.app().apply(&cx)
}

pub async fn undo(cx: Cx<Erp, Invoice>, output: Option<String>) -> Result<(), StepError> {
    tokio::task::yield_now().await;
    cx.app().undo(&cx, output.as_deref())
}

/// The recommended order: the entry in the general ledger is the point of no return.
pub fn recommended() -> Result<Saga<Erp, Invoice, String>, DefinitionError> {
    Saga::builder("invoice_payment")
        .version(1)
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .step("create_payment", create_payment)
        .undo(undo)
        .step("update_invoice", effect)
        .undo(undo)
        .pivot("post_gl", effect)
        .then("notify", effect)
        .build()
}

/// The documents' order: a notification that fails reverses the entry.
pub fn documented() -> Result<Saga<Erp, Invoice, String>, DefinitionError> {
    Saga::builder("invoice_payment_documented")
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .step("create_payment", create_payment)
        .undo(undo)
        .step("update_invoice", effect)
        .undo(undo)
        .step("post_gl", effect)
        .undo(undo)
        .step("notify", effect)
        .undo(undo)
        .build()
}

/// What must hold of the books after any run of either definition.
pub fn books_hold(erp: &Erp, ended: &Ended<String>) -> Result<(), String> {
    let books = erp.books();
    for (what, keys) in &books.keys {
        if keys.len() != 1 {
            return Err(format!("{what} came with {} keys", keys.len()));
        }
    }
    let all: BTreeSet<&String> = books.keys.values().flatten().collect();
    if all.len() != books.keys.len() {
        return Err("two steps or undos share a key".into());
    }
    if books.fences.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err("a fencing token went back".into());
    }
    let done: Vec<&str> = books
        .events
        .iter()
        .filter_map(|event| event.strip_prefix('+'))
        .collect();
    let undone: Vec<&str> = books
        .events
        .iter()
        .filter_map(|event| event.strip_prefix('-'))
        .collect();
    let in_order = EFFECTS.iter().take(done.len()).eq(done.iter());
    if !in_order {
        return Err(format!("effects out of order: {:?}", books.events));
    }
    let fine = match ended {
        Ended::Completed(_) => done.len() == EFFECTS.len() && undone.is_empty(),
        // Exactly what was done, in the reverse order, and after all of it.
        Ended::Compensated { .. } => {
            undone.iter().eq(done.iter().rev())
                && books
                    .events
                    .iter()
                    .skip(done.len())
                    .all(|event| event.starts_with('-'))
        }
        // The pivot is in doubt: everything before it stands.
        Ended::Incident(_) => undone.is_empty() && done.len() >= 2,
        _ => false,
    };
    if fine {
        Ok(())
    } else {
        Err(format!("{ended:?} with {:?}", books.events))
    }
}
