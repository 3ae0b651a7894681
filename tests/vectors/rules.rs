//! Cases that state a property: each is covered by a test that bears its name.

use crate::case::{Case, Ended, not_applicable};

/// Where the test of each property stands.
const TESTS: &[(&str, &str)] = &[
    (
        "A11",
        "tests/contract/limit.rs: a11_the_limit_is_pinned_while_the_baseline_is_measured",
    ),
    (
        "B31",
        "tests/rules.rs: properties::rule_b31_a_hundred_circuits_that_opened_together_do_not_probe_together",
    ),
    (
        "R11",
        "tests/contract/nested_retries.rs: contract::nested_retries::rule_r11",
    ),
    (
        "X01",
        "tests/rules.rs: properties::rule_x01_the_standard_stack_stands_in_its_order",
    ),
    (
        "X03",
        "tests/contract/keyed.rs: contract::keyed::rule_x03_a_million_keys_keep_to_the_bound",
    ),
];

pub(crate) fn run(case: &Case) -> Ended {
    match TESTS.iter().find(|(id, _)| *id == case.id) {
        Some((id, place)) => {
            println!("  {id}: covered by {place}");
            Ended::Passed
        }
        None => not_applicable("a property for which no test here bears its name"),
    }
}
