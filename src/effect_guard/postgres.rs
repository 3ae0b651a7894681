//! The guard in a PostgreSQL database of the receiver's.
//!
//! Everything happens in a transaction of the caller's: the effect, its key and its answer are there together or not at
//! all. `READ COMMITTED`, PostgreSQL's default, is enough. A second call with the same key waits until the first one's
//! transaction ends; set `lock_timeout` to have it refused as [`GuardError::Busy`] instead. Under `REPEATABLE READ` and
//! above it is refused as busy where PostgreSQL would have to show it what came later.
//!
//! Statements are not prepared, so a pooler that hands out connections per transaction may stand in between. Two keys in
//! one transaction should be asked for in one order everywhere, or PostgreSQL breaks a deadlock, as
//! [`GuardError::Busy`]. After an error PostgreSQL takes no more statements before the rollback.
//!
//! # Example
//!
//! ```no_run
//! use mainstay::effect_guard::postgres as guard;
//! use mainstay::effect_guard::{Admitted, Call, EffectKey, RequestDigest, Undone};
//! use tokio_postgres::Client;
//!
//! # type Error = Box<dyn std::error::Error>;
//! async fn post(db: &mut Client, key: &str, amount: i64) -> Result<i64, Error> {
//!     let request = RequestDigest::of(&[b"post", &amount.to_be_bytes()]);
//!     let call = Call::new(EffectKey::new(key)?).request(request);
//!     let tx = db.transaction().await?;
//!     let number = match guard::admit(&tx, &call).await? {
//!         Admitted::Apply(permit) => {
//!             let insert = "INSERT INTO posting (amount) VALUES ($1) RETURNING number";
//!             let number: i64 = tx.query_one(insert, &[&amount]).await?.get(0);
//!             guard::settle(&tx, permit, &number).await?;
//!             number
//!         }
//!         Admitted::AlreadyApplied(answer) => answer.read()?,
//!         other => return Err(format!("not posted: {other:?}").into()),
//!     };
//!     tx.commit().await?;
//!     Ok(number)
//! }
//!
//! async fn reverse(db: &mut Client, key: &str) -> Result<(), Error> {
//!     let tx = db.transaction().await?;
//!     match guard::undo(&tx, &Call::new(EffectKey::new(key)?)).await? {
//!         Undone::Undo(answer) => {
//!             let number: i64 = answer.read()?;
//!             tx.execute("DELETE FROM posting WHERE number = $1", &[&number]).await?;
//!         }
//!         Undone::AlreadyCancelled | Undone::Nothing => {}
//!         other => return Err(format!("not reversed: {other:?}").into()),
//!     }
//!     Ok(tx.commit().await?)
//! }
//! ```

use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row as PgRow, Transaction};

use super::answer::{Admitted, Answer, GuardError, Passage, Permit, Row, Undone};
use super::machine::{Seen, State, Undo, Verdict, is_stale};
use super::words::{Call, EffectKey, Fence, Retention};
use crate::time::Timestamp;

/// The tables, in the schema that `search_path` names first. Running it again changes nothing, but waits for every
/// transaction that uses the guard: run it when the receiver is installed, not whenever it starts. Nothing else in this
/// module creates or changes a table.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS mainstay_effect (
    scope    text   NOT NULL,
    key      text   NOT NULL,
    state    text   NOT NULL,
    token    bigint,
    request  text,
    answer   text,
    at       bigint NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX IF NOT EXISTS mainstay_effect_at ON mainstay_effect (at);
CREATE TABLE IF NOT EXISTS mainstay_fence (
    scope    text   NOT NULL,
    resource text   NOT NULL,
    token    bigint NOT NULL,
    at       bigint NOT NULL,
    PRIMARY KEY (scope, resource)
);
CREATE INDEX IF NOT EXISTS mainstay_fence_at ON mainstay_fence (at);
CREATE TABLE IF NOT EXISTS mainstay_horizon (
    one      integer PRIMARY KEY CHECK (one = 1),
    at       bigint NOT NULL
);
";

/// Milliseconds of the database's clock: one clock for all receivers.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}

/// A key that is pruned between two statements is asked for again, so often.
const TRIES: u32 = 3;

