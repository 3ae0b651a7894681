//! The suite that every store passes, for whoever writes one.
//!
//! Each case holds a rule of [`Journal`] (its number is in the case's name) against a store that is fresh and the
//! case's own. [`contract!`](crate::journal::contract!) makes a test of each; [`check_all`] runs all and collects what
//! did not hold, for a store that lies on purpose; [`compare`] does the same random work on a store and on
//! [`memory`](super::memory), the reference. A store that is to keep money passes all of it, and shows besides what no
//! suite can ask through the trait: that what it acknowledged survives `kill -9` and the loss of power (rule 4), and
//! that it stops when it cannot know what is on its disk (rule 5).
//!
//! Leases and parking are short where they are to be over and long where they are not, and the cases wait for the
//! former only: a slow machine fails none of them. They take milliseconds each on the real clock. A store whose clock
//! is tokio's can have it paused.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use mainstay::journal::contract::{self, Subject};
//! use mainstay::journal::{Journal, memory::MemoryJournal};
//!
//! fn fresh() -> Subject {
//!     let journal = MemoryJournal::new();
//!     Subject::new(move || {
//!         let again = journal.clone();
//!         async move { Arc::new(again) as Arc<dyn Journal> }
//!     })
//! }
//!
//! mod on_memory {
//!     mainstay::journal::contract! { #[tokio::test(start_paused = true)] super::fresh() }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let broken = contract::check_all(|| async { fresh() }).await;
//! assert!(broken.is_empty(), "{broken:?}");
//! # }
//! ```

mod claims;
mod leases;
mod listing;
mod mail;
mod pruning;
mod random;
mod records;
mod work;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use self::work::Broken;
use super::port::Journal;
use crate::rt;

pub use random::compare;

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Checked<'a> = Pin<Box<dyn Future<Output = Result<(), Broken>> + 'a>>;

/// A store under test: how it is opened, and what the suite must know of it.
pub struct Subject {
    open: Box<dyn Fn() -> Later<Arc<dyn Journal>>>,
    advance: Option<Box<dyn Fn(Duration) -> Later<()>>>,
    alone: bool,
    seed: Option<u64>,
}

impl Subject {
    /// A store that `open` opens, and opens again with all that was written. It holds nothing yet.
    ///
    /// Dropping what an opening returned is the end of a process. Unless it is [`alone`](Self::alone), several openings
    /// are used at the same time, as by several processes.
    pub fn new<F, Opening>(open: F) -> Self
    where
        F: Fn() -> Opening + 'static,
        Opening: Future<Output = Arc<dyn Journal>> + Send + 'static,
    {
        Self {
            open: Box::new(move || Box::pin(open())),
            advance: None,
            alone: false,
            seed: None,
        }
    }

    /// Only one opening has the store at a time, and the leases of the one before are over when it opens.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Moves a clock of the store's own, where it has one. By default nothing: cases sleep on tokio's clock, and would
    /// do so besides.
    #[must_use]
    pub fn advance<F, Moving>(mut self, advance: F) -> Self
    where
        F: Fn(Duration) -> Moving + 'static,
        Moving: Future<Output = ()> + Send + 'static,
    {
        self.advance = Some(Box::new(move |time| Box::pin(advance(time))));
        self
    }

    /// Repeats the random case that named this seed. By default each run draws another.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    async fn journal(&self) -> Arc<dyn Journal> {
        (self.open)().await
    }

    /// A second opening beside `first`, where there can be one.
    async fn beside(&self, first: &Arc<dyn Journal>) -> Arc<dyn Journal> {
        if self.alone {
            Arc::clone(first)
        } else {
            self.journal().await
        }
    }

    /// Lets so much time pass for the store.
    async fn pass(&self, time: Duration) {
        if let Some(advance) = &self.advance {
            advance(time).await;
        }
        rt::sleep(time).await;
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("alone", &self.alone)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A rule that a store does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The case that found it.
    pub case: &'static str,
    /// What was due, and what was found.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.case, self.reason)
    }
}

impl std::error::Error for Violation {}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    check: for<'a> fn(&'a Subject) -> Checked<'a>,
}

