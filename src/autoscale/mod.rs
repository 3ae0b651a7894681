//! How many replicas should run: decisions, not doing.
//!
//! Every policy here is a pure function of settings, state and one sample. It returns the wanted count, the new state
//! and the whole [reasoning], so that a dry run is the same call with the result thrown away.
//!
//! | you want | look at |
//! |---|---|
//! | what a Kubernetes `HorizontalPodAutoscaler` would do, from its own manifest | [`hpa`] |
//! | to read, keep and print why a decision came out as it did | [`reasoning`] |

pub mod hpa;
pub mod reasoning;
