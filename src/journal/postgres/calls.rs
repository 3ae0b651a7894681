//! The operations that need no batch: each goes over a connection of its own.

use tokio_postgres::types::Type;

use super::Store;
use super::row::{self, limit, micros, signed, unsigned};
use super::session::{Statement, Value, get};
use super::statements::ListStatement;
use crate::journal::{
    Beat, Claim, Head, InstanceId, Join, JournalError, Listing, Log, LogId, Post, Posted, Prune,
    Pulse, Release,
};

/// A claim is a long statement of short scans. Where statistics are old, the planner expects long ones, and compiling
/// the statement for them takes ten times as long as the claim.
const UNCOMPILED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL jit = off";

impl Store {
    pub(super) async fn claim(&self, claim: Claim) -> Result<Vec<Head>, JournalError> {
        let kinds: Vec<String> = claim
            .kinds
            .iter()
            .map(|(kind, version)| format!("{version} {kind}"))
            .collect();
        let values: [Value<'_>; 5] = [
            &claim.after.map_or(0, |id| signed(id.get())),
            &kinds,
            &claim.except,
            &limit(claim.limit),
            &claim.owner.map(|owner| signed(owner.get())),
        ];
        let session = self.session().await?;
        let [rows] = session
            .together(UNCOMPILED, [(&self.say.claim, &values[..])])
            .await?;
        drop(session);
        // One that cannot be read is handed out as well: who loads it is told that it is damaged, and can tell others.
        let heads: Result<Vec<Head>, JournalError> =
            rows.iter().map(|row| Ok(row::head(row)?.head)).collect();
        let mut heads = heads?;
        heads.sort_unstable_by_key(|head: &Head| head.id);
        Ok(heads)
    }

