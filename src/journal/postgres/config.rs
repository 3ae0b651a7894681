//! The settings of a journal in PostgreSQL.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::ConfigError;

/// The schema that holds the tables of a journal. Several journals fit into one database under different names.
///
/// # Example
///
/// ```
/// use mainstay::journal::postgres::SchemaName;
///
/// assert_eq!(SchemaName::new("billing_sagas")?.as_str(), "billing_sagas");
/// assert!(SchemaName::new("Billing").is_err(), "lower case, so that psql needs no quotes");
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SchemaName(String);

impl SchemaName {
    /// A schema of this name.
    ///
    /// # Errors
    ///
    /// Unless it is 1 to 48 of `a-z`, `0-9` and `_`, not a digit first, and not `pg_`, which belongs to PostgreSQL.
    pub fn new(name: impl Into<String>) -> Result<Self, ConfigError> {
        let name = name.into();
        let of = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let first = name.chars().next();
        let named = first.is_some_and(|c| !c.is_ascii_digit())
            && name.len() <= 48
            && name.chars().all(of)
            && !name.starts_with("pg_");
        if named {
            Ok(Self(name))
        } else {
            let expected = "1 to 48 of a-z, 0-9 and _, not a digit first, not pg_";
            Err(ConfigError::new("schema", name, expected))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel on which its journals tell each other that there is something to look for.
    pub(super) fn channel(&self) -> String {
        format!("mainstay:{}", self.0)
    }

    /// A statement with the schema put in.
    pub(super) fn fill(&self, statement: &str) -> String {
        statement.replace("{schema}", &self.0)
    }
}

/// `mainstay`.
impl Default for SchemaName {
    fn default() -> Self {
        Self("mainstay".to_owned())
    }
}

impl fmt::Display for SchemaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a journal uses its database.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use mainstay::journal::postgres::{PostgresConfig, SchemaName};
///
/// let config = PostgresConfig::new()
///     .schema(SchemaName::new("billing_sagas")?)
///     .patience(Duration::from_secs(3));
/// # let _ = config;
/// # Ok::<(), mainstay::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresConfig {
    pub(super) schema: SchemaName,
    pub(super) writers: NonZeroU32,
    pub(super) batch: NonZeroU32,
    pub(super) patience: Duration,
    pub(super) prepared: bool,
}

impl PostgresConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schema: SchemaName::default(),
            writers: NonZeroU32::MIN.saturating_add(1),
            batch: NonZeroU32::MIN.saturating_add(511),
            patience: Duration::from_secs(10),
            prepared: true,
        }
    }

    /// The schema of its tables. Defaults to `mainstay`.
    #[must_use]
    pub fn schema(mut self, schema: SchemaName) -> Self {
        self.schema = schema;
        self
    }

    /// How many tasks write, each one batch at a time over a connection of the pool. Defaults to 2: while one batch
    /// commits the next is made. With 64 sagas in flight 4 measured a fifth slower, since the batches get smaller, and
    /// with 256 a tenth faster. The pool needs this many connections and two more, else claims and heartbeats wait for
    /// the writers.
    #[must_use]
    pub const fn writers(mut self, writers: NonZeroU32) -> Self {
        self.writers = writers;
        self
    }

    /// How many records share a commit at most; a batch also ends at 1 MiB. Defaults to 512, which takes a few tens of
    /// milliseconds: the first of a long queue does not wait for the last.
    #[must_use]
    pub const fn batch(mut self, records: NonZeroU32) -> Self {
        self.batch = records;
        self
    }

    /// How long a call may take, the wait for a connection included, before it is answered with
    /// [`Backend`](crate::journal::JournalError::Backend) and its connection is thrown away. Defaults to 10 s. Must be
    /// well below the lease of the instances, or a heartbeat that hangs costs the lease.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Whether frequent statements are prepared, once per connection. Defaults to yes. Switch it off behind a pooler in
    /// transaction mode that knows nothing of prepared statements (pgbouncer before 1.21); every statement is then
    /// planned anew, which costs about a tenth of a millisecond.
    #[must_use]
    pub const fn prepared(mut self, prepared: bool) -> Self {
        self.prepared = prepared;
        self
    }
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_an_identifier_that_needs_no_quotes() {
        for name in ["a", "_x", "billing_2", &"a".repeat(48)] {
            assert!(SchemaName::new(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2a",
            "A",
            "a-b",
            "a\"b",
            "a b",
            "pg_x",
            "ä",
            &"a".repeat(49),
        ] {
            assert!(SchemaName::new(name).is_err(), "{name}");
        }
    }
}
