//! The tables of the documentation are true: each key, what it takes, its default, and no other key.

use std::collections::BTreeMap;

use mainstay::autoscale::Bounds as Replicas;
use mainstay::autoscale::gpu::GpuConfig;
use mainstay::autoscale::threshold::{ThresholdConfig, Trigger};
use mainstay::autoscale::tracking::TrackingConfig;
use mainstay::breaker::{BreakerConfig, HalfOpen, Ramp, Trip};
use mainstay::degrade::Ladder;
use mainstay::fallback::FallbackConfig;
use mainstay::limit::adaptive::{AdaptiveConfig, Bounds};
use mainstay::limit::concurrency::ConcurrencyConfig;
use mainstay::limit::rate::{KeyedRateConfig, RateConfig};
use mainstay::retry::{Backoff, BudgetConfig, Jitter, RetryConfig};
use mainstay::settings::Settings;
use mainstay::standard::StackConfig;
use mainstay::tenant::TenantConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::example::EXAMPLE;

const PAGE: &str = include_str!("../../src/settings/mod.rs");

struct Row {
    key: String,
    takes: String,
    default: String,
}

/// The tables of the page, each under its heading.
fn tables() -> BTreeMap<String, Vec<Row>> {
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    let mut heading = String::new();
    for line in PAGE.lines().filter_map(|line| line.strip_prefix("//! ")) {
        if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
            && line.starts_with('#')
        {
            heading = title.to_owned();
        }
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        if line.starts_with("| ") && cells.len() >= 2 && !["key", "word"].contains(&cells[0]) {
            tables.entry(heading.clone()).or_default().push(Row {
                key: cells[0].trim_matches('`').to_owned(),
                takes: cells[1].to_owned(),
                default: cells.get(2).copied().unwrap_or_default().to_owned(),
            });
        }
    }
    tables
}

/// The words of the table of values, spelt out.
fn spelt_out(takes: &str, words: &[Row]) -> String {
    let (takes, none) = match takes.strip_suffix(" or none") {
        Some(takes) => (takes, ", or \"none\""),
        None => (takes, ""),
    };
    let word = words.iter().find(|row| row.key == takes);
    format!("{}{none}", word.map_or(takes, |row| &row.takes))
}

type Read = fn(Value) -> Result<Value, String>;

/// Reads and writes.
fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, String> {
    let read = serde_json::from_value::<T>(value).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(read).unwrap())
}

