//! Whether a call of a capability may pass now: one atomic load.

use std::fmt;
use std::sync::Arc;

use super::mode::{Kind, Mode};
use crate::error::{LayerKind, Reason, Rejected};
use crate::num::Period;
use crate::observe::{self, Name, Rejections};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Access {
    /// It only reads.
    Read,
    /// It writes, and whatever it reads besides is not what it is for.
    Write,
    /// It needs both, or nobody knows.
    #[default]
    Both,
}

/// What a request does. Functions of the request are such.
pub trait Accesses<Req> {
    /// What this one does.
    fn access(&self, request: &Req) -> Access;
}

impl<Req, F: Fn(&Req) -> Access> Accesses<Req> for F {
    fn access(&self, request: &Req) -> Access {
        self(request)
    }
}

/// Every request does the same.
impl<Req> Accesses<Req> for Access {
    fn access(&self, _: &Req) -> Access {
        *self
    }
}

impl Kind {
    /// Whether a call that does this is served now and here.
    #[must_use]
    pub const fn serves(self, access: Access) -> bool {
        match access {
            Access::Read => self.reads(),
            Access::Write => self.writes(),
            Access::Both => self.reads() && self.writes(),
        }
    }
}

/// The gate of one capability of one ladder. Clones are the same one.
///
/// # Example
///
/// ```
/// use mainstay::degrade::{Access, Degrade, Reading};
/// use mainstay::error::Reason;
/// use mainstay::health::Verdict;
/// use mainstay::presets::erp;
///
/// # fn main() -> Result<(), mainstay::ConfigError> {
/// let degrade = Degrade::new(erp::degradation());
/// let erp = degrade.gate("erp")?;
/// assert!(erp.admit(Access::Write).is_ok());
///
/// degrade.observe("database_primary", Reading::from(Verdict::Down))?;
/// assert!(erp.admit(Access::Read).is_ok());
/// assert_eq!(erp.admit(Access::Write).unwrap_err().reason(), Reason::Degraded);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Gate(Arc<Door>);

pub(super) struct Door {
    ladder: Name,
    capability: Name,
    kind: AtomicU64,
    mode: Mutex<Mode>,
    rejections: &'static Rejections,
}

impl Door {
    pub(super) fn new(ladder: Name, capability: Name, mode: Mode) -> Self {
        Self {
            rejections: Rejections::of(LayerKind::Gate, &capability),
            kind: AtomicU64::new(mode.kind() as u64),
            mode: Mutex::new(mode),
            ladder,
            capability,
        }
    }

    pub(super) fn set(&self, mode: &Mode) {
        lock(&self.mode).clone_from(mode);
        self.kind.store(mode.kind() as u64, Ordering::Release);
    }

    /// Tells what is served now. Under no lock.
    pub(super) fn tell(&self) {
        let kind = || lock(&self.mode).kind();
        let mut told = kind();
        loop {
            observe::capability_mode(&self.ladder, &self.capability, told);
            // Another thread may have told in between what was served before.
            let now = kind();
            if now == told {
                return;
            }
            told = now;
        }
    }
}

impl Gate {
    pub(super) const fn new(door: Arc<Door>) -> Self {
        Self(door)
    }

    /// Its capability.
    #[must_use]
    pub fn capability(&self) -> &str {
        &self.0.capability
    }

    /// What is served now, without the notes: one atomic load.
    #[must_use]
    #[inline]
    pub fn kind(&self) -> Kind {
        #[expect(clippy::cast_possible_truncation, reason = "only kinds are stored")]
        Kind::of_byte(self.0.kind.load(Ordering::Acquire) as u8)
    }

    /// What is served now, with the notes of what is missing.
    #[must_use]
    pub fn mode(&self) -> Mode {
        lock(&self.0.mode).clone()
    }

    /// Whether a call that does this may pass now.
    ///
    /// # Errors
    ///
    /// If not: [`Reason::FailedOver`] where the other region serves it, else [`Reason::Degraded`]. The refusal is counted.
    #[inline]
    pub fn admit(&self, access: Access) -> Result<(), Rejected> {
        let kind = self.kind();
        if kind.serves(access) {
            return Ok(());
        }
        Err(self.refuse(kind, RETRY_AFTER))
    }

    #[cold]
    pub(crate) fn refuse(&self, kind: Kind, after: Period) -> Rejected {
        let reason = match kind {
            Kind::FailOver => Reason::FailedOver,
            _ => Reason::Degraded,
        };
        let rejected = Rejected::new(LayerKind::Gate, reason).retry_after(after.get());
        self.0.rejections.note(&rejected);
        rejected
    }
}

/// When to come back where nobody says otherwise: what the [`Pace`](super::Pace) of a fact asks by default before it goes.
pub(super) const RETRY_AFTER: Period = Period::secs(30);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("capability", &self.0.capability)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}
