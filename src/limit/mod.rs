//! Limits: how many calls are let through.
//!
//! | you know | look at |
//! |---|---|
//! | how many calls a callee stands at a time | [`concurrency`] |
//! | that it stands only so many, but not how many | [`adaptive`] |

pub mod adaptive;
pub mod concurrency;
