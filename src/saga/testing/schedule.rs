//! A disturbance as text that can be read back, and in words.

use std::fmt;
use std::str::FromStr;

use super::fault::{Disturbance, Fault};

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotASchedule(String);

impl fmt::Display for NotASchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is none of `step NAME=FAULT`, `undo NAME=FAULT`, `crash PLACE` and `stall PLACE`",
            self.0
        )
    }
}

impl std::error::Error for NotASchedule {}

/// What repeats it: parts with `; ` between them, `nothing` for none.
impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.iter().map(|(step, fault)| ("step", step, fault));
        let undos = self.undos.iter().map(|(step, fault)| ("undo", step, fault));
        let faults = steps
            .chain(undos)
            .map(|(what, step, fault)| format!("{what} {step}={}", fault.as_str()));
        let crashes = self.crashes.iter().map(|place| format!("crash {place}"));
        let stall = self.stall.iter().map(|place| format!("stall {place}"));
        let parts: Vec<String> = faults.chain(crashes).chain(stall).collect();
        if parts.is_empty() {
            f.write_str("nothing")
        } else {
            f.write_str(&parts.join("; "))
        }
    }
}

impl FromStr for Disturbance {
    type Err = NotASchedule;

    fn from_str(text: &str) -> Result<Self, NotASchedule> {
        let mut read = Self::default();
        for part in text.split("; ").filter(|part| *part != "nothing") {
            read.add(part.trim())
                .ok_or_else(|| NotASchedule(part.to_owned()))?;
        }
        Ok(read)
    }
}

impl Disturbance {
    fn add(&mut self, part: &str) -> Option<()> {
        let (what, of) = part.split_once(' ')?;
        match what {
            "crash" => {
                self.crashes.insert(of.parse().ok()?);
            }
            "stall" => self.stall = Some(of.parse().ok()?),
            "step" | "undo" => {
                let (step, word) = of.rsplit_once('=')?;
                let fault = Fault::ALL
                    .into_iter()
                    .find(|fault| fault.as_str() == word)?;
                let faults = if what == "step" {
                    &mut self.steps
                } else {
                    &mut self.undos
                };
                faults.push((step.into(), fault));
            }
            _ => return None,
        }
        Some(())
    }

    /// The same for people; `story` has what the places were.
    pub(super) fn words(&self, story: &[String]) -> String {
        let place = |place: &usize| {
            story.get(*place).map_or_else(
                || format!("place {place}, which it did not reach"),
                Clone::clone,
            )
        };
        let mut parts: Vec<String> = Vec::new();
        let steps = self.steps.iter();
        parts.extend(steps.map(|(step, fault)| format!("step {step} {}", fault.words())));
        let undos = self.undos.iter();
        parts.extend(undos.map(|(step, fault)| format!("the undo of {step} {}", fault.words())));
        let crashes = self.crashes.iter();
        parts.extend(crashes.map(|crash| format!("the process dies {}", place(crash))));
        parts.extend(self.stall.iter().map(|stall| {
            format!(
                "the process is stopped {}, another ends the saga, and it goes on",
                place(stall)
            )
        }));
        if parts.is_empty() {
            "nothing".to_owned()
        } else {
            parts.join(", and ")
        }
    }
}
