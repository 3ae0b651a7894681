//! What is known about the components that a service needs.

mod verdict;

pub use verdict::Verdict;