/// For each table: its type, and what else must stand beside a key for it to be looked at.
fn types() -> Vec<(&'static str, Read, Value)> {
    fn of<T: Serialize + DeserializeOwned>() -> Read {
        through::<T>
    }
    fn part_of(trip: &str) -> Read {
        match trip {
            "streak" => |value| through::<Trip>(json!({ "streak": value })),
            "in_window" => |value| through::<Trip>(json!({ "in_window": value })),
            "rate" => |value| through::<Trip>(json!({ "rate": value })),
            _ => |value| through::<Trip>(json!({ "slow": value })),
        }
    }
    /// A part of a ladder, or of a pool of tenants, at its place in a whole one.
    fn at<T: Serialize + DeserializeOwned>(whole: Value, place: &str) -> Result<Value, String> {
        Ok(through::<T>(whole)?.pointer(place).unwrap().clone())
    }
    fn in_ladder(key: &str, part: Value, place: &str) -> Result<Value, String> {
        let mut ladder = json!({
            "name": "l",
            "components": ["a"],
            "levels": [{"name": "0"}, {"name": "1"}],
        });
        ladder[key] = part;
        at::<Ladder>(ladder, place)
    }
    fn in_fact(key: &str, part: Value, place: &str) -> Result<Value, String> {
        let mut fact = json!({"name": "f", "when": {"down": "a"}, "level": "1"});
        fact[key] = part;
        in_ladder("facts", json!([fact]), place)
    }
    let budget = |kind: &str, rest: Value| {
        let mut all = Map::from_iter([("kind".to_owned(), kind.into())]);
        all.extend(rest.as_object().unwrap().clone());
        Value::Object(all)
    };
    vec![
        ("Settings: a whole file", of::<Settings>(), json!({})),
        (
            "StackConfig: a standard stack",
            of::<StackConfig>(),
            json!({}),
        ),
        ("BreakerConfig: a breaker", of::<BreakerConfig>(), json!({})),
        (
            "Trip: what opens a breaker, at most one of each",
            of::<Trip>(),
            json!({}),
        ),
        (
            "Trip, `streak`",
            part_of("streak"),
            json!({"failures": 1, "spanning": "1s"}),
        ),
        (
            "Trip, `in_window`",
            part_of("in_window"),
            json!({"failures": 1, "window": "1s"}),
        ),
        (
            "Trip, `rate`",
            part_of("rate"),
            json!({"ratio": 1, "min_calls": 1, "window": "1s"}),
        ),
        (
            "Trip, `slow`",
            part_of("slow"),
            json!({"after": "1s", "ratio": 1, "min_calls": 1, "window": "1s"}),
        ),
        (
            "HalfOpen: probes of which some must succeed",
            of::<HalfOpen>(),
            json!({}),
        ),
        (
            "HalfOpen: probes that are judged together, when `ratio` is given",
            of::<HalfOpen>(),
            json!({"ratio": 0.5, "probes": 10}),
        ),
        (
            "Ramp: how calls are let back in",
            of::<Ramp>(),
            json!({"from": 0.1, "over": "1s"}),
        ),
        ("RetryConfig: a retry", of::<RetryConfig>(), json!({})),
        (
            "Backoff: how long a retry waits",
            of::<Backoff>(),
            json!({}),
        ),
        (
            "Jitter, kinds `add` and `around`",
            of::<Jitter>(),
            json!({"kind": "add", "share": 0.2}),
        ),
        (
            "Jitter, kind `scale`",
            of::<Jitter>(),
            json!({"kind": "scale", "low": 0.5, "high": 1}),
        ),
        (
            "BudgetConfig, kind `ratio`",
            of::<BudgetConfig>(),
            json!({}),
        ),
        (
            "BudgetConfig, kind `quota`",
            of::<BudgetConfig>(),
            budget("quota", json!({"capacity": 500})),
        ),
        (
            "BudgetConfig, kind `throttle`",
            of::<BudgetConfig>(),
            budget("throttle", json!({"max": 10, "ratio": 0.1})),
        ),
        (
            "BudgetConfig, kind `concurrency`",
            of::<BudgetConfig>(),
            budget("concurrency", json!({"share": 0.2})),
        ),
        (
            "FallbackConfig: a fallback",
            of::<FallbackConfig>(),
            json!({}),
        ),
        (
            "AdaptiveConfig: an adaptive limit",
            of::<AdaptiveConfig>(),
            json!({}),
        ),
        (
            "Bounds: between what an adaptive limit moves",
            of::<Bounds>(),
            json!({}),
        ),
        (
            "ConcurrencyConfig: a limit of the calls under way",
            of::<ConcurrencyConfig>(),
            json!({}),
        ),
        (
            "KeyedRateConfig: a limit of the calls in a time for each of many keys",
            of::<KeyedRateConfig>(),
            json!({"kind": "even", "permits": 5, "period": "1s"}),
        ),
        (
            "RateConfig, kind `burst`",
            of::<RateConfig>(),
            json!({"kind": "burst", "permits": 5, "period": "1s"}),
        ),
        (
            "RateConfig, kinds `even` and `windows`",
            of::<RateConfig>(),
            json!({"kind": "even", "permits": 5, "period": "1s"}),
        ),
        (
            "TenantConfig: a pool whose seats tenants share",
            of::<TenantConfig>(),
            json!({"capacity": 8, "tiers": [{"name": "all"}]}),
        ),
        (
            "Tier: what one class of tenants gets of a pool",
            |tier| at::<TenantConfig>(json!({"capacity": 8, "tiers": [tier]}), "/tiers/0"),
            json!({"name": "all"}),
        ),
        (
            "Ladder: how degraded the service is, and what it serves then",
            of::<Ladder>(),
            json!({"name": "l", "levels": [{"name": "0"}]}),
        ),
        (
            "Ladder, a component",
            |part| in_ladder("components", json!([part]), "/components/0"),
            json!({"name": "a"}),
        ),
        (
            "Ladder, `unknown` of a component",
            |unknown| {
                let part = json!([{"name": "a", "unknown": unknown}]);
                in_ladder("components", part, "/components/0/unknown")
            },
            json!({"after": "1s", "as": "down"}),
        ),
        (
            "Ladder, a level",
            |level| in_ladder("levels", json!([{"name": "0"}, level]), "/levels/1"),
            json!({"name": "1"}),
        ),
        (
            "Ladder, the mode of a cell where it is a table",
            |mode| {
                let levels = json!([{"name": "0"}, {"name": "1", "cells": {"x": mode}}]);
                in_ladder("levels", levels, "/levels/1/cells/x")
            },
            json!({"limited": "no history"}),
        ),
        (
            "Ladder, a band",
            |band| in_ladder("bands", json!([band]), "/facts/0"),
            json!({"level": "1", "score": 0.5, "margin": 0.1}),
        ),
        (
            "Ladder, a fact",
            |fact| in_ladder("facts", json!([fact]), "/facts/0"),
            json!({"name": "f", "when": {"down": "a"}, "level": "1"}),
        ),
        (
            "Ladder, `when` of a fact, of one component or of several conditions",
            |when| in_fact("when", when, "/facts/0/when"),
            json!({"down": "a"}),
        ),
        (
            "Ladder, `when` of a fact, of a score",
            |when| in_fact("when", when, "/facts/0/when"),
            json!({"score_at_most": 0.5, "margin": 0.1}),
        ),
        (
            "Pace: how a fact comes and goes",
            |pace| in_ladder("pace", pace, "/pace"),
            json!({}),
        ),
        (
            "ThresholdConfig: an autoscaler by thresholds",
            of::<ThresholdConfig>(),
            json!({
                "bounds": {"least": 1, "most": 2},
                "triggers": [{"signal": "cpu", "above": 0.5}],
            }),
        ),
        (
            "ThresholdConfig, a trigger",
            of::<Trigger>(),
            json!({"signal": "cpu", "above": 0.5}),
        ),
        (
            "Bounds of an autoscaler: between what a count of replicas moves",
            of::<Replicas>(),
            json!({"least": 1, "most": 2}),
        ),
        (
            "TrackingConfig: an autoscaler that brings a signal to its target",
            of::<TrackingConfig>(),
            json!({"bounds": {"least": 1, "most": 2}, "signal": "cpu", "target": 0.5}),
        ),
        (
            "GpuConfig: the autoscaler of a GPU cluster",
            of::<GpuConfig>(),
            json!({"bounds": {"least": 1, "most": 2}, "capacity": 10, "warm_up": "5m"}),
        ),
    ]
}

