//! Any bytes as a saga's log: read, refused or held, and never interpreted into something that cannot be.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mainstay::saga::entry::Fact;
use mainstay::saga::machine::{Execution, Next};
use mainstay::saga::{Kind, Shape, StepShape};
use mainstay::time::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    // One record a line, as `sqlite3` prints them.
    let mut facts: Vec<Fact> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Vec<Fact>>(line) {
            Ok(record) => facts.extend(record),
            Err(_) => return,
        }
    }
    let written = serde_json::to_vec(&facts).expect("what was read can be written");
    let read: Vec<Fact> = serde_json::from_slice(&written).expect("what we write can be read");
    assert_eq!(read, facts);

    let shape = Arc::new(Shape::new(
        "pay",
        1,
        vec![
            StepShape::new("check", Kind::Check),
            StepShape::new("create", Kind::Step),
            StepShape::new("post", Kind::Pivot).reconciles(true),
            StepShape::new("notify", Kind::Then).at_most_once(true),
        ],
    ));
    let at = Timestamp::from_millis(0);
    let dated = facts.iter().map(|fact| (fact, at));
    let Ok(execution) = Execution::replay(shape, dated) else {
        return;
    };
    match execution.next() {
        Next::Run(index) => assert!(index < 4 && !execution.is_unwinding()),
        Next::Undo(index) => assert!(
            index == 1 && execution.is_unwinding(),
            "only `create` has an undo"
        ),
        Next::Hold => assert!(execution.held().is_some()),
        Next::End(_) => assert!(matches!(facts.last(), Some(Fact::Finished(_))), "rule 14"),
        _ => {}
    }
});
