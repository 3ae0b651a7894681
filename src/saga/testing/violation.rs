//! What a trial found.

use std::fmt;

use super::fault::Disturbance;

/// A rule that did not hold, and what was done. Printed, it says so in words, and what repeats it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// What was done to the saga. Printed, it is what [`replay`](super::Trial::replay) takes.
    pub disturbance: Disturbance,
    /// What did not hold.
    pub reason: String,
    /// The places that the run passed, in order.
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.reason)?;
        writeln!(f, "  when: {}", self.disturbance.words(&self.story))?;
        for (place, what) in self.story.iter().enumerate() {
            let here = if self.disturbance.crashes.contains(&place) {
                " - and dies"
            } else if self.disturbance.stall == Some(place) {
                " - and is stopped"
            } else {
                ""
            };
            writeln!(f, "  {place:>4} {what}{here}")?;
        }
        write!(f, "  again: MAINSTAY_TRIAL=\"{}\"", self.disturbance)
    }
}

impl std::error::Error for Violation {}
