//! The audit: do the books say what the sagas say?
//!
//! It reads `ledger.sqlite` and `notices.sqlite` and nothing that the program remembers. For every invoice of the input
//! it holds the rows against the outcome in the journal:
//!
//! 1. A paid invoice has exactly one payment; it is settled, over the invoice's amount. Its entries are one debit and
//!    one credit of that amount. The invoice's status is paid. Its supplier was told once.
//! 2. A compensated invoice has no payment that is not voided, its entries net to zero on every account, and its status
//!    is not paid. A supplier that was told was told of the cancellation too.
//! 3. An incident may lie in between, but its debits equal its credits.
//! 4. No effect took place twice: at most one payment per invoice and per key, at most two entries per key, no entry
//!    reversed twice, no notice sent twice.
//! 5. Nothing is booked for what is not an invoice of the input.
//! 6. No invoice is unfinished.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use rusqlite::Connection;

use crate::Failed;
use crate::invoice::Invoice;
use crate::outcome::Outcome;
use crate::store::open_to_read;

/// What was found wrong, a sentence each. Empty when the audit holds.
pub(crate) type Findings = Vec<String>;

/// Holds the files against the outcomes, which are by [`Invoice::key`].
pub(crate) fn audit(
    ledger: &Path,
    notices: &Path,
    invoices: &[Invoice],
    outcomes: &HashMap<String, Outcome>,
) -> Result<Findings, Failed> {
    let mut books = Books::read(&open_to_read(ledger)?, &open_to_read(notices)?)?;
    let mut findings = std::mem::take(&mut books.findings);
    for invoice in invoices {
        let key = invoice.key();
        let rows = books.invoices.remove(&key).unwrap_or_default();
        let outcome = outcomes.get(&key).unwrap_or(&Outcome::Unfinished);
        findings.extend(
            rows.held_against(outcome, invoice)
                .into_iter()
                .map(|what| format!("{key}: {what}")),
        );
    }
    findings.extend(
        books
            .invoices
            .into_keys()
            .map(|key| format!("{key}: booked, but not an invoice of the input")),
    );
    Ok(findings)
}

/// Everything that is booked, by invoice.
#[derive(Default)]
struct Books {
    invoices: BTreeMap<String, Rows>,
    findings: Findings,
}

/// What is booked for one invoice.
#[derive(Default)]
struct Rows {
    /// Amount, currency, state.
    payments: Vec<(i64, String, String)>,
    /// Account, debit, credit, currency.
    entries: Vec<(String, i64, i64, String)>,
    paid: bool,
    told: u64,
    cancelled: u64,
}

impl Books {
    fn read(ledger: &Connection, notices: &Connection) -> Result<Self, Failed> {
        let mut books = Self::default();
        let mut keys = HashSet::new();
        let mut statement =
            ledger.prepare("SELECT tenant, invoice_no, amount_minor, currency, state, idempotency_key FROM payment")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let payment = (row.get(2)?, row.get(3)?, row.get(4)?);
            books.of(row.get(0)?, row.get(1)?).payments.push(payment);
            let key: String = row.get(5)?;
            if keys.contains(&key) {
                books
                    .findings
                    .push(format!("two payments with the key {key}"));
            }
            keys.insert(key);
        }

        let (mut lines, mut reversed) = (HashMap::<String, u32>::new(), HashSet::new());
        let mut statement = ledger.prepare(
            "SELECT tenant, invoice_no, account, debit_minor, credit_minor, currency, reverses, idempotency_key FROM entry",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let entry = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
            books.of(row.get(0)?, row.get(1)?).entries.push(entry);
            *lines.entry(row.get(7)?).or_default() += 1;
            if let Some(entry) = row.get::<_, Option<String>>(6)?
                && !reversed.insert(entry.clone())
            {
                books
                    .findings
                    .push(format!("the entry {entry} was reversed twice"));
            }
        }
        let crowded = lines.into_iter().filter(|(_, lines)| *lines != 2);
        books
            .findings
            .extend(crowded.map(|(key, lines)| format!("{lines} entries with the key {key}")));

        let mut statement =
            ledger.prepare("SELECT tenant, invoice_no FROM invoice WHERE status = 'paid'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            books.of(row.get(0)?, row.get(1)?).paid = true;
        }

        let mut statement = notices
            .prepare("SELECT tenant, invoice_no, kind FROM notice WHERE kind <> 'blocked'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let cancelled = row.get::<_, String>(2)? == "cancellation";
            let rows = books.of(row.get(0)?, row.get(1)?);
            *(if cancelled {
                &mut rows.cancelled
            } else {
                &mut rows.told
            }) += 1;
        }
        Ok(books)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the columns are read as owned strings"
    )]
    fn of(&mut self, tenant: String, invoice_no: String) -> &mut Rows {
        self.invoices
            .entry(format!("{tenant}/{invoice_no}"))
            .or_default()
    }
}

