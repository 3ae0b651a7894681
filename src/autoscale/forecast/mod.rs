//! What the days before had at this time of the day: a load that is foreseen, so that replicas are ready for it.
//!
//! Use it where days are alike and a replica takes minutes to start. It only ever raises: a policy takes the greater of
//! what it sees and what is foreseen, so a forecast that is wrong costs replicas for a while and no requests. It begins by
//! watching. Nothing is foreseen before several days are known and its forecasts of them came out well enough, and
//! where they no longer do, it steps back to watching by itself. Not for load without a daily pattern: it stays silent
//! there.
//!
//! ```text
//!   rate ──► means of 5 minutes ──► days ──► what is usual at that time × how today compares ──► expected
//!                      │                                                                          │
//!                      └──── what came of it? ── too high by more than the excess? ── watches ◄───┘
//! ```
//!
//! A day is 24 hours of UTC. Where clocks change, the pattern is an hour off for as long as it takes to learn the new one;
//! how today compares catches up with that within an hour.
//!
//! A model of one's own takes its place by setting [`Signal::Expected`](crate::autoscale::Signal::Expected).
//!
//! # What can be set
//!
//! | question | [`ForecastConfig`] | default |
//! |---|---|---|
//! | how many days are looked at? | [`days`](ForecastConfig::days) | 7 |
//! | how many must be known? | [`enough`](ForecastConfig::enough) | 2 |
//! | how far ahead? | [`lead`](ForecastConfig::lead) | 10 min |
//! | how much earlier than usual may it come? | [`early`](ForecastConfig::early) | 15 min |
//! | how much too high may it be? | [`excess`](ForecastConfig::excess) | half of what came |
//! | may it raise at all? | [`watch`](ForecastConfig::watch) | yes, once it is trusted |

mod config;
mod foreseeing;
mod machine;

pub use config::ForecastConfig;
pub use foreseeing::Foreseeing;
pub use machine::{Forecast, ForecastState};
