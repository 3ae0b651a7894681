//! Applies an effect once, however often it is asked for, and never after its undo.
//!
//! For receivers: the service that a saga's step, a retry or a queue calls. It needs no saga of its own, and the sender
//! may be written in anything that can send a key along.
//!
//! A call may come twice, since its answer was lost; it may come while the first one is still under way; its undo may
//! come before it, since the network keeps no order; it may come after its undo, from a process that woke up late. The
//! guard is a table of keys in the receiver's own database. A key and its effect are written in one transaction, so
//! that both are there or neither, whenever the process dies.
//!
//! ```text
//!                 call                          undo
//!   unknown ──────────────▶ applied ─────────────────────────▶ cancelled
//!      │                      │ ▲                                ▲ │ ▲
//!      │ refused for good     └─┘ call: the same answer          │ └─┘ call: refused; undo: nothing to do
//!      ├──────────────▶ refused ─────────────────────────────────┤
//!      │ undo                                                    │
//!      └─────────────────────────────────────────────────────────┘
//!        nothing to undo; the call that comes late is refused
//! ```
//!
//! The rules are numbered in [`machine`], and are plain values without a database. `sqlite` and
//! `postgres` hold the tables, each behind the feature of its name.
//!
//! Use it where an effect is a change in a database of the receiver's. Where the effect is made elsewhere (a mail, a
//! payment at a bank), no transaction spans both, and this guard would remember what may not have happened: pass the key
//! on to whoever makes the effect, or let the receiver run a saga. Where an effect is idempotent by nature ("set the
//! address to this"), a [`fence`](Fence) is enough.
//!
//! A key guards the rows that are its own. Where calls of several keys write one column (a status, an address, a
//! running total that is set and not added to), the guard lets a late call of one key overwrite what a later call of
//! another has written: both are new to it. Such a receiver calls its store's `fence` first, in the same transaction, with
//! the saga's token and a [`Fence`] of the row that is shared, and writes nothing where that says stale. Or give the call
//! the fence ([`Call::fence`]), and the guard does it.
//!
//! # What to answer, and what a saga's step makes of it
//!
//! | the guard says | over HTTP, say | the step, or the undo, returns |
//! |---|---|---|
//! | applied now, or already | 200 with the answer | `Ok(answer)` |
//! | refused for good | 422 with the answer | `StepError::refused`: surely no effect, and nothing to undo |
//! | cancelled | 409 | `StepError::refused` |
//! | other request | 422 | `StepError::halt`: two effects were given one key |
//! | stale token | 412 | `StepError::retry`: this process has lost the saga, and writes no more of it |
//! | forgotten | 410 | `StepError::unknown` in a step, `StepError::halt` in an undo: somebody must look |
//! | busy | 503 with Retry-After | `StepError::retry_after` |
//! | undo: undone now, already, or nothing to undo | 200 | `Ok(())` |
//!
//! # Words of others
//!
//! Seata calls an undo of an unknown key *empty rollback* and a call after its undo *suspension*; its fence log is this
//! table. Stripe and the IETF draft on `Idempotency-Key` keep an answer per key, and know no undo.
//!
//! # For how long
//!
//! A key must be known for as long as its sender may use it: as long as a step is retried, *and* until a saga that waits
//! has been undone. [`Retention`] says what is promised. A sender that says when it [may have begun](Call::since) is told
//! when that is too long ago, instead of being taken for a new one.
//!
//! # Sources
//!
//! P. Helland: "Life beyond distributed transactions", CIDR 2007 (remembering what was done, per partner). M. Kleppmann:
//! "How to do distributed locking", 2016 (fencing tokens). Seata's documentation of TCC (the three anomalies).

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod answer;
pub mod machine;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod words;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use answer::{Admitted, Answer, GuardError, MAX_ANSWER, Passage, Permit, Undone};
pub use machine::{Seen, State, Undo, Verdict};
pub use words::{Call, EffectKey, Fence, RequestDigest, Retention};
