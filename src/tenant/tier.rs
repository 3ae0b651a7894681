//! Tiers: what each class of tenants gets of one pool, as data.
//!
//! A pool is anything that does so much at a time and no more: the handlers of a service, the GPUs behind it, the
//! connections of a shard. Its *capacity* is a number of seats. A tier states its part of them in shares, since the
//! capacity may move while the pool runs.
//!
//! ```text
//!   capacity  ├──────────────────────────────────────────────────────────────────┤
//!             ├─ held ─┼─ lendable ─┤                                    limit ──┤
//!             ├────── reserved ─────┤  by weight, to whoever has work            │
//! ```
//!
//! - *Reserved* seats are this tier's before anybody's weight counts.
//! - Of these the *held* ones stay empty while the tier has no work for them, so that its next request starts at once;
//!   the rest is lent to others meanwhile and comes back as their requests end. Held seats cost capacity.
//! - Beyond that, seats go to tiers in proportion to their *weights*.
//! - *Limit* is the most that the tier ever has.
//!
//! Ten per cent for enterprise, as a platform may promise it, are ten per cent of the pool for the tier as a whole. What
//! one tenant of a tier may have at a time is [`tenant_share`](Tier::tenant_share).

use std::borrow::Cow;
use std::fmt;

use crate::error::ConfigError;
use crate::num::{Period, Ratio};

/// How much a tier, or a tenant inside its tier, counts beside others: from 1 to 10,000.
///
/// # Example
///
/// ```
/// use mainstay::tenant::tier::Weight;
///
/// const ENTERPRISE: Weight = Weight::of(6);
/// assert_eq!(Weight::new("weight", 6)?, ENTERPRISE);
/// assert!(Weight::new("weight", 0).is_err());
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// As much as anybody.
    pub const ONE: Self = Self(1);
    /// The greatest weight: ten thousand tenants' worth.
    pub const MAX: Self = Self(10_000);

    /// A weight, for literals.
    ///
    /// # Panics
    ///
    /// Outside of 1 to 10,000; in a `const` that is a compile error.
    #[must_use]
    pub const fn of(weight: u16) -> Self {
        assert!(
            weight >= 1 && weight <= 10_000,
            "a weight is from 1 to 10000"
        );
        Self(weight)
    }

    /// Checks a weight that was read from outside.
    ///
    /// # Errors
    ///
    /// Names `field` when the value lies outside of 1 to 10,000.
    pub fn new(field: &'static str, weight: u32) -> Result<Self, ConfigError> {
        match u16::try_from(weight) {
            Ok(weight @ 1..=10_000) => Ok(Self(weight)),
            _ => Err(ConfigError::new(field, weight, "a weight from 1 to 10000")),
        }
    }

    /// The weight as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Which of a pool's tiers: its place in [`Tiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TierId(u8);

impl TierId {
    /// The tier at this place. One that the pool does not have counts as its lowest, which is the last.
    #[must_use]
    pub const fn new(place: u8) -> Self {
        Self(place)
    }

    /// The place in [`Tiers`], from 0.
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize
    }
}

/// What one class of tenants gets.
///
/// # Example
///
/// ```
/// use mainstay::num::{Period, Ratio};
/// use mainstay::tenant::tier::{Tier, Weight};
///
/// // A tenth of the pool, one seat in twenty of which waits for it; six times the weight of the lowest.
/// let enterprise = Tier::new("enterprise")
///     .weight(Weight::of(6))
///     .reserved(Ratio::percent(10))
///     .held(Ratio::percent(5))
///     .patience(Period::secs(1));
/// assert_eq!(enterprise.name(), "enterprise");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    name: Cow<'static, str>,
    weight: Weight,
    reserved: Ratio,
    held: Ratio,
    limit: Ratio,
    queue: u32,
    tenant_queue: u32,
    patience: Period,
    tenant_share: Ratio,
    shed: u8,
}

