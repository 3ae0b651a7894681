//! The form as it is, and as it will be called when later work has come: branches, a timer, a signal, a migration, a
//! child saga. What is not there yet is declared here, as the extension of the builder that it would be, over the
//! public types alone; so the form has room for it without a break.
//!
//! What the form refuses is in `tests/refused/`, one file each, compiled as documentation tests that must not compile.

#![expect(
    unreachable_pub,
    clippy::use_self,
    reason = "what is declared reads as it would stand in the library"
)]

use mainstay::num::Attempts;
use mainstay::saga::{Builder, Cx, DefinitionError, Migration, Saga, Step, StepError};
use serde::{Deserialize, Serialize};
use std::time::Duration;

struct Erp;

#[derive(Serialize, Deserialize)]
struct Invoice {
    number: String,
}

#[derive(Serialize, Deserialize)]
struct Budget(u64);

#[derive(Serialize, Deserialize)]
struct PaymentId(String);

#[derive(Serialize, Deserialize)]
struct Posted(u64);

async fn validate_invoice(cx: Cx<Erp, Invoice>, (): ()) -> Result<(), StepError> {
    if cx.input().number.is_empty() {
        Err(StepError::fail("no number"))
    } else {
        Ok(())
    }
}

async fn check_budget(_: Cx<Erp, Invoice>, (): ()) -> Result<Budget, StepError> {
    Ok(Budget(1))
}

async fn create_payment(cx: Cx<Erp, Invoice>, _: Budget) -> Result<PaymentId, StepError> {
    Ok(PaymentId(cx.idempotency_key().to_owned()))
}

async fn void_payment(_: Cx<Erp, Invoice>, _: Option<PaymentId>) -> Result<(), StepError> {
    Ok(())
}

async fn mark_paid(_: Cx<Erp, Invoice>, payment: PaymentId) -> Result<PaymentId, StepError> {
    Ok(payment)
}

async fn post_gl_entry(_: Cx<Erp, Invoice>, payment: PaymentId) -> Result<Posted, StepError> {
    Ok(Posted(payment.0.parse()?))
}

async fn reverse_gl_entry(_: Cx<Erp, Invoice>, _: Option<Posted>) -> Result<(), StepError> {
    Ok(())
}

async fn send_notification(_: Cx<Erp, Invoice>, posted: Posted) -> Result<Posted, StepError> {
    Ok(posted)
}

async fn send_cancellation(_: Cx<Erp, Invoice>, _: Option<Posted>) -> Result<(), StepError> {
    Ok(())
}

/// The recommended order: every kind of step, with and without settings.
fn pay_invoice() -> Result<Saga<Erp, Invoice, Posted>, DefinitionError> {
    Saga::builder("invoice_payment")
        .version(1)
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .step("create_payment", create_payment)
        .undo(void_payment)
        .step(
            "update_invoice",
            Step::new(mark_paid).attempts(Attempts::total(5)),
        )
        .undo(
            Step::new(void_payment)
                .until_done()
                .timeout(Duration::from_secs(3)),
        )
        .pivot(
            "post_gl",
            Step::new(post_gl_entry).deadline(Duration::from_secs(60)),
        )
        .then("notify", send_notification)
        .build()
}

/// The documents' order: the same builder, without a pivot.
fn documented() -> Result<Saga<Erp, Invoice, Posted>, DefinitionError> {
    Saga::builder("invoice_payment_documented")
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .step("create_payment", create_payment)
        .undo(void_payment)
        .step("update_invoice", mark_paid)
        .undo(void_payment)
        .step("post_gl", post_gl_entry)
        .undo(reverse_gl_entry)
        .step("notify", send_notification)
        .undo(send_cancellation)
        .build()
}

/// What later work adds. Each method has the chain's own shape: a name, what to do, and the type of what comes out.
mod later {
    use std::marker::PhantomData;
    use std::time::Duration;

    use mainstay::saga::{Action, Before, Builder, Recorded};

    /// Branches run at the same time; each is a chain of its own that begins with the given output, and the next step
    /// is given all their outputs. A branch before the pivot is made of steps with undos, so a branch of [`Before`]
    /// is what `branches` takes: the typestate of the chain holds inside.
    pub trait Branches<App, Input, Given> {
        fn branches<A, B>(
            self,
            name: &str,
            one: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
            other: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, B, Before>,
        ) -> Builder<App, Input, (A, B), Before>;
    }

    impl<App, Input, Given> Branches<App, Input, Given> for Builder<App, Input, Given, Before> {
        fn branches<A, B>(
            self,
            _: &str,
            _: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
            _: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, B, Before>,
        ) -> Builder<App, Input, (A, B), Before> {
            panic!("declared, not built")
        }
    }

    /// Waits, durably, and hands the output on. Possible in both phases.
    pub trait Timer: Sized {
        fn sleep(self, _name: &str, _time: Duration) -> Self {
            panic!("declared, not built")
        }
    }

    impl<App, Input, Given, Phase> Timer for Builder<App, Input, Given, Phase> {}

    /// Names what comes from outside, and its type.
    pub struct Signal<T> {
        signal: PhantomData<T>,
    }

