//! Durable append-only logs: the memory of a [saga](crate::saga), and of whatever else must finish.
//!
//! A [`Journal`] keeps many short logs. Each has a business key, unique per (tenant, kind), and one writer at a time:
//! an append names the place at which the log must end, and the writer's epoch, so that a writer that lost its turn
//! cannot write. What a record says is the writer's business; a store sees text.
//!
//! | store | for | survives |
//! |---|---|---|
//! | [`memory`] | tests, and work that may be forgotten | nothing |
//! | `sqlite` (feature `sqlite`) | one process | `kill -9`, loss of power |
//! | `postgres` (feature `postgres`) | several instances | the same, and the loss of an instance |
//!
//! Every store passes one suite, [`contract`], and so can yours. To watch or to disturb a store in a test, wrap it
//! ([`pass_on`]): a journal is an object.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use mainstay::journal::{Append, Begin, Begun, Journal, Labels, Status, memory::MemoryJournal};
//! use mainstay::time::Timestamp;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let journal = MemoryJournal::new();
//! let labels = Arc::new(Labels::new("acme"));
//! let at = Timestamp::from_millis(0);
//!
//! let begin = Begin::new(Arc::clone(&labels), "invoice_payment", "INV-1", "digest", 1, "{}", at);
//! let Begun::Created(head) = journal.begin(begin).await? else { panic!("the key was free") };
//!
//! let append = Append::new(head.id, head.place, Status::Ended, labels, 1, "{}", at);
//! journal.append(append.clone()).await?;
//! journal.append(append).await?; // a reply may be lost: the same record again is the same record
//! assert_eq!(journal.load(head.id).await?.records.len(), 2);
//! # Ok(())
//! # }
//! ```

pub mod contract;
mod error;
mod log;
pub mod memory;
mod port;
#[cfg(feature = "postgres")]
pub mod postgres;
mod request;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod transactions;
mod vitals;
mod wrap;

pub use error::JournalError;
pub use log::{Epoch, Head, InstanceId, Labels, Log, LogId, Mail, Place, Postbox, Record, Status};
pub use port::{Answer, Journal};
pub use request::{
    Append, Beat, Begin, Begun, Claim, Join, Listing, Post, Posted, Prune, Pulse, Release,
};
pub use transactions::Transactions;
pub use vitals::Vitals;
pub use wrap::pass_on;

pub use crate::journal_contract as contract;
