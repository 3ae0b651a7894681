//! Reads invoices from CSV or JSON Lines. A bad row is reported with line, column, value and reason; the others go on.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use crate::invalid::Invalid;
use crate::invoice::{Date, Invoice, Tier};
use crate::money::{Currency, Money};
use crate::rows::{Row, csv_rows, json_rows, shorten};

/// What a file held.
#[derive(Debug)]
pub(crate) struct Input {
    /// In the order of the file.
    pub(crate) invoices: Vec<Invoice>,
    /// In the order of the file.
    pub(crate) rejects: Vec<Reject>,
    /// Tells this content from another's.
    pub(crate) digest: String,
}

/// One defect of one row, as it goes into the rejects file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reject {
    /// The line of the file, from 1.
    pub(crate) line: u64,
    pub(crate) column: &'static str,
    pub(crate) value: String,
    pub(crate) reason: String,
}

/// Reads the file at `path`: JSON Lines where the name says so or the content starts with `{`, else CSV.
pub(crate) fn read(path: &Path) -> Result<Input, Invalid> {
    let bytes = std::fs::read(path).map_err(|error| {
        Invalid::new(
            "input",
            path.display().to_string(),
            format!("a readable file ({error})"),
        )
    })?;
    // Spreadsheets put a byte order mark in front, which would become part of the first column's name.
    let content = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let named_json = path
        .extension()
        .is_some_and(|name| name == "jsonl" || name == "ndjson" || name == "json");
    let rows = if named_json || content.trim_ascii_start().starts_with(b"{") {
        json_rows(content)
    } else {
        csv_rows(content)?
    };
    if rows.is_empty() {
        return Err(Invalid::new(
            "input",
            path.display().to_string(),
            "at least one row of invoices",
        ));
    }
    let (invoices, rejects) = sort_out(rows);
    Ok(Input {
        invoices,
        rejects,
        digest: digest(&bytes),
    })
}

/// Turns rows into invoices and rejects, then lines the invoices up for the budget check.
fn sort_out(rows: Vec<Row>) -> (Vec<Invoice>, Vec<Reject>) {
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut accepted: Vec<(u64, Invoice)> = Vec::new();
    let mut rejects = Vec::new();
    for row in rows {
        match invoice(&row) {
            Err(reject) => rejects.push(reject),
            Ok(invoice) => match seen.entry(invoice.key()) {
                Entry::Vacant(entry) => {
                    entry.insert(row.line);
                    accepted.push((row.line, invoice));
                }
                Entry::Occupied(entry) => {
                    let reason = format!(
                        "duplicate number; the tenant's invoice stands on line {}",
                        entry.get()
                    );
                    rejects.push(Reject {
                        line: row.line,
                        column: "invoice_no",
                        value: invoice.number,
                        reason,
                    });
                }
            },
        }
    }

    accepted.sort_by(|(_, a), (_, b)| (a.due, &a.number).cmp(&(b.due, &b.number)));
    let mut claims: HashMap<(String, Currency), Money> = HashMap::new();
    accepted.retain_mut(|(line, invoice)| {
        let claim = claims
            .entry((invoice.tenant.clone(), invoice.amount.currency))
            .or_insert(Money { minor: 0, currency: invoice.amount.currency });
        let Some(sum) = claim.checked_add(invoice.amount) else {
            rejects.push(Reject {
                line: *line,
                column: "amount",
                value: invoice.amount.to_string(),
                reason: "too large together with the tenant's other invoices; expected less than 2^63 minor units"
                    .to_owned(),
            });
            return false;
        };
        *claim = sum;
        invoice.claim = sum;
        true
    });
    accepted.sort_by_key(|(line, _)| *line);
    rejects.sort_by_key(|reject| reject.line);
    (
        accepted.into_iter().map(|(_, invoice)| invoice).collect(),
        rejects,
    )
}