    pub(super) async fn load(&self, id: LogId) -> Result<Log, JournalError> {
        let number = signed(id.get());
        let values: [Value<'_>; 1] = [&number];
        let session = self.session().await?;
        let found = session
            .together(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                [
                    (&self.say.head, &values[..]),
                    (&self.say.records, &values[..]),
                    (&self.say.mail, &values[..]),
                ],
            )
            .await?;
        drop(session);
        let mut found = found.into_iter();
        let (heads, records, mail) = (found.next(), found.next(), found.next());
        let head = heads.as_deref().and_then(<[_]>::first);
        let head = row::head(head.ok_or(JournalError::Missing(id))?)?.whole()?;
        let records = records.iter().flatten().map(|row| row::record(id, row));
        let mail = mail.iter().flatten().map(|row| row::mail(id, row));
        Log::checked(
            head,
            records.collect::<Result<_, _>>()?,
            mail.collect::<Result<_, _>>()?,
        )
    }

    pub(super) async fn list(&self, listing: Listing) -> Result<Vec<Head>, JournalError> {
        let after = listing.after.map_or(0, |id| signed(id.get()));
        let most = limit(listing.limit);
        let begun = listing.begun_before.map(|at| at.as_millis());
        let updated = listing.updated_before.map(|at| at.as_millis());
        let (kind, stage) = (listing.kind.as_deref(), listing.stage.as_deref());
        let mut statement = ListStatement::new(listing.status);
        let mut values: Vec<Value<'_>> = vec![&after, &most];
        let mut types = vec![Type::INT8, Type::INT8];
        let texts = [
            ("l.kind =", kind),
            ("l.tenant =", listing.tenant.as_deref()),
            ("l.key =", listing.key.as_deref()),
            ("l.stage =", stage),
        ];
        for (condition, wanted) in &texts {
            if let Some(wanted) = wanted {
                statement.and(condition);
                values.push(wanted);
                types.push(Type::TEXT);
            }
        }
        let numbers = [("l.begun <", begun), ("l.updated <", updated)];
        for (condition, wanted) in &numbers {
            if let Some(wanted) = wanted {
                statement.and(condition);
                values.push(wanted);
                types.push(Type::INT8);
            }
        }
        let sql = statement.sql(&self.schema);
        let rows = self.session().await?.ask(&sql, &types, &values).await?;
        rows.iter().map(|row| Ok(row::head(row)?.head)).collect()
    }

    pub(super) async fn join(&self, join: Join) -> Result<InstanceId, JournalError> {
        let rows = self
            .one(&self.say.join, &[&join.name, &micros(join.lease)])
            .await?;
        Ok(InstanceId::new(unsigned(get(&rows, 0)?)))
    }

    pub(super) async fn beat(&self, beat: Beat) -> Result<Pulse, JournalError> {
        let instance = signed(beat.instance.get());
        let session = self.session().await?;
        let renewed = session
            .query(&self.say.beat, &[&instance, &micros(beat.lease)])
            .await?;
        if renewed.is_empty() {
            return Err(JournalError::Lapsed(beat.instance));
        }
        let mail = session
            .query(&self.say.beat_mail, &[&instance, &limit(beat.limit)])
            .await?;
        let mail: Result<Vec<LogId>, JournalError> = mail
            .iter()
            .map(|row| Ok(LogId::new(unsigned(get(row, 0)?))))
            .collect();
        Ok(Pulse::new(mail?))
    }

    pub(super) async fn leave(&self, instance: InstanceId) -> Result<(), JournalError> {
        let rows = self
            .session()
            .await?
            .query(&self.say.leave, &[&signed(instance.get())])
            .await?;
        if !rows.is_empty() {
            self.nudge();
        }
        Ok(())
    }

    pub(super) async fn release(&self, release: Release) -> Result<(), JournalError> {
        let values: [Value<'_>; 3] = [
            &signed(release.id.get()),
            &signed(release.place.epoch.get()),
            &signed(release.place.records),
        ];
        let row = self.one(&self.say.release, &values).await?;
        if !get::<bool>(&row, 0)? {
            return Err(JournalError::Missing(release.id));
        }
        if get::<Option<&str>>(&row, 1)?.is_some() {
            self.nudge();
        }
        Ok(())
    }

    pub(super) async fn post(&self, post: Post) -> Result<Posted, JournalError> {
        let id = signed(post.id.get());
        let format = i32::from(post.format);
        let at = post.at.as_millis();
        let values: [Value<'_>; 5] = [&id, &post.dedup, &at, &format, &post.body];
        let session = self.session().await?;
        let rows = match session.query(&self.say.post, &values).await {
            // Somebody posted the same at the same time, and is done: now it is known.
            Err(fault) if fault.broken.is_some() => session.query(&self.say.post, &values).await?,
            other => other?,
        };
        let row = rows.first().ok_or(JournalError::Missing(post.id))?;
        if let Some(number) = get::<Option<i64>>(row, 0)? {
            return Ok(Posted::Known(unsigned(number)));
        }
        if let Some(number) = get::<Option<i64>>(row, 1)? {
            self.nudge();
            return Ok(Posted::Added(unsigned(number)));
        }
        if get::<bool>(row, 2)? {
            Ok(Posted::Ended)
        } else {
            Err(JournalError::Missing(post.id))
        }
    }

    pub(super) async fn prune(&self, prune: Prune) -> Result<usize, JournalError> {
        let values: [Value<'_>; 3] = [
            &micros(prune.older_than),
            &prune.kind.as_deref(),
            &limit(prune.limit),
        ];
        let row = self.one(&self.say.prune, &values).await?;
        Ok(usize::try_from(get::<i64>(&row, 0)?).unwrap_or(0))
    }

    async fn one(
        &self,
        statement: &Statement,
        values: &[Value<'_>],
    ) -> Result<tokio_postgres::Row, JournalError> {
        let rows = self.session().await?.query(statement, values).await?;
        // Statements that answer always have one row.
        rows.into_iter().next().ok_or(JournalError::Closed(None))
    }
}
