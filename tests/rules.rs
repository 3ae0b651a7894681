//! The rules of client-side policies, by number: what users of other libraries report, and the failures that were
//! reproduced in the peers. Each is a test here that must pass, on the public interface.
//!
//! `rule_01` to `rule_19` state what is right about nineteen complaints, `failure_01` to `failure_20` repeat twenty
//! failures. The tests of other folders that concern one of them as well go deeper; these say that all of them hold.
//!
//! | part | what stands in it |
//! |---|---|
//! | `reported_breakers` | rules 1 to 7, 10, 14, 15, 17, 19 |
//! | `reported_calls` | rules 8, 9, 11, 12, 13, 16, 18 |
//! | `starved` | failure 1, the only test in real time |
//! | `peers_breakers` | failures 2 to 7, 13, 14 |
//! | `peers_calls` | failures 8 to 12, 15 to 20 |
//! | `properties` | conformance cases that state a property |
//! | `soak` | permits, tasks and memory come back after any mix of ends and reloads |
//!
//! Not applicable, for want of the part:
//!
//! - 13, hedges: nothing is sent twice at a time. What of it concerns a second call of any kind is tested.
//! - 17, ejection: circuits by endpoint are each judged by their own calls, which is tested; nothing ejects.
//! - Failure 8, followers: nothing coalesces calls. Callers beside a half-open circuit's probe are tested in their place.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test panics to fail, waits on the paused clock, and stands in for callers"
)]

#[path = "rules/callee.rs"]
mod callee;
#[path = "rules/peers_breakers.rs"]
mod peers_breakers;
#[path = "rules/peers_calls.rs"]
mod peers_calls;
#[path = "rules/properties.rs"]
mod properties;
#[path = "rules/reported_breakers.rs"]
mod reported_breakers;
#[path = "rules/reported_calls.rs"]
mod reported_calls;
#[path = "rules/soak.rs"]
mod soak;
#[path = "rules/starved.rs"]
mod starved;

#[global_allocator]
static ALLOCATOR: mainstay_test_support::Counting = mainstay_test_support::Counting;
