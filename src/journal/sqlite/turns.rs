//! Whose turn it is: claims, leases and what is given back. Everything here runs inside the writer's transaction.
//!
//! A claim must cost what it hands out, whatever else is there: logs that live owners carry on, parked ones, kinds that
//! this program does not know. So it asks the index of turns once for each owner that is gone (and once for nobody) and
//! each kind, and takes the oldest of all answers.

use rusqlite::{Connection, params};

use super::rows::{Fault, HEAD, head, later, limit, now, one, signed, unsigned};
use super::statements::Prepared;
use crate::journal::{Beat, Claim, Head, InstanceId, Join, JournalError, LogId, Pulse, Release};
use crate::time::Timestamp;

/// At most so many logs wake in one claim: each costs a write, and others wait for the commit.
const WAKING: i64 = 10_000;

/// Whoever is parked and due is free like any other.
const WAKE: &str = "UPDATE log SET wake = 0 WHERE id IN
                    (SELECT id FROM log WHERE wake > 0 AND wake <= ?1 ORDER BY wake LIMIT ?2)";

/// One step from owner to owner, however many logs each has.
const NEXT_OWNER: &str = "SELECT min(owner) FROM log WHERE status = 'running' AND owner > ?1";

/// The oldest logs of one owner and one kind. `IS`, since nobody is an owner too.
const TURN: &str =
    "SELECT id FROM log WHERE status = 'running' AND owner IS ?1 AND kind = ?2 AND version = ?3
                      AND wake = 0 AND id > ?4 AND tenant NOT IN (SELECT value FROM json_each(?5))
                    ORDER BY id LIMIT ?6";

const MAIL: &str = "SELECT id FROM log WHERE status = 'running' AND posted > read AND owner = ?1 ORDER BY id LIMIT ?2";

const LEAVE: &str = "UPDATE log SET owner = NULL, recoveries = max(0, recoveries - 1)
                     WHERE status = 'running' AND owner = ?1";

pub(super) fn claim(prepared: &mut Prepared<'_>, claim: &Claim) -> Result<Vec<Head>, Fault> {
    let connection = prepared.connection;
    let at = now();
    connection
        .prepare_cached(WAKE)?
        .execute(params![at.as_millis(), WAKING])?;
    // Listed as JSON, so that the statement is the same however many there are.
    let except = serde_json::json!(claim.except).to_string();
    let after = claim.after.map_or(0, |id| signed(id.get()));
    let mut ids: Vec<i64> = Vec::new();
    let mut turn = connection.prepare_cached(TURN)?;
    for owner in gone(connection, at)? {
        for (kind, version) in &claim.kinds {
            let mut rows = turn.query(params![
                owner,
                &**kind,
                i64::from(*version),
                after,
                except,
                limit(claim.limit),
            ])?;
            while let Some(row) = rows.next()? {
                ids.push(row.get(0)?);
            }
        }
    }
    ids.sort_unstable();
    // A kind may be asked for twice.
    ids.dedup();
    ids.truncate(claim.limit);
    let mut heads = Vec::with_capacity(ids.len());
    for id in ids {
        // A claim begins an epoch, and all that was written in the one before is to be in the row by then.
        prepared.heads.settle(LogId::new(unsigned(id)))?;
        heads.push(take(connection, id, claim.owner)?);
    }
    Ok(heads)
}

/// Nobody, and the owners whose lease is over.
fn gone(connection: &Connection, at: Timestamp) -> Result<Vec<Option<i64>>, Fault> {
    let mut found = vec![None];
    let mut next = connection.prepare_cached(NEXT_OWNER)?;
    let mut alive =
        connection.prepare_cached("SELECT 1 FROM instance WHERE id = ?1 AND until > ?2")?;
    let mut last = 0_i64;
    while let Some(owner) = next.query_row(params![last], |row| row.get::<_, Option<i64>>(0))? {
        if !alive.exists(params![owner, at.as_millis()])? {
            found.push(Some(owner));
        }
        last = owner;
    }
    Ok(found)
}

fn take(connection: &Connection, id: i64, owner: Option<InstanceId>) -> Result<Head, Fault> {
    connection
        .prepare_cached(
            "UPDATE log SET epoch = epoch + 1, claims = claims + 1, recoveries = recoveries + 1, owner = ?2
             WHERE id = ?1",
        )?
        .execute(params![id, owner.map(|owner| signed(owner.get()))])?;
    let statement = format!("SELECT {HEAD} FROM log WHERE id = ?1");
    // One that cannot be read is handed out as well: who loads it is told that it is damaged, and can tell others.
    let found = connection
        .prepare_cached(&statement)?
        .query_row(params![id], head)?;
    Ok(found.head)
}

pub(super) fn join(connection: &Connection, join: &Join) -> Result<InstanceId, Fault> {
    let at = now();
    connection
        .prepare_cached("DELETE FROM instance WHERE until <= ?1")?
        .execute(params![at.as_millis()])?;
    connection
        .prepare_cached("INSERT INTO instance (name, until) VALUES (?1, ?2)")?
        .execute(params![join.name, later(at, join.lease)])?;
    Ok(InstanceId::new(unsigned(connection.last_insert_rowid())))
}

