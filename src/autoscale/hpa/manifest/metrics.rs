//! The metrics of a manifest.

use std::cell::Cell;

use super::read::{
    COUNT, LABEL, SEGMENT, inside, is_label, is_segment, object_ref, quantity_of, required, text,
    whole,
};
use crate::autoscale::hpa::metric::{
    Fallback, Metric, ObjectRef, Requirement, Selector, Source, Target,
};
use crate::autoscale::hpa::quantity::Quantity;
use crate::settings::{Given, Keys, Place};

/// The kinds of sources, and the fields that they stand in.
const KINDS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

const MOST: i128 = i32::MAX as i128;

/// `outside` becomes true when the type is one that needs no pods, whatever else is wrong.
pub(super) fn metric(given: Given, place: Place<'_>, outside: &Cell<bool>) -> Option<Metric> {
    place.table(given, "a metric", |keys| {
        let words = KINDS.map(|(kind, field)| (kind, field));
        if !keys.has("type") {
            keys.refuse("type", "nothing", crate::settings::one_of(&words));
        }
        let field = keys.maybe_with("type", |given, place| place.choice(&given, &words));
        if matches!(field, Some("external" | "object")) {
            outside.set(true);
        }
        for (kind, other) in KINDS {
            match field {
                Some(field) if other == field && !keys.has(other) => {
                    keys.refuse(
                        other,
                        "nothing",
                        format!("a table, for the type is {kind:?}"),
                    );
                }
                Some(field) if other != field && keys.has(other) => {
                    keys.refuse(
                        other,
                        "a table",
                        format!("only {field:?}, which is of this type"),
                    );
                }
                _ => {}
            }
        }
        let container = inside(keys, "containerResource", |keys| resource(keys, true));
        let external = inside(keys, "external", external);
        let object = inside(keys, "object", object);
        let pods = inside(keys, "pods", pods);
        let resource = inside(keys, "resource", |keys| resource(keys, false));
        match field? {
            "containerResource" => container,
            "external" => external,
            "object" => object,
            "pods" => pods,
            _ => resource,
        }
    })
}

/// What a target says, before it is known which of it counts.
struct Stated {
    kind: Kind,
    value: Option<Quantity>,
    average_value: Option<Quantity>,
    average_utilization: Option<i32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    AverageValue,
    Utilization,
    Value,
}

/// Which fields there are, right or wrong.
struct Has {
    value: bool,
    average_value: bool,
    average_utilization: bool,
}

fn target(
    keys: &mut Keys<'_>,
    choose: impl FnOnce(&mut Keys<'_>, &Has, Option<&Stated>) -> Option<Target>,
) -> Option<Target> {
    required(keys, "target", "a table with a type and a value");
    inside(keys, "target", |keys| {
        let has = Has {
            value: keys.has("value"),
            average_value: keys.has("averageValue"),
            average_utilization: keys.has("averageUtilization"),
        };
        let words = [
            ("AverageValue", Kind::AverageValue),
            ("Utilization", Kind::Utilization),
            ("Value", Kind::Value),
        ];
        required(keys, "type", crate::settings::one_of(&words));
        let kind = keys.maybe_with("type", |given, place| place.choice(&given, &words));
        let value = positive(keys, "value");
        let average_value = positive(keys, "averageValue");
        let expected = "a percentage of at least 1";
        let average_utilization = whole(keys, "averageUtilization", 1..=MOST, expected);
        let stated = kind.map(|kind| Stated {
            kind,
            value,
            average_value,
            average_utilization,
        });
        choose(keys, &has, stated.as_ref())
    })
}

fn positive(keys: &mut Keys<'_>, key: &'static str) -> Option<Quantity> {
    keys.maybe_with(key, |given, mut place| {
        let quantity = quantity_of(&given).filter(|quantity| quantity.is_positive());
        if quantity.is_none() {
            place.refuse(
                &given,
                "a quantity above 0, such as 100, \"500m\" or \"1Gi\"",
            );
        }
        quantity
    })
}

/// An average counts before a percentage, as in Kubernetes; both are refused.
fn resource(keys: &mut Keys<'_>, of_container: bool) -> Option<Metric> {
    let expected = "a resource such as \"cpu\" or \"memory\"";
    required(keys, "name", expected);
    let name = text(keys, "name", expected, |name| {
        !name.is_empty() && (!of_container || is_resource(name))
    });
    let container = of_container.then(|| {
        required(keys, "container", LABEL);
        text(keys, "container", LABEL, is_label)
    });
    let target = target(keys, |keys, has, stated| {
        match (has.average_utilization, has.average_value) {
            (false, false) => keys.refuse("averageUtilization", "nothing", "this or averageValue"),
            (true, true) => keys.refuse("averageValue", "both", "this or averageUtilization"),
            _ => {}
        }
        let stated = stated?;
        let percent = || stated.average_utilization.map(Target::Utilization);
        stated
            .average_value
            .map(Target::AverageValue)
            .or_else(percent)
    });
    let source = match container {
        Some(container) => Source::container(container?, name?),
        None => Source::resource(name?),
    };
    Some(Metric::new(source, target?))
}

/// Resources of Kubernetes' own, or of somebody's domain.
fn is_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage")
        || name.starts_with("hugepages-")
        || name
            .split_once('/')
            .is_some_and(|(domain, rest)| !domain.is_empty() && is_segment(rest))
}

