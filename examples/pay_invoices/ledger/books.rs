//! The books: what is in `ledger.sqlite`, and every effect on it.
//!
//! Each effect runs in one transaction together with the row in `effect` that remembers its idempotency key:
//!
//! 1. The same key is applied once. A second delivery changes nothing and is answered like the first.
//! 2. An undo whose effect has not arrived blocks the effect's key: what arrives late is refused.
//! 3. An effect that was undone is not applied again.
//! 4. A refused effect leaves nothing behind, not even its key.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use crate::chart::BANK_CLEARING;
use crate::invoice::Date;

/// Anyone can audit these tables with a query. The first two hold the money; `reverses` is the `id` of the entry that
/// an entry takes back. An `id` is made of the key that booked it, so that books can be compared row by row.
pub(crate) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS payment (
    invoice_no      TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    amount_minor    INTEGER NOT NULL CHECK (amount_minor > 0),
    currency        TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('created', 'voided', 'settled')),
    idempotency_key TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS payment_invoice ON payment (tenant, invoice_no);
CREATE TABLE IF NOT EXISTS entry (
    id              TEXT PRIMARY KEY,
    invoice_no      TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    account         TEXT NOT NULL,
    debit_minor     INTEGER NOT NULL CHECK (debit_minor >= 0),
    credit_minor    INTEGER NOT NULL CHECK (credit_minor >= 0),
    currency        TEXT NOT NULL,
    reverses        TEXT UNIQUE REFERENCES entry (id),
    idempotency_key TEXT NOT NULL,
    UNIQUE (idempotency_key, account),
    CHECK ((debit_minor = 0) <> (credit_minor = 0))
) STRICT;
CREATE INDEX IF NOT EXISTS entry_invoice ON entry (tenant, invoice_no);
CREATE TABLE IF NOT EXISTS invoice (
    tenant          TEXT NOT NULL,
    invoice_no      TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('open', 'paid')),
    PRIMARY KEY (tenant, invoice_no)
) STRICT;
CREATE TABLE IF NOT EXISTS effect (
    idempotency_key TEXT PRIMARY KEY,
    operation       TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('done', 'undone', 'blocked'))
) STRICT;
";

/// Invoices that were due before this day belong to a period that is closed.
const FIRST_OPEN_DAY: &str = "2026-01-01";

/// Why an effect did not take place.
#[derive(Debug)]
pub(crate) enum BooksError {
    /// The books forbid it; asking again changes nothing.
    Refused(String),
    /// The file did not do as told.
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for BooksError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

impl fmt::Display for BooksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => f.write_str(why),
            Self::Storage(_) => f.write_str("the ledger's storage failed"),
        }
    }
}

impl std::error::Error for BooksError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Storage(error) => Some(error),
        }
    }
}

/// Whether the effect is new; false when its key had been applied before.
pub(crate) type Fresh = Result<bool, BooksError>;

/// What is paid or booked.
#[derive(Clone, Debug)]
pub(crate) struct Amount {
    pub(crate) minor: i64,
    pub(crate) currency: String,
}

/// The effects on one invoice. Each runs inside the transaction that the caller has opened.
pub(crate) struct Books<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) tenant: &'a str,
    pub(crate) invoice_no: &'a str,
}

