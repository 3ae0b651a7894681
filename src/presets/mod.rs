//! The numbers of three real platforms, by name.
//!
//! Each function is one row of a platform's own reliability table. Where the platforms read the same word differently,
//! the preset says which reading it took: "max retries: 3" is three attempts in all at the [`erp`] and three retries
//! after the first at [`synthetic`].

pub mod erp;
pub mod multi_region;
pub mod synthetic;

use crate::autoscale::Amount;

/// So many percent as an amount to reach.
const fn share(percent: u8) -> Amount {
    Amount::percent(percent)
}
