//! Takes writes that cannot be done now, and does them later: each once, in order, whatever dies in between.
//!
//! Use it behind a capability that a ladder of [`degrade`](crate::degrade) can set to
//! [`Queued`](crate::degrade::Kind::Queued): the database's primary is down, and what is posted meanwhile is kept in another
//! place and posted when it is back. Callers get 202 in place of an answer, so it is for writes whose caller can live
//! with "it will be done".
//!
//! Do not use it where the caller needs the result, nor as a message broker between services: it has one consumer, and a
//! bound that is meant for an outage. Work of several steps that must all happen, or none, is a [saga](crate::saga).
//! And not on the store whose absence it is for: a SQLite file of the service, or another PostgreSQL.
//!
//! ```text
//!   write ─► QueueLayer ── gate open, nothing of its lane waits ─────────────────► callee
//!               │                                                               ▲
//!               │ gate queued, or something of its lane waits                       │ gate open: oldest first, one at
//!               ▼                                                               │ a time in each lane, with key
//!            journal: durable ─► 202                 Drain (one, of all instances) ─┘ and fencing token
//!                                                      │
//!                                                      ├ 2xx: applied, remembered for a day
//!                                                      ├ not now: later, by a backoff; its lane waits
//!                                                      └ never, or deadly: poison, an incident; its lane waits for an operator
//! ```
//!
//! # What is promised
//!
//! All of it is promised of one journal: the replicas of a service share one, and each opens the queue in it. A SQLite file is
//! for one process at a time, and has to outlive it: on a volume, not in a container. What lies in two journals has no order,
//! and their fencing tokens have nothing to do with each other: a callee that fences needs one scope for each.
//!
//! - **Durable.** A receipt is given after the store has synced the entry, and not before.
//! - **Never lost.** An entry goes only when the callee has taken it, or when an operator drops it, by name and with a
//!   reason that stay in its record.
//! - **Once.** One key is one entry, however often it is queued, for as long as it is [kept](QueueConfig::keep). It is
//!   *replayed* at least once: a process that dies between the callee's answer and its record leaves an entry that is
//!   replayed again, under the same key and a higher fencing token. So it is *applied* exactly once by a callee that knows
//!   keys, as one with an [`effect_guard`](crate::effect_guard) does, and at least once by any other.
//! - **In order.** Of one [`Lane`] entries are replayed one at a time, and the next is not begun before it is recorded how the
//!   one before it ended. Of two of which one was acknowledged before the other was sent, that one is first; two that were
//!   sent at once come in an order that the store chooses. Between lanes there is no order, but none is kept waiting by
//!   those that come later.
//! - **Not overtaken.** While an entry of its lane waits, of whatever state, a new write of the lane goes behind it, also
//!   when the gate is open. Exact within an instance. What another instance has queued is known after
//!   [`QueueConfig::look`] at most (with PostgreSQL mostly within milliseconds) while the store answers; a write that is
//!   sent to another instance sooner than that after a receipt may pass it.
//! - **Survived.** An entry that kills whoever replays it, or reads it, does so five times, and is poison then. Two owners that
//!   die in a row, by which a lease that is over counts as a death, make a suspect of every entry that they owned. Each of those
//!   is replayed alone, with a record before and, if the callee does not take it, one after, until it is taken or has been
//!   survived three times. Meanwhile all lanes wait for one another, for [`QueueConfig::within`] at most each time: two
//!   deaths make the replay of a backlog slow once. What kills only at its fourth replay by one process is not found out.
//! - **Bounded**, in entries and in bytes, exactly within an instance; several together can exceed a bound by what they
//!   queue within one look. A write whose answer from the store is lost is counted until a look that began later is over;
//!   one that becomes durable later still, as of a connection that hung, comes on top of the bound. What is over is remembered beside the bound, for [`QueueConfig::keep`].
//!
//! # Whenever it dies
//!
//! | the process dies | what is there | what happens next |
//! |---|---|---|
//! | before the store has the entry | nothing, and no receipt | the caller, who heard nothing, comes again with its key |
//! | after that, before the receipt | the entry | it is replayed; the caller comes again and gets the receipt of the same entry |
//! | after the receipt | the entry | it is replayed |
//! | before the callee was asked | the entry, owned by the dead | the next turn owns it when the lease is over, at once in a file |
//! | while the callee is asked, or before its answer is recorded | the same | it is replayed under the same key and a higher token; a callee that knows keys does nothing twice |
//! | after "applied" is recorded | a key that is remembered | nothing; the same key is answered "applied" |
//! | while it is asked, again and again, so that it may be why | a record of each such replay, made before it | poison, when three have died of it alone |
//! | after "poisoned" is recorded | an incident | its lane waits, over any number of restarts |
//! | while an operator decides | the decision or the incident | the operator asks again |
//!
//! A process that only stops for a while, and comes back when its turn is another's, is refused by the store whatever it
//! wants to record; what it still sends has the lower token.
//!
//! # What can be set
//!
//! | question | where | default |
//! |---|---|---|
//! | how much may wait? | [`QueueConfig::entries`], [`bytes`](QueueConfig::bytes), [`entry_bytes`](QueueConfig::entry_bytes) | 10,000 in 64 MiB, 256 KiB each |
//! | whose order is kept? | `Codec::lane`; `HttpCodec::lane` | over HTTP, the path |
//! | how fast is it replayed? | [`QueueConfig::parallel`] | 8 lanes at once |
//! | when is it tried again, and when is it poison? | [`backoff`](QueueConfig::backoff), [`attempts`](QueueConfig::attempts), `Codec::judge` | 200 ms to 30 s; 10 failures that count |
//! | may others read it? | `Queue::open_sealed` | whoever can read the store |
//!
//! # Operators
//!
//! A poisoned entry is an event (`queued entry waits for an operator`), a gauge, and a row of `Queue::poisoned`.
//! `Queue::retry` has it tried again, `Queue::discard` gives it up. In the store, entries are the logs of kind
//! `queue/<name>`; what they say is the caller's payload, in plain text unless the queue is sealed.
//!
//! One whose record is *damaged* in the store is an incident with the same event and gauge, and no row of `Queue::poisoned`,
//! since nothing can be added to it, and nothing decided. It stops its lane until somebody has mended the store, or has taken
//! its log out; it is tried again with each turn to replay.
//!
//! # Example: postings while the primary is down
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Router, body::Body, routing::post};
//! use mainstay::degrade::{Degrade, Order, Reading};
//! use mainstay::health::Verdict;
//! use mainstay::http::{AsResponse, ByMethod};
//! use mainstay::journal::memory::MemoryJournal;
//! use mainstay::presets::erp;
//! use mainstay::queue::{HttpCodec, Queue, QueueConfig, QueueLayer};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let degrade = Degrade::new(erp::degradation());
//! let gate = degrade.gate("writes")?;
//! let ledger: Router = Router::new().route("/accounts/7", post(|| async { "posted" }));
//!
//! let journal = Arc::new(MemoryJournal::new()); // `SqliteJournal::open("queue.sqlite")?` where it matters
//! let queue = Queue::open("ledger", journal, QueueConfig::new()).await?;
//! let codec = HttpCodec::new();
//! let drain = queue.drain(gate.clone(), codec.clone(), ledger.clone()); // into the routes, without the layer
//! let layer = QueueLayer::new(gate, queue.clone(), codec).access(ByMethod).refuse_with(AsResponse);
//! let app = ledger.layer(layer);
//!
//! let posting = || {
//!     let request = http::Request::post("/accounts/7").header("idempotency-key", "order-17");
//!     request.body(Body::from("100")).expect("a request")
//! };
//! degrade.observe("database_primary", Reading::from(Verdict::Down))?;
//! let answer = app.clone().oneshot(posting()).await?;
//! assert_eq!(answer.status(), 202);
//! assert_eq!(queue.status().depth, 1);
//!
//! degrade.pin_level("full operation", Order::new("ann", "the primary is back"))?;
//! tokio::time::sleep(std::time::Duration::from_secs(2)).await;
//! assert_eq!(queue.status().depth, 0, "it is posted");
//! let answer = app.oneshot(posting()).await?;
//! assert_eq!(answer.status(), 200, "the gate is open, and the callee knows the key");
//! drain.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Sources
//!
//! P. Helland, "Life beyond distributed transactions", CIDR 2007. The IETF draft "The Idempotency-Key HTTP Header Field".
//! M. Kleppmann, "How to do distributed locking", 2016, for the token. The rules are those of `queue/machine.rs`.

