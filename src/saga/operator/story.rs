//! The history of one saga, as data.

use serde::Serialize;

use super::search::Summary;
use crate::journal::{Log, Status};
use crate::saga::codec;
use crate::saga::ended::Incident;
use crate::saga::entry::{Fact, Proposal};
use crate::saga::history::History;
use crate::saga::payload::Payload;
use crate::saga::spot;
use crate::time::Timestamp;

/// Everything that a saga's log says, in order.
///
/// Texts of errors and reasons are in it: steps must not quote personal data in them. Payloads are `"redacted"` unless
/// the [authoriser](super::Authorize) grants them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Story {
    /// Where it stands.
    pub summary: Summary,
    /// Its open incident, with what can be decided about it.
    pub incident: Option<Incident>,
    /// What was proposed about that and can be agreed to.
    pub proposal: Option<Proposal>,
    /// Its facts, each with its record.
    pub entries: Vec<Entry>,
    /// How long its steps and undos took, as far as it is written.
    pub times: Vec<StepTime>,
    /// Messages that were posted and not read, a wish to cancel among them.
    pub unread: u64,
    /// Whether payloads are shown.
    pub payloads: Shown,
    /// Why some of its records are not among the entries.
    pub unreadable: Option<String>,
}

/// Whether the payloads of a [`Story`] are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shown {
    /// No: each is replaced.
    Redacted,
    /// Granted, and they cannot be opened: each is replaced, and this is why.
    Sealed(String),
    /// Yes.
    Yes,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The number of its record, from 1.
    pub record: u64,
    /// Whose turn it was: each instance that took the saga over raised it.
    pub epoch: u64,
    /// When it was written, by the writer's wall clock.
    pub at: Timestamp,
    /// The fact.
    pub fact: Fact,
}

/// One time that a step or an undo was next, from what was written before it to what was written about it. Checks are
/// written together with what follows them, so their time is in that of the next effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepTime {
    /// The step.
    pub step: Box<str>,
    /// Whether it was undone.
    pub undo: bool,
    /// From when on it was next.
    pub since: Timestamp,
    /// When it was over.
    pub until: Timestamp,
    /// How often it was tried, at least: attempts are not written one by one.
    pub attempts: u32,
    /// How it ended.
    pub end: StepEnd,
}

/// How a step or an undo ended in a [`StepTime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepEnd {
    /// Somebody asked for the saga to be undone.
    Cancelled,
    /// It, or its undo, is done.
    Done,
    /// It will not be done.
    Failed,
    /// It waits for an operator.
    Held,
}

/// Record by record, and what is wrong with the first that cannot be read.
pub(super) fn entries(log: &Log) -> (Vec<Entry>, Option<String>) {
    let mut entries = Vec::new();
    let mut wrong = None;
    for record in &log.records {
        match codec::decode_record(record) {
            Ok(facts) => entries.extend(facts.into_iter().map(|fact| Entry {
                record: record.seq,
                epoch: record.epoch.get(),
                at: record.at,
                fact,
            })),
            Err(reason) => wrong = wrong.or(Some(reason)),
        }
    }
    (entries, wrong)
}

impl Story {
    /// The story of a log, with its payloads as they are in the entries.
    pub(super) fn of(
        log: &Log,
        entries: Vec<Entry>,
        payloads: Shown,
        unreadable: Option<String>,
    ) -> Self {
        let history = History::of(entries.iter().map(|entry| &entry.fact));
        let incident = match &unreadable {
            Some(reason) if log.head.status != Status::Ended => {
                Some(Incident::unreadable(&log.head, reason))
            }
            Some(_) => None,
            None => Incident::of(&log.head, &history),
        };
        Self {
            summary: Summary::of(&log.head),
            incident,
            proposal: history.proposal,
            times: times(&entries),
            entries,
            unread: log.head.mail.posted.saturating_sub(log.head.mail.read),
            payloads,
            unreadable,
        }
    }
}

/// Puts a word in the place of every payload.
pub(super) fn redact<'a>(facts: impl IntoIterator<Item = &'a mut Fact>) {
    for payload in facts.into_iter().filter_map(spot::payload_mut) {
        if let Ok(word) = Payload::of(&"redacted") {
            *payload = word;
        }
    }
}

fn times(entries: &[Entry]) -> Vec<StepTime> {
    let mut times = Vec::new();
    let mut since = None;
    let mut tried = 0_u32;
    let mut unwinding = false;
    let mut retold = 0_u32;
    for Entry { at, fact, .. } in entries {
        // What is said again in another form took no time.
        if retold > 0 {
            retold = retold.saturating_sub(1);
            continue;
        }
        let first = *since.get_or_insert(*at);
        let ended = match fact {
            Fact::Done { step, .. } => Some((step, false, None, StepEnd::Done)),
            Fact::Undone { step } => Some((step, true, None, StepEnd::Done)),
            Fact::Failed(failure) => {
                let attempts = Some(failure.attempts);
                Some((&failure.step, false, attempts, StepEnd::Failed))
            }
            Fact::Cancelled(cancelled) => Some((&cancelled.step, false, None, StepEnd::Cancelled)),
            Fact::Incident(trouble) => {
                let attempts = Some(trouble.attempts);
                let step = trouble.step.as_ref();
                step.map(|step| (step, unwinding, attempts, StepEnd::Held))
            }
            Fact::RetryAt(again) => {
                tried = again.attempt;
                None
            }
            Fact::Unwind => {
                unwinding = true;
                None
            }
            Fact::Migrated(migrated) => {
                retold = migrated.retold;
                None
            }
            // The time of the operator is nobody's.
            Fact::Resolved(_) => {
                since = Some(*at);
                tried = 0;
                None
            }
            _ => None,
        };
        if let Some((step, undo, attempts, end)) = ended {
            let least = if end == StepEnd::Cancelled {
                tried
            } else {
                tried.saturating_add(1)
            };
            times.push(StepTime {
                step: step.clone(),
                undo,
                since: first,
                until: *at,
                attempts: attempts.unwrap_or(least),
                end,
            });
            since = Some(*at);
            tried = 0;
        }
    }
    times
}
