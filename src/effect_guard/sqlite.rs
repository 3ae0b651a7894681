//! The guard in a SQLite database of the receiver's.
//!
//! Everything happens in a transaction of the caller's: the effect, its key and its answer are there together or not at
//! all, whenever the process dies. Begin it as `IMMEDIATE`, so that a second call with the same key waits (for SQLite's
//! busy timeout, then it is [`GuardError::Busy`]). In a deferred transaction the guard should come first: after a read,
//! SQLite refuses the write instead of waiting. Neither doubles an effect.
//!
//! # Example
//!
//! A ledger that posts an amount once, and takes it back once.
//!
//! ```
//! use mainstay::effect_guard::sqlite as guard;
//! use mainstay::effect_guard::{Admitted, Call, EffectKey, RequestDigest, Undone};
//! use rusqlite::{Connection, TransactionBehavior};
//!
//! # type Error = Box<dyn std::error::Error>;
//! fn post(db: &mut Connection, key: &str, amount: i64) -> Result<i64, Error> {
//!     let request = RequestDigest::of(&[b"post", &amount.to_be_bytes()]);
//!     let call = Call::new(EffectKey::new(key)?).request(request);
//!     let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
//!     let number = match guard::admit(&tx, &call)? {
//!         Admitted::Apply(permit) => {
//!             tx.execute("INSERT INTO posting (amount) VALUES (?1)", [amount])?;
//!             let number = tx.last_insert_rowid();
//!             guard::settle(&tx, permit, &number)?;
//!             number
//!         }
//!         Admitted::AlreadyApplied(answer) => answer.read()?,
//!         other => return Err(format!("not posted: {other:?}").into()),
//!     };
//!     tx.commit()?;
//!     Ok(number)
//! }
//!
//! fn reverse(db: &mut Connection, key: &str) -> Result<(), Error> {
//!     let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
//!     match guard::undo(&tx, &Call::new(EffectKey::new(key)?))? {
//!         Undone::Undo(answer) => {
//!             tx.execute("DELETE FROM posting WHERE number = ?1", [answer.read::<i64>()?])?;
//!         }
//!         Undone::AlreadyCancelled | Undone::Nothing => {}
//!         other => return Err(format!("not reversed: {other:?}").into()),
//!     }
//!     Ok(tx.commit()?)
//! }
//!
//! # fn main() -> Result<(), Error> {
//! let mut db = Connection::open_in_memory()?;
//! guard::create(&db)?;
//! db.execute_batch("CREATE TABLE posting (number INTEGER PRIMARY KEY, amount INTEGER NOT NULL)")?;
//!
//! assert_eq!(post(&mut db, "a", 100)?, 1);
//! assert_eq!(post(&mut db, "a", 100)?, 1, "the same answer, and no second posting");
//! assert!(post(&mut db, "a", 999).is_err(), "another request under the same key");
//! reverse(&mut db, "a")?;
//! reverse(&mut db, "a")?;
//!
//! reverse(&mut db, "b")?; // The undo comes first,
//! assert!(post(&mut db, "b", 100).is_err()); // so the call comes too late.
//!
//! let left: i64 = db.query_row("SELECT count(*) FROM posting", [], |row| row.get(0))?;
//! assert_eq!(left, 0);
//! # Ok(())
//! # }
//! ```

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::answer::{Admitted, Answer, GuardError, Passage, Permit, Row, Undone};
use super::machine::{Seen, State, Undo, Verdict, is_stale};
use super::words::{Call, EffectKey, Fence, Retention};
use crate::rt;
use crate::time::Timestamp;