impl Tier {
    /// A tier of weight 1 without a reservation.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            weight: Weight::ONE,
            reserved: Ratio::ZERO,
            held: Ratio::ZERO,
            limit: Ratio::ONE,
            queue: 1_000,
            tenant_queue: 100,
            patience: Period::secs(1),
            tenant_share: Ratio::percent(25),
            shed: 0,
        }
    }

    /// How much the tier counts where seats go by weight.
    ///
    /// Defaults to 1.
    #[must_use]
    pub const fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Which share of the pool is the tier's before weights count, the held part included.
    ///
    /// Defaults to nothing. All tiers together reserve at most the whole pool.
    #[must_use]
    pub const fn reserved(mut self, share: Ratio) -> Self {
        self.reserved = share;
        self
    }

    /// Which share of the pool is kept empty for the tier while it has no work, a part of what is
    /// [`reserved`](Self::reserved).
    ///
    /// Defaults to nothing: all of the reservation is lent. A held seat lets the tier's next request start at once; a
    /// lent one comes back when the first of the running requests ends. What it costs is the seat.
    #[must_use]
    pub const fn held(mut self, share: Ratio) -> Self {
        self.held = share;
        self
    }

    /// The largest share of the pool that the tier ever has, at least one seat.
    ///
    /// Defaults to all of it.
    #[must_use]
    pub const fn limit(mut self, share: Ratio) -> Self {
        self.limit = share;
        self
    }

    /// How many of the tier's requests may wait.
    ///
    /// Defaults to 1,000. When one more comes, the tenant with the longest queue loses its youngest.
    #[must_use]
    pub const fn queue(mut self, requests: u32) -> Self {
        self.queue = requests;
        self
    }

    /// How many requests of one tenant may wait.
    ///
    /// Defaults to 100.
    #[must_use]
    pub const fn tenant_queue(mut self, requests: u32) -> Self {
        self.tenant_queue = requests;
        self
    }

    /// How long a request may wait, its own deadline permitting.
    ///
    /// Defaults to 1 s: no caller with a user behind it is served by a longer one.
    #[must_use]
    pub const fn patience(mut self, patience: Period) -> Self {
        self.patience = patience;
        self
    }

    /// Which share of the tier's seats, those of its [`limit`](Self::limit), one tenant may have at a time; at least
    /// one seat.
    ///
    /// Defaults to a quarter. Fairness alone lets one tenant fill every seat between two requests of others, which then
    /// wait for the first of them to end.
    #[must_use]
    pub const fn tenant_share(mut self, share: Ratio) -> Self {
        self.tenant_share = share;
        self
    }

    /// When the tier's waiting requests are turned away for want of room in the pool's queue: those of the lowest
    /// number first.
    ///
    /// Defaults to 0. Tiers of one number count as one.
    #[must_use]
    pub const fn shed(mut self, order: u8) -> Self {
        self.shed = order;
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much it counts.
    #[must_use]
    pub const fn share_weight(&self) -> Weight {
        self.weight
    }

    /// The share of the pool that is its own.
    #[must_use]
    pub const fn reserved_share(&self) -> Ratio {
        self.reserved
    }

    /// The share of the pool that is kept empty for it.
    #[must_use]
    pub const fn held_share(&self) -> Ratio {
        self.held
    }

    /// The largest share of the pool that it may have.
    #[must_use]
    pub const fn largest_share(&self) -> Ratio {
        self.limit
    }

    /// How many requests may wait.
    #[must_use]
    pub const fn queue_bound(&self) -> u32 {
        self.queue
    }

    /// How many requests of one tenant may wait.
    #[must_use]
    pub const fn tenant_queue_bound(&self) -> u32 {
        self.tenant_queue
    }

    /// How long a request may wait.
    #[must_use]
    pub const fn longest_wait(&self) -> Period {
        self.patience
    }

    /// The share of the tier's seats that one tenant may have.
    #[must_use]
    pub const fn largest_tenant_share(&self) -> Ratio {
        self.tenant_share
    }

    /// When it is shed; the lowest number first.
    #[must_use]
    pub const fn shed_order(&self) -> u8 {
        self.shed
    }
}

/// The tiers of one pool, the best first, the lowest last: from one to eight, of different names.
///
/// # Example
///
/// ```
/// use mainstay::num::Ratio;
/// use mainstay::tenant::tier::{Tier, Tiers, Weight};
///
/// let tiers = Tiers::new([
///     Tier::new("priority").weight(Weight::of(6)).reserved(Ratio::percent(10)),
///     Tier::new("best-effort"),
/// ])?;
/// assert_eq!(tiers.find("priority").place(), 0);
/// assert_eq!(tiers.find("platinum"), tiers.lowest(), "who is not known is the lowest");
/// # Ok::<(), mainstay::error::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Tiers(Vec<Tier>);

impl Tiers {
    /// The most tiers that a pool has. Who needs more wants weights of tenants instead.
    pub const MOST: usize = 8;

