//! The notification service: HTTP in a process of its own. It sends each notice once per idempotency key.

use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use mainstay::deadline::DeadlineLayer;
use mainstay::http::{AsResponse, DeadlineHeader};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::Failed;
use crate::backends::LONGEST;
use crate::faults::{Faults, Injected};
use crate::store::Writer;

/// What was sent, and what came back once. `blocked` is a notice that was cancelled before it arrived; it goes out no more.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS notice (
    idempotency_key TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL,
    invoice_no      TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('payment', 'cancellation', 'blocked'))
) STRICT;
CREATE TABLE IF NOT EXISTS bounce (
    idempotency_key TEXT PRIMARY KEY
) STRICT;
";

/// Suppliers whose mailbox is full at first. A saga that turned back for it must not turn round again, although the same
/// notice would now go out.
const FULL_AT_FIRST: &str = "(mailbox full)";

/// Suppliers that cannot be reached by mail.
const WITHOUT_ADDRESS: &str = "Pop-up";

/// Says that an invoice was paid or, where `cancels` names the key of such a notice, that it was not after all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Notice {
    pub(crate) idempotency_key: String,
    pub(crate) tenant: String,
    pub(crate) invoice_no: String,
    pub(crate) supplier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cancels: Option<String>,
}

/// Serves notices until the process ends.
pub(crate) async fn serve(
    listener: TcpListener,
    file: &Path,
    faults: Faults,
) -> Result<(), Failed> {
    let service = Arc::new(Service {
        sent: Writer::open(file, SCHEMA)?,
        faults,
    });
    let router = Router::new()
        .route("/v1/notices", post(send))
        .with_state(service)
        .layer(DeadlineLayer::new("notification", LONGEST).refuse_with(AsResponse))
        .layer(DeadlineHeader::default().honour());
    Ok(axum::serve(listener, router).await?)
}

struct Service {
    sent: Writer,
    faults: Faults,
}

async fn send(
    State(service): State<Arc<Service>>,
    Json(notice): Json<Notice>,
) -> Result<Sent, Refusal> {
    let operation = if notice.cancels.is_some() {
        "cancel_notice"
    } else {
        "send_notice"
    };
    let key = notice.idempotency_key.clone();
    let work = service
        .sent
        .write(move |connection| record(connection, &notice));
    service.faults.around(operation, &key, work).await
}

/// How it went, with a word about it.
type Sent = (StatusCode, &'static str);

fn record(connection: &Connection, notice: &Notice) -> Result<Sent, Refusal> {
    let insert = |key: &str, kind: &str| {
        connection
            .prepare_cached("INSERT INTO notice VALUES (?1, ?2, ?3, ?4)")?
            .execute([key, &notice.tenant, &notice.invoice_no, kind])
    };
    let kind_of = |key: &str| -> rusqlite::Result<Option<String>> {
        connection
            .prepare_cached("SELECT kind FROM notice WHERE idempotency_key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    };
    match (
        kind_of(&notice.idempotency_key)?.as_deref(),
        &notice.cancels,
    ) {
        (Some("blocked"), _) => {
            return Err(Refusal::Never("the notice was cancelled before it arrived"));
        }
        (Some(_), _) => return Ok((StatusCode::OK, "done before")),
        (None, None) if notice.supplier.contains(WITHOUT_ADDRESS) => {
            return Err(Refusal::Never("the supplier has no address"));
        }
        (None, None) if notice.supplier.contains(FULL_AT_FIRST) && bounces(connection, notice)? => {
            // Not an error: that it came back must be remembered.
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, "the mailbox is full"));
        }
        (None, None) => insert(&notice.idempotency_key, "payment")?,
        (None, Some(cancelled)) => match kind_of(cancelled)?.as_deref() {
            Some("payment") => insert(&notice.idempotency_key, "cancellation")?,
            Some(_) => return Ok((StatusCode::OK, "done before")),
            // Nobody was told, so there is nothing to take back.
            None => insert(cancelled, "blocked")?,
        },
    };
    Ok((StatusCode::CREATED, "done"))
}

/// Whether this notice comes back: the first time only.
fn bounces(connection: &Connection, notice: &Notice) -> rusqlite::Result<bool> {
    let bounced = connection
        .prepare_cached("INSERT OR IGNORE INTO bounce VALUES (?1)")?
        .execute([&notice.idempotency_key])?;
    Ok(bounced == 1)
}

/// Why no notice went out.
#[derive(Debug)]
enum Refusal {
    Never(&'static str),
    Injected(Injected),
    Storage,
}

impl From<Injected> for Refusal {
    fn from(injected: Injected) -> Self {
        Self::Injected(injected)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(_: rusqlite::Error) -> Self {
        Self::Storage
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Never(why) => (StatusCode::UNPROCESSABLE_ENTITY, why).into_response(),
            Self::Injected(Injected::Broken) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::Injected(Injected::Unavailable) | Self::Storage => {
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }
}
