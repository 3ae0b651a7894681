//! Ladders of degradation and pools of tenants from texts, and new ones for those that run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mainstay::breaker::{BreakerLayer, Trip};
use mainstay::deadline::DeadlineLayer;
use mainstay::degrade::{Degrade, Fact, Kind, Ladder, Level, Mode, Reading, When};
use mainstay::health::{ConsecutiveConfig, Health, Verdict};
use mainstay::num::Period;
use mainstay::presets;
use mainstay::settings::{Live, Settings, Unchecked};
use mainstay::tenant::{Caller, Tenant, TenantLayer, TenantPool};
use tower::{BoxError, ServiceBuilder, ServiceExt};

const ERP: &str = include_str!("../../src/presets/erp_ladder.toml");
const SYNTHETIC: &str = include_str!("../../src/presets/synthetic_ladder.toml");

fn reload(live: &Live, text: &str) -> Result<(), String> {
    let settings = toml::from_str::<Settings>(text);
    let settings = settings.map_err(|error| error.message().to_owned())?;
    live.reload(&settings).map_err(|errors| errors.to_string())
}

#[test]
fn the_presets_are_the_same_as_files() {
    let presets = [
        (ERP, presets::erp::degradation()),
        (SYNTHETIC, presets::synthetic::degradation()),
    ];
    for (text, preset) in presets {
        let read: Ladder = toml::from_str(text).unwrap();
        assert_eq!(read, preset);
        assert_eq!(read.to_string(), preset.to_string());
        let cells = |ladder: &Ladder| -> Vec<_> {
            let cells = ladder.cells();
            cells
                .map(|(of, cell)| (of.to_owned(), cell.clone()))
                .collect()
        };
        assert_eq!(cells(&read), cells(&preset));
        // Written, it is read as the same in two formats, and under a name of a file of settings.
        let text = toml::to_string(&preset).unwrap();
        assert_eq!(toml::from_str::<Ladder>(&text).unwrap(), preset, "{text}");
        let text = serde_json::to_string(&preset).unwrap();
        assert_eq!(serde_json::from_str::<Ladder>(&text).unwrap(), preset);
        let settings = Settings::new().policy("of the file", preset.clone());
        let text = toml::to_string_pretty(&settings).unwrap();
        let settings: Settings = toml::from_str(&text).unwrap();
        assert_eq!(settings.ladder("of the file"), Ok(preset));
    }
}

/// The order in which cells are written down makes no other ladder.
#[test]
fn cells_are_the_same_in_any_order() {
    let ladder = |level: Level| {
        let ladder = Ladder::new("l").level(Level::new("0")).level(level);
        ladder.build().unwrap()
    };
    let one = Level::new("1")
        .cell("a", Mode::Queued)
        .ours("b", Mode::Full);
    let other = Level::new("1")
        .ours("b", Mode::Full)
        .cell("a", Mode::Queued);
    assert_eq!(ladder(one), ladder(other));
}

/// Each of `expected` is a path, what was expected there, and what was found.
#[track_caller]
fn refused(text: &str, expected: &[(&str, &str, &str)]) {
    let errors = toml::from_str::<Unchecked>(text).unwrap();
    let errors = errors.check_ladder().unwrap_err();
    let found: Vec<_> = errors
        .iter()
        .map(|error| (error.field(), error.expected(), error.value()))
        .collect();
    assert_eq!(found, expected, "{errors}");
    let error = toml::from_str::<Ladder>(text).unwrap_err();
    assert_eq!(error.message(), errors.to_string());
}

