//! Whose order is kept, and how an entry is called.

use std::fmt;
use std::sync::Arc;

/// The longest name of a lane that is kept letter by letter, in bytes.
const LONGEST: usize = 200;

/// What of a longer one is kept.
const KEPT: usize = 160;

/// What entries are kept in order for: an account, an invoice, a path. Of one lane entries are replayed one at a time, in
/// the order in which they were acknowledged one after another; a poisoned one stops its lane and no other.
///
/// A name that is longer than 200 bytes, or has control characters, is shortened to its beginning and a checksum. Should
/// two of those meet, their entries wait for each other, which is late and never wrong. For a [tenant](Self::tenant), whose
/// own the keys are, it would be: an entry of one that does not fit is refused.
///
/// # Example
///
/// ```
/// use mainstay::queue::Lane;
///
/// let lane = Lane::new("account-7").tenant("acme");
/// assert_eq!((lane.tenant_name(), lane.as_str()), ("acme", "account-7"));
/// assert_ne!(lane, Lane::new("account-7"));
/// assert!(Lane::new("x".repeat(1_000)).as_str().len() < 200);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    tenant: Arc<str>,
    name: Arc<str>,
    /// Whether the tenant is called so, and was not shortened to it.
    is_whole: bool,
}

impl Lane {
    /// A lane of this name, in no tenant. The name is kept in plain text, and shown to operators.
    #[must_use]
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            tenant: "".into(),
            name: fitting(name.as_ref()),
            is_whole: true,
        }
    }

    /// The lane of that name of this tenant. Idempotency keys, too, are each tenant's own. Of a tenant whose name is longer
    /// than 200 bytes or has control characters no entry is taken, since two of them could be shortened to the same.
    #[must_use]
    pub fn tenant(mut self, tenant: impl AsRef<str>) -> Self {
        self.is_whole = fits(tenant.as_ref());
        self.tenant = fitting(tenant.as_ref());
        self
    }

    /// Whether the name of the tenant is the one that was given.
    #[cfg(feature = "saga")]
    pub(super) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The tenant; empty where there is only one.
    #[must_use]
    pub fn tenant_name(&self) -> &str {
        &self.tenant
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// Not the names: they are a tenant's, and an account's.
impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

fn fits(name: &str) -> bool {
    name.len() <= LONGEST && !name.chars().any(char::is_control)
}

fn fitting(name: &str) -> Arc<str> {
    if fits(name) {
        return name.into();
    }
    let mut kept = String::with_capacity(LONGEST);
    for letter in name.chars() {
        if kept.len() + letter.len_utf8() > KEPT {
            break;
        }
        kept.push(if letter.is_control() { '?' } else { letter });
    }
    // FNV-1a: the same in every version, since it stands in stores.
    let sum = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{kept}~{sum:016x}").into()
}

/// Names one entry of a queue. Of two entries of one process, and of two of which one was acknowledged before the other
/// was made, the later has the greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

impl EntryId {
    /// The entry with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number: that of its log in the journal.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_does_not_fit_stays_itself_and_no_other() {
        let long = |last: char| Lane::new(format!("{}{last}", "é".repeat(150)));
        assert!(long('a').as_str().len() <= LONGEST);
        assert_ne!(long('a'), long('b'));
        assert_eq!(long('a'), long('a'));
        let torn = Lane::new("a\0b");
        assert!(!torn.as_str().contains('\0'));
        // What fits already is fitted to itself: a name that comes back from a store is the same lane.
        for lane in [long('a'), torn] {
            assert_eq!(Lane::new(lane.as_str()), lane);
        }
        // Pinned, since it stands in stores.
        assert_eq!(Lane::new("a\n").as_str(), "a?~089bdc07b544e7b2");
    }
}