    /// Checks that the tiers fit together.
    ///
    /// # Errors
    ///
    /// Names the first setting that does not: no tier or more than eight, a name that is empty or there twice, a held
    /// share above the reserved one, a reserved one above the limit, reservations of more than the whole pool, a limit
    /// or a tenant's share of nothing.
    pub fn new(tiers: impl IntoIterator<Item = Tier>) -> Result<Self, ConfigError> {
        let tiers: Vec<Tier> = tiers.into_iter().take(Self::MOST + 1).collect();
        if tiers.is_empty() || tiers.len() > Self::MOST {
            return Err(ConfigError::new("tiers", tiers.len(), "from 1 to 8 tiers"));
        }
        let mut all = 0;
        for (place, tier) in tiers.iter().enumerate() {
            let earlier = tiers.iter().take(place);
            if tier.name.is_empty() || earlier.into_iter().any(|other| other.name == tier.name) {
                return Err(wrong("name", &tier.name, "a name that no other tier has"));
            }
            let (held, reserved) = (parts(tier.held), parts(tier.reserved));
            let limit = parts(tier.limit);
            if held > reserved {
                return Err(share("held", tier.held, "at most the reserved share"));
            }
            if reserved > limit {
                return Err(share("reserved", tier.reserved, "at most the tier's limit"));
            }
            if limit == 0 {
                return Err(share("limit", tier.limit, "a share above 0"));
            }
            if parts(tier.tenant_share) == 0 {
                return Err(share("tenant_share", tier.tenant_share, "a share above 0"));
            }
            all += reserved;
            if all > WHOLE {
                return Err(share(
                    "reserved",
                    tier.reserved,
                    "reservations of at most the whole pool, all tiers together",
                ));
            }
        }
        Ok(Self(tiers))
    }

    /// One tier for everybody, with the defaults of [`Tier::new`].
    #[must_use]
    pub fn one() -> Self {
        Self(vec![Tier::new("all")])
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Each, the best first.
    pub fn iter(&self) -> impl Iterator<Item = (TierId, &Tier)> {
        (0_u8..).map(TierId).zip(&self.0)
    }

    /// One of them; the lowest if there is none at that place.
    #[must_use]
    pub fn tier(&self, id: TierId) -> &Tier {
        static NONE: Tier = Tier::nobody();
        self.0.get(self.known(id).place()).unwrap_or(&NONE)
    }

    /// The tier of that name, the lowest if there is none: whoever is not known is treated as the least.
    #[must_use]
    pub fn find(&self, name: &str) -> TierId {
        let found = self.iter().find(|(_, tier)| tier.name == name);
        found.map_or_else(|| self.lowest(), |(id, _)| id)
    }

    /// The last.
    #[must_use]
    pub fn lowest(&self) -> TierId {
        TierId(u8::try_from(self.0.len().saturating_sub(1)).unwrap_or(0))
    }

    /// The tier itself if the pool has it, the lowest otherwise.
    #[must_use]
    pub fn known(&self, id: TierId) -> TierId {
        id.min(self.lowest())
    }
}

impl Tier {
    /// What stands where there is no tier, which is nowhere: [`Tiers`] has at least one.
    const fn nobody() -> Self {
        Self {
            name: Cow::Borrowed(""),
            weight: Weight::ONE,
            reserved: Ratio::ZERO,
            held: Ratio::ZERO,
            limit: Ratio::ONE,
            queue: 0,
            tenant_queue: 0,
            patience: Period::secs(1),
            tenant_share: Ratio::ONE,
            shed: 0,
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shares are compared and multiplied in millionths, so that ten per cent of ten are one and not a little less.
pub(super) const WHOLE: u64 = 1_000_000;

/// A share in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a ratio is from 0 to 1"
)]
pub(super) fn parts(share: Ratio) -> u64 {
    (share.get() * 1e6).round() as u64
}

fn share(field: &'static str, value: Ratio, expected: &'static str) -> ConfigError {
    ConfigError::new(field, value.get(), expected)
}

fn wrong(field: &'static str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::new(field, value, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_that_do_not_fit_together_are_refused_by_name() {
        let percent = Ratio::percent;
        let tier = Tier::new;
        let refused = |tiers: Vec<Tier>| Tiers::new(tiers).unwrap_err().field().to_owned();
        assert_eq!(refused(vec![]), "tiers");
        assert_eq!(refused(vec![tier("a"); 9]), "tiers");
        assert_eq!(refused(vec![tier("a"), tier("a")]), "name");
        assert_eq!(refused(vec![tier("")]), "name");
        assert_eq!(refused(vec![tier("a").held(percent(1))]), "held");
        let more = tier("a").reserved(percent(60)).limit(percent(50));
        assert_eq!(refused(vec![more]), "reserved");
        let half = |name| tier(name).reserved(percent(51));
        assert_eq!(refused(vec![half("a"), half("b")]), "reserved");
        assert_eq!(refused(vec![tier("a").limit(Ratio::ZERO)]), "limit");
        let nothing = tier("a").tenant_share(Ratio::ZERO);
        assert_eq!(refused(vec![nothing]), "tenant_share");
    }

    #[test]
    fn shares_are_counted_in_millionths() {
        let tenths = ["a", "b", "c", "d", "e", "f", "g"].map(Tier::new);
        let tenths = tenths.map(|tier| tier.reserved(Ratio::percent(14)));
        assert!(Tiers::new(tenths).is_ok());
        assert_eq!(parts(Ratio::percent(29)), 290_000);
    }
}