mod config;
mod lane;
mod machine;
mod verdict;
mod words;

#[cfg(feature = "saga")]
mod codec;
#[cfg(feature = "saga")]
mod drain;
#[cfg(feature = "saga")]
mod error;
#[cfg(feature = "saga")]
mod fact;
#[cfg(feature = "saga")]
mod follow;
#[cfg(feature = "saga")]
mod handle;
#[cfg(all(feature = "saga", feature = "http"))]
mod http;
#[cfg(feature = "saga")]
mod layer;
#[cfg(feature = "saga")]
mod replay;
#[cfg(feature = "saga")]
mod store;

#[cfg(feature = "saga")]
pub use codec::{Captured, Codec, Draft, Entry, Receipt};
pub use config::QueueConfig;
#[cfg(feature = "saga")]
pub use drain::Drain;
#[cfg(feature = "saga")]
pub use error::QueueError;
#[cfg(feature = "saga")]
pub use fact::{Body, FORMAT, Fact, Life, Stage};
#[cfg(feature = "saga")]
pub use handle::{Incident, Queue, QueueStatus};
#[cfg(all(feature = "saga", feature = "http"))]
pub use http::{HttpCodec, RequestHead};
pub use lane::{EntryId, Lane};
#[cfg(feature = "saga")]
pub use layer::{QueueLayer, QueueService, ResponseFuture};
pub use machine::Line;
pub use verdict::{Poison, Verdict};
pub use words::{Found, Full, Look, Ruling, Waits};