#[test]
fn values_are_refused_by_their_place() {
    let long = "n".repeat(201);
    let text = format!(
        r#"
        name = "{long}"
        components = ["gpu", "", {{ name = "db", weight = 0, degraded_at = 0.1, down_at = 0.2 }}, 3]
        levels = [{{ name = "0", oops = 1 }}, {{ cells = {{ x = "off", "" = "full" }} }}]
        bands = [{{ level = "0", score = 0.5 }}]
        [[facts]]
        name = "f"
        level = "0"
        when = {{ all = [{{ down = "gpu", degraded = "gpu" }}, {{ up = "gpu" }}, {{}}] }}
        pace = {{ flaps = 0 }}
        "#
    );
    let name = "a name of 1 to 200 characters";
    let component = "a name of 1 to 200 characters, or a table";
    let modes = "\"full\", \"limited\", \"write_only\", \"read_only\", \"queued\", \"manual\", \
                 \"disabled\" or \"fail_over\", or a table of limited";
    let one = "a table of degraded, down, score_at_most, all or any, one of them";
    let share = "a number from 0 to 1, or a percentage such as \"50%\"";
    let short = format!("\"{}\"…", "n".repeat(60));
    refused(
        &text,
        &[
            ("name", name, &short),
            ("components[1]", component, "\"\""),
            (
                "components[2].weight",
                "a number above 0 and at most 1000000",
                "0",
            ),
            (
                "components[2].down_at",
                "at most degraded_at, which is 0.1",
                "0.2",
            ),
            ("components[3]", component, "3"),
            (
                "levels[0].oops",
                "one of the keys name, action, cells, ours",
                "1",
            ),
            ("levels[1].name", name, "nothing"),
            ("levels[1].cells.\"\"", name, "\"\""),
            ("levels[1].cells.x", modes, "\"off\""),
            ("bands[0].margin", share, "nothing"),
            ("facts[0].when.all[0]", one, "2 of them"),
            ("facts[0].when.all[1]", one, "none of them"),
            (
                "facts[0].when.all[1].up",
                "one of the keys degraded, down, score_at_most, all, any",
                "\"gpu\"",
            ),
            ("facts[0].when.all[2]", one, "an empty table"),
            ("facts[0].pace.flaps", "a count from 1 to 1000", "0"),
        ],
    );
}

/// As the builder refuses it, in a file of settings under its name there.
#[test]
fn parts_that_do_not_fit_are_refused_by_their_names() {
    let text = r#"
        [ladders.shop]
        components = ["gpu", "gpu"]
        levels = [{ name = "all", cells = { x = "queued" } }, { name = "some", cells = { x = "full" }, ours = { x = "full" } }]
        bands = [{ level = "none", score = "60%", margin = "50%" }]
        facts = [
          { name = "f", level = "some", when = { down = "cpu" } },
          { name = "g", level = "some", when = { any = [] } },
        ]
        [ladders.empty]
        levels = []
    "#;
    let errors = toml::from_str::<Unchecked>(text)
        .unwrap()
        .check()
        .unwrap_err();
    let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "ladders.empty.levels: expected at least one, got none",
        "ladders.shop.components: expected each name once, got gpu",
        "ladders.shop.levels.all.x: expected full, at the best level, got queued",
        "ladders.shop.levels.some: expected each name once, got x",
        "ladders.shop.facts.score at most 0.6.when: expected a score and margin below 1 together, or the fact \
         never goes, got 1.1",
        "ladders.shop.facts.score at most 0.6.level: expected the name of a level, got none",
        "ladders.shop.facts.f.when: expected the name of a component, got cpu",
        "ladders.shop.facts.g.when: expected at least one condition, got none",
    ];
    assert_eq!(found, expected);
    let nameless = toml::from_str::<Ladder>("levels = [{ name = 'all' }]").unwrap_err();
    let expected = "name: expected a name of 1 to 200 characters, got nothing";
    assert_eq!(nameless.message(), expected);
}

