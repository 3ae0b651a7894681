//! A batch as the arrays that its statement unnests: one per column.

use super::row::{micros, signed};
use super::session::Value;
use crate::journal::{Append, Begin};

/// What logs to begin.
pub(super) struct Beginnings<'a> {
    tenants: Vec<&'a str>,
    kinds: Vec<&'a str>,
    versions: Vec<i64>,
    keys: Vec<&'a str>,
    subjects: Vec<Option<&'a str>>,
    key_ids: Vec<Option<&'a str>>,
    digests: Vec<&'a str>,
    stages: Vec<&'a str>,
    owners: Vec<Option<i64>>,
    ats: Vec<i64>,
    formats: Vec<i32>,
    bodies: Vec<&'a str>,
}

impl<'a> Beginnings<'a> {
    pub(super) fn of(all: &[&'a Begin]) -> Self {
        Self {
            tenants: column(all, |begin| &*begin.labels.tenant),
            kinds: column(all, |begin| &*begin.kind),
            versions: column(all, |begin| i64::from(begin.version)),
            keys: column(all, |begin| &*begin.key),
            subjects: column(all, |begin| begin.labels.subject.as_deref()),
            key_ids: column(all, |begin| begin.labels.key_id.as_deref()),
            digests: column(all, |begin| &*begin.digest),
            stages: column(all, |begin| &*begin.stage),
            owners: column(all, |begin| begin.owner.map(|owner| signed(owner.get()))),
            ats: column(all, |begin| begin.at.as_millis()),
            formats: column(all, |begin| i32::from(begin.format)),
            bodies: column(all, |begin| &*begin.body),
        }
    }

    /// In the order of the statement.
    pub(super) fn values(&self) -> [Value<'_>; 12] {
        [
            &self.tenants,
            &self.kinds,
            &self.versions,
            &self.keys,
            &self.subjects,
            &self.key_ids,
            &self.digests,
            &self.stages,
            &self.owners,
            &self.ats,
            &self.formats,
            &self.bodies,
        ]
    }
}

/// What records to add.
pub(super) struct Appendings<'a> {
    ids: Vec<i64>,
    epochs: Vec<i64>,
    records: Vec<i64>,
    statuses: Vec<&'a str>,
    stages: Vec<Option<&'a str>>,
    parks: Vec<Option<i64>>,
    reads: Vec<Option<i64>>,
    tenants: Vec<&'a str>,
    subjects: Vec<Option<&'a str>>,
    key_ids: Vec<Option<&'a str>>,
    ats: Vec<i64>,
    formats: Vec<i32>,
    bodies: Vec<&'a str>,
    versions: Vec<Option<i64>>,
}

impl<'a> Appendings<'a> {
    pub(super) fn of(all: &[&'a Append]) -> Self {
        Self {
            ids: column(all, |append| signed(append.id.get())),
            epochs: column(all, |append| signed(append.expect.epoch.get())),
            records: column(all, |append| signed(append.expect.records)),
            statuses: column(all, |append| append.status.as_str()),
            stages: column(all, |append| append.stage.as_deref()),
            parks: column(all, |append| append.park.map(micros)),
            reads: column(all, |append| append.read.map(signed)),
            tenants: column(all, |append| &*append.labels.tenant),
            subjects: column(all, |append| append.labels.subject.as_deref()),
            key_ids: column(all, |append| append.labels.key_id.as_deref()),
            ats: column(all, |append| append.at.as_millis()),
            formats: column(all, |append| i32::from(append.format)),
            bodies: column(all, |append| &*append.body),
            versions: column(all, |append| append.version.map(i64::from)),
        }
    }

    /// In the order of the statement.
    pub(super) fn values(&self) -> [Value<'_>; 14] {
        [
            &self.ids,
            &self.epochs,
            &self.records,
            &self.statuses,
            &self.stages,
            &self.parks,
            &self.reads,
            &self.tenants,
            &self.subjects,
            &self.key_ids,
            &self.ats,
            &self.formats,
            &self.bodies,
            &self.versions,
        ]
    }
}

fn column<'a, T, V>(all: &[&'a T], of: impl Fn(&'a T) -> V) -> Vec<V> {
    all.iter().map(|one| of(one)).collect()
}
