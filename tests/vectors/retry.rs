//! Retries and their budgets.

use crate::case::{Case, Ended, failed};

pub(crate) fn run(case: &Case) -> Ended {
    failed(format!("unknown op {:?}", case.op))
}

pub(crate) fn run_budget(case: &Case) -> Ended {
    failed(format!("unknown op {:?}", case.op))
}