fn identifier(keys: &mut Keys<'_>) -> Option<(String, Option<Selector>)> {
    required(keys, "metric", "a table with a name");
    inside(keys, "metric", |keys| {
        required(keys, "name", SEGMENT);
        let name = text(keys, "name", SEGMENT, is_segment);
        let selector = inside(keys, "selector", selector);
        Some((name?, selector))
    })
}

fn pods(keys: &mut Keys<'_>) -> Option<Metric> {
    let metric = identifier(keys);
    let target = target(keys, |keys, has, stated| {
        if !has.average_value {
            keys.refuse("averageValue", "nothing", "a quantity above 0");
        }
        stated?.average_value.map(Target::AverageValue)
    });
    let (name, selector) = metric?;
    Some(Metric::new(Source::Pods { name, selector }, target?))
}

fn object(keys: &mut Keys<'_>) -> Option<Metric> {
    required(keys, "describedObject", "a table with a kind and a name");
    let described: Option<ObjectRef> = inside(keys, "describedObject", object_ref);
    let metric = identifier(keys);
    let target = target(keys, |keys, has, stated| {
        if !has.value && !has.average_value {
            keys.refuse("averageValue", "nothing", "this or value");
            return None;
        }
        let stated = stated?;
        match stated.kind {
            Kind::Value if has.value => stated.value.map(Target::Value),
            Kind::AverageValue if has.average_value => {
                stated.average_value.map(Target::AverageValue)
            }
            Kind::Value => {
                keys.refuse(
                    "value",
                    "nothing",
                    "a quantity above 0, for the type is \"Value\"",
                );
                None
            }
            Kind::AverageValue => {
                let expected = "a quantity above 0, for the type is \"AverageValue\"";
                keys.refuse("averageValue", "nothing", expected);
                None
            }
            Kind::Utilization => {
                let expected = "\"AverageValue\" or \"Value\", for an object requests nothing";
                keys.refuse("type", "\"Utilization\"", expected);
                None
            }
        }
    });
    let (name, selector) = metric?;
    let source = Source::Object {
        name,
        selector,
        object: described?,
    };
    Some(Metric::new(source, target?))
}

fn external(keys: &mut Keys<'_>) -> Option<Metric> {
    let metric = identifier(keys);
    let target = target(keys, |keys, has, stated| {
        match (has.value, has.average_value) {
            (false, false) => keys.refuse("averageValue", "nothing", "this or value"),
            (true, true) => keys.refuse("value", "both", "this or averageValue"),
            _ => {}
        }
        let stated = stated?;
        let total = || stated.value.map(Target::Value);
        stated
            .average_value
            .map(Target::AverageValue)
            .or_else(total)
    });
    let stated = keys.has("fallback");
    let fallback = inside(keys, "fallback", |keys| {
        required(keys, "replicas", COUNT);
        let replicas = whole(keys, "replicas", 1..=MOST, COUNT);
        let shortest = i128::from(Fallback::SHORTEST);
        let had = keys.has("failureDurationSeconds");
        let seconds = whole(
            keys,
            "failureDurationSeconds",
            shortest..=MOST,
            "at least 180 seconds",
        );
        let seconds = if had { seconds? } else { Fallback::SHORTEST };
        Fallback::new(replicas?, seconds).ok()
    });
    if stated && fallback.is_none() {
        return None;
    }
    let (name, selector) = metric?;
    let source = Source::External {
        name,
        selector,
        fallback,
    };
    Some(Metric::new(source, target?))
}

fn selector(keys: &mut Keys<'_>) -> Option<Selector> {
    let labels = keys.maybe_with("matchLabels", |given, mut place| {
        let Given::Table(entries) = given else {
            place.refuse(&given, "a table of labels");
            return None;
        };
        let mut labels = Vec::new();
        for (key, value) in entries {
            match value {
                Given::Text(value) => labels.push((key, value)),
                value => place.under(&key).refuse(&value, "a text"),
            }
        }
        labels.sort();
        Some(labels)
    });
    let requirements = keys.maybe_with("matchExpressions", |given, place| {
        place.list(given, "a list of requirements", |given, place| {
            place.table(given, "a requirement", requirement)
        })
    });
    Some(Selector {
        labels: labels.unwrap_or_default(),
        requirements: requirements.unwrap_or_default(),
    })
}

fn requirement(keys: &mut Keys<'_>) -> Option<Requirement> {
    required(keys, "key", "a label");
    let key = text(keys, "key", "a label", |key| !key.is_empty());
    let words = [
        ("DoesNotExist", false),
        ("Exists", false),
        ("In", true),
        ("NotIn", true),
    ];
    required(keys, "operator", crate::settings::one_of(&words));
    let operator = keys.maybe_with("operator", |given, mut place| {
        let Given::Text(word) = &given else {
            place.refuse(&given, crate::settings::one_of(&words));
            return None;
        };
        let known = words.iter().find(|(known, _)| known == word).copied();
        if known.is_none() {
            place.refuse(&given, crate::settings::one_of(&words));
        }
        known
    });
    let values = keys.maybe_with("values", |given, place| {
        place.list(given, "a list of texts", |given, mut place| match given {
            Given::Text(text) => Some(text),
            given => {
                place.refuse(&given, "a text");
                None
            }
        })
    });
    let values = values.unwrap_or_default();
    let (operator, takes_values) = operator?;
    if takes_values == values.is_empty() {
        let (what, expected) = if takes_values {
            ("none", "at least one value")
        } else {
            ("some", "no values")
        };
        keys.refuse("values", what, format!("{expected} for {operator:?}"));
    }
    Some(Requirement {
        key: key?,
        operator: operator.to_owned(),
        values,
    })
}
