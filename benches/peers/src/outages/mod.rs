//! What becomes of calls while the callee fails: real stacks of clients before one modelled callee.
//!
//! - `scenario`: what happens, and the lines to pass.
//! - `callee`: who is called: servers, a queue, service times, faults. Everything it does to a request is a function
//!   of the seed, the request and the number of the attempt, so all entrants meet the same luck.
//! - `entrants`: who calls, each with one preset for all scenarios.
//! - `drive`: one run on a current-thread runtime, by default with paused time.
//! - `measure`: what the run was worth.
//! - `report`, `plot`, `page`: the table, the JSON, the pictures and the page around them.

pub mod callee;
pub mod drive;
pub mod entrants;
pub mod measure;
pub mod page;
pub mod plot;
pub mod report;
pub mod scenario;
