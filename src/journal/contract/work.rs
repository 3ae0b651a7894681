//! What the cases have in common.

use std::sync::Arc;
use std::time::Duration;

use super::Subject;
use crate::journal::{
    Append, Beat, Begin, Begun, Claim, Head, InstanceId, Join, Journal, JournalError, Labels,
    Listing, LogId, Place, Post, Status,
};
use crate::time::Timestamp;

/// What did not hold.
pub(super) struct Broken(pub(super) String);

impl From<String> for Broken {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

impl From<JournalError> for Broken {
    fn from(error: JournalError) -> Self {
        Self(format!("a call was refused that must not be: {error:?}"))
    }
}

pub(super) type Checked = Result<(), Broken>;

/// Ends the case unless this holds.
macro_rules! ensure {
    ($holds:expr, $($reason:tt)+) => {
        if !$holds {
            return Err($crate::journal::contract::work::Broken(format!($($reason)+)));
        }
    };
}

/// Ends the case unless both are the same.
macro_rules! same {
    ($found:expr, $due:expr, $what:expr) => {
        let (found, due) = (&$found, &$due);
        if found != due {
            let reason = format!("{}: {found:?} was found where {due:?} was due", $what);
            return Err($crate::journal::contract::work::Broken(reason));
        }
    };
}

/// Ends the case unless the answer is a refusal of this kind.
macro_rules! refused {
    ($answer:expr, $refusal:pat $(if $guard:expr)?, $what:expr) => {
        let answer = $answer;
        if !matches!(&answer, Err($refusal) $(if $guard)?) {
            let reason = format!("{}: {answer:?} was the answer", $what);
            return Err($crate::journal::contract::work::Broken(reason));
        }
    };
}

pub(super) use {ensure, refused, same};

/// A lease or a parking that is over after [`PAUSE`].
pub(super) const MOMENT: Duration = Duration::from_millis(1);

/// Long enough for any store's clock to see that a [`MOMENT`] is over.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Never over while a case runs.
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// Enough for every log of a case.
pub(super) const ALL: usize = 1_000;

/// A log that no fresh store has.
pub(super) const NOBODY: LogId = LogId::new(1 << 40);

pub(super) fn labels(tenant: &str) -> Arc<Labels> {
    Arc::new(Labels::new(tenant).subject("person-7").key_id("key-3"))
}

pub(super) const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn beginning(tenant: &str, kind: &str, key: &str) -> Begin {
    Begin::new(
        labels(tenant),
        kind,
        key,
        format!("digest of {key}"),
        1,
        "[\"first\"]",
        at(1),
    )
}

pub(super) async fn begin(journal: &dyn Journal, begin: Begin) -> Result<Head, Broken> {
    match journal.begin(begin).await? {
        Begun::Created(head) => Ok(head),
        Begun::Existing(head) => Err(Broken(format!("a free key was taken by {head:?}"))),
    }
}

pub(super) async fn create(journal: &dyn Journal, key: &str) -> Result<Head, Broken> {
    begin(journal, beginning("acme", "pay", key)).await
}

pub(super) fn record(id: LogId, expect: Place, body: &str) -> Append {
    Append::new(id, expect, Status::Running, labels("acme"), 1, body, at(2))
}

pub(super) fn ending(head: &Head, status: Status) -> Append {
    let labels = labels("acme");
    Append::new(head.id, head.place, status, labels, 1, "[\"last\"]", at(3))
}

/// All logs of the usual kind.
pub(super) fn wanted() -> Claim {
    Claim::new(vec![("pay".into(), 1)], ALL)
}

pub(super) fn post(id: LogId, dedup: &str) -> Post {
    Post::new(id, dedup, 1, format!("[\"{dedup}\"]"), at(4))
}

pub(super) fn ids(heads: &[Head]) -> Vec<LogId> {
    heads.iter().map(|head| head.id).collect()
}

pub(super) fn only<T: std::fmt::Debug>(mut found: Vec<T>) -> Result<T, Broken> {
    match (found.len(), found.pop()) {
        (1, Some(one)) => Ok(one),
        (more, last) => Err(Broken(format!(
            "{more} where one was due, {last:?} the last"
        ))),
    }
}

pub(super) async fn join(journal: &dyn Journal) -> Result<InstanceId, Broken> {
    Ok(journal.join(Join::new("instance", HOUR)).await?)
}

/// Has an instance fall silent until its lease is over.
pub(super) async fn lapse(
    subject: &Subject,
    journal: &dyn Journal,
    instance: InstanceId,
) -> Checked {
    journal.beat(Beat::new(instance, MOMENT, 0)).await?;
    subject.pass(PAUSE).await;
    Ok(())
}

/// The head as the store lists it.
pub(super) async fn head(journal: &dyn Journal, id: LogId) -> Result<Head, Broken> {
    for status in [Status::Running, Status::Held, Status::Ended] {
        let listed = journal.list(Listing::new(status, ALL)).await?;
        if let Some(head) = listed.into_iter().find(|head| head.id == id) {
            let loaded = journal.load(id).await?.head;
            same!(
                loaded,
                head,
                "a log is loaded with another head than it is listed with"
            );
            return Ok(head);
        }
    }
    Err(Broken(format!("log {id} is in no list")))
}
