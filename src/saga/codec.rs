//! Facts to text and back.

use super::entry::{FORMAT, Fact, Finish, Message, Resolution};
use super::seal::SEALED_FORMAT;
use super::spot;
use crate::journal::{Log, Mail, Record, Status};
use crate::time::Timestamp;

/// The record of these facts.
pub(crate) fn encode(facts: &[Fact]) -> Result<String, serde_json::Error> {
    serde_json::to_string(facts)
}

/// The format of the record of these facts; `None` when it would be sealed in part, and so read as something else.
pub(crate) fn format(facts: &[Fact]) -> Option<u16> {
    match spot::kinds_of(facts) {
        (true, true) => None,
        (true, false) => Some(SEALED_FORMAT),
        (false, _) => Some(FORMAT),
    }
}

/// All facts of a log, or why it cannot be read. The reason quotes no payload. Sealed payloads stay sealed: what a saga
/// did is told without a key.
pub(crate) fn decode(log: &Log) -> Result<Vec<Fact>, String> {
    let dated = decode_dated(log)?;
    Ok(dated.into_iter().map(|(fact, _)| fact).collect())
}

/// The same, each with the time at which it was written.
pub(crate) fn decode_dated(log: &Log) -> Result<Vec<(Fact, Timestamp)>, String> {
    let mut all = Vec::with_capacity(log.records.len());
    for record in &log.records {
        let facts = decode_record(record)?;
        all.extend(facts.into_iter().map(|fact| (fact, record.at)));
    }
    Ok(all)
}

/// The facts of one record.
pub(crate) fn decode_record(record: &Record) -> Result<Vec<Fact>, String> {
    let sealed = record.format == SEALED_FORMAT;
    if record.format != FORMAT && !sealed {
        return Err(format!(
            "record {} has format {}, this program reads {FORMAT} and {SEALED_FORMAT}",
            record.seq, record.format
        ));
    }
    let mut facts: Vec<Fact> = serde_json::from_str(&record.body).map_err(|error| {
        format!(
            "record {} is not a list of known facts, at column {}",
            record.seq,
            error.column()
        )
    })?;
    if sealed {
        facts.iter_mut().for_each(spot::mark_sealed);
    }
    Ok(facts)
}

/// Who gave up a log that cannot be read, as its last record says (rule 26 of the [machine](super::machine)).
pub(crate) fn given_up(log: &Log) -> Option<Resolution> {
    let last = log.records.last()?;
    if log.head.status != Status::Ended || last.format != FORMAT {
        return None;
    }
    match <[Fact; 2]>::try_from(serde_json::from_str::<Vec<Fact>>(&last.body).ok()?) {
        Ok([Fact::Resolved(by), Fact::Finished(Finish::Abandoned)]) if by.incident == 0 => Some(by),
        _ => None,
    }
}

/// The text of a message.
pub(crate) fn letter(message: &Message) -> Result<String, serde_json::Error> {
    serde_json::to_string(message)
}

/// A message, or why it cannot be read. The reason does not quote it.
pub(crate) fn open(mail: &Mail) -> Result<Message, String> {
    if mail.format != FORMAT {
        return Err(format!(
            "message {} has format {}, this program reads {FORMAT}",
            mail.number, mail.format
        ));
    }
    serde_json::from_str(&mail.body).map_err(|error| {
        format!(
            "message {} is not a known one, at column {}",
            mail.number,
            error.column()
        )
    })
}

