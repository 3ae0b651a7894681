//! The budget of many threads against the machine alone: one after the other in any order, and at once in every order.

use super::*;
use crate::num::Ratio;
use crate::outcome::Failure;
use crate::retry::{ConcurrencyBudget, QuotaBudget, RatioBudget};

const FAILED: Outcome = Outcome::Failure(Failure::Error);

fn half(burst: u32) -> RatioBudget {
    RatioBudget::new(Ratio::percent(50))
        .per_second(0)
        .burst(burst)
}

fn open(cell: &Cell) -> Account {
    let part = cell.open(&mut Scope::current());
    Account { part, grant: None }
}

#[cfg(not(mainstay_loom))]
mod differential {
    use std::time::Duration;

    use super::*;
    use crate::num::Period;
    use crate::retry::ThrottleBudget;
    use crate::rng::Rng;

    /// A call, in both.
    type Pair = (Account, Option<Grant>);

    fn outcome(draw: u64) -> Outcome {
        match draw % 6 {
            0 => FAILED,
            1 => Outcome::Failure(Failure::Timeout),
            2 => Outcome::Overload { retry_after: None },
            3 => Outcome::Ignored,
            _ => Outcome::Success,
        }
    }

    fn config(draw: u64) -> BudgetConfig {
        let small = u32::try_from(draw / 8 % 20).unwrap();
        match draw % 6 {
            0 => half(small).into(),
            1 => half(small).per_second(small).into(),
            2 => half(small).ttl(Period::secs(1)).into(),
            3 => QuotaBudget::new(small * 3).bonus(small % 3).into(),
            4 => ThrottleBudget::new(small, Ratio::percent(30)).into(),
            _ => ConcurrencyBudget::new(Ratio::percent(40))
                .minimum(small % 3)
                .into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn in_any_order_it_is_the_machine() {
        for seed in 0..400 {
            let mut rng = Rng::new(seed);
            let first = config(rng.next_u64());
            let mut machine = Budget::new(first, rt::now());
            let cell = Cell::new(1, Some(first), rt::now());
            let mut calls: Vec<Pair> = Vec::new();
            for _ in 0..400 {
                let (draw, now) = (rng.next_u64(), rt::now());
                let place = usize::try_from(draw >> 32).unwrap() % calls.len().max(1);
                match draw % 16 {
                    0..=4 => {
                        machine.begin(now);
                        calls.push((open(&cell), None));
                    }
                    5..=8 if !calls.is_empty() => {
                        let (account, grant) = &mut calls[place];
                        let failed = [FAILED, Outcome::Overload { retry_after: None }];
                        let failed = failed[usize::from(draw & 64 != 0)];
                        *grant = machine.admit(grant.take(), failed, now);
                        assert_eq!(cell.admit(account, failed, now), grant.is_some());
                        if grant.is_none() {
                            let (mut account, grant) = calls.swap_remove(place);
                            machine.abandon(grant);
                            cell.abandon(&mut account);
                        }
                    }
                    9..=12 if !calls.is_empty() => {
                        let (mut account, grant) = calls.swap_remove(place);
                        let end = outcome(draw >> 8);
                        machine.settle(grant, end);
                        cell.settle(&mut account, end);
                        cell.abandon(&mut account);
                    }
                    13 if !calls.is_empty() => {
                        let (mut account, grant) = calls.swap_remove(place);
                        machine.abandon(grant);
                        cell.abandon(&mut account);
                    }
                    14 => tokio::time::advance(Duration::from_millis(draw >> 54)).await,
                    // The same kind: whoever began under another is not in flight for this one.
                    15 if draw & 0xf00 == 0 => {
                        let next = config(draw >> 16);
                        if std::mem::discriminant(&next) == std::mem::discriminant(&first) {
                            machine.reconfigure(next, now);
                            cell.replace(Some(next), now);
                        }
                    }
                    _ => {}
                }
                let now = rt::now();
                let left = cell.with(|budget| budget.tokens(now)).unwrap();
                assert!(
                    (left - machine.tokens(now)).abs() < 1e-9,
                    "seed {seed}, {first:?}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_outermost_counts_a_call() {
        let budget = SharedBudget::new(ConcurrencyBudget::new(Ratio::ONE).minimum(0));
        let other = SharedBudget::from_config(None);
        let mut scope = Scope::current();
        let mut outer = budget.open(&mut scope);
        assert!(!other.open(&mut scope).is_open(), "nothing to count");
        assert!(!budget.open(&mut scope).is_open());
        assert!((budget.tokens() - 1.0).abs() < 1e-9, "one call");
        budget.abandon(&mut outer);
        budget.abandon(&mut outer);
        assert!(budget.tokens().abs() < 1e-9);
    }
}

#[cfg(mainstay_loom)]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    fn left(cell: &Cell) -> f64 {
        cell.with(|budget| budget.tokens(Tick::ZERO)).unwrap()
    }

    #[test]
    fn loom_nothing_that_was_earned_is_lost_or_doubled() {
        loom::model(|| {
            let cell = Arc::new(Cell::new(1, Some(half(1).into()), Tick::ZERO));
            let mut first = open(&cell);
            assert!(cell.admit(&mut first, FAILED, Tick::ZERO), "it starts full");
            let threads = [1, 1].map(|calls| {
                let cell = Arc::clone(&cell);
                thread::spawn(move || {
                    for _ in 0..calls {
                        cell.settle(&mut open(&cell), Outcome::Success);
                    }
                })
            });
            let granted = cell.admit(&mut first, FAILED, Tick::ZERO);
            for thread in threads {
                thread.join().unwrap();
            }
            let all = left(&cell) + f64::from(u8::from(granted));
            assert!((all - 1.0).abs() < 1e-9, "two calls earn one retry: {all}");
        });
    }

    #[test]
    fn loom_places_are_never_taken_twice_and_all_come_back() {
        loom::model(|| {
            let config = ConcurrencyBudget::new(Ratio::ZERO).minimum(1).into();
            let cell = Arc::new(Cell::new(1, Some(config), Tick::ZERO));
            let retry = |cell: &Cell| {
                let mut account = open(cell);
                let granted = cell.admit(&mut account, FAILED, Tick::ZERO);
                (account, granted)
            };
            let thread = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || {
                    let (mut account, granted) = retry(&cell);
                    cell.settle(&mut account, Outcome::Success);
                    granted
                })
            };
            let (mut account, granted) = retry(&cell);
            if granted {
                assert!(left(&cell).abs() < 1e-9, "it is still held");
            }
            cell.abandon(&mut account);
            let other = thread.join().unwrap();
            assert!(granted || other, "whoever comes first has it");
            assert!((left(&cell) - 1.0).abs() < 1e-9);
            assert_eq!(cell.in_flight.load(Ordering::Relaxed), 0);
        });
    }

    #[test]
    fn loom_settings_change_under_way() {
        loom::model(|| {
            let quota = |capacity| Some(QuotaBudget::new(capacity).into());
            let cell = Arc::new(Cell::new(1, quota(20), Tick::ZERO));
            let mut first = open(&cell);
            assert!(cell.admit(&mut first, FAILED, Tick::ZERO));
            let thread = {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.settle(&mut open(&cell), Outcome::Success))
            };
            cell.replace(quota(30), Tick::ZERO);
            thread.join().unwrap();
            assert!(
                (left(&cell) - 7.0).abs() < 1e-9,
                "20 - 14 + 1, whichever came first"
            );
            cell.settle(&mut first, Outcome::Success);
            assert!((left(&cell) - 21.0).abs() < 1e-9);
        });
    }
}
