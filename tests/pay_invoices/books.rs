//! What goes in, and what must come out.

use serde_json::Value;

use super::program::Run;

/// `count` invoices, most of them from suppliers that can be told, but not at first. In the documents' order that turns
/// the saga back, and there is much to undo.
pub(crate) fn bouncing_invoices(count: u64) -> String {
    invoices(count).replace("Northwind Freight", "Northwind (mailbox full)")
}

/// `count` invoices. Of ten, one is in a closed period, so that there is much to undo; of forty each, one is from a
/// blocked supplier, one from a supplier without an address, and one is over the budget of its tenant.
pub(crate) fn invoices(count: u64) -> String {
    let mut file =
        "invoice_no,tenant,tier,supplier,description,amount,currency,due_date\n".to_owned();
    for n in 0..count {
        let supplier = match n % 40 {
            11 => "Oldgate (blocked)",
            22 => "Pop-up Stall",
            _ => "Northwind Freight",
        };
        let due = if n % 10 == 3 {
            "2025-12-31"
        } else {
            "2026-02-01"
        };
        let amount = if n % 40 == 37 { 900_000 + n } else { 100 + n };
        file += &format!(
            "INV-{n},tenant-{n},mid_market,{supplier},\"Freight {n}\",{amount}.05,EUR,{due}\n"
        );
    }
    file
}

pub(crate) fn number(report: &Value, field: &str) -> u64 {
    report[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} is {}", report[field]))
}

/// What must be true of every run that has ended, however often it was killed.
pub(crate) fn sound(report: &Value, invoices: u64) -> Result<(), String> {
    let sum = number(report, "paid") + number(report, "compensated") + number(report, "incidents");
    if report["audit"] == true && number(report, "invoices") == invoices && sum == invoices {
        return Ok(());
    }
    Err(format!("{invoices} invoices: {report:#}"))
}

/// What must be the same in a run that was killed and in one that was not.
pub(crate) fn assert_same(
    killed: (&Run, &Value),
    undisturbed: (&Run, &Value),
) -> Result<(), String> {
    for field in [
        "invoices",
        "paid",
        "compensated",
        "incidents",
        "rejected",
        "audit",
        "compensated_why",
    ] {
        let (found, expected) = (&killed.1[field], &undisturbed.1[field]);
        if found != expected {
            return Err(format!(
                "{field} is {found:#} and was {expected:#} undisturbed"
            ));
        }
    }
    let (found, expected) = (killed.0.books(), undisturbed.0.books());
    let differing = found.iter().filter(|row| !expected.contains(row));
    let missing = expected.iter().filter(|row| !found.contains(row));
    let rows: Vec<_> = differing.chain(missing).take(5).collect();
    if found == expected {
        Ok(())
    } else {
        Err(format!("the books differ: {rows:#?}"))
    }
}