impl Books<'_> {
    pub(crate) fn create_payment(&self, key: &str, amount: &Amount) -> Fresh {
        self.apply(key, "create_payment", || {
            if let Some(state) = self.live_payment()? {
                return refuse(format!("the invoice has a payment that is {state}"));
            }
            self.connection
                .prepare_cached("INSERT INTO payment VALUES (?1, ?2, ?3, ?4, 'created', ?5)")?
                .execute(params![
                    self.invoice_no,
                    self.tenant,
                    amount.minor,
                    amount.currency,
                    key
                ])?;
            Ok(())
        })
    }

    pub(crate) fn void_payment(&self, key: &str, undoes: &str) -> Fresh {
        self.undo(key, undoes, "void_payment", || {
            let voided = self
                .connection
                .prepare_cached("UPDATE payment SET state = 'voided' WHERE idempotency_key = ?1 AND state = 'created'")?
                .execute([undoes])?;
            if voided == 0 { refuse("a settled payment cannot be voided".to_owned()) } else { Ok(()) }
        })
    }

    pub(crate) fn mark_paid(&self, key: &str) -> Fresh {
        self.apply(key, "mark_paid", || self.set_status("paid"))
    }

    pub(crate) fn revert_invoice(&self, key: &str, undoes: &str) -> Fresh {
        self.undo(key, undoes, "revert_invoice", || self.set_status("open"))
    }

    pub(crate) fn post_entry(&self, key: &str, amount: &Amount, account: &str, due: Date) -> Fresh {
        self.apply(key, "post_entry", || {
            if due.to_string().as_str() < FIRST_OPEN_DAY {
                return refuse("the accounting period is closed".to_owned());
            }
            let settled = self
                .connection
                .prepare_cached(
                    "UPDATE payment SET state = 'settled' WHERE tenant = ?1 AND invoice_no = ?2 AND state = 'created'
                     AND amount_minor = ?3 AND currency = ?4",
                )?
                .execute(params![self.tenant, self.invoice_no, amount.minor, amount.currency])?;
            if settled != 1 {
                return refuse("there is no payment of this amount to settle".to_owned());
            }
            for (account, debit, credit) in [(account, amount.minor, 0), (BANK_CLEARING, 0, amount.minor)] {
                self.connection
                    .prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, ?8)")?
                    .execute(params![
                        format!("{key}/{account}"),
                        self.invoice_no,
                        self.tenant,
                        account,
                        debit,
                        credit,
                        amount.currency,
                        key
                    ])?;
            }
            Ok(())
        })
    }

    pub(crate) fn reverse_entry(&self, key: &str, undoes: &str) -> Fresh {
        self.undo(key, undoes, "reverse_entry", || {
            self.connection
                .prepare_cached(
                    "INSERT INTO entry SELECT ?1 || '/' || account, invoice_no, tenant, account, credit_minor,
                     debit_minor, currency, id, ?1 FROM entry WHERE idempotency_key = ?2",
                )?
                .execute([key, undoes])?;
            self.connection
                .prepare_cached(
                    "UPDATE payment SET state = 'created' WHERE tenant = ?1 AND invoice_no = ?2 AND state = 'settled'",
                )?
                .execute([self.tenant, self.invoice_no])?;
            Ok(())
        })
    }

    /// Rules 1 to 4 for an effect.
    fn apply(
        &self,
        key: &str,
        operation: &str,
        effect: impl FnOnce() -> Result<(), BooksError>,
    ) -> Fresh {
        match self.state_of(key)?.as_deref() {
            None => {
                effect()?;
                self.remember(key, operation, "done")?;
                Ok(true)
            }
            Some("done") => Ok(false),
            Some(_) => refuse(format!("{operation} was undone before it arrived")),
        }
    }

    /// Rules 1 and 2 for an undo.
    fn undo(
        &self,
        key: &str,
        undoes: &str,
        operation: &str,
        undo: impl FnOnce() -> Result<(), BooksError>,
    ) -> Fresh {
        if self.state_of(key)?.is_some() {
            return Ok(false);
        }
        let found = self.state_of(undoes)?.as_deref() == Some("done");
        if found {
            undo()?;
            self.connection
                .prepare_cached("UPDATE effect SET state = 'undone' WHERE idempotency_key = ?1")?
                .execute([undoes])?;
        } else {
            self.remember(undoes, "blocked by its undo", "blocked")?;
        }
        self.remember(key, operation, "done")?;
        Ok(found)
    }

    fn state_of(&self, key: &str) -> rusqlite::Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT state FROM effect WHERE idempotency_key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()
    }

    fn remember(&self, key: &str, operation: &str, state: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO effect VALUES (?1, ?2, ?3)")?
            .execute([key, operation, state])
            .map(|_| ())
    }

    fn live_payment(&self) -> rusqlite::Result<Option<String>> {
        self.connection
            .prepare_cached("SELECT state FROM payment WHERE tenant = ?1 AND invoice_no = ?2 AND state <> 'voided'")?
            .query_row([self.tenant, self.invoice_no], |row| row.get(0))
            .optional()
    }

    fn set_status(&self, status: &str) -> Result<(), BooksError> {
        self.connection
            .prepare_cached(
                "INSERT INTO invoice VALUES (?1, ?2, ?3) ON CONFLICT (tenant, invoice_no) DO UPDATE SET status = ?3",
            )?
            .execute([self.tenant, self.invoice_no, status])?;
        Ok(())
    }
}

