//! Fair admission in virtual time: a simulator, worlds to play, and who decides in them.
//!
//! - `draw`: numbers by chance; service times, arrivals, seats over time.
//! - `world`, `scenario`: what is played, and the lines to keep to.
//! - `source`: who sends the next request, and when.
//! - `policies`: who gets a seat next.
//! - `sim`: the heap of events.
//! - `measure`, `bars`: what a run was worth.
//! - `report`, `plot`, `page`: the tables, the pictures and the page around them.
//! - `args`: the command line.

pub mod args;
pub mod bars;
pub mod draw;
pub mod measure;
pub mod page;
pub mod plot;
pub mod policies;
pub mod report;
pub mod scenario;
pub mod sim;
pub mod source;
pub mod world;
