//! Any rows as a log: taken for a log when nothing is missing from them, and refused otherwise; and what they say as a
//! saga's facts, read, written and replayed.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use mainstay::journal::{
    Begin, Epoch, Head, JournalError, Labels, Log, LogId, Mail, Place, Postbox, Record,
};
use mainstay::saga::entry::Fact;
use mainstay::saga::machine::Execution;
use mainstay::saga::{Kind, Shape, StepShape};
use mainstay::time::Timestamp;

#[derive(Arbitrary, Debug)]
struct Rows {
    /// How many records and messages the head knows, and how many of the messages were read.
    known: (u32, u32, u32),
    /// Whether the numbers below are taken as they are, or count as they should.
    counted: bool,
    records: Vec<(u64, u64, u16, String)>,
    mail: Vec<(u64, String, String)>,
}

fuzz_target!(|rows: Rows| {
    let at = Timestamp::from_millis(0);
    let labels = Arc::new(Labels::new("acme"));
    let begin = Begin::new(labels, "pay", "1", "digest", 1, "[]", at);
    let (records, posted, read) = match rows.counted {
        true => {
            let read = u64::from(rows.known.2 % 4);
            (
                rows.records.len() as u64,
                read + rows.mail.len() as u64,
                read,
            )
        }
        false => {
            let (records, posted, read) = rows.known;
            (records.into(), posted.into(), read.into())
        }
    };
    let mut head = Head::of(LogId::new(1), &begin);
    head.place = Place::new(Epoch::FIRST, records);
    head.mail = Postbox::new(posted, read);
    let number = |found: u64, at: usize, first: u64| match rows.counted {
        true => first + at as u64,
        false => found,
    };
    let found: Vec<Record> = (0..)
        .zip(&rows.records)
        .map(|(at_row, (seq, epoch, format, body))| {
            let (seq, epoch) = (number(*seq, at_row, 1), Epoch::new(*epoch));
            Record::new(seq, epoch, Labels::default(), *format, body.clone(), at)
        })
        .collect();
    let mail: Vec<Mail> = (0..)
        .zip(&rows.mail)
        .map(|(at_row, (seq, dedup, body))| {
            Mail::new(
                number(*seq, at_row, read + 1),
                dedup.clone(),
                1,
                body.clone(),
                at,
            )
        })
        .collect();

    let whole = found
        .iter()
        .map(|record| record.seq)
        .eq(1..=found.len() as u64)
        && found.len() as u64 == records
        && mail.len() as u64 == posted.saturating_sub(read)
        && mail
            .iter()
            .zip(0..)
            .all(|(mail, at)| mail.number.checked_sub(at + 1) == Some(read));
    match Log::checked(head, found.clone(), mail.clone()) {
        Ok(log) => {
            assert!(whole, "a part was taken for the whole");
            assert_eq!((&log.records, &log.mail), (&found, &mail));
        }
        Err(JournalError::Damaged { .. }) => assert!(!whole, "a whole log was refused"),
        Err(other) => panic!("{other:?}"),
    }

    let mut facts: Vec<Fact> = Vec::new();
    for record in &found {
        match serde_json::from_str::<Vec<Fact>>(&record.body) {
            Ok(more) => facts.extend(more),
            Err(_) => return,
        }
    }
    let written = serde_json::to_string(&facts).expect("what was read can be written");
    assert_eq!(
        serde_json::from_str::<Vec<Fact>>(&written).expect("and read again"),
        facts
    );
    let steps = vec![
        StepShape::new("check", Kind::Check),
        StepShape::new("create", Kind::Step),
        StepShape::new("post", Kind::Pivot),
    ];
    let shape = Arc::new(Shape::new("pay", 1, steps));
    let dated = facts.iter().map(|fact| (fact, Timestamp::from_millis(0)));
    if let Ok(execution) = Execution::replay(shape, dated) {
        // Whatever it is, it says what is to be done.
        let _next = execution.next();
    }
});
