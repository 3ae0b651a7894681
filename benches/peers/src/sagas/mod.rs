//! Sagas a second, here and elsewhere: the same job for everybody, in one run.

pub mod bars;
pub mod crew;
pub mod entrants;
pub mod job;
pub mod measure;
pub mod page;
pub mod probe;
pub mod server;
