//! Settings as data: every policy from one file, checked as a whole, and replaced while it runs.
//!
//! Use it when operators set the numbers and not programmers. Each settings type of mainstay implements serde's traits,
//! so it can stand in a configuration of your own; [`Settings`] is a file that has the policies of a whole service by
//! kind and name; [`Live`] brings a new file to what runs. Not for what a file cannot say: what counts as a failure and
//! what a fallback answers are code, and the presets of [`presets`](crate::presets) are too.
//!
//! ```text
//!   text ──► toml, serde_json, … ──► Settings ──► .stack("ledger")? ──► Stack::with_config(..)
//!                │                      │                                        │ handle
//!                │ not TOML             │ on a signal: Live::reload ──────────────► all of them, or none
//!                ▼                      ▼
//!              error                  ConfigErrors: everything that is wrong, each with its path
//! ```
//!
//! # Rules
//!
//! 1. A file is right as a whole or refused as a whole, with everything that is wrong with it: values out of range or of
//!    the wrong kind, keys that nobody knows, what is missing.
//! 2. An error names the path, what was expected and what was there:
//!    `breakers.stock.trips.rate.min_calls: expected a count from 1 to 4294967295, got 0`.
//! 3. What a file leaves out is as in the default of its type, and in a stack as in the default of the stack.
//! 4. What is written is read back as the same settings, to the nanosecond and to the bit. (serde_json rounds numbers of
//!    more than fifteen digits, unless its feature `float_roundtrip` is on.)
//! 5. Lengths of time are texts with a unit and never bare numbers: who reads `timeout = 30` must know what of.
//! 6. A text that cannot be read or a policy that is missing changes nothing: what runs goes on with what it had, and the
//!    next good file is taken.
//!
//! The format must describe itself, as TOML, JSON, YAML and RON do; bincode or postcard do not.
//!
//! # Example: a service from one file
//!
//! ```
//! use mainstay::breaker::BreakerLayer;
//! use mainstay::fallback::FallbackLayer;
//! use mainstay::settings::{Live, Settings};
//! use mainstay::standard::Stack;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # const SERVICE_TOML: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/settings/service.toml"));
//! let settings: Settings = toml::from_str(SERVICE_TOML)?; // the file below
//! let ledger = Stack::with_config("ledger", settings.stack("ledger")?);
//! let stock = BreakerLayer::new("stock", settings.breaker("stock")?);
//! let search = FallbackLayer::value("search", settings.fallback("search")?, "nothing found");
//!
//! let live = Live::new()
//!     .stack("ledger", ledger.handle())
//!     .breaker("stock", stock.handle())
//!     .fallback("search", search.handle());
//!
//! // A hurried edit: nothing changes, and the operator reads all of what is wrong.
//! let hurried = SERVICE_TOML.replace("deadline = \"5s\"", "deadlin = 5");
//! let refused = toml::from_str::<Settings>(&hurried).unwrap_err();
//! assert!(refused.message().starts_with("stacks.ledger.deadlin: expected one of the keys deadline, "));
//!
//! // And a good one, while calls are under way.
//! let good = SERVICE_TOML.replace("deadline = \"5s\"", "deadline = \"8s\"");
//! live.reload(&toml::from_str(&good)?)?;
//! assert_eq!(ledger.handle().config().total().get().as_secs(), 8);
//! # drop(search);
//! # Ok(())
//! # }
//! ```
//!
//! # A file that has everything
//!
//! `src/settings/service.toml`:
//!
//! ```toml
#![doc = include_str!("service.toml")]
//! ```
//!
//! # Values
//!
//! | word | what a file may say |
//! |---|---|
//! | time | a length of time such as "250ms" or "1m 30s" |
//! | period | a length of time such as "250ms" or "1m 30s", above 0 and up to 584 years |
//! | share | a number from 0 to 1, or a percentage such as "50%" |
//! | factor | a number of at least 1 |
//! | count | a count from 1 to 4294967295 |
//! | count or 0 | a count from 0 to 4294967295 |
//! | yes or no | true or false |
//! | amount | a number above 0, or a percentage such as "70%" |
//! | name | a name of 1 to 200 characters |
//! | signal | "backlog", "connections", "cpu", "expected", "in_flight", "latency", "memory", "rate" or "reserved_rate" |
//! | window | a number of calls from 1 to 4294967295, or a length of time such as "10s" |
//! | table | a table |
//!
//! The units of time are `d`, `h`, `m`, `s`, `ms`, `us` (or `µs`) and `ns`, the larger ones first. In the tables below,
//! "or none" means that the word `"none"` switches the setting off.
//!
//! # Keys
//!
//! ## Settings: a whole file
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `deadlines` | a table of names | none | a period each, for a [`DeadlineLayer`](crate::deadline) or [`TimeoutLayer`](crate::deadline) |
//! | `stacks` | a table of names | none | [`StackConfig`](crate::standard::StackConfig) |
//! | `breakers` | a table of names | none | [`BreakerConfig`](crate::breaker::BreakerConfig) |
//! | `retries` | a table of names | none | [`RetryConfig`](crate::retry::RetryConfig) |
//! | `fallbacks` | a table of names | none | [`FallbackConfig`](crate::fallback::FallbackConfig) |
//! | `adaptive_limits` | a table of names | none | [`AdaptiveConfig`](crate::limit::adaptive::AdaptiveConfig) |
//! | `concurrency_limits` | a table of names | none | [`ConcurrencyConfig`](crate::limit::concurrency::ConcurrencyConfig) |
//! | `rate_limits` | a table of names | none | [`RateConfig`](crate::limit::rate::RateConfig) |
//! | `keyed_rate_limits` | a table of names | none | [`KeyedRateConfig`](crate::limit::rate::KeyedRateConfig) |
//! | `tenant_pools` | a table of names | none | [`TenantConfig`](crate::tenant::TenantConfig) |
//! | `ladders` | a table of names | none | [`Ladder`](crate::degrade::Ladder) |
//! | `threshold_scalings` | a table of names | none | [`ThresholdConfig`](crate::autoscale::threshold::ThresholdConfig) |
//! | `tracking_scalings` | a table of names | none | [`TrackingConfig`](crate::autoscale::tracking::TrackingConfig) |
//! | `gpu_scalings` | a table of names | none | [`GpuConfig`](crate::autoscale::gpu::GpuConfig) |
//!
//! ## StackConfig: a standard stack
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `deadline` | period | `"30s"` | how long a call may take in all |
//! | `attempt_timeout` | period | `"10s"` | how long one attempt may take |
//! | `limit` | table | adaptive limit | how many calls may be under way |
//! | `retry` | table | retry | how failed calls are tried again |
//! | `breaker` | table | breaker, with a `half_open.deadline` of `"20s"` | when the callee is left alone |
//!
//! ## BreakerConfig: a breaker
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `trips` | a table of consecutive, streak, in_window, rate or slow | a rate of `0.5` of `10` calls in `"8s"`, a streak of `5` over `"1s"` | what opens it; those that are given take the place of all |
//! | `open_for` | period | `"2s"` | for how long at first |
//! | `growth` | factor or none | `1.5` | how the wait grows with each failed round of probes |
//! | `longest` | period | `"3s"` | the longest wait that growth leads to |
//! | `longest_hint` | period | `"1m"` | the longest hint of the callee that is kept to |
//! | `jitter` | share | `1.0` | how much of the wait chance may add |
//! | `half_open` | table | half-open | how it probes |
//! | `ramp` | table or none | `"none"` | how calls are let back in |
//!
//! ## Trip: what opens a breaker, at most one of each
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `consecutive` | count | none | so many failures in a row |
//! | `streak` | table | none | failures in a row over a time |
//! | `in_window` | table | none | failures within a time |
//! | `rate` | table | none | a share of the calls failed |
//! | `slow` | table | none | a share of the calls was slow |
//!
//! ## Trip, `streak`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `failures` | count | must be given | how many in a row |
//! | `spanning` | period | must be given | from the first to the last at least |
//!
//! ## Trip, `in_window`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `failures` | count | must be given | how many |
//! | `window` | period | must be given | within how long |
//!
//! ## Trip, `rate`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `ratio` | share | must be given | of the calls that failed, at this share and above |
//! | `min_calls` | count | must be given | not before so many calls |
//! | `window` | window | must be given | of the last so many calls, or those of the last so long |
//!
//! ## Trip, `slow`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `after` | period | must be given | a call is slow that takes longer |
//! | `ratio` | share | must be given | of the calls that were slow, at this share and above |
//! | `min_calls` | count | must be given | not before so many calls |
//! | `window` | window | must be given | of the last so many calls, or those of the last so long |
//!
//! ## HalfOpen: probes of which some must succeed
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `max_in_flight` | count | `1` | probes out at a time |
//! | `successes` | count | `1` | so many successes close |
//! | `probes` | count | as `successes` | out of so many |
//! | `deadline` | period | `"10s"` | a probe that takes longer has failed |
//!
//! ## HalfOpen: probes that are judged together, when `ratio` is given
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `max_in_flight` | count | as `probes` | probes out at a time |
//! | `ratio` | share | must be given | opens again when so many failed |
//! | `probes` | count | must be given | out of so many |
//! | `deadline` | period | `"10s"` | a probe that takes longer has failed |
//!
//! ## Ramp: how calls are let back in
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `from` | share | must be given | of the calls, right after closing |
//! | `over` | period | must be given | until all are let in |
//!
//! ## RetryConfig: a retry
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `attempts` | count | `3` | in all, the first included |
//! | `longest_hint` | time | `"1m"` | the longest hint of the callee that is waited for |
//! | `hint_spread` | share | `0.25` | of a hint, which chance may add |
//! | `nesting` | "once" or "each" | `"once"` | what to do about other retry layers of the same call |
//! | `backoff` | table | backoff | how long to wait |
//! | `overload_backoff` | table or none | `"none"` | how long after overload, where that differs |
//! | `budget` | table or none | budget | how many retries in all |
//!
//! ## Backoff: how long a retry waits
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `growth` | "constant", "linear" or "exponential" | `"exponential"` | from one retry to the next |
//! | `factor` | factor | `2.0` | of exponential growth, and only there |
//! | `initial` | time | `"50ms"` | the first delay |
//! | `max` | time | `"20s"`; of constant growth as `initial` | the longest delay |
//! | `first_exponent` | count or 0 | `0` | of the first retry |
//! | `cap_first` | yes or no | `false`; of constant growth `true` | whether jitter may exceed `max` |
//! | `jitter` | "none", "full", "equal" or "decorrelated", or a table of kind "add", "around" or "scale" | `"full"` | how chance spreads the delay |
//!
//! ## Jitter, kinds `add` and `around`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "add", "around" or "scale" | must be given | added, or added and taken off |
//! | `share` | share | must be given | of the delay |
//!
//! ## Jitter, kind `scale`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "add", "around" or "scale" | must be given | the delay is scaled |
//! | `low` | share | must be given | the lower factor |
//! | `high` | share | must be given | the upper factor |
//!
//! ## BudgetConfig, kind `ratio`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "ratio", "quota", "throttle" or "concurrency" | `"ratio"` | a share of the calls, and a few a second |
//! | `ratio` | share | `0.3` | what a call earns |
//! | `per_second` | count or 0 | `10` | retries that are always allowed |
//! | `burst` | count or 0 | `100` | how many can be saved up |
//! | `ttl` | period or none | `"none"` | when it is forgotten what was earned |
//!
//! ## BudgetConfig, kind `quota`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "ratio", "quota", "throttle" or "concurrency" | `"ratio"` | a bucket of tokens |
//! | `capacity` | count or 0 | must be given | how many tokens |
//! | `transient` | count or 0 | `14` | what a retry costs |
//! | `throttling` | count or 0 | `5` | what it costs after overload |
//! | `timeout` | count or 0 | `14` | what it costs after a timeout |
//! | `bonus` | count or 0 | `1` | what a call adds that succeeds at once |
//!
//! ## BudgetConfig, kind `throttle`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "ratio", "quota", "throttle" or "concurrency" | `"ratio"` | as gRPC's service configs say |
//! | `max` | count or 0 | must be given | how many tokens |
//! | `ratio` | share | must be given | of a token that a success adds |
//!
//! ## BudgetConfig, kind `concurrency`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "ratio", "quota", "throttle" or "concurrency" | `"ratio"` | a share of the calls in flight |
//! | `share` | share | must be given | of the calls in flight |
//! | `minimum` | count or 0 | `3` | retries that may always be in flight |
//! | `of_all` | yes or no | `false` | whether retries are part of what the share is taken of |
//!
//! ## FallbackConfig: a fallback
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `max_in_flight` | count | `64` | fallbacks under way at a time |
//! | `outcomes` | a list of "error", "timeout", "unavailable", "overload", "circuit_open", "concurrency_limit", "deadline_exceeded", "degraded", "failed_over", "forced_open", "predicted_wait", "probes_busy", "queue_full", "queue_timeout", "rate_limit", "readmitting" or "tenant_queue_full" | `["error", "timeout", "unavailable", "overload", "circuit_open", "deadline_exceeded", "degraded", "failed_over", "forced_open", "probes_busy", "readmitting"]` | for what it answers |
//!
//! ## AdaptiveConfig: an adaptive limit
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `bounds` | table | bounds | between what it moves |
//! | `start` | count | `20` | the limit at first |
//! | `tolerance` | factor | `1.5` | how many times as long as unloaded calls may take |
//! | `window` | period | `"500ms"` | how long calls are watched at least |
//! | `samples` | count | `50` | how many calls at least |
//! | `relearn` | period | `"30s"` | how old the baseline may be |
//! | `queue` | count or 0 | `20` | calls that may wait for each place |
//! | `wait` | period | `"30s"` | how long a call may wait |
//! | `wait_share` | share | `0.5` | of the time that its deadline leaves |
//!
//! ## Bounds: between what an adaptive limit moves
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `least` | count | `3` | calls under way |
//! | `most` | count | `1000` | calls under way |
//!
//! ## ConcurrencyConfig: a limit of the calls under way
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `limit` | a count from 1 to 2097151 | `100` | calls under way |
//! | `queue` | count or 0 | `0` | calls that may wait |
//! | `wait` | period | `"1s"` | how long a call may wait |
//! | `wait_share` | share | `1.0` | of the time that its deadline leaves |
//!
//! ## KeyedRateConfig: a limit of the calls in a time for each of many keys
//!
//! As [`RateConfig`](crate::limit::rate::RateConfig) of any kind, and
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `max_keys` | count | `10000` | keys that are remembered |
//!
//! ## RateConfig, kind `burst`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "burst", "even" or "windows" | must be given | what was not used is saved up |
//! | `permits` | count | must be given | how many come back |
//! | `period` | period | must be given | in how long |
//! | `burst` | count | as `permits` | how many can be saved up |
//! | `patience` | period or none | `"none"` | how long a call may wait |
//!
//! ## RateConfig, kinds `even` and `windows`
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `kind` | "burst", "even" or "windows" | must be given | evenly spaced, or in each window |
//! | `permits` | count | must be given | how many |
//! | `period` | period | must be given | in how long |
//! | `patience` | period or none | `"none"` | how long a call may wait |
//!
//! ## TenantConfig: a pool whose seats tenants share
//!
//! What a reload cannot change in a pool that runs stays as it was: `queue`, `tenants`, `debt` and `guess`.
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `capacity` | count | must be given | seats |
//! | `tiers` | a list of 1 to 8 tiers, the best first | must be given | classes of tenants |
//! | `queue` | count or 0 | `10000` | calls that may wait in all tiers together |
//! | `tenants` | count | `65536` | tenants that are told apart |
//! | `debt` | period | `"10m"` | the most that is held against a tenant |
//! | `guess` | period | `"100ms"` | what a call is charged before any has ended |
//! | `adaptive` | table or none | `"none"` | an [adaptive limit](crate::limit::adaptive::AdaptiveConfig) that moves the capacity |
//!
//! ## Tier: what one class of tenants gets of a pool
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `name` | the name of a tier, 1 to 64 letters, digits, -, _ and . | must be given | as authentication and headers have it |
//! | `weight` | a weight from 1 to 10000 | `1` | how much it counts where seats go by weight |
//! | `reserved` | share | `0.0` | of the pool that is its own, the held part included |
//! | `held` | share | `0.0` | of the pool that is kept empty for it |
//! | `limit` | share | `1.0` | of the pool that it has at the most |
//! | `queue` | count or 0 | `1000` | calls that may wait |
//! | `tenant_queue` | count or 0 | `100` | calls of one tenant that may wait |
//! | `patience` | period | `"1s"` | how long a call may wait |
//! | `tenant_share` | share | `0.25` | of the tier's seats that one tenant may have |
//! | `shed` | a number from 0 to 255 | `0` | those of the lowest number lose their waiters first |
//! | `quota` | table or none | `"none"` | what each tenant may send in a time: a [`KeyedRateConfig`](crate::limit::rate::KeyedRateConfig) |
//!
//! ## Ladder: how degraded the service is, and what it serves then
//!
//! In a file of its own a ladder says its name; under `ladders` it has that of the file. What does not fit together is
//! refused as [`LadderBuilder::build`](crate::degrade::LadderBuilder::build) says it, by the names of the parts.
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `name` | name | must be given, or as its key under `ladders` | the label in metrics and logs |
//! | `components` | a list of components | none | what it is told about: a name, or a table each |
//! | `levels` | a list of levels, the best first | must be given | from best to worst |
//! | `capabilities` | a list of names | none | what it decides about though no cell names it |
//! | `bands` | a list of bands | none | facts of the weighted score of all components, before all others |
//! | `facts` | a list of facts | none | what leads to the levels |
//! | `pace` | table | pace | how facts come and go that say nothing of their own |
//! | `cumulative` | yes or no | `false` | whether the cells of better levels hold at worse ones |
//!
//! ## Ladder, a component
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `name` | name | must be given | as whoever reports calls it |
//! | `weight` | a number above 0 and at most 1000000 | `1.0` | how much its score counts |
//! | `degraded_at` | share | `0.5` | at this score or less it counts as degraded |
//! | `down_at` | share | `0.1` | at this score or less it counts as down |
//! | `unknown` | "hold", or a table of after and as | `"hold"` | as what it counts while nothing is known |
//!
//! ## Ladder, `unknown` of a component
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `after` | period | must be given | how long nothing must be known |
//! | `as` | "up", "degraded" or "down" | must be given | as what it counts then |
//!
//! ## Ladder, a level
//!
//! A capability that has no cell is served in full.
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `name` | name | must be given | what people call it |
//! | `action` | a text of at most 1000 characters | none | what is to be done about it |
//! | `cells` | a table of modes by capability | none | what is served |
//! | `ours` | a table of modes by capability | none | the same, of what the document that the ladder is from leaves out |
//!
//! ## Ladder, the mode of a cell where it is a table
//!
//! A mode is one of the words `"full"`, `"limited"`, `"write_only"`, `"read_only"`, `"queued"`, `"manual"`, `"disabled"` and
//! `"fail_over"`, or a table that says what is missing.
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `limited` | a text of at most 1000 characters, or a list of 1 to 100 of them | must be given | what is missing |
//!
//! ## Ladder, a band
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `level` | name | must be given | of a level |
//! | `score` | share | must be given | at this score or less |
//! | `margin` | share | must be given | and then until it is above it by more than this |
//!
//! ## Ladder, a fact
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `name` | name | must be given | what holds |
//! | `when` | a table of degraded, down, score_at_most, all or any | must be given | when it does |
//! | `level` | name | must be given | of a level |
//! | `cells` | a table of modes by capability | as of the level | what is served while it holds; these, or `ours`, take the place of all of the level's |
//! | `ours` | a table of modes by capability | as of the level | the same, as in a level |
//! | `pace` | table | as of the ladder | how it comes and goes |
//!
//! ## Ladder, `when` of a fact, of one component or of several conditions
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `degraded` | name | none | this component is degraded or down |
//! | `down` | name | none | this component is down |
//! | `score_at_most` | share | none | see the next table |
//! | `all` | a list of conditions, at least one | none | all of these |
//! | `any` | a list of conditions, at least one | none | any of these |
//!
//! ## Ladder, `when` of a fact, of a score
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `score_at_most` | share | none | the score is this or less |
//! | `margin` | share | must be given | and then until it is above it by more than this |
//! | `of` | name | none | of this component, and not of all by weight |
//!
//! ## Pace: how a fact comes and goes
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `worse_after` | time | `"0s"` | it comes after it has been so for so long |
//! | `dwell` | period | `"30s"` | it stays for so long at least |
//! | `better_after` | period | `"30s"` | it goes after so long without it |
//! | `flaps` | a count from 1 to 1000 | `4` | when it came so often |
//! | `within` | period | `"10m"` | in so long |
//! | `hold` | period | `"5m"` | it goes only after so long without it |
//!
//! ## ThresholdConfig: an autoscaler by thresholds
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `bounds` | a table of least and most | must be given | between how many replicas |
//! | `triggers` | a list of 1 to 100 triggers | must be given | what makes it grow |
//! | `up` | count or 0 | `1` | how many are added at once |
//! | `down` | count or 0 | `1` | how many are taken away at once |
//! | `cooldown` | period | `"1m"` | how long it waits after growing |
//! | `calm` | share | `0.7` | of the thresholds that is calm |
//! | `calm_for` | period | `"5m"` | how long it must be |
//! | `stale` | period | `"1m"` | how old a reading may be |
//!
//! ## ThresholdConfig, a trigger
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `signal` | signal | must be given | what is measured |
//! | `above` | amount | must be given | what is too much |
//! | `each` | yes or no | `false` | for each replica |
//!
//! ## Bounds of an autoscaler: between what a count of replicas moves
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `least` | count or 0 | must be given | replicas |
//! | `most` | count or 0 | must be given | replicas |
//!
//! ## TrackingConfig: an autoscaler that brings a signal to its target
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `bounds` | a table of least and most | must be given | between how many replicas |
//! | `signal` | signal | must be given | what is measured |
//! | `target` | amount | must be given | of each replica |
//! | `shared` | yes or no | `false` | whether the signal is a sum that the replicas share out |
//! | `tolerance` | share | `0.1` | how far from its target it may be |
//! | `up` | period | `"1m"` | how long it waits to grow again |
//! | `down` | period | `"5m"` | how long it waits to shrink |
//! | `foreseen` | amount or none | `"none"` | requests a second of each replica, so that a foreseen rate raises the count |
//! | `stale` | period | `"1m"` | how old a reading may be |
//!
//! ## GpuConfig: the autoscaler of a GPU cluster
//!
//! | key | takes | default | what |
//! |---|---|---|---|
//! | `bounds` | a table of least and most | must be given | between how many replicas |
//! | `capacity` | amount | must be given | requests a second that one serves |
//! | `warm_up` | period | must be given | how long one takes to start |
//! | `headroom` | factor | `1.2` | times the usual load that is kept ready |
//! | `surge` | factor | `1.1` | times the present load that is kept ready |
//! | `reserve` | share | `0.0` | for tenants with reserved capacity |
//! | `drain` | period | `"1m"` | in what time a backlog is worked off |
//! | `band` | share | `0.2` | of a replica that must be idle beyond those that are taken away |
//! | `hold` | period | `"10m"` | for how long fewer must have been enough |
//! | `flap` | period | `"2h"` | how far apart two turns are |
//! | `stale` | period | `"1m"` | how old a reading may be |

mod duration;
mod file;
mod given;
mod place;
mod value;

#[cfg(feature = "tower")]
mod live;

pub use file::{Policy, Settings, Unchecked};
#[cfg(feature = "tower")]
pub use live::Live;

pub(crate) use given::{Given, table, word};
pub(crate) use place::{Keys, Place, Setting, as_data, check, joined, one_of};
pub(crate) use value::{amount_of, count_of, number_of, period_of};
