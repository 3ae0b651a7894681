//! How a statement gets to the server and back within the journal's patience.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Object;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

use super::Store;
use super::fault;
use crate::journal::JournalError;
use crate::rt;
use crate::time::Tick;

/// A statement of this crate. Its types are said, so that the server need not be asked for them.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) types: &'static [Type],
    /// Whether it is planned once per connection. One whose plan depends on how much there is must not be: a plan
    /// that was right for an empty table would be kept until somebody analyses it.
    pub(super) kept: bool,
}

pub(super) type Value<'a> = &'a (dyn ToSql + Sync);

/// Why a statement did nothing, or nobody knows what it did.
pub(super) struct Fault {
    pub(super) answer: JournalError,
    /// The constraint that it broke.
    pub(super) broken: Option<String>,
}

impl From<JournalError> for Fault {
    fn from(answer: JournalError) -> Self {
        Self {
            answer,
            broken: None,
        }
    }
}

impl From<Fault> for JournalError {
    fn from(fault: Fault) -> Self {
        fault.answer
    }
}

/// A connection of the pool, for one call of the journal.
pub(super) struct Session<'a> {
    store: &'a Store,
    /// `None` only while dropping.
    client: Option<Object>,
    until: Tick,
    /// Whether what the connection will say next is anybody's guess.
    spoilt: AtomicBool,
}

impl Store {
    pub(super) async fn session(&self) -> Result<Session<'_>, JournalError> {
        let until = rt::now() + self.patience;
        let client = tokio::select! {
            biased;
            client = self.pool.get() => client.map_err(|error| fault::unconnected(&error))?,
            () = rt::sleep_until(until) => return Err(fault::silent(self.patience)),
        };
        Ok(Session {
            store: self,
            client: Some(client),
            until,
            spoilt: AtomicBool::new(false),
        })
    }
}

impl Session<'_> {
    /// Runs one statement, which is a transaction.
    pub(super) async fn query(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        if !(statement.kept && self.store.prepared) {
            return self.ask(&statement.sql, statement.types, values).await;
        }
        self.race(async {
            let client = self.client()?;
            let prepared = client
                .prepare_typed_cached(&statement.sql, statement.types)
                .await;
            let rows = match prepared {
                Ok(prepared) => client.query(&prepared, values).await,
                Err(error) => Err(error),
            };
            rows.map_err(|error| self.fault(&error))
        })
        .await
    }

    /// Runs a statement that is planned for these values.
    pub(super) async fn ask(
        &self,
        sql: &str,
        types: &[Type],
        values: &[Value<'_>],
    ) -> Result<Vec<Row>, Fault> {
        self.race(async {
            let values = typed(values, types);
            let rows = self.client()?.query_typed(sql, &values).await;
            rows.map_err(|error| self.fault(&error))
        })
        .await
    }

    /// Runs statements in one transaction, which `begin` begins. They leave together, so whoever drops the future has
    /// left no transaction open.
    pub(super) async fn together<const N: usize>(
        &self,
        begin: &str,
        statements: [(&Statement, &[Value<'_>]); N],
    ) -> Result<[Vec<Row>; N], Fault> {
        self.race(async {
            let client = self.client()?;
            let mut prepared = Vec::with_capacity(N);
            for (statement, _) in &statements {
                prepared.push(if self.store.prepared && statement.kept {
                    let made = client
                        .prepare_typed_cached(&statement.sql, statement.types)
                        .await;
                    Some(made.map_err(|error| self.fault(&error))?)
                } else {
                    None
                });
            }
            let queries = statements.iter().zip(&prepared).map(
                |((statement, values), prepared)| async move {
                    match prepared {
                        Some(prepared) => client.query(prepared, values).await,
                        None => {
                            let values = typed(values, statement.types);
                            client.query_typed(&statement.sql, &values).await
                        }
                    }
                },
            );
            let (begun, rows, ended) = futures::join!(
                client.batch_execute(begin),
                futures::future::join_all(queries),
                client.batch_execute("COMMIT"),
            );
            begun.map_err(|error| self.fault(&error))?;
            // The first that failed says why; those after it only say that one did, and the commit was none.
            let mut all = [const { Vec::new() }; N];
            for (place, rows) in all.iter_mut().zip(rows) {
                *place = rows.map_err(|error| self.fault(&error))?;
            }
            ended.map_err(|error| self.fault(&error))?;
            Ok(all)
        })
        .await
    }

    async fn race<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            done = work => done,
            () = rt::sleep_until(self.until) => {
                self.spoilt.store(true, Ordering::Relaxed);
                Err(fault::silent(self.store.patience).into())
            }
        }
    }

    fn client(&self) -> Result<&Object, Fault> {
        self.client
            .as_ref()
            .ok_or_else(|| JournalError::Closed(None).into())
    }

    fn fault(&self, error: &tokio_postgres::Error) -> Fault {
        let answer = fault::answer(error);
        if error
            .code()
            .is_none_or(|code| code.code().starts_with("57"))
        {
            // Broken, or about to be: the next call needs another one.
            self.spoilt.store(true, Ordering::Relaxed);
        }
        let broken = error
            .as_db_error()
            .and_then(|refusal| refusal.constraint())
            .map(str::to_owned);
        Fault { answer, broken }
    }
}

/// Gives the connection back, or throws it away.
impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.client.take()
            && self.spoilt.load(Ordering::Relaxed)
        {
            drop(Object::take(client));
        }
    }
}

fn typed<'a>(values: &[Value<'a>], types: &[Type]) -> Vec<(Value<'a>, Type)> {
    values.iter().copied().zip(types.iter().cloned()).collect()
}

/// Reads a column.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, JournalError> {
    row.try_get(at).map_err(|error| fault::unreadable(&error))
}
