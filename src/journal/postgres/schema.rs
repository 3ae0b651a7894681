//! The tables, their versions, and the server settings that durability depends on.

use std::fmt;

use deadpool_postgres::Pool;
use tokio_postgres::types::Type;

use super::config::SchemaName;
use super::fault;
use super::session;
use crate::journal::JournalError;

/// The version that the statements of this crate are written for.
pub(super) const KNOWN: i64 = 2;

/// The oldest version that the statements work with as well: what came since are indexes. So a new program can be rolled
/// out before anybody migrates.
const LEAST: i64 = 1;

/// Every version's step, oldest first.
const STEPS: [(i64, &str); 2] = [
    (1, include_str!("1_tables.sql")),
    (2, include_str!("2_past.sql")),
];

/// One step of the schema, from the version before it.
///
/// Its text is what `psql` runs, and it notes its own version: a schema that was migrated by hand is as good as one
/// that [`migrate`](super::PostgresJournal::migrate) made. Run each in a transaction (`psql -1`).
#[derive(Clone, PartialEq, Eq)]
pub struct Migration {
    version: i64,
    sql: String,
}

impl Migration {
    /// The version that the schema has afterwards.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// What it does.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }
}

/// What it does.
impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql)
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migration")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

pub(super) fn steps(schema: &SchemaName) -> Vec<Migration> {
    let step = |(version, sql): &(i64, &str)| Migration {
        version: *version,
        sql: schema.fill(sql),
    };
    STEPS.iter().map(step).collect()
}

/// Runs what is missing, in one transaction: the schema is as it was or as it is to be.
pub(super) async fn migrate(pool: &Pool, schema: &SchemaName) -> Result<(), JournalError> {
    let mut client = pool
        .get()
        .await
        .map_err(|error| fault::unconnected(&error))?;
    let transaction = client
        .transaction()
        .await
        .map_err(|error| fault::answer(&error))?;
    // One program at a time; the others then find nothing to do. The lock ends with the transaction.
    let lock = format!(
        "SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))",
        schema.channel()
    );
    transaction
        .batch_execute(&lock)
        .await
        .map_err(|error| fault::answer(&error))?;
    let there = format!("SELECT to_regclass('\"{schema}\".migration') IS NOT NULL");
    let row = transaction
        .query_typed_one(&there, &[])
        .await
        .map_err(|error| fault::answer(&error))?;
    let found = if session::get::<bool>(&row, 0)? {
        let newest = schema.fill(NEWEST);
        let row = transaction
            .query_typed_one(&newest, &[])
            .await
            .map_err(|error| fault::answer(&error))?;
        session::get(&row, 0)?
    } else {
        0
    };
    if found > KNOWN {
        return Err(JournalError::Schema {
            found,
            known: KNOWN,
        });
    }
    for step in steps(schema).iter().filter(|step| step.version > found) {
        transaction
            .batch_execute(&step.sql)
            .await
            .map_err(|error| fault::answer(&error))?;
    }
    transaction
        .commit()
        .await
        .map_err(|error| fault::answer(&error))
}

const NEWEST: &str = "SELECT coalesce(max(version), 0) FROM \"{schema}\".migration";

/// Checks that the tables are those with which this crate can work, and that what the server commits will stay.
pub(super) async fn check(pool: &Pool, schema: &SchemaName) -> Result<(), JournalError> {
    let client = pool
        .get()
        .await
        .map_err(|error| fault::unconnected(&error))?;
    // Settings of the role and of the database are in it: it is asked of a session like those that will write.
    // `fsync` off loses the disk's cache, `synchronous_commit` off the last commits, `full_page_writes` off torn pages.
    for (setting, needed) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
    ] {
        let row = client
            .query_typed_one("SELECT current_setting($1)", &[(&setting, Type::TEXT)])
            .await
            .map_err(|error| fault::answer(&error))?;
        let found: String = session::get(&row, 0)?;
        // Every other value of `synchronous_commit` waits at least for the disk of this server.
        if found == "off" {
            return Err(JournalError::Unsafe {
                setting,
                found,
                needed,
            });
        }
    }
    let found = match client.query_typed_one(&schema.fill(NEWEST), &[]).await {
        Ok(row) => session::get(&row, 0)?,
        // No such schema, no such table: nobody has migrated.
        Err(error)
            if error
                .code()
                .is_some_and(|code| matches!(code.code(), "3F000" | "42P01")) =>
        {
            0
        }
        Err(error) => return Err(fault::answer(&error)),
    };
    if (LEAST..=KNOWN).contains(&found) {
        Ok(())
    } else {
        Err(JournalError::Schema {
            found,
            known: KNOWN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_note_themselves_and_name_the_schema() {
        let schema = SchemaName::new("billing").unwrap();
        for (step, expected) in steps(&schema).iter().zip(1..) {
            assert_eq!(step.version(), expected);
            assert!(step.sql().contains(&format!(
                "INSERT INTO \"billing\".migration (version) VALUES ({expected});"
            )));
            assert!(!step.sql().contains("{schema}"));
        }
        assert_eq!(steps(&schema).last().map(Migration::version), Some(KNOWN));
    }
}
