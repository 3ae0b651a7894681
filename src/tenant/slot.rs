use std::fmt;

use super::desk::Whose;
use super::identity::TenantKey;

/// A tenant's place in the books of a pool: a call that brings it need not be looked for.
///
/// [`TenantPool::tenant`](super::TenantPool::tenant) gives it out. It is cheap to clone and keeps nothing alive: put it
/// into what authentication remembers of a session, and from there into the extensions of each request. When the pool has
/// given the place to another tenant in the meantime, when it had none to give, or when it is another pool's, the tenant
/// is looked for by its key.
#[derive(Clone)]
pub struct TenantSlot {
    /// Which pool's.
    pub(super) token: u64,
    pub(super) whose: Whose,
    pub(super) key: TenantKey,
}

impl TenantSlot {
    /// Whose it is.
    #[must_use]
    pub const fn key(&self) -> &TenantKey {
        &self.key
    }

    /// The name of its tier.
    #[must_use]
    pub fn tier_name(&self) -> &'static str {
        self.whose.name.as_str()
    }
}

impl fmt::Debug for TenantSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantSlot")
            .field("key", &self.key)
            .field("tier", &self.whose.name)
            .finish_non_exhaustive()
    }
}