fn invoice(row: &Row) -> Result<Invoice, Reject> {
    let cells = row.cells.as_ref().map_err(Clone::clone)?;
    let reject = |column, value: &str, reason: String| Reject {
        line: row.line,
        column,
        value: shorten(value),
        reason,
    };
    let text = |column: &'static str| match cells.get(column) {
        None => Err(reject(column, "", "missing".to_owned())),
        Some(cell) if cell.text.is_empty() => Err(reject(column, "", "missing".to_owned())),
        Some(cell) if !cell.utf8 => Err(reject(column, &cell.text, "not UTF-8".to_owned())),
        Some(cell) => Ok(cell.text.as_str()),
    };
    let identifier = |column: &'static str| {
        let value = text(column)?;
        let plain = value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if plain && value.len() <= 64 {
            return Ok(value.to_owned());
        }
        Err(reject(
            column,
            value,
            "not an identifier; expected up to 64 letters, digits, '-', '_' or '.'".to_owned(),
        ))
    };

    let number = identifier("invoice_no")?;
    let tenant = identifier("tenant")?;
    let tier: Tier =
        text("tier").and_then(|value| value.parse().map_err(|why| reject("tier", value, why)))?;
    let supplier = text("supplier")?.to_owned();
    let description = text("description")?.to_owned();
    let currency: Currency = text("currency")
        .and_then(|value| value.parse().map_err(|why| reject("currency", value, why)))?;
    let amount = text("amount").and_then(|value| {
        Money::parse(value, currency).map_err(|why| reject("amount", value, why))
    })?;
    let due: Date = text("due_date")
        .and_then(|value| value.parse().map_err(|why| reject("due_date", value, why)))?;
    Ok(Invoice {
        number,
        tenant,
        tier,
        supplier,
        description,
        amount,
        due,
        claim: amount,
    })
}

/// FNV-1a with the length: enough to notice that a file was changed, not meant to resist someone who wants it not to.
fn digest(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}-{}", bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "invoice_no,tenant,tier,supplier,description,amount,currency,due_date\n";

    fn rejects(rows: &[u8]) -> (usize, Vec<(u64, &'static str, String)>) {
        let content = [HEADER.as_bytes(), rows].concat();
        let (invoices, rejects) = sort_out(csv_rows(&content).unwrap());
        (
            invoices.len(),
            rejects
                .into_iter()
                .map(|reject| (reject.line, reject.column, reject.reason))
                .collect(),
        )
    }

    #[test]
    fn a_bad_row_does_not_stop_the_others() {
        let (paid, rejects) = rejects(
            b"A1,acme,smb,S,d,1.00,EUR,2026-01-01\n\
              A2,acme,smb,S,d,x,EUR,2026-01-01\n\
              A1,acme,smb,S,d,2.00,EUR,2026-01-01\n\
              A3,acme,smb,S\xff,d,2.00,EUR,2026-01-01\n\
              A4,acme,smb,S,d,2.00,EUR\n\
              A1,other,smb,S,d,2.00,EUR,2026-01-01\n",
        );
        assert_eq!(paid, 2);
        let places: Vec<_> = rejects
            .iter()
            .map(|(line, column, _)| (*line, *column))
            .collect();
        assert_eq!(
            places,
            [
                (3, "amount"),
                (4, "invoice_no"),
                (5, "supplier"),
                (6, "(row)")
            ]
        );
    }

    #[test]
    fn an_open_quote_costs_one_row() {
        let (paid, rejects) = rejects(
            b"A1,acme,smb,\"S,d,1.00,EUR,2026-01-01\n\
              A2,acme,smb,S,d,1.00,EUR,2026-01-01\n\
              A3,acme,smb,\"S, Ltd\",\"two\nlines\",1.00,EUR,2026-01-01\n",
        );
        assert_eq!(paid, 2);
        assert_eq!(
            rejects,
            [(2, "(row)", "a quote that is not closed".to_owned())]
        );
    }

    #[test]
    fn claims_follow_the_due_date_and_not_the_file() {
        let rows = "B,acme,smb,S,d,1.00,EUR,2026-02-01\nA,acme,smb,S,d,0.10,EUR,2026-01-01\nC,acme,smb,S,d,5,JPY,2026-01-01\n";
        let (invoices, _) = sort_out(csv_rows(format!("{HEADER}{rows}").as_bytes()).unwrap());
        let claims: Vec<_> = invoices.iter().map(|invoice| invoice.claim.minor).collect();
        assert_eq!(claims, [110, 10, 5]);
    }

    #[test]
    fn json_numbers_are_read_as_written() {
        let line = |amount: &str| {
            let head = r#"{"invoice_no":"A","tenant":"t","tier":"smb","supplier":"s","description":"d","currency":"EUR","#;
            format!("{head}\"due_date\":\"2026-01-01\",\"amount\":{amount}}}\n")
        };
        let minor = |amount: &str| {
            let (invoices, rejects) = sort_out(json_rows(line(amount).as_bytes()));
            invoices
                .first()
                .map(|invoice| invoice.amount.minor)
                .ok_or(rejects)
        };
        assert_eq!(minor("90071992547409.93"), Ok(9_007_199_254_740_993));
        assert_eq!(minor("\"0.10\""), Ok(10));
        assert!(minor("1e3").is_err());
        assert!(minor("null").is_err());
        assert!(minor("[1").is_err());
    }
}
