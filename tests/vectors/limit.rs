//! Limits of the calls in a time, and of the calls under way.

use crate::case::{Case, Ended, failed};

pub(crate) fn run_rate(case: &Case) -> Ended {
    failed(format!("unknown op {:?}", case.op))
}

pub(crate) fn run_adaptive(case: &Case) -> Ended {
    failed(format!("unknown op {:?}", case.op))
}
