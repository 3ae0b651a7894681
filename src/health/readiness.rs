//! Whether a process can serve, and why not.

use std::fmt;
use std::sync::Arc;

use super::sample::Why;
use super::verdict::Verdict;

/// Whether a process should be sent calls: [`Health::readiness`](super::Health::readiness).
///
/// Its text is a line for each component, as Kubernetes' own checks print them: `[+]` where it does not stand in the way,
/// `[-]` where it does; and where it is not up, why the last look at it was not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub(super) is_draining: bool,
    /// And whether each stands in the way.
    pub(super) components: Vec<(Arc<str>, Verdict, bool)>,
    pub(super) whys: Vec<Option<Why>>,
}

impl Readiness {
    /// Whether it should.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_draining && self.in_the_way().next().is_none()
    }

    /// Whether it ends soon.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// The components that are needed and not there.
    pub fn in_the_way(&self) -> impl Iterator<Item = (&str, Verdict)> {
        let missing = self
            .components
            .iter()
            .filter(|(_, _, stands_in_the_way)| *stands_in_the_way);
        missing.map(|(name, verdict, _)| (&**name, *verdict))
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (each, why) in self.components.iter().zip(&self.whys) {
            let (name, verdict, stands_in_the_way) = each;
            let sign = if *stands_in_the_way { '-' } else { '+' };
            match why {
                Some(why) if *verdict != Verdict::Up => {
                    writeln!(f, "[{sign}]{name} {verdict}: {why}")?;
                }
                _ => writeln!(f, "[{sign}]{name} {verdict}")?,
            }
        }
        if self.is_draining {
            writeln!(f, "[-]draining")?;
        }
        f.write_str(if self.is_ready() {
            "ready"
        } else {
            "not ready"
        })
    }
}
