//! Pays invoices through real network services that fail, with nothing lost.
//!
//! ```text
//! cargo run --release --example pay_invoices                        the shipped 2,000 invoices, mild faults
//! cargo run --release --example pay_invoices -- --help              every option
//! cargo run --release --example pay_invoices -- mine.csv --faults severe --seed 7
//! cargo run --release --example pay_invoices -- --store postgres --postgres postgres://postgres@localhost/postgres \
//!     --instances 3 --kill 4                                        three processes, killed four times
//! ```
//!
//! The program starts three [backends] as processes of its own: a general [ledger] over gRPC, a [notification] service
//! and an AI [assistant] over HTTP. It [reads][reader] invoices, and pays each as a [saga] of six steps, 64 at a time.
//! Every call goes through [mainstay's standard stack][erp], with the presets of the documents at twenty times their
//! speed. [Faults][faults] are injected by seed: errors, lost answers, latency, hangs, and backends that are killed. In
//! the end an [audit] reads the books from the disk and holds them against the journal.
//!
//! With `--store postgres --instances 3` three more processes share one journal: each is an [instance][crew] with a lease,
//! starts its share of the invoices and carries on what the others leave behind. The books and the audit are the same.
//!
//! `kill -9` any of the processes at any moment and run the same command again: it finishes what is left, and its table
//! counts everything.
//!
//! # Reading the example
//!
//! The file to start with is [`saga`]: the steps and the two orders. Then [`erp`]: the clients and their stacks. What
//! is special about the other side, each effect once per key and an undo that may come first, is in [`ledger::books`].
//!
//! # The books
//!
//! `ledger.sqlite` in the state folder can be looked at while it is being written:
//!
//! - `payment(invoice_no, tenant, amount_minor, currency, state, idempotency_key)`: one row per payment; `state` is
//!   `created`, `voided` or `settled`. Amounts are in minor units of the currency.
//! - `entry(id, invoice_no, tenant, account, debit_minor, credit_minor, currency, reverses, idempotency_key)`: one row
//!   per line of a posting; the two lines of one posting share its key. `reverses` is the `id` of the entry that a
//!   reversal takes back, else null.
//! - `invoice(tenant, invoice_no, status)`: `open` or `paid`.
//! - `effect(idempotency_key, operation, state)`: what was `done`, `undone`, or `blocked` by an undo that came first.
//!
//! ```sql
//! -- Postings that are not balanced: none, ever.
//! SELECT idempotency_key FROM entry GROUP BY idempotency_key HAVING sum(debit_minor) <> sum(credit_minor);
//! -- Invoices that were paid twice: none, ever.
//! SELECT tenant, invoice_no FROM payment WHERE state = 'settled' GROUP BY 1, 2 HAVING count(*) > 1;
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "a program may look at the clock, spawn and sleep; mainstay's machines may not"
)]

mod args;
mod assistant;
mod audit;
mod backends;
mod carry;
mod chart;
mod crew;
mod erp;
mod faults;
mod invalid;
mod invoice;
mod ledger;
mod money;
mod mutant;
mod notification;
mod outcome;
mod pay;
mod progress;
mod reader;
mod report;
mod rows;
mod saga;
mod state;
mod store;
mod stores;
mod timings;

use std::process::ExitCode;

use args::Command;

/// Whatever keeps a run from its end.
type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = args::parse(std::env::args_os().skip(1))
        .map_err(Failed::from)
        .and_then(|command| {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async {
                match command {
                    Command::Help => print!("{}", args::USAGE),
                    Command::Serve(args) => backends::serve(args).await?,
                    Command::Carry(args) => crew::carry(args).await?,
                    Command::Pay(args) => return pay::pay(args).await,
                }
                Ok(true)
            })
        });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // The report has said what does not hold.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pay_invoices: {error}");
            ExitCode::from(2)
        }
    }
}
