//! As much of PromQL as the dashboard and the alerts need to be held against the table: which metrics an expression
//! names, which labels it selects and groups by, and with which values.
//!
//! It is no parser; that the expressions are PromQL was seen with one, see the commit that added them.

use std::collections::BTreeSet;

/// What an expression uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) metrics: BTreeSet<String>,
    /// `(metric, label, alternatives)` of each matcher; the alternatives are empty where a variable stands for them.
    pub(crate) matchers: Vec<(String, String, Vec<String>)>,
    /// Labels that are grouped by or joined on.
    pub(crate) groups: BTreeSet<String>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// What `expression` uses.
pub(crate) fn uses(expression: &str) -> Uses {
    let mut uses = Uses::default();
    let mut rest = expression;
    while let Some(at) = rest.find(is_word) {
        rest = &rest[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let next = after.trim_start();
        if word.starts_with("mainstay_") {
            uses.metrics.insert(word.to_owned());
            if let Some(matchers) = next.strip_prefix('{') {
                let (inside, after) = matchers.split_once('}').expect("a matcher ends");
                rest = after;
                for matcher in inside.split(',').map(str::trim).filter(|m| !m.is_empty()) {
                    let operator = matcher.find(['=', '!']).expect("a matcher compares");
                    let (label, value) = matcher.split_at(operator);
                    let value = value.trim_start_matches(['=', '~', '!']).trim_matches('"');
                    let alternatives = value.split('|').map(str::to_owned);
                    let alternatives = alternatives.filter(|value| !value.contains('$'));
                    let matcher = (word.to_owned(), label.to_owned(), alternatives.collect());
                    uses.matchers.push(matcher);
                }
            }
        } else if matches!(
            word,
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right"
        ) && let Some(labels) = next.strip_prefix('(')
        {
            let (inside, after) = labels.split_once(')').expect("a grouping ends");
            rest = after;
            let labels = inside.split(',').map(|label| label.trim().to_owned());
            uses.groups.extend(labels.filter(|label| !label.is_empty()));
        }
    }
    uses
}

#[test]
fn what_an_expression_uses() {
    let found = uses(
        r#"sum by (job, policy) (rate(mainstay_a_total{policy=~"$policy", to="open|closed"}[5m]))
           / on (job) max(mainstay_b) > 0.5"#,
    );
    assert_eq!(
        found.metrics,
        ["mainstay_a_total", "mainstay_b"].map(str::to_owned).into()
    );
    assert_eq!(found.groups, ["job", "policy"].map(str::to_owned).into());
    let matcher = |label: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        ("mainstay_a_total".to_owned(), label.to_owned(), values)
    };
    assert_eq!(
        found.matchers,
        [matcher("policy", &[]), matcher("to", &["open", "closed"])]
    );
}
