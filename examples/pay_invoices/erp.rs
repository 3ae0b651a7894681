//! The application that the saga's steps are lent: a client for each backend, behind the standard stack.
//!
//! The call sites are those of tonic and reqwest; what retries, waits and opens circuits is in the clients.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay::error::AsRejected;
use mainstay::grpc::{GrpcChannel, of_status};
use mainstay::num::Period;
use mainstay::outcome::Outcome;
use mainstay::presets::{erp, synthetic};
use mainstay::standard::{Stack, StackHandle};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use reqwest_middleware::ClientWithMiddleware;
use serde::Serialize;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

use crate::Failed;
use crate::assistant::Question;
use crate::backends::Service;
use crate::chart::{self, Coding};
use crate::invoice::Invoice;
use crate::ledger::pb::ledger_client::LedgerClient;
use crate::ledger::pb::{
    CheckBudgetRequest, CheckInvoiceRequest, CreatePaymentRequest, InvoiceRef, MarkPaidRequest,
    Money, PostEntryRequest, UndoRequest,
};
use crate::notification::Notice;
use crate::timings::Timings;

/// The documents' durations are divided by this, so that openings and recoveries are seen within a minute.
const HASTE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// How long one attempt may take, and all attempts of a call: 10 s and 30 s, divided alike.
const ATTEMPT: Period = Period::millis(500);
const CALL: Period = Period::millis(1_500);

/// Clients for the three backends.
#[derive(Debug)]
pub(crate) struct Erp {
    ledger: LedgerClient<GrpcChannel>,
    notifications: HttpClient,
    assistant: HttpClient,
    stacks: Vec<(Service, StackHandle)>,
    /// Invoices that were coded by rule, because the assistant did not answer.
    by_rules: AtomicU64,
    pub(crate) timings: Timings,
}

/// Where the backends listen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) ledger: String,
    pub(crate) notification: String,
    pub(crate) assistant: String,
}

/// Why a backend did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It said no to this key, and will always say no. Nothing has happened.
    Refused(String),
    /// It was not there, too slow or too busy, or the circuit is open. The same call again may do better, after a
    /// while where one is named.
    Passing(String, Option<Duration>),
    /// It fails on this call, and nobody can say what has happened.
    Lasting(String),
}

type Answer = Result<(), Trouble>;

impl Erp {
    /// Clients for backends that are running.
    pub(crate) fn connect(addresses: &Addresses) -> Result<Self, Failed> {
        let books = stack("ledger")
            .retry(erp::transient().compressed(HASTE))
            .breaker(erp::breaker().compressed(HASTE));
        let notices = stack("notification")
            .retry(erp::external_api().compressed(HASTE))
            .breaker(synthetic::notification_breaker().compressed(HASTE));
        let model = stack("assistant")
            .retry(erp::gpu_queue_full().compressed(HASTE))
            .breaker(erp::ai_breaker().compressed(HASTE));

        // The channel connects when it is first used, and again when the ledger was restarted.
        let channel = Endpoint::from_shared(addresses.ledger.clone())?
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            ledger: LedgerClient::new(books.grpc(channel)),
            notifications: HttpClient::new(&notices, &addresses.notification, "/v1/notices"),
            assistant: HttpClient::new(&model, &addresses.assistant, "/v1/coding"),
            stacks: vec![
                (Service::Ledger, books.handle()),
                (Service::Notification, notices.handle()),
                (Service::Assistant, model.handle()),
            ],
            by_rules: AtomicU64::new(0),
            timings: Timings::default(),
        })
    }

    /// The stacks, to be watched.
    pub(crate) fn stacks(&self) -> &[(Service, StackHandle)] {
        &self.stacks
    }

    pub(crate) fn coded_by_rules(&self) -> u64 {
        self.by_rules.load(Ordering::Relaxed)
    }

    pub(crate) async fn check_invoice(&self, invoice: &Invoice) -> Answer {
        let supplier = invoice.supplier.clone();
        let request = CheckInvoiceRequest {
            invoice: name(invoice),
            supplier,
        };
        ledger(self.ledger.clone().check_invoice(request).await)
    }

    pub(crate) async fn check_budget(&self, invoice: &Invoice) -> Answer {
        let claim = Some(Money {
            minor: invoice.claim.minor,
            currency: invoice.claim.currency.to_string(),
        });
        let request = CheckBudgetRequest {
            invoice: name(invoice),
            tier: invoice.tier.as_str().to_owned(),
            claim,
        };
        ledger(self.ledger.clone().check_budget(request).await)
    }

    pub(crate) async fn create_payment(&self, invoice: &Invoice, key: &str) -> Answer {
        let idempotency_key = key.to_owned();
        let request = CreatePaymentRequest {
            idempotency_key,
            invoice: name(invoice),
            amount: amount(invoice),
        };
        ledger(self.ledger.clone().create_payment(request).await)
    }

    pub(crate) async fn void_payment(&self, invoice: &Invoice, key: &str, undoes: &str) -> Answer {
        ledger(
            self.ledger
                .clone()
                .void_payment(undo(invoice, key, undoes))
                .await,
        )
    }

    pub(crate) async fn mark_paid(&self, invoice: &Invoice, key: &str) -> Answer {
        let request = MarkPaidRequest {
            idempotency_key: key.to_owned(),
            invoice: name(invoice),
        };
        ledger(self.ledger.clone().mark_paid(request).await)
    }

    pub(crate) async fn revert_invoice(
        &self,
        invoice: &Invoice,
        key: &str,
        undoes: &str,
    ) -> Answer {
        ledger(
            self.ledger
                .clone()
                .revert_invoice(undo(invoice, key, undoes))
                .await,
        )
    }

    pub(crate) async fn post_entry(&self, invoice: &Invoice, key: &str, account: &str) -> Answer {
        let request = PostEntryRequest {
            idempotency_key: key.to_owned(),
            invoice: name(invoice),
            amount: amount(invoice),
            account: account.to_owned(),
            due_date: invoice.due.to_string(),
        };
        ledger(self.ledger.clone().post_entry(request).await)
    }

    pub(crate) async fn reverse_entry(&self, invoice: &Invoice, key: &str, undoes: &str) -> Answer {
        ledger(
            self.ledger
                .clone()
                .reverse_entry(undo(invoice, key, undoes))
                .await,
        )
    }

    pub(crate) async fn send_notice(&self, invoice: &Invoice, key: &str) -> Answer {
        self.notifications
            .post(&notice(invoice, key, None))
            .await
            .map(drop)
    }

    pub(crate) async fn cancel_notice(&self, invoice: &Invoice, key: &str, undoes: &str) -> Answer {
        self.notifications
            .post(&notice(invoice, key, Some(undoes)))
            .await
            .map(drop)
    }

    /// Asks the assistant, and goes by the rules where it has no answer: a saga never waits for an opinion.
    pub(crate) async fn code_invoice(&self, invoice: &Invoice) -> Coding {
        let Invoice {
            supplier,
            description,
            ..
        } = invoice.clone();
        let question = Question {
            invoice: invoice.key(),
            supplier,
            description,
        };
        let answer = self.assistant.post(&question).await;
        match answer
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok())
        {
            Some(coding) => coding,
            None => {
                self.by_rules.fetch_add(1, Ordering::Relaxed);
                chart::by_rules(&question.supplier, &question.description)
            }
        }
    }
}

