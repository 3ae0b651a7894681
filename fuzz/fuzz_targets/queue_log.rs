//! Any lines as the log of a queued entry, the first line its tenant: the life that is read from them, or a refusal that
//! quotes nothing of them.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use mainstay::journal::{Begin, Epoch, Head, Labels, Log, LogId, Place, Record};
use mainstay::queue::{FORMAT, Fact, Lane, Life, Stage};
use mainstay::time::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let labels = Labels::new(lines.next().unwrap_or_default());
    let tenant = labels.tenant.clone();
    let at = Timestamp::from_millis(0);
    let begin = Begin::new(
        Arc::new(labels.clone()),
        "queue/ledger",
        "k",
        "digest",
        FORMAT,
        "{}",
        at,
    );
    // A line that begins so is of a format that nobody knows.
    let records = (1..).zip(lines).map(|(seq, line)| {
        let (format, body) = match line.strip_prefix('!') {
            Some(line) => (FORMAT + 1, line),
            None => (FORMAT, line),
        };
        Record::new(
            seq,
            Epoch::FIRST,
            labels.clone(),
            format,
            body.to_owned(),
            at,
        )
    });
    let records: Vec<Record> = records.collect();
    let mut head = Head::of(LogId::new(1), &begin);
    head.place = Place::new(Epoch::FIRST, records.len() as u64);
    let log = Log::checked(head, records.clone(), Vec::new()).expect("nothing is missing");
    let life = match Life::read(&log) {
        Ok(life) => life,
        Err(why) => {
            // Column and number, and no letter of a record.
            assert!(why.len() < 120 && why.is_ascii(), "{why}");
            return;
        }
    };

    // What was read is what stands there, and can be written and read again.
    let mut facts = records.iter().map(|record| {
        assert_eq!(record.format, FORMAT);
        let fact: Fact = serde_json::from_str(&record.body).expect("it was read");
        let again = serde_json::to_string(&fact).expect("what was read can be written");
        let again: Fact = serde_json::from_str(&again).expect("and read again");
        assert_eq!(again, fact);
        fact
    });
    let Some(Fact::Queued { lane, body, .. }) = facts.next() else {
        panic!("it began with something else");
    };
    assert_eq!(life.lane, Lane::new(&lane).tenant(&tenant));
    assert_eq!(
        Lane::new(life.lane.as_str()).as_str(),
        life.lane.as_str(),
        "what is shortened stays so"
    );
    assert_eq!((&life.body, life.body.bytes()), (&body, body.bytes()));
    let mut stage = Stage::Waiting;
    for (fact, kept) in facts.zip(&life.later) {
        assert_eq!(&fact, kept);
        stage = stage.after(&fact).expect("it was read, so it follows");
    }
    assert_eq!(life.stage, stage);
    assert_eq!(life.later.len(), records.len() - 1);
    assert!(life.poison().is_none() || life.stage == Stage::Poisoned);
});