pub(super) fn beat(connection: &Connection, beat: &Beat) -> Result<Pulse, Fault> {
    let at = now();
    let instance = signed(beat.instance.get());
    let renewed = connection
        .prepare_cached("UPDATE instance SET until = ?2 WHERE id = ?1 AND until > ?3")?
        .execute(params![instance, later(at, beat.lease), at.as_millis()])?;
    if renewed == 0 {
        return Err(JournalError::Lapsed(beat.instance).into());
    }
    let mut prepared = connection.prepare_cached(MAIL)?;
    let mut rows = prepared.query(params![instance, limit(beat.limit)])?;
    let mut mail = Vec::new();
    while let Some(row) = rows.next()? {
        mail.push(LogId::new(unsigned(row.get(0)?)));
    }
    Ok(Pulse::new(mail))
}

pub(super) fn leave(connection: &Connection, instance: InstanceId) -> Result<(), Fault> {
    let instance = signed(instance.get());
    connection
        .prepare_cached("DELETE FROM instance WHERE id = ?1")?
        .execute(params![instance])?;
    connection
        .prepare_cached(LEAVE)?
        .execute(params![instance])?;
    Ok(())
}

pub(super) fn release(prepared: &mut Prepared<'_>, release: &Release) -> Result<(), Fault> {
    prepared.heads.settle(release.id)?;
    let connection = prepared.connection;
    let given = connection
        .prepare_cached(
            "UPDATE log SET owner = NULL, recoveries = max(0, recoveries - 1)
             WHERE id = ?1 AND epoch = ?2 AND records = ?3 AND owner IS NOT NULL",
        )?
        .execute(params![
            signed(release.id.get()),
            signed(release.place.epoch.get()),
            signed(release.place.records),
        ])?;
    if given == 0 {
        // Nobody's already, or somewhere else, or nowhere.
        one(connection, release.id)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    /// Nobody who asks all the time reads logs that are no answer, however many there are.
    #[test]
    fn each_question_has_its_index() {
        let connection = schema::example();
        for (statement, index) in [
            (WAKE, "USING COVERING INDEX log_parked (wake>? AND wake<?)"),
            (NEXT_OWNER, "USING COVERING INDEX log_turn (owner>?)"),
            (
                TURN,
                "USING INDEX log_turn (owner=? AND kind=? AND version=? AND wake=? AND id>?)",
            ),
            (MAIL, "INDEX log_mail (owner=?)"),
            (LEAVE, "USING INDEX log_turn (owner=?)"),
        ] {
            let plan = schema::plan(&connection, statement);
            assert!(plan.contains(index), "{statement}: {plan}");
            assert!(
                !plan.contains("SCAN log") && !plan.contains("TEMP B-TREE"),
                "{statement}: {plan}"
            );
        }
    }

    /// How many steps SQLite's machine makes for a statement.
    fn steps(connection: &Connection, statement: &str, values: &[&dyn rusqlite::ToSql]) -> i32 {
        let mut prepared = connection.prepare(statement).unwrap();
        let mut rows = prepared.query(values).unwrap();
        while rows.next().unwrap().is_some() {}
        drop(rows);
        prepared.get_status(rusqlite::StatementStatus::VmStep)
    }

    /// Forty thousand logs that are no answer cost a question nothing.
    #[test]
    fn questions_cost_what_they_answer() {
        let ask = |connection: &Connection| {
            let held = "SELECT id FROM log WHERE status = 'held' AND status <> 'ended' ORDER BY id LIMIT 9";
            [
                steps(connection, WAKE, &[&1_000, &WAKING]),
                steps(connection, NEXT_OWNER, &[&1]),
                steps(
                    connection,
                    TURN,
                    &[&None::<i64>, &"pay", &1, &0, &"[]", &64],
                ),
                steps(connection, MAIL, &[&1, &64]),
                steps(connection, held, &[]),
            ]
        };
        let connection = schema::example();
        let empty = ask(&connection);
        for (status, owner, kind, wake) in [
            ("ended", "NULL", "pay", 0),
            ("running", "NULL", "pay", 2_000),
            ("running", "1", "pay", 0),
            ("running", "NULL", "unknown", 0),
        ] {
            let fill = format!(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 10000)
                 INSERT INTO log (tenant, kind, key, digest, status, epoch, records, claims, begun, owner, wake)
                 SELECT '', '{kind}', '{status} {wake} {owner} ' || x, '', '{status}', 1, 1, 0, 0, {owner}, {wake} FROM n"
            );
            connection.execute_batch(&fill).unwrap();
        }
        let full = ask(&connection);
        println!("empty {empty:?}, full {full:?}");
        for (full, empty) in full.iter().zip(empty) {
            assert!(
                *full <= empty + 20,
                "{full} steps where {empty} were enough"
            );
        }
        // The control: without the index it reads them all.
        connection.execute_batch("DROP INDEX log_turn").unwrap();
        assert!(ask(&connection).iter().max() > Some(&10_000));
    }
}
