//! Carries invoices through their sagas: in the one process of a run, or in each of several.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mainstay::journal::Journal;
use mainstay::num::Period;
use mainstay::saga::{Ended, Key, Saga, SagaError, Sagas};

use crate::Failed;
use crate::erp::Erp;
use crate::invoice::Invoice;
use crate::outcome::Outcome;
use crate::saga::{Notified, Order, pay_invoice};

/// How long an instance is believed in after its last word. Short, as everything here: what a killed one had goes on
/// after so long.
const LEASE: Period = Period::secs(2);

/// What is under way when a run is over may take so long to its next record.
const GRACE: Duration = Duration::from_secs(10);

/// An engine, and what it pays.
pub(crate) struct Carrier {
    sagas: Sagas<Erp>,
    saga: Saga<Erp, Invoice, Notified>,
    in_flight: NonZeroUsize,
}

impl Carrier {
    /// Starts an engine on this journal: the only one, or one of several under this name.
    pub(crate) async fn start(
        journal: Arc<dyn Journal>,
        erp: Arc<Erp>,
        order: Order,
        in_flight: NonZeroUsize,
        instance: Option<&str>,
    ) -> Result<Self, Failed> {
        let saga = pay_invoice(order)?;
        let mut builder = Sagas::builder(journal, erp)
            .register(&saga)
            .in_flight(in_flight);
        if let Some(name) = instance {
            builder = builder.name(name).lease(LEASE);
        }
        Ok(Self {
            sagas: builder.start().await?,
            saga,
            in_flight,
        })
    }

    /// Pays these invoices, or finds out how they ended, and says so of each.
    pub(crate) async fn pay<'a>(
        &self,
        invoices: impl Iterator<Item = &'a Invoice>,
        mut ended: impl FnMut(&Invoice, Result<Outcome, SagaError>),
    ) {
        let outcomes =
            invoices.map(|invoice| async move { (invoice, self.outcome(invoice).await) });
        let mut outcomes = futures::stream::iter(outcomes).buffer_unordered(self.in_flight.get());
        while let Some((invoice, outcome)) = outcomes.next().await {
            ended(invoice, outcome);
        }
    }

    pub(crate) async fn shutdown(self) {
        self.sagas.shutdown(GRACE).await;
    }

    /// Pays one invoice, or finds out how it ended: a saga that was started before, here or elsewhere, is the same saga.
    async fn outcome(&self, invoice: &Invoice) -> Result<Outcome, SagaError> {
        let key = Key::new(invoice.number.as_str()).tenant(&invoice.tenant);
        let handle = self.sagas.start(&self.saga, key, invoice.clone()).await?;
        Ok(match handle.ended().await? {
            Ended::Completed(notified) => Outcome::Paid {
                noticed: notified == Notified::Sent,
            },
            Ended::Compensated { step, reason, .. } => Outcome::Compensated {
                why: format!("{step}: {reason}"),
            },
            Ended::Incident(incident) => {
                let (class, error) = (incident.class, incident.error);
                let direction = if incident.unwinding { "undo of " } else { "" };
                let step = incident.step.as_deref().unwrap_or("the whole saga");
                Outcome::Incident {
                    why: format!("{direction}{step}: {error} ({class:?})"),
                }
            }
            other => Outcome::Incident {
                why: format!("{other:?}"),
            },
        })
    }
}