    impl<T: Recorded> Signal<T> {
        pub fn named(_: &str) -> Self {
            Self {
                signal: PhantomData,
            }
        }

        /// Without it in time the saga turns back.
        pub fn within(self, _: Duration) -> Self {
            self
        }
    }

    /// Waits for a signal; the next step is given the output so far and the signal.
    pub trait Await<App, Input, Given, Phase> {
        fn signal<T: Recorded>(
            self,
            name: &str,
            signal: Signal<T>,
        ) -> Builder<App, Input, (Given, T), Phase>;
    }

    impl<App, Input, Given, Phase> Await<App, Input, Given, Phase>
        for Builder<App, Input, Given, Phase>
    {
        fn signal<T: Recorded>(
            self,
            _: &str,
            _: Signal<T>,
        ) -> Builder<App, Input, (Given, T), Phase> {
            panic!("declared, not built")
        }
    }

    /// Which of two chains goes on is decided by an action; both end in the same type.
    pub trait Choose<App, Input, Given> {
        fn branch<D, A>(
            self,
            name: &str,
            decide: D,
            yes: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
            no: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
        ) -> Builder<App, Input, A, Before>
        where
            D: Action<App, Input, Given, Output = (bool, Given)>;
    }

    impl<App, Input, Given> Choose<App, Input, Given> for Builder<App, Input, Given, Before> {
        fn branch<D, A>(
            self,
            _: &str,
            _: D,
            _: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
            _: impl FnOnce(Builder<App, Input, Given, Before>) -> Builder<App, Input, A, Before>,
        ) -> Builder<App, Input, A, Before>
        where
            D: Action<App, Input, Given, Output = (bool, Given)>,
        {
            panic!("declared, not built")
        }
    }

    /// A saga of its own as a step, undone by its own undos: an action like any other, with an undo like any other.
    pub fn child<App, Input, Inner, Output>(
        _: &mainstay::saga::Saga<App, Inner, Output>,
    ) -> impl Fn(
        mainstay::saga::Cx<App, Input>,
        Inner,
    ) -> std::future::Ready<Result<Output, mainstay::saga::StepError>>
    + use<App, Input, Inner, Output> {
        |_, _| panic!("declared, not built")
    }
}

use later::{Await as _, Branches as _, Choose as _, Signal, Timer as _};

#[derive(Serialize, Deserialize)]
struct Approval {
    by: String,
}

async fn over_limit(_: Cx<Erp, Invoice>, budget: Budget) -> Result<(bool, Budget), StepError> {
    Ok((budget.0 > 1_000, budget))
}

async fn approved(
    _: Cx<Erp, Invoice>,
    (budget, approval): (Budget, Approval),
) -> Result<Budget, StepError> {
    if approval.by.is_empty() {
        Err(StepError::fail("not approved"))
    } else {
        Ok(budget)
    }
}

async fn post_both(_: Cx<Erp, Invoice>, _: (PaymentId, Posted)) -> Result<Posted, StepError> {
    Ok(Posted(1))
}

async fn reserve(_: Cx<Erp, Invoice>, _: Budget) -> Result<Posted, StepError> {
    Ok(Posted(1))
}

/// A branch, parallel branches, a timer, a signal, and what follows them, in one chain.
fn as_it_will_be() -> Result<Saga<Erp, Invoice, Posted>, DefinitionError> {
    let saga = Saga::builder("invoice_payment")
        .version(2)
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .branch(
            "over_limit",
            over_limit,
            |yes| {
                yes.signal(
                    "approval",
                    Signal::<Approval>::named("approve").within(Duration::from_secs(86_400)),
                )
                .check("approved", approved)
            },
            |no: Builder<_, _, _, _>| no,
        )
        .branches(
            "prepare",
            |one| {
                one.step("create_payment", create_payment)
                    .undo(void_payment)
            },
            |other| other.step("reserve", reserve).undo(reverse_gl_entry),
        )
        .sleep("cooling_off", Duration::from_secs(3_600))
        .pivot("post_gl", post_both)
        .sleep("until_morning", Duration::from_secs(28_800))
        .then("notify", send_notification)
        .build()?;
    saga.migrate(
        Migration::from_shape(pay_invoice()?.shape())
            .renamed("update_invoice", "reserve")
            .added_check("over_limit", &true),
    )
}

/// A child saga is an action.
fn with_a_child(
    inner: &Saga<Erp, PaymentId, Posted>,
) -> Result<Saga<Erp, Invoice, Posted>, DefinitionError> {
    Saga::builder("parent")
        .check("validate_invoice", validate_invoice)
        .check("check_budget", check_budget)
        .step("create_payment", create_payment)
        .undo(void_payment)
        .step("child", later::child(inner))
        .undo(reverse_gl_entry)
        .build()
}

#[test]
fn every_kind_of_step_fits_the_form() {
    assert!(pay_invoice().is_ok());
    assert!(documented().is_ok());
    // These are compiled and not called: what they call is declared above and not built.
    let _: fn() -> _ = as_it_will_be;
    let _: fn(&_) -> _ = with_a_child;
}