/// The order of layers that works, with the durations of this example. All three backends apply a key once, so every
/// call may be made again.
fn stack(name: &'static str) -> Stack {
    Stack::standard(name)
        .deadline(CALL)
        .attempt_timeout(ATTEMPT)
        .idempotent()
}

/// A backend that speaks HTTP.
#[derive(Debug)]
struct HttpClient {
    client: ClientWithMiddleware,
    url: String,
}

impl HttpClient {
    fn new(stack: &Stack, backend: &str, path: &str) -> Self {
        Self {
            client: stack.reqwest(reqwest::Client::new()),
            url: format!("{backend}{path}"),
        }
    }

    async fn post(&self, body: &impl Serialize) -> Result<Vec<u8>, Trouble> {
        let body = serde_json::to_vec(body).map_err(|error| Trouble::Lasting(error.to_string()))?;
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| {
            let rejected = error.as_rejected();
            // What reqwest says names the address, which differs from run to run.
            let why =
                rejected.map_or_else(|| "no answer".to_owned(), |rejected| rejected.to_string());
            Trouble::Passing(why, rejected.and_then(|rejected| rejected.hint()))
        })?;
        let status = response.status();
        let body = response.bytes().await;
        let body = body.map_err(|_| Trouble::Passing("no whole answer".to_owned(), None))?;
        match status {
            _ if status.is_success() => Ok(body.to_vec()),
            StatusCode::UNPROCESSABLE_ENTITY => Err(Trouble::Refused(
                String::from_utf8_lossy(&body).into_owned(),
            )),
            StatusCode::INTERNAL_SERVER_ERROR => Err(Trouble::Lasting(status.to_string())),
            _ => Err(Trouble::Passing(status.to_string(), None)),
        }
    }
}

fn ledger<T>(answer: Result<T, Status>) -> Answer {
    answer.map(drop).map_err(|status| {
        let why = status.message().to_owned();
        match status.code() {
            Code::FailedPrecondition | Code::InvalidArgument => Trouble::Refused(why),
            Code::Internal | Code::DataLoss | Code::Unimplemented => Trouble::Lasting(why),
            _ => match of_status(&status) {
                Outcome::Overload { retry_after } => Trouble::Passing(why, retry_after),
                _ => Trouble::Passing(why, None),
            },
        }
    })
}

fn name(invoice: &Invoice) -> Option<InvoiceRef> {
    Some(InvoiceRef {
        tenant: invoice.tenant.clone(),
        invoice_no: invoice.number.clone(),
    })
}

fn amount(invoice: &Invoice) -> Option<Money> {
    Some(Money {
        minor: invoice.amount.minor,
        currency: invoice.amount.currency.to_string(),
    })
}

fn undo(invoice: &Invoice, key: &str, undoes: &str) -> UndoRequest {
    UndoRequest {
        idempotency_key: key.to_owned(),
        invoice: name(invoice),
        undoes: undoes.to_owned(),
    }
}

fn notice(invoice: &Invoice, key: &str, cancels: Option<&str>) -> Notice {
    Notice {
        idempotency_key: key.to_owned(),
        tenant: invoice.tenant.clone(),
        invoice_no: invoice.number.clone(),
        supplier: invoice.supplier.clone(),
        cancels: cancels.map(str::to_owned),
    }
}
