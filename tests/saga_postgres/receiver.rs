//! A receiver of effects with a database of its own: it applies a key once, remembers undos, and, where it is told to,
//! refuses the tokens of those who were replaced. What it did is in the order in which it did it.

use std::collections::BTreeMap;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use mainstay::effect_guard::postgres as guard;
use mainstay::effect_guard::{Admitted, Call, EffectKey, Fence, Passage, Undone};
use tokio_postgres::{Client, NoTls, Transaction};

/// Everything that is let through, `applied` where it changed something; and what was refused as stale. `state` is what
/// a caller overwrites with each call: no key protects it, only a token does.
const TABLES: &str = "
    CREATE TABLE state (saga text PRIMARY KEY, what text NOT NULL, token bigint NOT NULL);
    CREATE TABLE done (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, saga text NOT NULL, what text NOT NULL,
                       token bigint NOT NULL, applied boolean NOT NULL);
    CREATE INDEX ON done (saga, id);
    CREATE TABLE refused (saga text NOT NULL, what text NOT NULL, token bigint NOT NULL);
";

pub(crate) struct Receiver {
    pool: Pool,
    schema: String,
    checks_tokens: bool,
}

/// One call: of a step, or of its undo.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) saga: String,
    pub(crate) what: String,
    /// The key of the step, in an undo as well.
    pub(crate) key: String,
    pub(crate) undo: bool,
    pub(crate) token: u64,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Done,
    /// It was undone before it came.
    Cancelled,
    Stale,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Receiver {
    pub(crate) fn new(address: tokio_postgres::Config, schema: &str, checks_tokens: bool) -> Self {
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(address, NoTls, fast);
        Self {
            pool: Pool::builder(manager).max_size(8).build().unwrap(),
            schema: schema.to_owned(),
            checks_tokens,
        }
    }

    pub(crate) async fn install(client: &Client, schema: &str) {
        let tables = guard::TABLES;
        let all = format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema}; {tables} {TABLES}; RESET search_path"
        );
        client.batch_execute(&all).await.unwrap();
    }

    pub(crate) async fn ask(&self, asked: &Asked) -> Result<Answer, Failed> {
        let mut connection = self.pool.get().await?;
        let tx = connection.transaction().await?;
        tx.batch_execute(&format!("SET LOCAL search_path = {}", self.schema))
            .await?;
        let answer = self.within(&tx, asked).await?;
        tx.commit().await?;
        Ok(answer)
    }

    async fn within(&self, tx: &Transaction<'_>, asked: &Asked) -> Result<Answer, Failed> {
        let mut call = Call::new(EffectKey::new(&asked.key)?);
        if self.checks_tokens {
            // First of all: a known key is answered whoever asks, and `state` has no key.
            let fence = Fence::new(&asked.saga, asked.token)?;
            if let Passage::Stale { .. } = guard::fence(tx, &fence).await? {
                return self.stale(tx, asked).await;
            }
            call = call.fence(fence);
        }
        let applied = if asked.undo {
            match guard::undo(tx, &call).await? {
                Undone::Undo(_) => true,
                Undone::AlreadyCancelled | Undone::Nothing => false,
                Undone::StaleToken => return self.stale(tx, asked).await,
                other => return Err(format!("{other:?}").into()),
            }
        } else {
            match guard::admit(tx, &call).await? {
                Admitted::Apply(permit) => {
                    guard::settle(tx, permit, &()).await?;
                    true
                }
                Admitted::AlreadyApplied(_) => false,
                Admitted::Cancelled => return Ok(Answer::Cancelled),
                Admitted::StaleToken => return self.stale(tx, asked).await,
                other => return Err(format!("{other:?}").into()),
            }
        };
        let token = i64::try_from(asked.token)?;
        // Its row is locked from here on, so that what is done for one saga has an order.
        let state = "INSERT INTO state VALUES ($1, $2, $3)
                     ON CONFLICT (saga) DO UPDATE SET what = excluded.what, token = excluded.token";
        tx.execute(state, &[&asked.saga, &asked.what, &token])
            .await?;
        let done = "INSERT INTO done (saga, what, token, applied) VALUES ($1, $2, $3, $4)";
        tx.execute(done, &[&asked.saga, &asked.what, &token, &applied])
            .await?;
        Ok(Answer::Done)
    }

    async fn stale(&self, tx: &Transaction<'_>, asked: &Asked) -> Result<Answer, Failed> {
        let token = i64::try_from(asked.token)?;
        tx.execute(
            "INSERT INTO refused VALUES ($1, $2, $3)",
            &[&asked.saga, &asked.what, &token],
        )
        .await?;
        Ok(Answer::Stale)
    }
}

/// What a receiver has done, when all is over.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By saga, what changed something, in order.
    pub(crate) applied: BTreeMap<String, Vec<String>>,
    /// Calls that were let through: with those that changed nothing.
    pub(crate) let_through: i64,
    /// Calls that were let through although a greater token had been seen.
    pub(crate) stale: i64,
    /// Sagas whose state was left by such a call.
    pub(crate) overwritten: i64,
    pub(crate) refused: i64,
}

impl Books {
    pub(crate) async fn read(client: &Client, schema: &str) -> Self {
        let mut books = Self::default();
        let applied = format!("SELECT saga, what FROM {schema}.done WHERE applied ORDER BY id");
        for row in client.query(&applied, &[]).await.unwrap() {
            books
                .applied
                .entry(row.get(0))
                .or_default()
                .push(row.get(1));
        }
        let newest = format!("(SELECT max(token) FROM {schema}.done d WHERE d.saga = s.saga)");
        let stale = format!(
            "SELECT count(*), (SELECT count(*) FROM {schema}.done), (SELECT count(*) FROM {schema}.refused),
                    (SELECT count(*) FROM {schema}.state s WHERE s.token < {newest})
             FROM {schema}.done late WHERE EXISTS (SELECT FROM {schema}.done seen
                 WHERE seen.saga = late.saga AND seen.id < late.id AND seen.token > late.token)"
        );
        let row = client.query_one(&stale, &[]).await.unwrap();
        books.stale = row.get(0);
        books.let_through = row.get(1);
        books.refused = row.get(2);
        books.overwritten = row.get(3);
        books
    }
}
