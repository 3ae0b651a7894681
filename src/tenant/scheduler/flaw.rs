//! Mistakes that the tests must notice: each is one line of the machine done wrong.
//!
//! They exist in tests only. `props_tests.rs` runs its suite once for each and fails if that passes.

/// Whether the machine makes this mistake.
#[cfg(test)]
macro_rules! flawed {
    ($machine:expr, $flaw:ident) => {
        $machine.flaw == Some($crate::tenant::scheduler::flaw::Flaw::$flaw)
    };
}
#[cfg(not(test))]
macro_rules! flawed {
    ($machine:expr, $flaw:ident) => {
        false
    };
}
pub(super) use flawed;

#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// What waits is charged when it is turned away.
    ChargeOnDrop,
    /// Every request is charged the same.
    CountCharging,
    /// Time over is noticed only when the turn comes.
    ExpireAtTurn,
    /// A reservation below one seat is none.
    FloorReservation,
    /// A tenant is forgotten with what it owes.
    ForgiveDebt,
    /// Who is held back by its own limit starts anew when it is let on.
    ForfeitAtLimit,
    /// Seats that are held are given to others.
    IgnoreHold,
    /// A tenant has as many seats as it can get.
    IgnoreTenantLimit,
    /// All tenants weigh the same.
    IgnoreWeight,
    /// A waiter that leaves keeps its place in the count.
    LeakOnLeave,
    /// What is charged is never corrected.
    NoCorrection,
    /// Who comes back is let in with all the service that it did not ask for.
    NoLift,
    /// Weights alone decide between tiers.
    NoReservation,
    /// The best tier that has work is always next.
    StrictPriority,
}

#[cfg(test)]
impl Flaw {
    pub(super) const ALL: [Self; 14] = [
        Self::ChargeOnDrop,
        Self::CountCharging,
        Self::ExpireAtTurn,
        Self::FloorReservation,
        Self::ForgiveDebt,
        Self::ForfeitAtLimit,
        Self::IgnoreHold,
        Self::IgnoreTenantLimit,
        Self::IgnoreWeight,
        Self::LeakOnLeave,
        Self::NoCorrection,
        Self::NoLift,
        Self::NoReservation,
        Self::StrictPriority,
    ];
}