impl Rows {
    fn held_against(&self, outcome: &Outcome, invoice: &Invoice) -> Findings {
        let mut findings = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                findings.push(what.to_owned());
            }
        };
        must(self.payments.len() <= 1, "more than one payment");
        must(
            self.told <= 1 && self.cancelled <= 1,
            "a notice was sent twice",
        );
        must(self.balanced(), "debits are not equal to credits");
        match outcome {
            Outcome::Paid { noticed } => {
                let (minor, currency) = (invoice.amount.minor, invoice.amount.currency.code());
                let settled = self
                    .payments
                    .iter()
                    .filter(|(_, _, state)| state == "settled");
                must(
                    settled.count() == 1,
                    "paid without exactly one settled payment",
                );
                let same = self
                    .payments
                    .iter()
                    .all(|(amount, code, _)| *amount == minor && code == currency);
                must(same, "the payment is not over the invoice's amount");
                let net = self.net();
                let booked: Vec<_> = net.iter().filter(|(_, net)| **net != 0).collect();
                let of_amount = booked.iter().all(|((_, code), net)| {
                    **net == i128::from(minor) * net.signum() && *code == currency
                });
                must(
                    booked.len() == 2 && of_amount,
                    "paid without one debit and one credit of the amount",
                );
                must(self.entries.len() == 2, "paid without exactly two entries");
                must(self.paid, "paid, but the invoice is open");
                must(
                    self.told == u64::from(*noticed) && self.cancelled == 0,
                    "paid, but the notices say otherwise",
                );
            }
            Outcome::Compensated { .. } => {
                let voided = self.payments.iter().all(|(_, _, state)| state == "voided");
                must(voided, "compensated with a payment that is not voided");
                must(
                    self.net().values().all(|net| *net == 0),
                    "compensated, but the entries do not net to zero",
                );
                must(!self.paid, "compensated, but the invoice is marked paid");
                must(
                    self.told == self.cancelled,
                    "compensated, but the notices say otherwise",
                );
            }
            Outcome::Incident { .. } => {}
            Outcome::Unfinished => must(false, "unfinished"),
        }
        findings
    }

    fn balanced(&self) -> bool {
        let mut by_currency: BTreeMap<&str, i128> = BTreeMap::new();
        for ((_, currency), net) in self.net() {
            *by_currency.entry(currency).or_default() += net;
        }
        by_currency.values().all(|net| *net == 0)
    }

    /// Debits less credits by account and currency. A sum of `i64` in an `i128` cannot overflow.
    fn net(&self) -> BTreeMap<(&str, &str), i128> {
        let mut net = BTreeMap::new();
        for (account, debit, credit, currency) in &self.entries {
            *net.entry((account.as_str(), currency.as_str()))
                .or_default() += i128::from(*debit) - i128::from(*credit);
        }
        net
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoice() -> Invoice {
        serde_json::from_value(serde_json::json!({
            "number": "A1", "tenant": "acme", "tier": "smb", "supplier": "S", "description": "d",
            "amount": { "minor": 500, "currency": "EUR" }, "due": "2026-02-01",
            "claim": { "minor": 500, "currency": "EUR" }
        }))
        .unwrap()
    }

    fn paid() -> Rows {
        let eur = || "EUR".to_owned();
        Rows {
            payments: vec![(500, eur(), "settled".to_owned())],
            entries: vec![
                ("6310".to_owned(), 500, 0, eur()),
                ("1210".to_owned(), 0, 500, eur()),
            ],
            paid: true,
            told: 1,
            cancelled: 0,
        }
    }

    #[test]
    fn right_books_hold() {
        assert_eq!(
            paid().held_against(&Outcome::Paid { noticed: true }, &invoice()),
            Findings::new()
        );
        let why = String::new();
        assert_eq!(
            Rows::default().held_against(&Outcome::Compensated { why }, &invoice()),
            Findings::new()
        );
    }

    #[test]
    fn every_wrong_is_found() {
        let wrongs: [fn(&mut Rows); 8] = [
            |rows| rows.payments.clear(),
            |rows| rows.payments.extend(paid().payments),
            |rows| rows.payments[0].0 = 501,
            |rows| rows.payments[0].2 = "created".to_owned(),
            |rows| rows.entries.truncate(1),
            |rows| rows.entries.extend(paid().entries),
            |rows| rows.paid = false,
            |rows| rows.told = 2,
        ];
        for (n, wrong) in wrongs.into_iter().enumerate() {
            let mut rows = paid();
            wrong(&mut rows);
            assert_ne!(
                rows.held_against(&Outcome::Paid { noticed: true }, &invoice()),
                Findings::new(),
                "{n}"
            );
        }
        for outcome in [
            Outcome::Compensated { why: String::new() },
            Outcome::Unfinished,
        ] {
            assert_ne!(paid().held_against(&outcome, &invoice()), Findings::new());
        }
    }
}