/// Asks whether a call may have its effect. When it may, the key is in the table from here on, with the transaction.
///
/// # Errors
///
/// [`GuardError::Busy`] when a lock timeout ran out, a deadlock was broken or the isolation level forbids to go on,
/// [`GuardError::Backend`], [`GuardError::Damaged`].
///
/// # Cancel safety
///
/// Roll the transaction back: whether the key is in it is not known.
pub async fn admit(tx: &Transaction<'_>, call: &Call) -> Result<Admitted, GuardError> {
    let found = look(tx, call, State::Applied).await?;
    let verdict = found.seen.admit(call);
    if found.fresh && verdict.leaves().is_none() {
        forget(tx, call.key()).await?;
    }
    Ok(match verdict {
        Verdict::Apply => Admitted::Apply(Permit::new(call)),
        Verdict::AlreadyApplied => Admitted::AlreadyApplied(found.answer),
        Verdict::Cancelled => Admitted::Cancelled,
        Verdict::Forgotten => Admitted::Forgotten,
        Verdict::OtherRequest => Admitted::OtherRequest,
        Verdict::Refused => Admitted::Refused(found.answer),
        Verdict::StaleToken => Admitted::StaleToken,
    })
}

/// Keeps the answer of a call that was applied, for whoever repeats it.
///
/// # Errors
///
/// [`GuardError::Answer`] when it cannot be written down, [`GuardError::Elsewhere`] in another transaction than
/// [`admit`]'s, [`GuardError::Backend`]. After each of them roll back, or the effect stays without its answer.
///
/// # Cancel safety
///
/// As [`admit`].
pub async fn settle<T: Serialize + Sync>(
    tx: &Transaction<'_>,
    permit: Permit,
    answer: &T,
) -> Result<(), GuardError> {
    keep(tx, &permit, State::Applied, Answer::write(answer)?).await
}

/// Refuses a key for good: whoever repeats it gets this answer, and it never has an effect. The sender's step may then
/// say `StepError::Refused`.
///
/// # Errors
///
/// As [`settle`]. Undo first what you have changed in this transaction, or roll back and do not refuse.
///
/// # Cancel safety
///
/// As [`admit`].
pub async fn refuse<T: Serialize + Sync>(
    tx: &Transaction<'_>,
    permit: Permit,
    answer: &T,
) -> Result<(), GuardError> {
    keep(tx, &permit, State::Refused, Answer::write(answer)?).await
}

/// Gives a permit back: nothing was applied, and the key may come again. Rolling the transaction back does the same.
///
/// # Errors
///
/// [`GuardError::Elsewhere`] in another transaction than [`admit`]'s, [`GuardError::Backend`].
///
/// # Cancel safety
///
/// As [`admit`].
pub async fn withdraw(tx: &Transaction<'_>, permit: Permit) -> Result<(), GuardError> {
    if forget(tx, permit.key()).await? {
        Ok(())
    } else {
        Err(GuardError::Elsewhere)
    }
}

/// Cancels a key, and tells what is to be undone for it in this transaction. Where the effect cannot be undone, roll
/// back: then the key stays as it was.
///
/// # Errors
///
/// As [`admit`].
///
/// # Cancel safety
///
/// As [`admit`].
pub async fn undo(tx: &Transaction<'_>, call: &Call) -> Result<Undone, GuardError> {
    let found = look(tx, call, State::Cancelled).await?;
    let verdict = found.seen.undo(call);
    match (found.fresh, verdict.leaves()) {
        (true, None) => {
            forget(tx, call.key()).await?;
        }
        (false, Some(state)) => {
            let update = concat!(
                "UPDATE mainstay_effect SET state = $3, token = coalesce($4, token), at = ",
                now!(),
                " WHERE scope = $1 AND key = $2"
            );
            let token = call.fenced().map(Fence::as_i64);
            let key = call.key();
            let params = [
                text(key.scope()),
                text(key.as_str()),
                text(state.as_str()),
                Param::Number(token),
            ];
            run(tx, update, &params).await?;
        }
        (true, Some(_)) | (false, None) => {}
    }
    Ok(match verdict {
        Undo::Undo => Undone::Undo(found.answer),
        Undo::AlreadyCancelled => Undone::AlreadyCancelled,
        Undo::Forgotten => Undone::Forgotten,
        Undo::Nothing => Undone::Nothing,
        Undo::StaleToken => Undone::StaleToken,
    })
}

