//! The manifest as a whole: names, bounds, behaviour.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::RangeInclusive;

use super::Manifest;
use super::metrics;
use crate::autoscale::hpa::config::Hpa;
use crate::autoscale::hpa::limit::Bounds;
use crate::autoscale::hpa::metric::ObjectRef;
use crate::autoscale::hpa::quantity::Quantity;
use crate::autoscale::hpa::rules::{
    Behavior, Direction, LONGEST_PERIOD, LONGEST_WINDOW, Policy, PolicyKind, Rules, Select,
    Tolerance,
};
use crate::settings::{Given, Keys, Place, Setting, table};

/// Any count that there can be.
pub(super) const COUNT: &str = "a count from 1 to 2147483647";
const MOST: i128 = i32::MAX as i128;

/// Without `null`, and without what is not looked at.
pub(super) fn without_the_rest(given: Given) -> Given {
    let Given::Table(entries) = without_null(given) else {
        return Given::Null;
    };
    let names = |key: &str| matches!(key, "name" | "namespace" | "generateName");
    let entries = entries.into_iter().filter(|(key, _)| key != "status");
    let entries = entries.map(|(key, given)| match given {
        Given::Table(inside) if key == "metadata" => {
            let inside = inside.into_iter().filter(|(key, _)| names(key));
            (key, Given::Table(inside.collect()))
        }
        given => (key, given),
    });
    Given::Table(entries.collect())
}

fn without_null(given: Given) -> Given {
    match given {
        Given::Table(entries) => {
            let entries = entries.into_iter();
            let entries = entries.filter(|(_, given)| !matches!(given, Given::Null));
            Given::Table(
                entries
                    .map(|(key, given)| (key, without_null(given)))
                    .collect(),
            )
        }
        Given::List(values) => Given::List(values.into_iter().map(without_null).collect()),
        given => given,
    }
}

/// Whole numbers in a range.
pub(super) fn whole(
    keys: &mut Keys<'_>,
    key: &'static str,
    range: RangeInclusive<i128>,
    expected: &'static str,
) -> Option<i32> {
    keys.maybe_with(key, |given, mut place| {
        let read = match &given {
            Given::Integer(value) if range.contains(value) => i32::try_from(*value).ok(),
            _ => None,
        };
        if read.is_none() {
            place.refuse(&given, expected);
        }
        read
    })
}

/// A text that `right` accepts.
pub(super) fn text(
    keys: &mut Keys<'_>,
    key: &'static str,
    expected: &'static str,
    right: impl FnOnce(&str) -> bool,
) -> Option<String> {
    keys.maybe_with(key, |given, mut place| match given {
        Given::Text(text) if right(&text) => Some(text),
        given => {
            place.refuse(&given, expected);
            None
        }
    })
}

/// Notes that `key` is not there.
pub(super) fn required(
    keys: &mut Keys<'_>,
    key: &'static str,
    expected: impl Into<Cow<'static, str>>,
) {
    if !keys.has(key) {
        keys.refuse(key, "nothing", expected);
    }
}

/// What can be a part of a path.
pub(super) fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['/', '%'])
}

pub(super) const SEGMENT: &str = "a name without \"/\" and \"%\"";

pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(super) const LABEL: &str = "lower-case letters, digits and \"-\", at most 63 of them";

/// As the name of an object is.
fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

const SUBDOMAIN: &str = "lower-case letters, digits, \"-\" and \".\", at most 253 of them";

/// A number or text that is a quantity.
pub(super) fn quantity_of(given: &Given) -> Option<Quantity> {
    match given {
        Given::Text(text) => text.parse().ok(),
        Given::Integer(value) => value.to_string().parse().ok(),
        Given::Number(value) if value.is_finite() => format!("{value}").parse().ok(),
        _ => None,
    }
}

/// A table under `key`.
pub(super) fn inside<T>(
    keys: &mut Keys<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Keys<'_>) -> Option<T>,
) -> Option<T> {
    keys.maybe_with(key, |given, place| place.table(given, "a table", read))
}

pub(super) fn object_ref(keys: &mut Keys<'_>) -> Option<ObjectRef> {
    let api_version = text(keys, "apiVersion", "a version such as \"apps/v1\"", |_| {
        true
    });
    required(keys, "kind", SEGMENT);
    let kind = text(keys, "kind", SEGMENT, is_segment);
    required(keys, "name", SEGMENT);
    let name = text(keys, "name", SEGMENT, is_segment);
    let object = ObjectRef::new(kind?, name?);
    Some(match api_version {
        Some(version) => object.api_version(version),
        None => object,
    })
}

