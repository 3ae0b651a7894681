//! A platform in several regions that counts its costs.

use crate::autoscale::schedule::{Clock, Day, Window, Zone};
use crate::autoscale::spot::Market;
use crate::autoscale::tracking::TrackingConfig;
use crate::autoscale::{Bounds, Signal};
use crate::num::{Period, Ratio};

use super::share;

/// Servers of the API: 2 to 20 at 70 % CPU, 300 s after growing and 600 s before shrinking. Its "prediction" is a
/// [foreseen rate](TrackingConfig::foreseen) of a model of your own, or of [`Foreseeing`](crate::autoscale::forecast::Foreseeing).
#[must_use]
pub const fn api_scaling() -> TrackingConfig {
    TrackingConfig::new(Bounds::between(2, 20), Signal::Cpu, share(70))
        .cooldowns(Period::secs(300), Period::secs(600))
}

/// Workers: 1 to 50 at 80 % memory, 60 s and 300 s. Together with [`worker_hours`].
#[must_use]
pub const fn worker_scaling() -> TrackingConfig {
    TrackingConfig::new(Bounds::between(1, 50), Signal::Memory, share(80))
        .cooldowns(Period::secs(60), Period::secs(300))
}

/// At least 10 workers from 9 to 18 UTC on workdays.
#[must_use]
pub fn worker_hours() -> Window {
    Window::new(Clock::at(9, 0), Clock::at(18, 0), 10)
        .on(Day::WORKDAYS)
        .zone(Zone::UTC)
}

/// Batch processing: up to half of the price on demand, and on demand where there is none.
#[must_use]
pub const fn batch_market() -> Market {
    Market::new(Ratio::percent(50)).fallback(true)
}

/// Background jobs: up to 40 %, likewise.
#[must_use]
pub const fn background_market() -> Market {
    Market::new(Ratio::percent(40)).fallback(true)
}
