use crate::num::Ratio;

/// Retries in flight as a share of the calls in flight.
///
/// A retry counts from the moment it is decided on, its wait included, until it ends. Unlike a ratio it needs no
/// history, so it binds at once when calls pile up, and lets all through that a quiet service asks for.
///
/// # Source
///
/// Envoy's retry budget: 20 % and at least 3.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConcurrencyBudget {
    share: Ratio,
    minimum: u32,
    of_all: bool,
}

impl ConcurrencyBudget {
    /// At most this share of the calls in flight.
    #[must_use]
    pub const fn new(share: Ratio) -> Self {
        Self {
            share,
            minimum: 3,
            of_all: false,
        }
    }

    /// So many retries may always be in flight. Defaults to 3, as Envoy does.
    #[must_use]
    pub const fn minimum(mut self, minimum: u32) -> Self {
        self.minimum = minimum;
        self
    }

    /// Takes the share of everything in flight, the retries themselves included: one more may start while they are no
    /// more than that. Defaults to the share of the calls, which the retries never exceed.
    ///
    /// # Source
    ///
    /// failsafe-go's budget.
    #[must_use]
    pub const fn of_all(mut self) -> Self {
        self.of_all = true;
        self
    }

    /// The share of what is in flight.
    #[must_use]
    pub const fn share(&self) -> Ratio {
        self.share
    }

    /// Retries that may always be in flight.
    #[must_use]
    pub const fn floor(&self) -> u32 {
        self.minimum
    }

    /// Whether retries are part of what the share is taken of.
    #[must_use]
    pub const fn is_of_all(&self) -> bool {
        self.of_all
    }
}

/// What is in flight.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) config: ConcurrencyBudget,
    pub(super) calls: u64,
    retries: u64,
}

impl InFlight {
    pub(super) const fn new(config: ConcurrencyBudget) -> Self {
        Self {
            config,
            calls: 0,
            retries: 0,
        }
    }

    /// How many retries may be in flight together.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count that memory bounds; one in 2⁵² does not matter"
    )]
    fn limit(&self) -> u64 {
        let share = self.config.share.get();
        // A share such as 0.29 of 100 is 28.999…: nobody means 28.
        let of_calls = (share * self.calls as f64 + 1e-9).floor() as u64;
        let limit = if self.config.of_all {
            // r retries among c calls and r retries: while r ≤ share × (c + r), one more.
            let rest = 1.0 - share;
            if rest <= 0.0 {
                return u64::MAX;
            }
            (share * self.calls as f64 / rest + 1e-9).floor() as u64 + u64::from(self.calls > 0)
        } else {
            of_calls
        };
        limit.max(u64::from(self.config.minimum))
    }

    pub(super) fn take(&mut self) -> bool {
        let granted = self.retries < self.limit();
        self.retries += u64::from(granted);
        granted
    }

    pub(super) const fn give_back(&mut self) {
        self.retries = self.retries.saturating_sub(1);
    }

    /// Retries that could start now.
    pub(super) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(config: ConcurrencyBudget, calls: u64) -> usize {
        let mut flight = InFlight {
            calls,
            ..InFlight::new(config)
        };
        (0..10_000).take_while(|_| flight.take()).count()
    }

    #[test]
    fn shares_are_of_calls_or_of_everything() {
        let envoy = ConcurrencyBudget::new(Ratio::percent(20));
        for (calls, most) in [(0, 3), (15, 3), (20, 4), (25, 5), (100, 20)] {
            assert_eq!(granted(envoy, calls), most, "{calls}");
        }
        assert_eq!(granted(ConcurrencyBudget::new(Ratio::percent(29)), 100), 29);
        // Retries r start while r ≤ (c + r) / 2, so that c + 1 of them run beside c calls.
        let half = ConcurrencyBudget::new(Ratio::percent(50))
            .minimum(1)
            .of_all();
        assert_eq!(
            (granted(half, 1), granted(half, 10), granted(half, 0)),
            (2, 11, 1)
        );
        assert_eq!(
            granted(ConcurrencyBudget::new(Ratio::ONE).of_all(), 0),
            10_000
        );
    }

    #[test]
    fn what_is_given_back_may_start_again() {
        let config = ConcurrencyBudget::new(Ratio::ZERO).minimum(1);
        let mut flight = InFlight::new(config);
        assert!(flight.take() && !flight.take());
        flight.give_back();
        assert!(flight.take());
    }
}
