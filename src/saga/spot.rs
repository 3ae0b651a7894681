//! Where in facts payloads stand: what is sealed of a record, and what is not.

use std::fmt;

use super::entry::Fact;
use super::payload::Payload;

/// What a log's payloads are bound to besides its head; a log without a start has no payload that opens.
pub(super) fn nonce_of(facts: &[Fact]) -> &str {
    match facts.first() {
        Some(Fact::Started(started)) => &started.nonce,
        _ => "",
    }
}

/// What a saga works on: its input, or what a migration made of it.
pub(super) fn input_of<'a>(facts: impl Iterator<Item = &'a Fact>) -> Option<&'a Payload> {
    facts.fold(None, |input, fact| match fact {
        Fact::Started(started) => Some(&started.input),
        Fact::Migrated(migrated) => migrated.input.as_ref().or(input),
        _ => input,
    })
}

/// The version to which a record carries its saga over.
pub(super) fn version_of(facts: &[Fact]) -> Option<u32> {
    match facts.first() {
        Some(Fact::Migrated(migrated)) => Some(migrated.version),
        _ => None,
    }
}

/// Where in a record a payload stands.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    pub(super) field: &'static str,
    pub(super) step: &'a str,
}

impl fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.step.is_empty() {
            write!(f, "the {}", self.field)
        } else {
            write!(f, "the {} of `{}`", self.field, self.step)
        }
    }
}

/// The payload of a fact, where it has one. Every kind of fact is named here, so that a new one does not compile before
/// it is decided what of it is sealed.
pub(super) fn payload_of(fact: &Fact) -> Option<(Spot<'_>, &Payload)> {
    match fact {
        Fact::Started(started) => Some((
            Spot {
                field: "input",
                step: "",
            },
            &started.input,
        )),
        Fact::Done { step, output } => Some((
            Spot {
                field: "output",
                step,
            },
            output,
        )),
        Fact::Proposed(proposal) => proposal.output.as_ref().map(|output| {
            let spot = Spot {
                field: "proposed output",
                step: proposal.step.as_deref().unwrap_or_default(),
            };
            (spot, output)
        }),
        Fact::Migrated(migrated) => migrated.input.as_ref().map(|input| {
            let spot = Spot {
                field: "migrated input",
                step: "",
            };
            (spot, input)
        }),
        Fact::Failed(_)
        | Fact::Unwind
        | Fact::Undone { .. }
        | Fact::Incident(_)
        | Fact::Resolved(_)
        | Fact::TurnedDown { .. }
        | Fact::Refused(_)
        | Fact::Intent { .. }
        | Fact::RetryAt(_)
        | Fact::Cancelled(_)
        | Fact::CancelRefused { .. }
        | Fact::Suspected { .. }
        | Fact::Finished(_) => None,
    }
}

/// The same, to be replaced.
pub(super) const fn payload_mut(fact: &mut Fact) -> Option<&mut Payload> {
    match fact {
        Fact::Started(started) => Some(&mut started.input),
        Fact::Done { output, .. } => Some(output),
        Fact::Proposed(proposal) => proposal.output.as_mut(),
        Fact::Migrated(migrated) => migrated.input.as_mut(),
        Fact::Failed(_)
        | Fact::Unwind
        | Fact::Undone { .. }
        | Fact::Incident(_)
        | Fact::Resolved(_)
        | Fact::TurnedDown { .. }
        | Fact::Refused(_)
        | Fact::Intent { .. }
        | Fact::RetryAt(_)
        | Fact::Cancelled(_)
        | Fact::CancelRefused { .. }
        | Fact::Suspected { .. }
        | Fact::Finished(_) => None,
    }
}

/// Marks what a sealed record holds.
pub(super) const fn mark_sealed(fact: &mut Fact) {
    if let Some(payload) = payload_mut(fact) {
        payload.mark_sealed();
    }
}

/// Whether these facts have sealed payloads, and whether they have plain ones.
pub(super) fn kinds_of(facts: &[Fact]) -> (bool, bool) {
    facts
        .iter()
        .filter_map(payload_of)
        .fold((false, false), |(sealed, plain), (_, payload)| {
            (sealed || payload.is_sealed(), plain || !payload.is_sealed())
        })
}