impl Case {
    /// Its name, with the number of the rule that it is about.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Holds it against a fresh store.
    ///
    /// # Errors
    ///
    /// The [`Violation`], when the store does not keep the rule.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the store with a part of the case's work.
    pub async fn check(&self, subject: &Subject) -> Result<(), Violation> {
        (self.check)(subject).await.map_err(|broken| Violation {
            case: self.name,
            reason: broken.0,
        })
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

macro_rules! list_cases {
    ($($room:ident: $($case:ident)+;)+) => {
        /// Every case, by rule.
        pub const CASES: &[Case] = &[$($(Case {
            name: stringify!($case),
            check: |subject| Box::pin($room::$case(subject)),
        }),+),+];
    };
}

crate::journal_contract!(@list (list_cases));

/// Runs every case, each on a store that `fresh` makes, and collects what did not hold.
///
/// # Cancel safety
///
/// Dropping it leaves the last store with a part of a case's work.
pub async fn check_all<F, Making>(fresh: F) -> Vec<Violation>
where
    F: Fn() -> Making,
    Making: Future<Output = Subject>,
{
    let mut broken = Vec::new();
    for case in CASES {
        if let Err(violation) = case.check(&fresh().await).await {
            broken.push(violation);
        }
    }
    broken
}

/// What a test of [`contract!`](crate::journal::contract!) does.
///
/// # Panics
///
/// When the store does not keep the rule: that is how a test fails. Also when there is no case of this name.
#[doc(hidden)]
pub async fn expect(name: &str, subject: Subject) {
    let case = CASES.iter().find(|case| case.name == name);
    let Some(case) = case else {
        panic!("there is no case {name}")
    };
    if let Err(violation) = case.check(&subject).await {
        panic!("{violation}");
    }
}

/// Makes a test of every case of the [suite](crate::journal::contract).
///
/// It is given the attributes of the tests, and an expression that makes a fresh [`Subject`](crate::journal::contract::Subject)
/// in an `async fn`. The tests are named after the cases, so each store has a module for them.
///
/// # Example
///
/// See the [module](crate::journal::contract).
#[macro_export]
#[doc(hidden)]
macro_rules! journal_contract {
    (@list ($($then:tt)+) $($with:tt)*) => {
        $($then)+! {
            $($with)*
            records:
                rule_1_one_log_per_key
                rule_1_one_log_per_key_under_a_race
                rule_1_a_second_begin_writes_nothing
                rule_2_an_append_elsewhere_is_refused
                rule_2_one_of_many_wins_a_place
                rule_3_a_lost_reply_is_no_conflict
                rule_3_a_repeated_append_changes_nothing
                rule_4_what_was_acknowledged_is_there_after_opening
                rule_4_parking_and_mail_are_there_after_opening
                rule_7_a_log_is_read_whole
                rule_7_a_head_says_what_its_records_said
                rule_8_a_missing_log_is_an_answer
                rule_8_a_refusal_fails_nobody_else;
            claims:
                rule_6_a_claim_takes_running_logs_of_known_kinds
                rule_6_a_claim_shuts_the_earlier_writer_out
                rule_6_a_claim_takes_the_versions_asked_for
                rule_6_a_record_moves_its_log_to_another_version
                rule_6_a_claim_leaves_out_tenants
                rule_6_a_claim_leaves_live_owners_alone
                rule_6_a_claim_takes_the_oldest_first
                rule_6_no_log_goes_to_two_claims
                rule_6_a_log_begun_with_an_owner_is_its;
            leases:
                rule_9_a_lease_that_is_over_stays_over
                rule_9_a_beat_renews_a_lease
                rule_9_no_instance_is_named_twice
                rule_9_a_parked_log_waits_for_the_clock
                rule_10_recoveries_count_the_owners_that_died
                rule_10_a_release_counts_as_no_recovery
                rule_10_a_release_elsewhere_does_nothing
                rule_10_leaving_gives_back_what_was_owned
                rule_10_a_record_keeps_or_clears_the_owner;
            mail:
                rule_11_a_message_is_posted_once
                rule_11_a_message_is_posted_once_under_a_race
                rule_11_unread_messages_are_loaded_in_order
                rule_11_a_message_is_known_after_it_was_read
                rule_11_an_ended_log_takes_no_mail
                rule_11_mail_ends_the_parking
                rule_11_mail_comes_before_parking
                rule_11_a_beat_names_the_logs_with_mail;
            pruning:
                rule_12_only_what_ended_is_pruned
                rule_12_the_oldest_goes_first
                rule_12_what_is_pruned_is_gone;
            listing:
                lists_follow_the_status
                lists_can_be_narrowed;
            random:
                random_work_agrees_with_memory;
        }
    };
    (@each $attributes:tt $fresh:tt $($room:ident: $($case:ident)+;)+) => {
        $($($crate::journal_contract!(@one $attributes $fresh $case);)+)+
    };
    (@one [$($attributes:tt)*] ($fresh:expr) $case:ident) => {
        $($attributes)*
        async fn $case() {
            $crate::journal::contract::expect(stringify!($case), $fresh).await;
        }
    };
    ($(#[$attribute:meta])+ $fresh:expr) => {
        $crate::journal_contract!(@list ($crate::journal_contract) @each [$(#[$attribute])+] ($fresh));
    };
}
