use super::machine::Forecast;
use crate::autoscale::{Autoscaler, Decision, Reading, Sample, Signal};
use crate::num::Period;
use crate::time::Timestamp;

/// A policy that is told what the days before had.
///
/// It shows the policy's samples to a forecast and, once that is trusted, adds what is expected to them. Policies that know
/// nothing of [`Signal::Expected`] are not changed by it.
///
/// # Example
///
/// ```
/// use mainstay::autoscale::forecast::{Forecast, ForecastConfig, Foreseeing};
/// use mainstay::autoscale::gpu::{Gpu, GpuConfig};
/// use mainstay::autoscale::{Amount, Bounds};
/// use mainstay::num::Period;
///
/// let warm_up = Period::secs(300);
/// let gpu = Gpu::new(GpuConfig::new(Bounds::between(4, 20), Amount::of(10), warm_up));
/// let forecast = Forecast::new(ForecastConfig::for_warm_up(warm_up));
/// let policy = Foreseeing::new(gpu, forecast);
/// assert!(!policy.forecast().is_trusted()); // it only watches, the first days
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseeing<A> {
    policy: A,
    forecast: Forecast,
    stale: Period,
}

impl<A> Foreseeing<A> {
    /// `policy` with `forecast`.
    pub const fn new(policy: A, forecast: Forecast) -> Self {
        Self {
            policy,
            forecast,
            stale: Period::secs(60),
        }
    }

    /// How old a rate may be and still be learned from. Defaults to 60 s.
    #[must_use]
    pub fn stale(mut self, age: Period) -> Self {
        self.stale = age;
        self
    }

    /// The policy.
    pub const fn policy(&self) -> &A {
        &self.policy
    }

    /// The forecast.
    pub const fn forecast(&self) -> &Forecast {
        &self.forecast
    }
}

impl<A: Autoscaler> Autoscaler for Foreseeing<A> {
    fn decide(&mut self, sample: &Sample, now: Timestamp) -> Decision {
        if let Some(rate) = sample.fresh(Signal::Rate, self.stale.get(), now) {
            self.forecast.observe(rate, now);
        }
        let expected = self.forecast.expected(now);
        let trusted = self.forecast.is_trusted() && !self.forecast.config().only_watches();
        let decision = match expected {
            Some(expected) if trusted => {
                let told = sample
                    .clone()
                    .measured(Signal::Expected, Reading::new(expected, now));
                self.policy.decide(&told, now)
            }
            _ => self.policy.decide(sample, now),
        };
        decision.explained(|why| {
            why.step("forecast")
                .given_if("expected", expected)
                .given("trusted", trusted)
                .gives(if trusted { "raises" } else { "watches" });
        })
    }
}
