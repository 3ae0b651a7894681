//! The contract suite: what every layer of mainstay must keep, whatever it does besides.
//!
//! - [`probe`]: the service below, which notes how it is treated.
//! - [`checks`]: one function per rule, run against each layer by `tower_contract.rs`.
//! - the other modules: what only some layers can be asked.

pub(crate) mod checks;
pub(crate) mod probe;

mod breaker;
mod budgets;
mod deadline;
mod depth;
mod fallback;
pub(crate) mod gate;
mod keyed;
mod limit;
mod nested_retries;
mod rate;
mod retry;
mod threads;
