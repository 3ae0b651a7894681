//! The ledger as a gRPC service.

use std::path::Path;

use mainstay::deadline::DeadlineLayer;
use mainstay::grpc::AsResponse;
use mainstay::http::DeadlineHeader;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::books::{Amount, Books, BooksError, Fresh, SCHEMA};
use super::pb::ledger_server::{Ledger, LedgerServer};
use super::pb::{
    Allowed, Applied, CheckBudgetRequest, CheckInvoiceRequest, CreatePaymentRequest, InvoiceRef,
    MarkPaidRequest, Money, PostEntryRequest, UndoRequest,
};
use crate::Failed;
use crate::backends::LONGEST;
use crate::faults::{Faults, Injected};
use crate::invoice::{Date, Tier};
use crate::money::Currency;
use crate::store::Writer;

/// Suppliers whose name carries this mark get no money.
const BLOCKED: &str = "(blocked)";

/// Serves the books in `file` until the process ends.
pub(crate) async fn serve(
    listener: TcpListener,
    file: &Path,
    faults: Faults,
) -> Result<(), Failed> {
    let service = Service {
        books: Writer::open(file, SCHEMA)?,
        faults,
    };
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        // Whoever asks says until when an answer is of use; work that comes too late is not started.
        .layer(DeadlineHeader::grpc().honour())
        .layer(DeadlineLayer::new("ledger", LONGEST).refuse_with(AsResponse))
        .add_service(LedgerServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

struct Service {
    books: Writer,
    faults: Faults,
}

impl Service {
    /// Runs one effect, with what goes wrong with it, and returns when it is durable.
    async fn effect(
        &self,
        operation: &'static str,
        key: String,
        invoice: Option<InvoiceRef>,
        effect: impl FnOnce(&Books<'_>, &str) -> Fresh + Send + 'static,
    ) -> Result<Response<Applied>, Status> {
        let invoice = named(invoice)?;
        if key.is_empty() {
            return Err(Status::invalid_argument("idempotency_key is missing"));
        }
        let work = async {
            let key = key.clone();
            let applied = self.books.write(move |connection| {
                let books = Books {
                    connection,
                    tenant: &invoice.tenant,
                    invoice_no: &invoice.invoice_no,
                };
                effect(&books, &key)
            });
            Ok(Response::new(Applied {
                fresh: applied.await?,
            }))
        };
        self.faults.around(operation, &key, work).await
    }
}

#[tonic::async_trait]
impl Ledger for Service {
    async fn check_invoice(
        &self,
        request: Request<CheckInvoiceRequest>,
    ) -> Result<Response<Allowed>, Status> {
        let CheckInvoiceRequest { invoice, supplier } = request.into_inner();
        let invoice = named(invoice)?;
        let work = async {
            if supplier.contains(BLOCKED) {
                return Err(Status::failed_precondition("the supplier is blocked"));
            }
            Ok(Response::new(Allowed {}))
        };
        self.faults
            .around("check_invoice", &key_of(&invoice), work)
            .await
    }

    async fn check_budget(
        &self,
        request: Request<CheckBudgetRequest>,
    ) -> Result<Response<Allowed>, Status> {
        let CheckBudgetRequest {
            invoice,
            tier,
            claim,
        } = request.into_inner();
        let invoice = named(invoice)?;
        let claim = amount(claim)?;
        let budget = budget(&tier, &claim.currency)?;
        let work = async {
            if claim.minor > budget {
                return Err(Status::failed_precondition(format!(
                    "over the {tier} budget"
                )));
            }
            Ok(Response::new(Allowed {}))
        };
        self.faults
            .around("check_budget", &key_of(&invoice), work)
            .await
    }

    async fn create_payment(
        &self,
        request: Request<CreatePaymentRequest>,
    ) -> Result<Response<Applied>, Status> {
        let CreatePaymentRequest {
            idempotency_key,
            invoice,
            amount: money,
        } = request.into_inner();
        let amount = amount(money)?;
        let effect = move |books: &Books<'_>, key: &str| books.create_payment(key, &amount);
        self.effect("create_payment", idempotency_key, invoice, effect)
            .await
    }

    async fn void_payment(
        &self,
        request: Request<UndoRequest>,
    ) -> Result<Response<Applied>, Status> {
        let UndoRequest {
            idempotency_key,
            invoice,
            undoes,
        } = request.into_inner();
        let effect = move |books: &Books<'_>, key: &str| books.void_payment(key, &undoes);
        self.effect("void_payment", idempotency_key, invoice, effect)
            .await
    }

    async fn mark_paid(
        &self,
        request: Request<MarkPaidRequest>,
    ) -> Result<Response<Applied>, Status> {
        let MarkPaidRequest {
            idempotency_key,
            invoice,
        } = request.into_inner();
        self.effect("mark_paid", idempotency_key, invoice, |books, key| {
            books.mark_paid(key)
        })
        .await
    }

    async fn revert_invoice(
        &self,
        request: Request<UndoRequest>,
    ) -> Result<Response<Applied>, Status> {
        let UndoRequest {
            idempotency_key,
            invoice,
            undoes,
        } = request.into_inner();
        let effect = move |books: &Books<'_>, key: &str| books.revert_invoice(key, &undoes);
        self.effect("revert_invoice", idempotency_key, invoice, effect)
            .await
    }

    async fn post_entry(
        &self,
        request: Request<PostEntryRequest>,
    ) -> Result<Response<Applied>, Status> {
        let PostEntryRequest {
            idempotency_key,
            invoice,
            amount: money,
            account,
            due_date,
        } = request.into_inner();
        let amount = amount(money)?;
        let due: Date = due_date
            .parse()
            .map_err(|why: String| Status::invalid_argument(why))?;
        let effect =
            move |books: &Books<'_>, key: &str| books.post_entry(key, &amount, &account, due);
        self.effect("post_entry", idempotency_key, invoice, effect)
            .await
    }

    async fn reverse_entry(
        &self,
        request: Request<UndoRequest>,
    ) -> Result<Response<Applied>, Status> {
        let UndoRequest {
            idempotency_key,
            invoice,
            undoes,
        } = request.into_inner();
        let effect = move |books: &Books<'_>, key: &str| books.reverse_entry(key, &undoes);
        self.effect("reverse_entry", idempotency_key, invoice, effect)
            .await
    }
}

fn named(invoice: Option<InvoiceRef>) -> Result<InvoiceRef, Status> {
    invoice.ok_or_else(|| Status::invalid_argument("invoice is missing"))
}

fn key_of(invoice: &InvoiceRef) -> String {
    format!("{}/{}", invoice.tenant, invoice.invoice_no)
}

fn amount(money: Option<Money>) -> Result<Amount, Status> {
    let Money { minor, currency } =
        money.ok_or_else(|| Status::invalid_argument("amount is missing"))?;
    Ok(Amount { minor, currency })
}

/// What a tenant of this tier may spend in this currency, in minor units.
///
/// Budgets are set in euros and carried over at round planning rates.
fn budget(tier: &str, currency: &str) -> Result<i64, Status> {
    let tier: Tier = tier
        .parse()
        .map_err(|why: String| Status::invalid_argument(why))?;
    let currency: Currency = currency
        .parse()
        .map_err(|why: String| Status::invalid_argument(why))?;
    let euros: i64 = match tier {
        Tier::Enterprise => 420_000,
        Tier::MidMarket => 120_000,
        Tier::Smb => 25_000,
    };
    let hundredths: i64 = match currency {
        Currency::Bhd => 40,
        Currency::Chf => 95,
        Currency::Eur => 100,
        Currency::Gbp => 85,
        Currency::Jpy => 16_000,
        Currency::Krw => 145_000,
        Currency::Kwd => 33,
        Currency::Tnd => 330,
        Currency::Usd => 110,
    };
    Ok(euros * hundredths / 100 * currency.scale())
}

impl From<BooksError> for Status {
    fn from(error: BooksError) -> Self {
        match error {
            BooksError::Refused(why) => Self::failed_precondition(why),
            BooksError::Storage(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl From<Injected> for Status {
    fn from(injected: Injected) -> Self {
        match injected {
            Injected::Unavailable => Self::unavailable("the ledger is not available"),
            Injected::Broken => Self::internal("the ledger failed on this call"),
        }
    }
}
