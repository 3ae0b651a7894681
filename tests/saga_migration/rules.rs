//! The rules of `saga::migration`, one by one, on logs that are written out.

use std::num::NonZeroU32;
use std::sync::Arc;

use mainstay::saga::entry::Fact;
use mainstay::saga::machine::{Execution, Next};
use mainstay::saga::migration::{NotMigrated, Plan};
use mainstay::saga::{Kind, Migration, Shape, StepShape};
use mainstay::time::Timestamp;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn step(name: &str, kind: Kind) -> StepShape {
    StepShape::new(name, kind).attempts(NonZeroU32::new(3))
}

fn shape(version: u32, steps: &[(&str, Kind)]) -> Shape {
    let steps = steps.iter().map(|(name, kind)| step(name, *kind));
    Shape::new("pay", version, steps.collect())
}

const OLD: [(&str, Kind); 5] = [
    ("look", Kind::Check),
    ("order", Kind::Step),
    ("reserve", Kind::Step),
    ("transfer", Kind::Pivot),
    ("notify", Kind::Then),
];

fn old() -> Shape {
    shape(1, &OLD)
}

/// Record `n` of a log is written at `n` seconds.
fn log(form: &Shape, records: &[&str]) -> Vec<(Fact, Timestamp)> {
    let start = format!(
        r#"[{{"started":{{"definition":"pay","version":{},"fingerprint":"{}","nonce":"51","input":7}}}}]"#,
        form.version,
        form.fingerprint()
    );
    let records = std::iter::once(start.as_str()).chain(records.iter().copied());
    let mut facts = Vec::new();
    for (record, seconds) in records.zip(1..) {
        let read: Vec<Fact> = serde_json::from_str(record).unwrap();
        facts.extend(read.into_iter().map(|fact| (fact, at(seconds * 1_000))));
    }
    facts
}

const LOOKED: &str = r#"[{"done":{"step":"look","output":1}}]"#;
const ORDERED: &str = r#"[{"done":{"step":"order","output":"O"}}]"#;
const RESERVED: &str = r#"[{"done":{"step":"reserve","output":"R"}}]"#;
const TRANSFERRED: &str = r#"[{"done":{"step":"transfer","output":"T"}}]"#;

/// The record that carries a log over, and the saga as it is found after that.
fn carried(plan: &Plan, facts: &[(Fact, Timestamp)]) -> (String, Execution) {
    let record = plan.apply(facts).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let written = record.iter().map(|fact| (fact, at(60_000)));
    let whole = facts.iter().map(|(fact, at)| (fact, *at)).chain(written);
    let execution = Execution::replay(Arc::clone(plan.to()), whole).unwrap();
    (text, execution)
}