/// The tables, for whoever creates tables in a way of their own. Running it again changes nothing.
pub const TABLES: &str = "
CREATE TABLE IF NOT EXISTS mainstay_effect (
    scope    TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    token    INTEGER,
    request  TEXT,
    answer   TEXT,
    at       INTEGER NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mainstay_effect_at ON mainstay_effect (at);
CREATE TABLE IF NOT EXISTS mainstay_fence (
    scope    TEXT    NOT NULL,
    resource TEXT    NOT NULL,
    token    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (scope, resource)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mainstay_fence_at ON mainstay_fence (at);
CREATE TABLE IF NOT EXISTS mainstay_horizon (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    at       INTEGER NOT NULL
) STRICT;
";

/// Creates the tables where they are not there.
///
/// # Errors
///
/// [`GuardError::Backend`], [`GuardError::Busy`].
pub fn create(connection: &Connection) -> Result<(), GuardError> {
    connection.execute_batch(TABLES).map_err(refused)
}

/// Asks whether a call may have its effect. When it may, the key is in the table from here on, with the transaction.
///
/// # Errors
///
/// [`GuardError::Busy`] when another call with this key did not end within the busy timeout, [`GuardError::Backend`],
/// [`GuardError::Damaged`].
pub fn admit(tx: &Transaction<'_>, call: &Call) -> Result<Admitted, GuardError> {
    let found = look(tx, call, State::Applied)?;
    let verdict = found.seen.admit(call);
    if found.fresh && verdict.leaves().is_none() {
        forget(tx, call.key())?;
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
#[expect(clippy::needless_pass_by_value, reason = "a permit is used once")]
pub fn settle<T: Serialize>(
    tx: &Transaction<'_>,
    permit: Permit,
    answer: &T,
) -> Result<(), GuardError> {
    keep(tx, &permit, State::Applied, answer)
}

/// Refuses a key for good: whoever repeats it gets this answer, and it never has an effect. The sender's step may then
/// say `StepError::Refused`.
///
/// # Errors
///
/// As [`settle`]. Undo first what you have changed in this transaction, or roll back and do not refuse.
#[expect(clippy::needless_pass_by_value, reason = "a permit is used once")]
pub fn refuse<T: Serialize>(
    tx: &Transaction<'_>,
    permit: Permit,
    answer: &T,
) -> Result<(), GuardError> {
    keep(tx, &permit, State::Refused, answer)
}

/// Gives a permit back: nothing was applied, and the key may come again. Rolling the transaction back does the same.
///
/// # Errors
///
/// [`GuardError::Elsewhere`] in another transaction than [`admit`]'s, [`GuardError::Backend`].
#[expect(clippy::needless_pass_by_value, reason = "a permit is used once")]
pub fn withdraw(tx: &Transaction<'_>, permit: Permit) -> Result<(), GuardError> {
    match forget(tx, permit.key())? {
        1 => Ok(()),
        _ => Err(GuardError::Elsewhere),
    }
}

/// Cancels a key, and tells what is to be undone for it in this transaction. Where the effect cannot be undone, roll
/// back: then the key stays as it was.
///
/// # Errors
///
/// As [`admit`].
pub fn undo(tx: &Transaction<'_>, call: &Call) -> Result<Undone, GuardError> {
    let found = look(tx, call, State::Cancelled)?;
    let verdict = found.seen.undo(call);
    match (found.fresh, verdict.leaves()) {
        (true, None) => {
            forget(tx, call.key())?;
        }
        (false, Some(state)) => {
            let update =
                "UPDATE mainstay_effect SET state = ?3, token = coalesce(?4, token), at = ?5
                           WHERE scope = ?1 AND key = ?2";
            let (key, at) = (call.key(), rt::wall().as_millis());
            let token = call.fenced().map(Fence::as_i64);
            run(
                tx,
                update,
                params![key.scope(), key.as_str(), state.as_str(), token, at],
            )?;
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
/// not come from a sender that was replaced.
///
/// # Errors
///
/// [`GuardError::Busy`], [`GuardError::Backend`].
pub fn fence(tx: &Transaction<'_>, fence: &Fence) -> Result<Passage, GuardError> {
    let greatest = raise(tx, fence)?;
    Ok(if is_stale(fence.token(), greatest) {
        Passage::Stale { greatest }
    } else {
        Passage::Current
    })
}

/// Forgets at most so many keys and fences that are older than senders may count on, the oldest first, and returns how
/// many. Fewer than `at_most`: there are no more. Call it from time to time, in a short transaction of its own.
///
/// The time is this process's wall clock; a clock that is ahead makes the guard refuse, with
/// [`Admitted::Forgotten`], calls that say [when they were first sent](Call::since).
///
/// # Errors
///
/// [`GuardError::Busy`], [`GuardError::Backend`].
pub fn prune(tx: &Transaction<'_>, retention: &Retention, at_most: u32) -> Result<u32, GuardError> {
    let now = rt::wall();
    let horizon = "INSERT INTO mainstay_horizon (one, at) VALUES (1, ?1)
                   ON CONFLICT (one) DO UPDATE SET at = max(at, excluded.at)";
    run(tx, horizon, [retention.horizon(now).as_millis()])?;
    let before = retention.forget_before(now).as_millis();
    let keys = "DELETE FROM mainstay_effect WHERE (scope, key) IN
                (SELECT scope, key FROM mainstay_effect WHERE at < ?1 ORDER BY at LIMIT ?2)";
    let keys = count(run(tx, keys, params![before, at_most])?);
    let fences = "DELETE FROM mainstay_fence WHERE (scope, resource) IN
                  (SELECT scope, resource FROM mainstay_fence WHERE at < ?1 ORDER BY at LIMIT ?2)";
    let rest = at_most.saturating_sub(keys);
    Ok(keys.saturating_add(count(run(tx, fences, params![before, rest])?)))
}

/// What the tables had before this call.
struct Found {
    /// The key was not known, and is now, in the state in which the caller wants to leave it.
    fresh: bool,
    seen: Seen,
    answer: Answer,
}

/// Writes before it reads, so that whoever comes second waits for the first one's transaction to end.
fn look(tx: &Transaction<'_>, call: &Call, wanted: State) -> Result<Found, GuardError> {
    let key = call.key();
    let insert = "INSERT INTO mainstay_effect (scope, key, state, token, request, at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (scope, key) DO NOTHING";
    let token = call.fenced().map(Fence::as_i64);
    let request = call.digest().map(|digest| digest.to_string());
    let at = rt::wall().as_millis();
    let wanted = wanted.as_str();
    let fresh = run(
        tx,
        insert,
        params![key.scope(), key.as_str(), wanted, token, request, at],
    )?;
    let fresh = fresh == 1;
    let mut seen = Seen::nothing();
    let mut answer = Answer::stored(None);
    if !fresh {
        let (state, request, stored) = entry(tx, key)?.read()?;
        seen = seen.entry(state, request);
        answer = stored;
    } else if call.first_sent().is_some() {
        let horizon: Option<i64> = tx
            .prepare_cached("SELECT at FROM mainstay_horizon")
            .and_then(|mut select| select.query_row([], |row| row.get(0)).optional())
            .map_err(refused)?;
        if let Some(at) = horizon {
            seen = seen.horizon(Timestamp::from_millis(at));
        }
    }
    if let Some(fence) = call.fenced() {
        seen = seen.greatest(raise(tx, fence)?);
    }
    Ok(Found {
        fresh,
        seen,
        answer,
    })
}

fn entry(tx: &Transaction<'_>, key: &EffectKey) -> Result<Row, GuardError> {
    tx.prepare_cached(
        "SELECT state, request, answer FROM mainstay_effect WHERE scope = ?1 AND key = ?2",
    )
    .and_then(|mut select| {
        select.query_row([key.scope(), key.as_str()], |row| {
            Ok(Row {
                state: row.get(0)?,
                request: row.get(1)?,
                answer: row.get(2)?,
            })
        })
    })
    .map_err(refused)
}

/// Remembers a token, and returns the greatest.
fn raise(tx: &Transaction<'_>, fence: &Fence) -> Result<u64, GuardError> {
    let upsert = "INSERT INTO mainstay_fence (scope, resource, token, at) VALUES (?1, ?2, ?3, ?4)
                  ON CONFLICT (scope, resource) DO UPDATE
                  SET token = max(token, excluded.token), at = excluded.at RETURNING token";
    let at = rt::wall().as_millis();
    let greatest: i64 = tx
        .prepare_cached(upsert)
        .and_then(|mut upsert| {
            upsert.query_row(
                params![fence.scope(), fence.resource(), fence.as_i64(), at],
                |row| row.get(0),
            )
        })
        .map_err(refused)?;
    u64::try_from(greatest).map_err(|_| GuardError::Damaged { column: "token" })
}

fn keep<T: Serialize>(
    tx: &Transaction<'_>,
    permit: &Permit,
    state: State,
    answer: &T,
) -> Result<(), GuardError> {
    let answer = Answer::write(answer)?;
    let key = permit.key();
    let update = "UPDATE mainstay_effect SET state = ?3, answer = ?4
                  WHERE scope = ?1 AND key = ?2 AND state = 'applied' AND answer IS NULL";
    match run(
        tx,
        update,
        params![key.scope(), key.as_str(), state.as_str(), answer],
    )? {
        1 => Ok(()),
        _ => Err(GuardError::Elsewhere),
    }
}

fn forget(tx: &Transaction<'_>, key: &EffectKey) -> Result<usize, GuardError> {
    let delete = "DELETE FROM mainstay_effect WHERE scope = ?1 AND key = ?2 AND answer IS NULL";
    run(tx, delete, [key.scope(), key.as_str()])
}

fn run(
    tx: &Transaction<'_>,
    statement: &str,
    params: impl rusqlite::Params,
) -> Result<usize, GuardError> {
    tx.prepare_cached(statement)
        .and_then(|mut statement| statement.execute(params))
        .map_err(refused)
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

fn refused(error: rusqlite::Error) -> GuardError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => GuardError::Busy(error.into()),
        _ => GuardError::Backend(error.into()),
    }
}