/// Never written; the trait is what reads with paths.
impl Setting for Manifest {
    fn expected() -> Cow<'static, str> {
        "a HorizontalPodAutoscaler of autoscaling/v2".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            for (key, word) in [
                ("apiVersion", "autoscaling/v2"),
                ("kind", "HorizontalPodAutoscaler"),
            ] {
                required(keys, key, format!("{word:?}"));
                keys.maybe_with(key, |given, place| place.choice(&given, &[(word, ())]));
            }
            required(keys, "metadata", "a table with a name");
            let names = inside(keys, "metadata", |keys| {
                let generated = text(keys, "generateName", SUBDOMAIN, |_| true);
                if generated.is_none() {
                    required(keys, "name", SUBDOMAIN);
                }
                let name = text(keys, "name", SUBDOMAIN, is_subdomain);
                let namespace = text(keys, "namespace", LABEL, is_label);
                Some((name.or(generated)?, namespace))
            });
            required(keys, "spec", "a table");
            let spec = inside(keys, "spec", spec);
            let ((name, namespace), (target, hpa)) = (names?, spec?);
            let hpa = match namespace {
                Some(namespace) => hpa.namespace(namespace),
                None => hpa,
            };
            Some(Self { name, target, hpa })
        })
    }

    fn write(&self) -> Given {
        table([])
    }
}

fn spec(keys: &mut Keys<'_>) -> Option<(ObjectRef, Hpa)> {
    required(keys, "scaleTargetRef", "a table with a kind and a name");
    let target = inside(keys, "scaleTargetRef", object_ref);
    let had_min = keys.has("minReplicas");
    let min = whole(
        keys,
        "minReplicas",
        0..=MOST,
        "a count from 0 to 2147483647",
    );
    required(keys, "maxReplicas", COUNT);
    let max = whole(keys, "maxReplicas", 1..=MOST, COUNT);
    let lowest = min.unwrap_or(if had_min { 0 } else { 1 });
    let bounds = match max.map(|max| Bounds::new(lowest, max)) {
        Some(Ok(bounds)) => Some(bounds),
        Some(Err(error)) => {
            keys.refuse("maxReplicas", error.value(), error.expected().to_owned());
            None
        }
        None => None,
    };
    let outside = Cell::new(false);
    let metrics = keys.maybe_with("metrics", |given, place| {
        place.list(given, "a list of metrics", |given, place| {
            metrics::metric(given, place, &outside)
        })
    });
    if min == Some(0) && !outside.get() {
        let expected = "at least one Object or External metric, to support 0 replicas";
        keys.refuse("metrics", "none", expected);
    }
    let behavior = inside(keys, "behavior", |keys| {
        let up = inside(keys, "scaleUp", |keys| rules(keys, Direction::Up));
        let down = inside(keys, "scaleDown", |keys| rules(keys, Direction::Down));
        let up = up.unwrap_or_else(Rules::up);
        let down = down.unwrap_or_else(Rules::down);
        Some(Behavior::new().up(up).down(down))
    });
    let mut hpa = Hpa::new(bounds?);
    for metric in metrics.unwrap_or_default() {
        hpa = hpa.metric(metric);
    }
    if let Some(behavior) = behavior {
        hpa = hpa.behavior(behavior);
    }
    Some((target?, hpa))
}

fn rules(keys: &mut Keys<'_>, direction: Direction) -> Option<Rules> {
    let window = whole(
        keys,
        "stabilizationWindowSeconds",
        0..=LONGEST_WINDOW.into(),
        "0 to 3600 seconds",
    );
    let select = keys.maybe_with("selectPolicy", |given, place| {
        let words = [
            ("Disabled", Select::Disabled),
            ("Max", Select::Max),
            ("Min", Select::Min),
        ];
        place.choice(&given, &words)
    });
    let policies = keys.maybe_with("policies", |given, mut place| {
        let expected = "a list of at least one policy";
        if matches!(&given, Given::List(list) if list.is_empty()) {
            place.refuse(&given, expected);
            return None;
        }
        place.list(given, expected, |given, place| {
            place.table(given, "a policy", policy)
        })
    });
    let tolerance = keys.maybe_with("tolerance", |given, mut place| {
        let quantity = quantity_of(&given).filter(|quantity| !quantity.is_negative());
        let tolerance =
            quantity.and_then(|quantity| Tolerance::new("tolerance", quantity.as_f64()).ok());
        if tolerance.is_none() {
            place.refuse(
                &given,
                "a quantity of at least 0, such as \"0.05\" or \"50m\"",
            );
        }
        tolerance
    });
    let mut rules = Rules::of(direction);
    if let Some(window) = window.and_then(|window| u16::try_from(window).ok()) {
        rules = rules.window(window).ok()?;
    }
    if let Some(select) = select {
        rules = rules.select(select);
    }
    if let Some(policies) = policies {
        rules = rules.policies(policies);
    }
    if let Some(tolerance) = tolerance {
        rules = rules.tolerance(tolerance);
    }
    Some(rules)
}

fn policy(keys: &mut Keys<'_>) -> Option<Policy> {
    required(keys, "type", "\"Percent\" or \"Pods\"");
    let kind = keys.maybe_with("type", |given, place| {
        let words = [("Percent", PolicyKind::Percent), ("Pods", PolicyKind::Pods)];
        place.choice(&given, &words)
    });
    required(keys, "value", COUNT);
    let value = whole(keys, "value", 1..=MOST, COUNT);
    required(keys, "periodSeconds", "1 to 1800 seconds");
    let period = whole(
        keys,
        "periodSeconds",
        1..=LONGEST_PERIOD.into(),
        "1 to 1800 seconds",
    );
    Policy::new(kind?, value?, period?).ok()
}