#[test]
fn what_has_no_end_is_refused() {
    let many = |n: usize| {
        (0..n)
            .map(|n| format!("'c{n}'"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let text = |components: &str| {
        format!("name = 'l'\nlevels = [{{ name = '0' }}]\ncomponents = [{components}]")
    };
    assert!(toml::from_str::<Ladder>(&text(&many(1_000))).is_ok());
    let error = toml::from_str::<Ladder>(&text(&many(1_001))).unwrap_err();
    assert_eq!(
        error.message(),
        "components: expected at most 1000, got 1001"
    );
    let notes = |n: usize| {
        let notes: Vec<_> = (0..n).map(|n| n.to_string()).collect();
        let cells = serde_json::json!({"x": {"limited": notes}});
        let levels = serde_json::json!([{"name": "0"}, {"name": "1", "cells": cells}]);
        serde_json::from_value::<Ladder>(serde_json::json!({"name": "l", "levels": levels}))
    };
    assert!(notes(100).is_ok());
    assert!(notes(0).is_err() && notes(101).is_err());
    let deep = |depth: usize| {
        let (open, close) = ("{all=[".repeat(depth), "]}".repeat(depth));
        let when = format!("{open}{{down='c'}}{close}");
        let facts = format!("[{{ name = 'f', level = '0', when = {when} }}]");
        toml::from_str::<Ladder>(&format!("{}\nfacts = {facts}", text("'c'")))
    };
    assert!(deep(15).is_ok());
    let error = deep(16).unwrap_err();
    let expected = "facts.f.when: expected at most 16 conditions within one another, got more";
    assert_eq!(error.message(), expected);
    // Code is bound by the same.
    let long = Ladder::new("l").level(Level::new("0").action("a".repeat(1_001)));
    let error = long.build().unwrap_err().to_string();
    assert_eq!(
        error,
        "levels.0.action: expected at most 1000, got 1001 characters"
    );
}

/// A new ladder comes to what runs: what is known goes on to count, each change is told once, what is wrong changes nothing.
#[tokio::test(start_paused = true)]
async fn a_ladder_is_replaced_while_it_runs() {
    let shop = |mode: &str| {
        format!(
            "[ladders.shop]\ncomponents = ['gpu', 'db']
            levels = [{{ name = 'all' }}, {{ name = 'some', cells = {{ pictures = '{mode}' }} }}]
            facts = [{{ name = 'no GPU', when = {{ down = 'gpu' }}, level = 'some' }}]"
        )
    };
    let settings: Settings = toml::from_str(&shop("disabled")).unwrap();
    let degrade = Degrade::new(settings.ladder("shop").unwrap());
    let live = Live::new().ladder("shop", degrade.clone());
    let pictures = degrade.gate("pictures").unwrap();
    let mut changes = degrade.changes();
    let mut told = move || {
        let mut n = 0;
        while let Some(Some(_)) = futures::FutureExt::now_or_never(changes.next()) {
            n += 1;
        }
        n
    };
    degrade
        .observe("gpu", Reading::from(Verdict::Down))
        .unwrap();
    assert_eq!((told(), pictures.kind()), (1, Kind::Disabled));
    // The same again is no change; another mode is one.
    reload(&live, &shop("disabled")).unwrap();
    assert_eq!((told(), pictures.kind()), (0, Kind::Disabled));
    reload(&live, &shop("queued")).unwrap();
    assert_eq!((told(), pictures.kind()), (1, Kind::Queued));
    assert_eq!(degrade.status().facts, ["no GPU"]);
    for (wrong, expected) in [
        (shop("sometimes"), "ladders.shop.levels[1].cells.pictures: "),
        (
            shop("full")
                .replace("'gpu'", "'cpu'")
                .replacen("'cpu'", "'gpu'", 1),
            "ladders.shop.facts.no GPU.when: ",
        ),
        (
            shop("full").replace("pictures", "picture"),
            "ladders.shop.capabilities: expected every capability that has a gate, pictures among them, got 1 without",
        ),
        (String::new(), "ladders.shop: expected a table, got nothing"),
    ] {
        let refused = reload(&live, &wrong).unwrap_err();
        assert!(refused.starts_with(expected), "{refused}");
        assert_eq!((told(), pictures.kind()), (0, Kind::Queued));
    }
    let ours = shop("full").replace("[ladders.shop]", "[ladders.shop]\ncapabilities = ['video']");
    reload(&live, &ours).unwrap();
    assert_eq!((told(), pictures.kind()), (1, Kind::Full));
    assert_eq!(degrade.status().level, 1, "the level is still the fact's");
}

/// What does not fit one of them leaves all of them as they were, whichever was given first.
#[tokio::test(start_paused = true)]
async fn one_that_does_not_fit_leaves_all_as_they_were() {
    let text = |pool: &str, capability: &str, deadline: &str| {
        format!(
            "[tenant_pools.p]\ncapacity = 5\ntiers = [{{ name = '{pool}' }}]
            [ladders.l]\nlevels = [{{ name = '0' }}]\ncapabilities = ['{capability}']
            [deadlines]\nsearch = '{deadline}'"
        )
    };
    let settings: Settings = toml::from_str(&text("fits-all", "x", "1s")).unwrap();
    let pool = TenantPool::new("p", settings.tenant_pool("p").unwrap()).unwrap();
    let degrade = Degrade::new(settings.ladder("l").unwrap());
    let gate = degrade.gate("x").unwrap();
    let search = DeadlineLayer::new("search", settings.deadline("search").unwrap());
    let live = Live::new()
        .deadline("search", search.handle())
        .tenant_pool("p", pool.handle())
        .ladder("l", degrade);
    let both = reload(&live, &text("fits-none", "y", "2s")).unwrap_err();
    assert!(
        both.contains("tenant_pools.p.tiers: expected")
            && both.contains("ladders.l.capabilities: expected"),
        "{both}"
    );
    for (pool, capability) in [("fits-all", "y"), ("fits-none", "x")] {
        reload(&live, &text(pool, capability, "2s")).unwrap_err();
    }
    assert_eq!(search.handle().limit(), Period::secs(1));
    reload(&live, &text("fits-all", "x", "2s")).unwrap();
    assert_eq!(
        (search.handle().limit(), gate.kind()),
        (Period::secs(2), Kind::Full)
    );
}

/// A ladder of code is replaced by one of a file, facts and all.
#[test]
fn a_ladder_of_a_file_is_the_one_of_the_builder() {
    let built = Ladder::new("l")
        .level(Level::new("0"))
        .fact(Fact::new("f", When::down("c"), "0"))
        .component(mainstay::degrade::Component::new("c"))
        .build()
        .unwrap();
    let text = "
        name = 'l'
        components = ['c']
        levels = [{ name = '0' }]
        facts = [{ name = 'f', when = { down = 'c' }, level = '0' }]
    ";
    assert_eq!(toml::from_str::<Ladder>(text).unwrap(), built);
}

/// Forty calls wait for two seats while the file changes: more seats, other weights, wrong ones. Each is served once.
#[tokio::test(start_paused = true)]
async fn a_pool_is_replaced_and_nobody_who_waits_is_lost() {
    let text = |capacity: u32, weight: u32| {
        format!(
            "[tenant_pools.gpus]\ncapacity = {capacity}
            tiers = [{{ name = 'live-first', weight = {weight}, patience = '1h' }}, {{ name = 'live-last', patience = '1h' }}]"
        )
    };
    let settings: Settings = toml::from_str(&text(2, 1)).unwrap();
    let pool = TenantPool::new("gpus", settings.tenant_pool("gpus").unwrap()).unwrap();
    let live = Live::new().tenant_pool("gpus", pool.handle());
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let service = ServiceBuilder::new()
        .layer(TenantLayer::by(&pool, |tenant: &Tenant| {
            Caller::from(tenant)
        }))
        .service_fn(move |_: Tenant| {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, BoxError>(())
            }
        });
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let tier = ["live-first", "live-last"][n % 2];
            let tenant = Tenant::new(format!("t{n}"), tier);
            tokio::spawn(service.clone().oneshot(tenant))
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let handle = pool.handle();
    assert_eq!((handle.in_flight(), handle.waiting()), (2, 38));
    let capacity = || handle.capacity().get();
    for wrong in [
        text(0, 1),
        text(3_000_000, 1),
        text(8, 0),
        text(8, 1).replace("live-last", "live-least"),
        text(8, 1).replace("tiers", "adaptive = {}\ntiers"),
        String::new(),
    ] {
        let refused = reload(&live, &wrong).unwrap_err();
        assert!(refused.starts_with("tenant_pools.gpus"), "{refused}");
        assert_eq!((capacity(), handle.waiting()), (2, 38), "{refused}");
    }
    reload(&live, &text(8, 6)).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(
        (capacity(), handle.in_flight(), handle.waiting()),
        (8, 8, 32)
    );
    assert_eq!(
        handle
            .config()
            .tiers()
            .tier(handle.config().tiers().find("live-first"))
            .share_weight()
            .get(),
        6
    );
    reload(&live, &text(1, 6)).unwrap();
    assert_eq!((capacity(), handle.waiting()), (1, 32));
    reload(&live, &text(8, 6)).unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(served.load(Ordering::Relaxed), 40);
    assert_eq!((handle.in_flight(), handle.waiting()), (0, 0));
}

/// What a health tells must have somebody to be told to, and what only calls tell must be given up.
#[test]
fn a_ladder_that_health_could_not_tell_is_refused() {
    let text = |parts: [&str; 2], unknown: &str| {
        let [one, other] = parts;
        format!(
            "[ladders.shop]
            components = [{{ name = '{one}' }}, {{ name = '{other}'{unknown} }}]
            levels = [{{ name = 'all' }}]"
        )
    };
    let given_up = ", unknown = { after = '10s', as = 'up' }";
    let good = text(["gpu", "cpu"], given_up);
    let settings: Settings = toml::from_str(&good).unwrap();
    let degrade = Degrade::new(settings.ladder("shop").unwrap());
    let live = Live::new().ladder("shop", degrade.clone());
    let layer = BreakerLayer::new("cpu", Trip::consecutive(1));
    let health = Health::builder()
        .reported("gpu", ConsecutiveConfig::default())
        .follow("cpu", &layer.handle())
        .tell(degrade);
    let health = health.build().unwrap();
    reload(&live, &good).unwrap();
    let renamed = text(["tpu", "cpu"], given_up);
    for (wrong, expected) in [
        (
            renamed.clone(),
            "ladders.shop.components: expected every component that health tells, got none of the name gpu",
        ),
        (
            text(["gpu", "cpu"], ""),
            "ladders.shop.components.cpu.unknown: expected one that is given up after a while, since health only follows \
             it, got hold",
        ),
    ] {
        assert_eq!(reload(&live, &wrong).unwrap_err(), expected);
    }
    // With the health its names go.
    drop(health);
    reload(&live, &renamed).unwrap();
}