/// Asks whether a sender is still the latest of its resource, without a key: for changes that may be repeated, and must
/// not come from a sender that was replaced. A later one waits until this transaction is over.
///
/// # Errors
///
/// [`GuardError::Busy`], [`GuardError::Backend`].
///
/// # Cancel safety
///
/// As [`admit`].
pub async fn fence(tx: &Transaction<'_>, fence: &Fence) -> Result<Passage, GuardError> {
    let greatest = raise(tx, fence).await?;
    Ok(if is_stale(fence.token(), greatest) {
        Passage::Stale { greatest }
    } else {
        Passage::Current
    })
}

/// Forgets at most so many keys and fences that are older than senders may count on, the oldest first, and returns how
/// many. Fewer than `at_most`: there are no more. Call it from time to time, in a short transaction of its own; what
/// somebody else holds is left for the next time. The time is the database's.
///
/// # Errors
///
/// [`GuardError::Busy`], [`GuardError::Backend`].
///
/// # Cancel safety
///
/// Roll the transaction back, or forget so many more than was asked for.
pub async fn prune(
    tx: &Transaction<'_>,
    retention: &Retention,
    at_most: u32,
) -> Result<u32, GuardError> {
    let clock = run(tx, concat!("SELECT ", now!()), &[]).await?;
    let now = Timestamp::from_millis(column(&clock, 0)?);
    let horizon = retention.horizon(now).as_millis();
    let upsert = "INSERT INTO mainstay_horizon AS h (one, at) VALUES (1, $1)
                  ON CONFLICT (one) DO UPDATE SET at = greatest(h.at, excluded.at)";
    run(tx, upsert, &[number(horizon)]).await?;
    let before = retention.forget_before(now).as_millis();
    let keys = "DELETE FROM mainstay_effect WHERE (scope, key) IN
                (SELECT scope, key FROM mainstay_effect WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
                RETURNING 1";
    let keys = run(tx, keys, &[number(before), number(i64::from(at_most))]).await?;
    let keys = count(&keys);
    let fences = "DELETE FROM mainstay_fence WHERE (scope, resource) IN
                  (SELECT scope, resource FROM mainstay_fence WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
                  RETURNING 1";
    let rest = i64::from(at_most.saturating_sub(keys));
    let fences = run(tx, fences, &[number(before), number(rest)]).await?;
    Ok(keys.saturating_add(count(&fences)))
}

/// What the tables had before this call.
struct Found {
    /// The key was not known, and is now, in the state in which the caller wants to leave it.
    fresh: bool,
    seen: Seen,
    answer: Answer,
}

/// Writes before it reads, so that whoever comes second waits for the first one's transaction to end.
async fn look(tx: &Transaction<'_>, call: &Call, wanted: State) -> Result<Found, GuardError> {
    let key = call.key();
    let insert = concat!(
        "INSERT INTO mainstay_effect (scope, key, state, token, request, at) VALUES ($1, $2, $3, $4, $5, ",
        now!(),
        ") ON CONFLICT (scope, key) DO NOTHING RETURNING 1"
    );
    let token = call.fenced().map(Fence::as_i64);
    let request = call.digest().map(|digest| digest.to_string());
    let (scope, key, wanted) = (key.scope(), key.as_str(), wanted.as_str());
    let mut known = None;
    for _ in 0..TRIES {
        let params = [
            text(scope),
            text(key),
            text(wanted),
            Param::Number(token),
            Param::Text(request.as_deref()),
        ];
        if !run(tx, insert, &params).await?.is_empty() {
            return fresh(tx, call).await;
        }
        let select = "SELECT state, request, answer FROM mainstay_effect WHERE scope = $1 AND key = $2 FOR UPDATE";
        let rows = run(tx, select, &[text(scope), text(key)]).await?;
        if !rows.is_empty() {
            known = Some(Row {
                state: column(&rows, 0)?,
                request: column(&rows, 1)?,
                answer: column(&rows, 2)?,
            });
            break;
        }
    }
    let Some(row) = known else {
        return Err(GuardError::Busy("the key comes and goes".into()));
    };
    let (state, request, answer) = row.read()?;
    let mut seen = Seen::nothing().entry(state, request);
    if let Some(fence) = call.fenced() {
        seen = seen.greatest(raise(tx, fence).await?);
    }
    Ok(Found {
        fresh: false,
        seen,
        answer,
    })
}

/// What there is to know of a key that was not known. The horizon is read after the key was inserted: whoever forgot
/// the key a moment ago has moved the horizon in the same transaction, which the insert has waited for.
async fn fresh(tx: &Transaction<'_>, call: &Call) -> Result<Found, GuardError> {
    let mut seen = Seen::nothing();
    if call.first_sent().is_some() {
        let rows = run(tx, "SELECT at FROM mainstay_horizon", &[]).await?;
        if !rows.is_empty() {
            seen = seen.horizon(Timestamp::from_millis(column(&rows, 0)?));
        }
    }
    if let Some(fence) = call.fenced() {
        seen = seen.greatest(raise(tx, fence).await?);
    }
    Ok(Found {
        fresh: true,
        seen,
        answer: Answer::stored(None),
    })
}

/// Remembers a token, and returns the greatest. Its row stays locked until the transaction ends.
async fn raise(tx: &Transaction<'_>, fence: &Fence) -> Result<u64, GuardError> {
    let upsert = concat!(
        "INSERT INTO mainstay_fence AS f (scope, resource, token, at) VALUES ($1, $2, $3, ",
        now!(),
        ") ON CONFLICT (scope, resource) DO UPDATE
           SET token = greatest(f.token, excluded.token), at = excluded.at RETURNING token"
    );
    let params = [
        text(fence.scope()),
        text(fence.resource()),
        number(fence.as_i64()),
    ];
    let rows = run(tx, upsert, &params).await?;
    let greatest: i64 = column(&rows, 0)?;
    u64::try_from(greatest).map_err(|_| GuardError::Damaged { column: "token" })
}

async fn keep(
    tx: &Transaction<'_>,
    permit: &Permit,
    state: State,
    answer: String,
) -> Result<(), GuardError> {
    let update = "UPDATE mainstay_effect SET state = $3, answer = $4
                  WHERE scope = $1 AND key = $2 AND state = 'applied' AND answer IS NULL RETURNING 1";
    let key = permit.key();
    let params = [
        text(key.scope()),
        text(key.as_str()),
        text(state.as_str()),
        text(&answer),
    ];
    match run(tx, update, &params).await?.len() {
        1 => Ok(()),
        _ => Err(GuardError::Elsewhere),
    }
}

async fn forget(tx: &Transaction<'_>, key: &EffectKey) -> Result<bool, GuardError> {
    let delete =
        "DELETE FROM mainstay_effect WHERE scope = $1 AND key = $2 AND answer IS NULL RETURNING 1";
    let params = [text(key.scope()), text(key.as_str())];
    Ok(!run(tx, delete, &params).await?.is_empty())
}

/// A parameter with its type, so that no statement is prepared for the types' sake.
enum Param<'p> {
    Number(Option<i64>),
    Text(Option<&'p str>),
}

impl Param<'_> {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Number(number) => (number, Type::INT8),
            Self::Text(text) => (text, Type::TEXT),
        }
    }
}

const fn text(value: &str) -> Param<'_> {
    Param::Text(Some(value))
}

const fn number(value: i64) -> Param<'static> {
    Param::Number(Some(value))
}

async fn run(
    tx: &Transaction<'_>,
    statement: &str,
    params: &[Param<'_>],
) -> Result<Vec<PgRow>, GuardError> {
    let params: Vec<_> = params.iter().map(Param::typed).collect();
    tx.query_typed(statement, &params).await.map_err(refused)
}

fn column<'r, T: tokio_postgres::types::FromSql<'r>>(
    rows: &'r [PgRow],
    at: usize,
) -> Result<T, GuardError> {
    let row = rows.first().ok_or(GuardError::Damaged { column: "none" })?;
    row.try_get(at).map_err(refused)
}

fn count(rows: &[PgRow]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}

fn refused(error: tokio_postgres::Error) -> GuardError {
    const BUSY: [SqlState; 4] = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::QUERY_CANCELED,
    ];
    match error.code() {
        Some(code) if BUSY.contains(code) => GuardError::Busy(error.into()),
        _ => GuardError::Backend(error.into()),
    }
}