fn refuse<T>(why: String) -> Result<T, BooksError> {
    Err(BooksError::Refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_books(test: impl FnOnce(&Books<'_>)) {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        test(&Books {
            connection: &connection,
            tenant: "acme",
            invoice_no: "A1",
        });
    }

    fn amount() -> Amount {
        Amount {
            minor: 1_050,
            currency: "EUR".to_owned(),
        }
    }

    fn due() -> Date {
        "2026-01-01".parse().unwrap()
    }

    fn sum(books: &Books<'_>, query: &str) -> i64 {
        books
            .connection
            .query_row(query, [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn a_key_is_applied_once() {
        with_books(|books| {
            assert!(books.create_payment("c", &amount()).unwrap());
            assert!(!books.create_payment("c", &amount()).unwrap());
            assert!(books.post_entry("p", &amount(), "6310", due()).unwrap());
            assert!(!books.post_entry("p", &amount(), "6310", due()).unwrap());
            assert_eq!(sum(books, "SELECT count(*) FROM payment"), 1);
            assert_eq!(sum(books, "SELECT count(*) FROM entry"), 2);
            assert!(books.create_payment("another", &amount()).is_err());
        });
    }

    #[test]
    fn an_undo_that_comes_first_blocks_the_late_call() {
        with_books(|books| {
            assert!(!books.void_payment("v", "c").unwrap());
            assert!(matches!(
                books.create_payment("c", &amount()),
                Err(BooksError::Refused(_))
            ));
            assert!(!books.void_payment("v", "c").unwrap());
            assert_eq!(sum(books, "SELECT count(*) FROM payment"), 0);
        });
    }

    #[test]
    fn what_was_undone_stays_undone() {
        with_books(|books| {
            books.create_payment("c", &amount()).unwrap();
            assert!(books.void_payment("v", "c").unwrap());
            assert!(!books.void_payment("v", "c").unwrap());
            assert!(books.create_payment("c", &amount()).is_err());
            assert!(books.post_entry("p", &amount(), "6310", due()).is_err());
        });
    }

    #[test]
    fn a_reversal_nets_to_zero_and_names_what_it_reverses() {
        with_books(|books| {
            books.create_payment("c", &amount()).unwrap();
            books.post_entry("p", &amount(), "6310", due()).unwrap();
            assert!(
                books.void_payment("v", "c").is_err(),
                "a settled payment is not voided"
            );
            assert!(books.reverse_entry("r", "p").unwrap());
            assert!(!books.reverse_entry("r", "p").unwrap());
            assert!(books.void_payment("v", "c").unwrap());
            let open = "SELECT count(*) FROM (SELECT account FROM entry GROUP BY account HAVING sum(debit_minor - credit_minor) <> 0)";
            assert_eq!(sum(books, open), 0);
            let named = "SELECT count(*) FROM entry r JOIN entry e ON r.reverses = e.id AND r.account = e.account";
            assert_eq!(sum(books, named), 2);
        });
    }

    #[test]
    fn a_closed_period_takes_no_entry() {
        with_books(|books| {
            books.create_payment("c", &amount()).unwrap();
            let closed = "2025-12-31".parse().unwrap();
            assert!(books.post_entry("p", &amount(), "6310", closed).is_err());
            assert!(books.void_payment("v", "c").unwrap());
        });
    }
}
