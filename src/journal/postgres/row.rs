//! Rows, and what they say.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::session::get;
use crate::journal::{
    Epoch, Head, InstanceId, JournalError, Labels, LogId, Mail, Place, Postbox, Record, Status,
};
use crate::time::Timestamp;

/// How many columns a head has.
pub(super) const HEAD_COLUMNS: usize = 19;

/// A head as it lies there.
pub(super) struct Found {
    pub(super) head: Head,
    /// Its status, where that is no word that is known.
    damaged: bool,
}

impl Found {
    /// The head, if all of it could be read.
    pub(super) fn whole(self) -> Result<Head, JournalError> {
        if self.damaged {
            let reason = "its status is no word that is known";
            return Err(JournalError::damaged(self.head.id, reason));
        }
        Ok(self.head)
    }
}

/// Reads a head in the order of the statements.
pub(super) fn head(row: &Row) -> Result<Found, JournalError> {
    let mut labels = Labels::new(get::<String>(row, 1)?);
    labels.subject = get(row, 5)?;
    labels.key_id = get(row, 6)?;
    let status = Status::parse(get(row, 8)?);
    let epoch = Epoch::new(unsigned(get(row, 10)?));
    let head = Head {
        id: LogId::new(unsigned(get(row, 0)?)),
        labels: Arc::new(labels),
        kind: get::<&str>(row, 2)?.into(),
        version: u32::try_from(get::<i64>(row, 3)?).unwrap_or(0),
        key: get(row, 4)?,
        digest: get(row, 7)?,
        // Nobody carries on what is held.
        status: status.unwrap_or(Status::Held),
        stage: get::<&str>(row, 9)?.into(),
        place: Place::new(epoch, unsigned(get(row, 11)?)),
        owner: get::<Option<i64>>(row, 12)?.map(|owner| InstanceId::new(unsigned(owner))),
        claims: unsigned(get(row, 13)?),
        recoveries: u32::try_from(get::<i64>(row, 14)?).unwrap_or(u32::MAX),
        mail: Postbox::new(unsigned(get(row, 15)?), unsigned(get(row, 16)?)),
        begun: Timestamp::from_millis(get(row, 17)?),
        updated: Timestamp::from_millis(get(row, 18)?),
    };
    Ok(Found {
        head,
        damaged: status.is_none(),
    })
}

/// Reads a record of the log.
pub(super) fn record(id: LogId, row: &Row) -> Result<Record, JournalError> {
    let mut labels = Labels::new(get::<String>(row, 3)?);
    labels.subject = get(row, 4)?;
    labels.key_id = get(row, 5)?;
    Ok(Record::new(
        unsigned(get(row, 0)?),
        Epoch::new(unsigned(get(row, 1)?)),
        labels,
        format(id, get(row, 6)?)?,
        get(row, 7)?,
        Timestamp::from_millis(get(row, 2)?),
    ))
}

/// Reads a message of the log.
pub(super) fn mail(id: LogId, row: &Row) -> Result<Mail, JournalError> {
    Ok(Mail::new(
        unsigned(get(row, 0)?),
        get(row, 1)?,
        format(id, get(row, 3)?)?,
        get(row, 4)?,
        Timestamp::from_millis(get(row, 2)?),
    ))
}

fn format(id: LogId, found: i32) -> Result<u16, JournalError> {
    u16::try_from(found)
        .map_err(|_| JournalError::damaged(id, format!("a record has format {found}")))
}

/// PostgreSQL's integers are signed. Ids, epochs and counts start at 1 and count up, so both ways are exact in practice,
/// and saturate where they are not.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A delay in microseconds. One beyond 3,000 years is 3,000 years: PostgreSQL's calendar has an end.
pub(super) fn micros(delay: Duration) -> i64 {
    const MOST: i64 = 3_000 * 365 * 86_400 * 1_000_000;
    i64::try_from(delay.as_micros()).map_or(MOST, |micros| micros.min(MOST))
}