/// What a log is after these facts.
pub(crate) fn status(facts: &[Fact]) -> Status {
    match facts.last() {
        Some(
            Fact::Incident(_) | Fact::Proposed(_) | Fact::TurnedDown { .. } | Fact::Refused(_),
        ) => Status::Held,
        Some(Fact::Finished(_)) => Status::Ended,
        _ => Status::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 of the format looks like. Journals of today are read by the programs of tomorrow: a line that no
    /// longer reads, or is no longer written like this, is a new version of the format.
    const VERSION_1: [&str; 21] = [
        r#"[{"started":{"definition":"invoice_payment","version":1,"fingerprint":"9c","nonce":"51","input":{"no":"INV-1","minor":129900}}}]"#,
        r#"[{"done":{"step":"validate","output":null}},{"done":{"step":"budget","output":18446744073709551616}}]"#,
        r#"[{"failed":{"step":"post_gl","effect":"possible","error":"it took too long","attempts":3}},"unwind"]"#,
        r#"[{"failed":{"step":"validate","effect":"none","error":"no amount","attempts":1}},"unwind",{"finished":"compensated"}]"#,
        r#"[{"undone":{"step":"create_payment"}},{"finished":"compensated"}]"#,
        r#"[{"incident":{"number":1,"class":"undo_failed","step":"create_payment","error":"shut","attempts":10}}]"#,
        r#"[{"resolved":{"incident":1,"operation":"abandon","actor":"ann","reason":"by hand"}},{"finished":"abandoned"}]"#,
        // Added in the same version, so that a program from before them refuses the log.
        r#"[{"intent":{"step":"pay","number":1}}]"#,
        r#"[{"retry_at":{"step":"pay","attempt":4,"since":1764129600000,"at":1764133200000,"error":"503"}}]"#,
        r#"[{"retry_at":{"step":"pay","undo":true,"attempt":4,"since":1,"at":2,"error":"503"}}]"#,
        r#"[{"cancelled":{"step":"pay","effect":"possible","actor":"ann","reason":"paid by card"}},"unwind"]"#,
        r#"[{"cancel_refused":{"actor":"ann","reason":"paid by card","because":"too_late"}}]"#,
        r#"[{"suspected":{"run":2}}]"#,
        r#"[{"incident":{"number":2,"class":"crash_loop","step":"pay","error":"","attempts":0,"allowed":["abandon","retry","retry_as_new","supply_output","unwind"]}}]"#,
        r#"[{"resolved":{"incident":2,"operation":"retry_as_new","actor":"ann","reason":"lost","approver":"bob","generation":1}}]"#,
        r#"[{"proposed":{"number":1,"incident":2,"operation":"abandon","actor":"ann","reason":"by hand"}}]"#,
        r#"[{"proposed":{"number":2,"incident":2,"operation":"supply_output","step":"pay","output":7,"actor":"ann","reason":"it is there"}}]"#,
        r#"[{"turned_down":{"proposal":2,"actor":"bob","reason":"it is not"}}]"#,
        r#"[{"refused":{"incident":2,"operation":"unwind","actor":"eve","why":"she may not"}}]"#,
        r#"[{"migrated":{"from":"9c","to":"77","version":2,"retold":1}},{"done":{"step":"validate","output":null}}]"#,
        r#"[{"migrated":{"from":"9c","to":"77","version":2,"retold":1,"keys":{"transfer":"pay"},"generations":[{"step":"order","number":1},{"step":"order","undo":true,"number":2}],"input":{"no":"INV-1"},"since":1764129600000,"permitted":true,"incidents":2,"proposals":1,"cancel_answered":true,"overruled":true}},{"intent":{"step":"transfer","number":1}}]"#,
    ];

    #[test]
    fn version_1_is_read_and_written_letter_by_letter() {
        for line in VERSION_1 {
            let facts: Vec<Fact> = serde_json::from_str(line).unwrap();
            assert_eq!(encode(&facts).unwrap(), line);
        }
    }

    #[test]
    fn a_record_that_is_sealed_in_part_is_not_written() {
        let mut facts: Vec<Fact> = VERSION_1
            .iter()
            .take(2)
            .flat_map(|line| serde_json::from_str::<Vec<Fact>>(line).unwrap())
            .collect();
        assert_eq!(format(&facts), Some(FORMAT));
        facts.first_mut().map(spot::mark_sealed).unwrap();
        assert_eq!(format(&facts), None);
        facts.iter_mut().for_each(spot::mark_sealed);
        assert_eq!(format(&facts), Some(SEALED_FORMAT));
        assert_eq!(format(&[Fact::Unwind]), Some(FORMAT));
    }

    #[test]
    fn a_fact_or_a_field_that_is_not_known_is_refused() {
        for line in [
            r#"[{"teleported":{"step":"a"}}]"#,
            r#"[{"undone":{"step":"a","twice":true}}]"#,
            r#"[{"incident":{"number":1,"class":"bored","step":null,"error":"","attempts":1}}]"#,
            r#"{"undone":{"step":"a"}}"#,
            "",
        ] {
            assert!(serde_json::from_str::<Vec<Fact>>(line).is_err(), "{line}");
        }
    }
}