/// `base` with `key` set to `value`, or without it.
fn with(base: &Value, key: &str, value: Option<Value>) -> Value {
    let mut entries = base.as_object().unwrap().clone();
    match value {
        Some(value) => drop(entries.insert(key.to_owned(), value)),
        None => drop(entries.remove(key)),
    }
    Value::Object(entries)
}

/// The error that is about `key` itself.
fn error_at<'e>(errors: &'e str, key: &str) -> Option<&'e str> {
    errors.split("; ").find_map(|error| {
        let (path, rest) = error.split_once(": expected ")?;
        (path.rsplit('.').next() == Some(key)).then_some(rest)
    })
}

#[test]
fn every_key_takes_what_the_tables_say() {
    let tables = tables();
    let words = &tables["Values"];
    let types = types();
    assert_eq!(tables.len(), types.len() + 1, "a table without a type");
    for (title, read, base) in types {
        for row in &tables[title] {
            let takes = spelt_out(&row.takes, words);
            let wrong = if takes == "true or false" {
                json!(7)
            } else {
                json!(true)
            };
            let found = wrong.to_string();
            let errors = read(with(&base, &row.key, Some(wrong))).unwrap_err();
            let expected = format!("{takes}, got {found}");
            assert_eq!(
                error_at(&errors, &row.key),
                Some(&*expected),
                "{title}: {errors}"
            );
        }
    }
}

#[test]
fn there_are_no_other_keys() {
    let tables = tables();
    for (title, read, base) in types() {
        let errors = read(with(&base, "nobody", Some(json!(1)))).unwrap_err();
        let known = error_at(&errors, "nobody").unwrap();
        let known = known.strip_prefix("one of the keys ").unwrap();
        let mut known: Vec<_> = known.trim_end_matches(", got 1").split(", ").collect();
        let mut stated: Vec<_> = tables[title].iter().map(|row| row.key.as_str()).collect();
        if title.starts_with("KeyedRateConfig") {
            stated.extend(["kind", "permits", "period", "patience"]);
        }
        if title.ends_with("of a score") {
            stated.extend(["degraded", "down", "all", "any"]);
        }
        known.sort_unstable();
        stated.sort_unstable();
        assert_eq!(known, stated, "{title}");
    }
}

