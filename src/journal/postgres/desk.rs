//! Where steps get a transaction of the journal's database.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::IsolationLevel;

use super::Store;
use super::row::{micros, signed};
use super::session::Value;
use super::{fault, unwritable, writer};
use crate::journal::{Answer, Append, JournalError, transactions};

/// Lends connections of the journal's pool, as many at once as it can do without.
pub(crate) struct Desk {
    store: Arc<Store>,
    spare: Arc<Semaphore>,
}

/// A connection that is lent. Thrown away unless it is [given back](Self::give_back): the server then ends what was
/// begun on it.
pub(crate) struct Lent {
    client: Option<Object>,
    /// Last, so that whoever waits finds the connection back in the pool.
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    /// Begins a transaction that the server ends by itself when it hears nothing for `patience`, so that a lost
    /// connection does not keep the saga's log locked.
    pub(crate) async fn begin(
        &mut self,
        isolation: IsolationLevel,
        patience: Duration,
    ) -> Result<Transaction<'_>, JournalError> {
        let client = self.client.as_mut().ok_or(JournalError::Closed(None))?;
        let begun = client.build_transaction().isolation_level(isolation);
        let transaction = begun.start().await.map_err(|error| fault::answer(&error))?;
        // The savepoint tells whether the work ended the transaction. A number is no text to be escaped.
        let patience = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
        let begin = format!(
            "SET LOCAL idle_in_transaction_session_timeout = {patience}; SAVEPOINT mainstay_step"
        );
        transaction
            .batch_execute(&begin)
            .await
            .map_err(|error| fault::answer(&error))?;
        Ok(transaction)
    }

    /// It has no transaction open, and can be used again.
    pub(crate) fn give_back(mut self) {
        drop(self.client.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop(Object::take(client));
        }
    }
}

/// How the work left its transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// As it was.
    Open,
    /// Over, by a statement of the work's.
    Ended,
}

impl Desk {
    pub(super) fn new(store: Arc<Store>, writers: usize) -> Self {
        // One for the calls that are made meanwhile: claims, heartbeats, and looking after a lost commit.
        let kept = writers.saturating_add(1);
        let spare = store.pool.status().max_size.saturating_sub(kept).max(1);
        Self {
            store,
            spare: Arc::new(Semaphore::new(spare.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// How long a call may take, beyond what the work itself takes.
    pub(crate) fn patience(&self) -> Duration {
        self.store.patience
    }

    pub(crate) async fn lend(&self) -> Result<Lent, JournalError> {
        let permit = Arc::clone(&self.spare).acquire_owned().await;
        let permit = permit.map_err(|_| JournalError::Closed(None))?;
        let client = self.store.pool.get().await;
        Ok(Lent {
            client: Some(client.map_err(|error| fault::unconnected(&error))?),
            _permit: permit,
        })
    }

    /// Whether the work's statements are still in the transaction that was begun for it. To be asked before the record
    /// is added: outside of it the record would be one of its own.
    pub(crate) async fn left(&self, transaction: &Transaction<'_>) -> Result<Left, JournalError> {
        match transaction.batch_execute("RELEASE mainstay_step").await {
            Ok(()) => Ok(Left::Open),
            // No transaction, or another one, or one that a savepoint of ours is not in.
            Err(error)
                if error
                    .code()
                    .is_some_and(|code| matches!(code.code(), "25P01" | "3B001")) =>
            {
                Ok(Left::Ended)
            }
            Err(error) => Err(fault::answer(&error)),
        }
    }

    /// Adds a record inside the transaction, and says whether it followed.
    pub(crate) async fn add(
        &self,
        transaction: &Transaction<'_>,
        append: &Append,
    ) -> Result<bool, JournalError> {
        if let Some(refused) = unwritable(&writer::texts(append)) {
            return Err(refused);
        }
        let statement = &self.store.say.append;
        let park = append.park.map(micros);
        let values: [Value<'_>; 14] = [
            &signed(append.id.get()),
            &signed(append.expect.epoch.get()),
            &signed(append.expect.records),
            &append.status.as_str(),
            &append.stage.as_deref(),
            &park,
            &append.read.map(signed),
            &append.labels.tenant,
            &append.labels.subject,
            &append.labels.key_id,
            &append.at.as_millis(),
            &i32::from(append.format),
            &append.body,
            &append.version.map(i64::from),
        ];
        let rows = if self.store.prepared {
            let prepared = transaction
                .prepare_typed_cached(&statement.sql, statement.types)
                .await
                .map_err(|error| fault::answer(&error))?;
            transaction.query(&prepared, &values).await
        } else {
            let values: Vec<_> = values
                .into_iter()
                .zip(statement.types.iter().cloned())
                .collect();
            transaction.query_typed(&statement.sql, &values).await
        };
        Ok(!rows.map_err(|error| fault::answer(&error))?.is_empty())
    }
}

impl transactions::Desk for Desk {
    fn medium(&self) -> &'static str {
        "postgres"
    }

    fn look(&self, append: Append) -> Answer<'_, bool> {
        Box::pin(async move { writer::look(&self.store, &append).await })
    }
}
