//! Facts to text and back.

use super::entry::{FORMAT, Fact};
use crate::journal::Log;

/// The record of these facts.
pub(crate) fn encode(facts: &[Fact]) -> Result<String, serde_json::Error> {
    serde_json::to_string(facts)
}

/// All facts of a log, or why it cannot be read. The reason quotes no payload.
pub(crate) fn decode(log: &Log) -> Result<Vec<Fact>, String> {
    let mut all = Vec::with_capacity(log.records.len());
    for record in &log.records {
        if record.format != FORMAT {
            return Err(format!(
                "record {} has format {}, this program reads {FORMAT}",
                record.seq, record.format
            ));
        }
        let facts: Vec<Fact> = serde_json::from_str(&record.body).map_err(|error| {
            format!(
                "record {} is not a list of known facts, at column {}",
                record.seq,
                error.column()
            )
        })?;
        all.extend(facts);
    }
    Ok(all)
}