#[test]
fn every_default_is_the_one_of_the_tables() {
    for (title, rows) in tables() {
        let Some((_, read, base)) = types().into_iter().find(|(of, ..)| *of == title) else {
            continue;
        };
        for row in rows {
            let without = with(&base, &row.key, None);
            let read = read(without.clone());
            // What stands in backquotes first is the value; for what says more, the other tests have an eye.
            let literal = row
                .default
                .strip_prefix('`')
                .and_then(|rest| rest.split('`').next());
            if row.default == "must be given" {
                let errors = read.map(|read| read.to_string());
                // Without `ratio` the probes are not judged together, so there it is not missed.
                if title.contains("when `ratio` is given") && row.key == "ratio" {
                    continue;
                }
                let errors = errors.unwrap_err();
                let error = error_at(&errors, &row.key);
                assert!(
                    error.is_some_and(|e| e.ends_with(", got nothing")),
                    "{title}: {errors}"
                );
            } else if let Some(literal) = literal
                && serde_json::from_str::<Value>(literal).is_ok()
                && row.key != "kind"
            {
                let value: Value = serde_json::from_str(literal).unwrap();
                assert_eq!(read.unwrap()[&row.key], value, "{title}: {}", row.key);
            }
        }
    }
}

/// Those defaults that the tables say in words.
#[test]
fn defaults_in_words() {
    let stack = through::<StackConfig>(json!({})).unwrap();
    let mut breaker = through::<BreakerConfig>(json!({})).unwrap();
    breaker["half_open"]["deadline"] = json!("20s");
    assert_eq!(stack["breaker"], breaker);
    assert_eq!(stack["retry"], through::<RetryConfig>(json!({})).unwrap());
    assert_eq!(
        stack["limit"],
        through::<AdaptiveConfig>(json!({})).unwrap()
    );
    let rate = json!({"ratio": 0.5, "min_calls": 10, "window": "8s"});
    let streak = json!({"failures": 5, "spanning": "1s"});
    assert_eq!(breaker["trips"], json!({"rate": rate, "streak": streak}));
    let probes = through::<HalfOpen>(json!({"successes": 3})).unwrap();
    assert_eq!(probes["probes"], 3);
    let judged = through::<HalfOpen>(json!({"ratio": 0.5, "probes": 10})).unwrap();
    assert_eq!(judged["max_in_flight"], 10);
    let constant = through::<Backoff>(json!({"growth": "constant", "initial": "3s"})).unwrap();
    assert_eq!(
        (&constant["max"], &constant["cap_first"]),
        (&json!("3s"), &json!(true))
    );
    assert_eq!(through::<Backoff>(json!({})).unwrap()["factor"], 2.0);
    let retry = through::<RetryConfig>(json!({})).unwrap();
    assert_eq!(retry["backoff"], through::<Backoff>(json!({})).unwrap());
    assert_eq!(retry["budget"], through::<BudgetConfig>(json!({})).unwrap());
    assert_eq!(retry["budget"]["kind"], "ratio");
    let adaptive = through::<AdaptiveConfig>(json!({})).unwrap();
    assert_eq!(adaptive["bounds"], through::<Bounds>(json!({})).unwrap());
    let rate = json!({"kind": "burst", "permits": 7, "period": "1s"});
    assert_eq!(through::<RateConfig>(rate).unwrap()["burst"], 7);
    let ladder = json!({"name": "l", "levels": [{"name": "0"}]});
    let pace = through::<Ladder>(ladder).unwrap()["pace"].clone();
    assert_eq!((&pace["dwell"], &pace["flaps"]), (&json!("30s"), &json!(4)));
    let named: Settings = toml::from_str("ladders.shop.levels = [{ name = '0' }]").unwrap();
    assert_eq!(named.ladder("shop").unwrap().name(), "shop");
    // What a fact says of its pace is on top of the ladder's.
    let text = "
        name = 'l'
        components = ['a']
        levels = [{ name = '0' }, { name = '1', cells = { x = 'disabled' } }]
        pace = { dwell = '7s' }
        facts = [
            { name = 'f', when = { down = 'a' }, level = '1', pace = { hold = '9m' } },
            { name = 'g', when = { down = 'a' }, level = '1' },
        ]
    ";
    let ladder: Ladder = toml::from_str(text).unwrap();
    let written = serde_json::to_value(ladder).unwrap();
    let own = &written["facts"][0]["pace"];
    assert_eq!((&own["dwell"], &own["hold"]), (&json!("7s"), &json!("9m")));
    assert_eq!(written["facts"][1].get("pace"), None);
    assert_eq!(written["facts"][1].get("cells"), None);
}

#[test]
fn the_example_has_every_key() {
    for (title, rows) in tables() {
        if title == "Values" {
            continue;
        }
        for row in rows {
            let key = row.key;
            let there = EXAMPLE
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .any(|word| word == key);
            // Three that nobody needs in a first file.
            let rare = ["cap_first", "first_exponent", "of_all"].contains(&&*key);
            assert!(there != rare, "{title}: {key}");
        }
    }
}
