//! Breakers, their windows, and how they are reloaded.

use crate::case::{Case, Ended, failed};

pub(crate) fn run(case: &Case) -> Ended {
    failed(format!("unknown op {:?}", case.op))
}