fn refused(plan: &Plan, facts: &[(Fact, Timestamp)]) -> String {
    match plan.apply(facts) {
        Err(error @ NotMigrated::Refused { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn same(version: u32, steps: &[(&str, Kind)]) -> Plan {
    Migration::from_shape(&old())
        .plan(&shape(version, steps))
        .unwrap()
}

#[test]
fn what_was_so_is_told_in_the_words_of_the_new_form() {
    let new = shape(
        2,
        &[
            ("look", Kind::Check),
            ("book", Kind::Step),
            ("reserve", Kind::Step),
            ("file", Kind::Step),
            ("transfer", Kind::Pivot),
            ("notify", Kind::Then),
        ],
    );
    let plan = Migration::from_shape(&old())
        .renamed("order", "book")
        .added("file")
        .converted("book", |order: String| Ok(vec![order]))
        .converted_input(|input: u32| Ok(input + 1))
        .plan(&new)
        .unwrap();
    let (text, execution) = carried(&plan, &log(&old(), &[LOOKED, ORDERED]));
    let (from, to) = (old().fingerprint(), new.fingerprint());
    assert_eq!(
        text,
        format!(
            r#"[{{"migrated":{{"from":"{from}","to":"{to}","version":2,"retold":2,"keys":{{"book":"order"}},"input":8,"since":3000}}}},{{"done":{{"step":"look","output":1}}}},{{"done":{{"step":"book","output":["O"]}}}}]"#
        )
    );
    assert_eq!(execution.next(), Next::Run(2));
    assert_eq!(execution.key_name(1), "order");
    assert_eq!(execution.key_name(2), "reserve");
}

#[test]
fn rule_1_what_was_begun_has_its_place() {
    let without = [
        ("look", Kind::Check),
        ("order", Kind::Step),
        ("transfer", Kind::Pivot),
        ("notify", Kind::Then),
    ];
    let plan = Migration::from_shape(&old())
        .removed("reserve")
        .plan(&shape(2, &without))
        .unwrap();
    // Nothing was begun but a check: `order` is next, and `reserve` behind it.
    assert!(plan.apply(&log(&old(), &[])).is_ok());
    assert!(plan.apply(&log(&old(), &[LOOKED])).is_ok());
    assert_eq!(
        refused(&plan, &log(&old(), &[LOOKED, ORDERED])),
        "step `reserve`: found one that may have been begun, expected a step of version 2 that takes its place"
    );
    assert_eq!(
        refused(&plan, &log(&old(), &[LOOKED, ORDERED, RESERVED])),
        "step `reserve`: found one that is done, expected a step of version 2 that takes its place"
    );
}

#[test]
fn rule_1_kinds_stay_so_the_pivot_does_not_move_behind_what_was_done() {
    let plan = same(
        2,
        &[
            ("look", Kind::Check),
            ("order", Kind::Step),
            ("transfer", Kind::Pivot),
            ("reserve", Kind::Then),
            ("notify", Kind::Then),
        ],
    );
    assert!(plan.apply(&log(&old(), &[LOOKED])).is_ok());
    assert_eq!(
        refused(&plan, &log(&old(), &[LOOKED, ORDERED, RESERVED])),
        "step `transfer`: found one that is not done, expected that it comes after `reserve`, which is done"
    );
    let plan = same(
        2,
        &[
            ("look", Kind::Check),
            ("order", Kind::Pivot),
            ("reserve", Kind::Then),
            ("transfer", Kind::Then),
            ("notify", Kind::Then),
        ],
    );
    assert_eq!(
        refused(&plan, &log(&old(), &[LOOKED, ORDERED])),
        "step `order`: found pivot, expected step, since it is done"
    );
}

#[test]
fn rule_1_the_order_of_what_was_begun_stays() {
    let plan = same(
        2,
        &[
            ("look", Kind::Check),
            ("reserve", Kind::Step),
            ("order", Kind::Step),
            ("transfer", Kind::Pivot),
            ("notify", Kind::Then),
        ],
    );
    assert!(plan.apply(&log(&old(), &[])).is_ok());
    assert!(
        refused(&plan, &log(&old(), &[LOOKED])).contains("`reserve`: found one that is not done")
    );
    assert!(
        plan.apply(&log(&old(), &[LOOKED, ORDERED, RESERVED]))
            .is_err()
    );
}

#[test]
fn rule_2_only_checks_stand_before_what_was_begun() {
    let new = shape(
        2,
        &[
            ("limit", Kind::Check),
            ("order", Kind::Step),
            ("reserve", Kind::Step),
            ("look", Kind::Check),
            ("transfer", Kind::Pivot),
            ("notify", Kind::Then),
        ],
    );
    let asked = Migration::from_shape(&old())
        .added("limit")
        .plan(&new)
        .unwrap();
    let assumed = Migration::from_shape(&old())
        .added_check("limit", &9)
        .plan(&new)
        .unwrap();
    let (_, execution) = carried(&assumed, &log(&old(), &[]));
    assert_eq!(
        execution.next(),
        Next::Run(0),
        "it is asked where it can be"
    );
    let done = log(&old(), &[LOOKED, ORDERED]);
    assert_eq!(
        refused(&asked, &done),
        "step `limit`: found one that is not done, expected that it comes after `order`, which is done"
    );
    let (text, execution) = carried(&assumed, &done);
    assert!(text.contains(r#"{"done":{"step":"limit","output":9}},{"done":{"step":"order""#));
    assert_eq!(
        execution.next(),
        Next::Run(2),
        "`look` is asked again behind it"
    );
}

#[test]
fn rule_3_what_is_not_run_again_is_not_run_again() {
    let with = |version, change: fn(StepShape) -> StepShape| {
        let mut shape = shape(version, &OLD);
        let reserve = shape.steps[2].clone();
        shape.steps[2] = change(reserve);
        shape
    };
    let once = with(1, |step| step.at_most_once(true));
    let often = with(2, |step| step);
    let plan = Migration::from_shape(&once).plan(&often).unwrap();
    assert!(
        plan.apply(&log(&once, &[LOOKED, ORDERED])).is_ok(),
        "it never ran"
    );
    let intent = r#"[{"intent":{"step":"reserve","number":1}}]"#;
    assert_eq!(
        refused(&plan, &log(&once, &[LOOKED, ORDERED, intent])),
        "step `reserve`: found one that may run again, expected one that runs at most once, since it may have been begun"
    );
    // The other way round it might have run, and does not run again.
    let once = with(2, |step| step.at_most_once(true));
    let plan = Migration::from_shape(&old()).plan(&once).unwrap();
    let (text, execution) = carried(&plan, &log(&old(), &[LOOKED, ORDERED]));
    assert!(text.ends_with(r#"{"intent":{"step":"reserve","number":1}}]"#));
    assert_eq!(execution.next(), Next::Write, "it is undone, and not run");
    let inside = with(2, |step| step.in_journal(true));
    let plan = Migration::from_shape(&old()).plan(&inside).unwrap();
    assert!(refused(&plan, &log(&old(), &[LOOKED, ORDERED])).contains("one transaction"));
}

#[test]
fn rule_2_a_check_that_is_moved_behind_what_is_done_asks_again() {
    let once = |version, steps: &[(&str, Kind)]| {
        let mut form = shape(version, steps);
        form.steps[2].at_most_once = true;
        form
    };
    let old = once(1, &OLD[..3]);
    let steps = [
        ("order", Kind::Step),
        ("look", Kind::Check),
        ("reserve", Kind::Step),
    ];
    let plan = Migration::from_shape(&old).plan(&once(2, &steps)).unwrap();
    // `reserve` runs at most once and has no intent, so that nothing is in doubt.
    let (text, execution) = carried(&plan, &log(&old, &[LOOKED, ORDERED]));
    assert!(text.contains(r#""retold":1}"#), "{text}");
    assert_eq!(execution.next(), Next::Run(1));
}

#[test]
fn rule_5_what_an_operator_allowed_to_run_again_does() {
    let once = |version| {
        let mut form = shape(version, &OLD);
        form.steps[3].at_most_once = true;
        form
    };
    let plan = Migration::from_shape(&once(1)).plan(&once(2)).unwrap();
    let intent = r#"[{"intent":{"step":"transfer","number":1}}]"#;
    let held = r#"[{"incident":{"number":1,"class":"unknown_outcome","step":"transfer","error":"?","attempts":1}}]"#;
    let retry = r#"[{"resolved":{"incident":1,"operation":"retry","actor":"ann","reason":"it is not there"}}]"#;
    let facts = log(&once(1), &[LOOKED, ORDERED, RESERVED, intent, held, retry]);
    let (text, execution) = carried(&plan, &facts);
    assert!(text.contains(r#""permitted":true"#), "{text}");
    assert!(matches!(
        &execution.due()[..],
        [Fact::Intent { number: 2, .. }]
    ));
    let facts = log(&once(1), &[LOOKED, ORDERED, RESERVED, intent]);
    let (text, execution) = carried(&plan, &facts);
    assert!(!text.contains("permitted"), "{text}");
    assert!(
        matches!(&execution.due()[..], [Fact::Incident(_)]),
        "in doubt"
    );
}

#[test]
fn rule_4_keys_stay_over_two_migrations_and_are_given_to_no_other() {
    let second = shape(2, &[("book", Kind::Step), ("transfer", Kind::Pivot)]);
    let first = shape(1, &[("order", Kind::Step), ("transfer", Kind::Pivot)]);
    let third = shape(
        3,
        &[
            ("take", Kind::Step),
            ("order", Kind::Step),
            ("transfer", Kind::Pivot),
        ],
    );
    let to_second = Migration::from_shape(&first)
        .renamed("order", "book")
        .plan(&second)
        .unwrap();
    let mut facts = log(&first, &[r#"[{"undone":{"step":"x"}}]"#]);
    facts.truncate(1);
    let record = to_second.apply(&facts).unwrap();
    facts.extend(record.into_iter().map(|fact| (fact, at(9_000))));
    let renamed = Migration::from_shape(&second).renamed("book", "take");
    let collides = renamed.clone().added("order").plan(&third).unwrap();
    assert_eq!(
        refused(&collides, &facts),
        "step `order`: found a new step whose name makes the keys of `take`, expected another name"
    );
    let third = shape(3, &[("take", Kind::Step), ("transfer", Kind::Pivot)]);
    let (text, execution) = carried(&renamed.plan(&third).unwrap(), &facts);
    assert!(text.contains(r#""keys":{"take":"order"}"#));
    assert!(
        text.contains(r#""since":1000"#),
        "in use since the start: {text}"
    );
    assert_eq!(execution.key_name(0), "order");
}

#[test]
fn rule_5_waits_counts_and_decisions_stay() {
    let new = shape(
        2,
        &[
            ("look", Kind::Check),
            ("order", Kind::Step),
            ("hold", Kind::Step),
            ("transfer", Kind::Pivot),
            ("notify", Kind::Then),
        ],
    );
    let plan = Migration::from_shape(&old())
        .renamed("reserve", "hold")
        .plan(&new)
        .unwrap();
    let facts = log(
        &old(),
        &[
            LOOKED,
            ORDERED,
            r#"[{"cancel_refused":{"actor":"ann","reason":"r","because":"in_doubt"}}]"#,
        ],
    );
    // That is no reason to refuse here, so the log is none.
    assert!(matches!(plan.apply(&facts), Err(NotMigrated::Illegal(_))));
    let facts = log(
        &old(),
        &[
            LOOKED,
            ORDERED,
            r#"[{"incident":{"number":1,"class":"halted","step":"reserve","error":"look","attempts":1}}]"#,
            r#"[{"proposed":{"number":1,"incident":1,"operation":"retry_as_new","step":"reserve","actor":"ann","reason":"r"}}]"#,
            r#"[{"resolved":{"incident":1,"operation":"retry_as_new","actor":"ann","reason":"r","approver":"bob","generation":1}}]"#,
            r#"[{"retry_at":{"step":"reserve","attempt":4,"since":4000,"at":90000,"error":"503"}}]"#,
        ],
    );
    let (text, execution) = carried(&plan, &facts);
    for part in [
        r#""generations":[{"step":"hold","number":1}]"#,
        r#""incidents":1,"proposals":1,"overruled":true"#,
        r#""since":6000"#,
        r#"{"retry_at":{"step":"hold","attempt":4,"since":4000,"at":90000,"error":"503"}}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(execution.generation(2, false), 1);
    assert!(!execution.heeds_deadline(), "an operator let it go on");
    let (again, delay) = execution.waiting().unwrap();
    assert_eq!(
        (again.attempt, delay.as_secs()),
        (4, 30),
        "what is left of the wait"
    );
    let next = execution.suspect(0);
    assert!(matches!(&next[0], Fact::Incident(trouble) if trouble.number == 2));
}

#[test]
fn rule_6_it_goes_on_undoing_what_it_was_to_undo() {
    let new = shape(
        2,
        &[
            ("book", Kind::Step),
            ("hold", Kind::Step),
            ("file", Kind::Step),
            ("transfer", Kind::Pivot),
        ],
    );
    let plan = Migration::from_shape(&old())
        .removed("look")
        .renamed("order", "book")
        .renamed("reserve", "hold")
        .added("file")
        .removed("notify")
        .plan(&new)
        .unwrap();
    let failed =
        r#"[{"failed":{"step":"transfer","effect":"none","error":"no","attempts":1}},"unwind"]"#;
    let before = log(&old(), &[LOOKED, ORDERED, RESERVED, failed]);
    let (text, execution) = carried(&plan, &before);
    assert!(
        text.contains(r#"{"failed":{"step":"transfer","effect":"none""#),
        "{text}"
    );
    assert_eq!(
        execution.next(),
        Next::Undo(1),
        "and not `file`, which was never begun"
    );
    let undone = r#"[{"undone":{"step":"reserve"}}]"#;
    let facts = log(&old(), &[LOOKED, ORDERED, RESERVED, failed, undone]);
    let (text, execution) = carried(&plan, &facts);
    assert!(
        text.ends_with(r#""unwind",{"undone":{"step":"hold"}}]"#),
        "{text}"
    );
    assert_eq!(execution.next(), Next::Undo(0));
    assert_eq!(execution.failure().unwrap().attempts, 1);
    // The step that failed in doubt is undone, too, so it has to be there.
    let doubt =
        r#"[{"failed":{"step":"reserve","effect":"possible","error":"no","attempts":2}},"unwind"]"#;
    let (_, execution) = carried(&plan, &log(&old(), &[LOOKED, ORDERED, doubt]));
    assert_eq!(execution.next(), Next::Undo(1));
    let without = Migration::from_shape(&old())
        .removed("reserve")
        .plan(&shape(
            2,
            &[
                ("look", Kind::Check),
                ("order", Kind::Step),
                ("transfer", Kind::Pivot),
                ("notify", Kind::Then),
            ],
        ))
        .unwrap();
    assert!(refused(&without, &log(&old(), &[LOOKED, ORDERED, doubt])).contains("`reserve`"));
    // One that surely had none may be gone, and the saga says all the same where it failed.
    let sure =
        r#"[{"failed":{"step":"reserve","effect":"none","error":"no","attempts":2}},"unwind"]"#;
    let (_, execution) = carried(&without, &log(&old(), &[LOOKED, ORDERED, sure]));
    assert_eq!(execution.next(), Next::Undo(1));
    assert_eq!(&*execution.failure().unwrap().step, "reserve");
}

#[test]
fn rule_7_what_cannot_be_converted_is_refused() {
    let plan = |convert: fn(String) -> Result<u32, String>| {
        Migration::from_shape(&old())
            .converted("order", convert)
            .plan(&shape(2, &OLD))
            .unwrap()
    };
    let facts = log(&old(), &[LOOKED, ORDERED]);
    assert_eq!(
        refused(&plan(|_| Err("no number".into())), &facts),
        "step `order`: found no number, expected an output that can be converted"
    );
    assert!(refused(&plan(|_| panic!("never mind")), &facts).contains("panicked"));
    let unread = Migration::from_shape(&old())
        .converted("order", |order: u32| Ok(order))
        .plan(&shape(2, &OLD))
        .unwrap();
    let why = refused(&unread, &facts);
    assert!(
        why.contains("does not read") && !why.contains("\"O\""),
        "{why}"
    );
    assert!(
        unread.apply(&log(&old(), &[LOOKED])).is_ok(),
        "nothing to convert"
    );
}

#[test]
fn rule_8_what_waits_or_is_over_is_not_carried_over() {
    let plan = same(2, &OLD);
    let held = r#"[{"incident":{"number":1,"class":"definition_changed","step":null,"error":"","attempts":0}}]"#;
    assert!(refused(&plan, &log(&old(), &[LOOKED, held])).contains("waits"));
    let let_go = r#"[{"resolved":{"incident":1,"operation":"retry","actor":"ann","reason":"r"}}]"#;
    assert!(plan.apply(&log(&old(), &[LOOKED, held, let_go])).is_ok());
    let over = r#"[{"resolved":{"incident":1,"operation":"abandon","actor":"ann","reason":"r"}},{"finished":"abandoned"}]"#;
    assert!(refused(&plan, &log(&old(), &[LOOKED, held, over])).contains("over"));
}

#[test]
fn a_saga_all_of_whose_steps_are_done_in_the_new_form_is_complete() {
    let short = shape(
        2,
        &[
            ("look", Kind::Check),
            ("order", Kind::Step),
            ("reserve", Kind::Step),
            ("transfer", Kind::Pivot),
        ],
    );
    let mut begun = old();
    begun.steps[4] = step("notify", Kind::Then).at_most_once(true);
    let plan = Migration::from_shape(&begun)
        .removed("notify")
        .plan(&short)
        .unwrap();
    let facts = log(&begun, &[LOOKED, ORDERED, RESERVED, TRANSFERRED]);
    let (text, execution) = carried(&plan, &facts);
    assert!(text.ends_with(r#"{"finished":"completed"}]"#), "{text}");
    assert!(matches!(execution.next(), Next::End(_)));
    // Where it may have been begun, it is not left out.
    let facts = log(&old(), &[LOOKED, ORDERED, RESERVED, TRANSFERRED]);
    let plan = Migration::from_shape(&old())
        .removed("notify")
        .plan(&short)
        .unwrap();
    assert!(refused(&plan, &facts).contains("`notify`: found one that may have been begun"));
}

/// Whatever is not said, said twice or said of what there is not.
#[test]
fn a_migration_that_does_not_fit_is_refused_before_anything_runs() {
    let new = [
        ("look", Kind::Check),
        ("order", Kind::Step),
        ("hold", Kind::Step),
    ];
    let from = || Migration::from_shape(&shape(1, &OLD[..3]));
    let said = |migration: Migration| migration.plan(&shape(2, &new)).unwrap_err().to_string();
    for (migration, what) in [
        (from(), "step `reserve`: found that it is gone"),
        (
            from().removed("reserve"),
            "step `hold`: found that it is new",
        ),
        (
            from().renamed("x", "hold"),
            "step `x`: found that it is called `hold`",
        ),
        (
            from().renamed("reserve", "x"),
            "step `reserve`: found that it is called `x`",
        ),
        (from().removed("x"), "step `x`: found that it is removed"),
        (
            from().removed("look"),
            "step `look`: found that it is removed, expected no other",
        ),
        (
            from().renamed("reserve", "hold").removed("reserve"),
            "step `reserve`: found that it is named twice",
        ),
        (
            from().renamed("reserve", "hold").renamed("look", "hold"),
            "step `look`: found that it is named twice",
        ),
        (
            from().renamed("reserve", "hold").added("hold"),
            "step `hold`: found that it is added",
        ),
        (
            from().removed("reserve").added("hold").added("x"),
            "step `x`: found that it is added",
        ),
        (
            from().removed("reserve").added_check("hold", &1),
            "step `hold`: found that it counts as done, expected a check",
        ),
        (
            from()
                .renamed("reserve", "hold")
                .converted("x", |x: u32| Ok(x)),
            "step `x`: found that its output is converted",
        ),
    ] {
        let why = said(migration);
        assert!(why.contains(what), "{why}");
    }
    let swapped = [
        ("look", Kind::Check),
        ("reserve", Kind::Step),
        ("order", Kind::Step),
    ];
    let swap = from()
        .renamed("order", "reserve")
        .renamed("reserve", "order");
    assert!(swap.plan(&shape(2, &swapped)).is_ok());
    let again = Migration::from_shape(&shape(1, &[("a", Kind::Step), ("b", Kind::Step)]));
    let again = again.renamed("a", "c").renamed("b", "d").added("a");
    let to = shape(
        2,
        &[("c", Kind::Step), ("d", Kind::Step), ("a", Kind::Step)],
    );
    assert!(
        again
            .plan(&to)
            .unwrap_err()
            .to_string()
            .contains("a name that no step had")
    );
    let older = from().renamed("reserve", "hold").plan(&shape(1, &new));
    assert!(
        older
            .unwrap_err()
            .to_string()
            .contains("the version: found 1")
    );
    let other = Shape::new("refund", 2, Vec::new());
    assert!(
        from()
            .plan(&other)
            .unwrap_err()
            .to_string()
            .contains("the name: found `pay`")
    );
}

#[test]
fn a_log_that_says_what_cannot_be_so_is_refused() {
    let plan = same(2, &OLD);
    let good = log(&old(), &[LOOKED, ORDERED]);
    let record = plan.apply(&good).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    let replays = |text: &str, before: &[(Fact, Timestamp)]| {
        let record: Vec<Fact> = serde_json::from_str(text).unwrap();
        let written = record.iter().map(|fact| (fact, at(60_000)));
        let whole = before.iter().map(|(fact, at)| (fact, *at)).chain(written);
        Execution::replay(Arc::clone(plan.to()), whole).map(drop)
    };
    assert_eq!(replays(&text, &good), Ok(()));
    let fingerprint = plan.to().fingerprint();
    for (good_part, bad_part) in [
        (r#""retold":2"#, r#""retold":3"#),
        (r#""retold":2"#, r#""retold":2,"keys":{"x":"y"}"#),
        (r#""retold":2"#, r#""retold":2,"keys":{"reserve":"order"}"#),
        (
            r#""retold":2"#,
            r#""retold":2,"generations":[{"step":"x","number":1}]"#,
        ),
        (r#""version":2"#, r#""version":3"#),
        (fingerprint.as_str(), "00"),
        (r#""from":""#, r#""from":"0"#),
        (
            r#"{"done":{"step":"look","output":1}}"#,
            r#"{"suspected":{"run":1}}"#,
        ),
    ] {
        let bad = text.replacen(good_part, bad_part, 1);
        assert_ne!(bad, text);
        let why = replays(&bad, &good).unwrap_err();
        println!("{bad_part}: {why}");
    }
    let held =
        r#"[{"incident":{"number":1,"class":"halted","step":"order","error":"","attempts":0}}]"#;
    assert!(
        replays(&text, &log(&old(), &[LOOKED, held])).is_err(),
        "it waits"
    );
    assert!(replays(&text, &[]).is_err(), "it does not begin");
    // What was before it is not looked at in the words of the new form, and what follows it is.
    let more = format!(
        "{},{}",
        &text[..text.len() - 1],
        r#"{"done":{"step":"look","output":1}}]"#
    );
    assert!(replays(&more, &good).is_err());
}
