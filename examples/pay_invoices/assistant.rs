//! The AI assistant: HTTP in a process of its own. It codes an invoice to an account and a cost centre.
//!
//! The model is a stand-in that reads the same words as the rules; what matters here is that it is slow, fails, and
//! can be done without.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use mainstay::deadline::DeadlineLayer;
use mainstay::http::{AsResponse, DeadlineHeader};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::Failed;
use crate::backends::LONGEST;
use crate::chart::{self, Coding};
use crate::faults::{Faults, Injected};

/// What the assistant is told about an invoice: no amounts, they decide nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Which invoice is asked about.
    pub(crate) invoice: String,
    pub(crate) supplier: String,
    pub(crate) description: String,
}

/// Serves answers until the process ends.
pub(crate) async fn serve(listener: TcpListener, faults: Faults) -> Result<(), Failed> {
    let router = Router::new()
        .route("/v1/coding", post(answer))
        .with_state(Arc::new(faults))
        .layer(DeadlineLayer::new("assistant", LONGEST).refuse_with(AsResponse))
        .layer(DeadlineHeader::default().honour());
    Ok(axum::serve(listener, router).await?)
}

async fn answer(
    State(faults): State<Arc<Faults>>,
    Json(question): Json<Question>,
) -> Result<Json<Coding>, StatusCode> {
    let work = async {
        let rules = chart::by_rules(&question.supplier, &question.description);
        let cost_centre = rules.account.chars().take(2).collect::<String>();
        let coding = Coding {
            cost_centre: Some(format!("CC-{cost_centre}")),
            ..rules
        };
        Ok::<_, Outage>(Json(coding))
    };
    faults
        .around("code_invoice", &question.invoice, work)
        .await
        .map_err(|Outage(status)| status)
}

struct Outage(StatusCode);

impl From<Injected> for Outage {
    fn from(injected: Injected) -> Self {
        Self(match injected {
            Injected::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Injected::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        })
    }
}
