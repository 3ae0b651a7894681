//! Numbers by chance, the same on every machine.
//!
//! Logarithm, exponential and sine are computed here, with nothing but operations that IEEE 754 rounds exactly: those
//! of the system's library differ in the last digit between systems, and the page would differ with them.

use std::f64::consts::{LN_2, SQRT_2, TAU};

use mainstay::rng::Rng;

/// Nanoseconds, the unit of the simulator's clock.
pub type Nanos = u64;

pub const SECOND: f64 = 1e9;

/// Seconds as nanoseconds, at least one where there are any at all, so that nothing takes no time.
pub fn nanos(seconds: f64) -> Nanos {
    if seconds <= 0.0 {
        0
    } else {
        ((seconds * SECOND) as Nanos).max(1)
    }
}

pub fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / SECOND
}

/// The natural logarithm of a positive, normal number.
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | (1023 << 52));
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    let mut power = t;
    for odd in (1..=25).step_by(2) {
        sum += power / f64::from(odd);
        power *= square;
    }
    exponent as f64 * LN_2 + 2.0 * sum
}

/// The exponential of a number between -700 and 700.
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    let power = (x / LN_2).round();
    let rest = x - power * LN_2;
    let mut sum = 1.0;
    let mut term = 1.0;
    for n in 1..=18 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits(((power as i64 + 1023) as u64) << 52)
}

/// The sine of so many turns.
pub fn sine(turns: f64) -> f64 {
    let x = (turns - turns.round()) * TAU;
    let square = x * x;
    let mut sum = 0.0;
    let mut term = x;
    let mut n = 1.0;
    for _ in 0..16 {
        sum += term;
        term *= -square / ((n + 1.0) * (n + 2.0));
        n += 2.0;
    }
    sum
}

/// A uniform number in `(0, 1]`.
fn positive(rng: &mut Rng) -> f64 {
    1.0 - rng.unit()
}

/// An exponential number with the given mean.
pub fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * ln(positive(rng))
}

/// A normal number, by Marsaglia's polar method.
fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (a, b) = (2.0 * rng.unit() - 1.0, 2.0 * rng.unit() - 1.0);
        let s = a * a + b * b;
        if s > 0.0 && s < 1.0 {
            return a * (-2.0 * ln(s) / s).sqrt();
        }
    }
}

/// One of `n`.
pub fn below(rng: &mut Rng, n: u32) -> u32 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u32
}

/// How long a request holds its seat, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Service {
    Fixed(f64),
    Exponential(f64),
    /// By its mean, not its median, so that another `sigma` is no other load.
    Lognormal {
        mean: f64,
        sigma: f64,
    },
    /// By its mean; a shape of 2 or less has no variance.
    Pareto {
        shape: f64,
        mean: f64,
    },
    Bimodal {
        short: f64,
        long: f64,
        /// Which share of the requests is long.
        share: f64,
    },
}

impl Service {
    pub fn mean(self) -> f64 {
        match self {
            Self::Fixed(mean)
            | Self::Exponential(mean)
            | Self::Lognormal { mean, .. }
            | Self::Pareto { mean, .. } => mean,
            Self::Bimodal { short, long, share } => short + (long - short) * share,
        }
    }

    pub fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Fixed(mean) => mean,
            Self::Exponential(mean) => exponential(rng, mean),
            Self::Lognormal { mean, sigma } => {
                mean * exp(sigma * normal(rng) - sigma * sigma / 2.0)
            }
            Self::Pareto { shape, mean } => {
                let least = mean * (shape - 1.0) / shape;
                least * exp(-ln(positive(rng)) / shape)
            }
            Self::Bimodal { short, long, share } => {
                if rng.unit() < share {
                    long
                } else {
                    short
                }
            }
        }
    }
}

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Without memory; all tenants of the group together.
    Poisson,
    /// Each tenant is on for a while and off for a while, both exponential with these means, in its own time.
    OnOff { on: f64, off: f64 },
    /// The whole group at once is on for so long and off for so long.
    Burst { on: f64, off: f64 },
    /// Each tenant like a clock, each with its own phase.
    Periodic,
    /// Each tenant has so many requests under way and thinks, exponentially, before the next.
    Closed { outstanding: u32, think: f64 },
}

/// How many seats there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Capacity {
    Constant(u32),
    /// From each moment (seconds) on so many; the first moment is 0.
    Steps(Vec<(f64, u32)>),
    Sine {
        mean: u32,
        amplitude: u32,
        period: f64,
    },
}

impl Capacity {
    /// Seats at the start: what loads are shares of.
    pub fn first(&self) -> u32 {
        match self {
            Self::Constant(seats) | Self::Sine { mean: seats, .. } => *seats,
            Self::Steps(steps) => steps.first().map_or(0, |step| step.1),
        }
    }

    /// Every change up to `end`, the first at 0.
    pub fn changes(&self, end: f64) -> Vec<(f64, u32)> {
        match self {
            Self::Constant(seats) => vec![(0.0, *seats)],
            Self::Steps(steps) => steps.iter().copied().filter(|step| step.0 <= end).collect(),
            Self::Sine {
                mean,
                amplitude,
                period,
            } => {
                let mut changes: Vec<(f64, u32)> = Vec::new();
                let mut at = 0.0;
                while at <= end {
                    let seats = f64::from(*mean) + f64::from(*amplitude) * sine(at / period);
                    let seats = (seats.round().max(1.0)) as u32;
                    if changes.last().is_none_or(|last| last.1 != seats) {
                        changes.push((at, seats));
                    }
                    at += period / 200.0;
                }
                changes
            }
        }
    }
}
