use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::config::BudgetConfig;
use super::machine::{Budget, Earns, Grant, next};
use crate::outcome::Outcome;
use crate::rt;
use crate::scope::Scope;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::Tick;

/// One retry budget for several policies: of nested layers, of the services of one callee, or of a whole process.
///
/// Clones are the same budget. A call that goes through several layers with it is counted by the outermost alone, so
/// that `calls × ratio` bounds what all layers add together. (Two budgets in turns, one around the other around the
/// first again, count it twice.)
///
/// # Example
///
/// ```
/// use mainstay::num::Ratio;
/// use mainstay::retry::{BudgetConfig, RetryConfig, RetryLayer, SharedBudget};
///
/// let budget = SharedBudget::new(BudgetConfig::new(Ratio::percent(10)));
/// let orders = RetryLayer::new("orders", RetryConfig::default()).shared_budget(&budget);
/// let stock = RetryLayer::new("stock", RetryConfig::default()).shared_budget(&budget);
/// # let _ = (orders, stock);
/// ```
#[derive(Clone)]
pub struct SharedBudget {
    cell: Arc<Cell>,
}

/// The machine under its mutex is the truth. What most calls do to it, that is nothing while it is full, and one and
/// the same thing while it is not, is counted beside it and told to it before the next question.
struct Cell {
    /// Tells the scope of a call which budget has counted it. Not zero.
    id: u32,
    /// An [`Earns`], or [`NOTHING`].
    earns: AtomicU64,
    /// Calls that earned something, since ever.
    made: AtomicU64,
    /// Once so many did, the budget is full and another one earns nothing.
    until: AtomicU64,
    /// Calls in flight, for budgets that ask.
    in_flight: AtomicU64,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    /// `None`: every retry is allowed.
    budget: Option<Budget>,
    /// How many of `made` it has been told.
    told: u64,
    /// Grants of a budget that was taken away must not count for the next one.
    generation: NonZeroU32,
}

const NOTHING: u64 = 0;
const AT_BEGIN: u64 = 1;
const AT_BEGIN_TIMED: u64 = 2;
const AT_SUCCESS: u64 = 3;
const WHILE_IN_FLIGHT: u64 = 4;

fn earns(budget: Option<&Budget>) -> u64 {
    match budget.map(Budget::earns) {
        None => NOTHING,
        Some(Earns::AtBegin) => AT_BEGIN,
        Some(Earns::AtBeginTimed) => AT_BEGIN_TIMED,
        Some(Earns::AtSuccess) => AT_SUCCESS,
        Some(Earns::WhileInFlight) => WHILE_IN_FLIGHT,
    }
}

/// What one call has to do with a budget. Whoever opened it closes it; closing it again does nothing.
#[derive(Debug)]
pub(in crate::retry) struct Account {
    part: Part,
    grant: Option<Grant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// There is nothing to do: the call is over, or a layer further out has counted it, or its beginning was all that
    /// counts.
    None,
    /// It is counted as in flight.
    InFlight,
    /// A success at once earns something.
    Success,
}

impl Account {
    /// Whether the end of the call matters, however it ends.
    pub(in crate::retry) const fn is_open(&self) -> bool {
        matches!(self.part, Part::InFlight) || self.grant.is_some()
    }

    /// Whether a success matters. Asked on the path of every call, so that most spare the way to the budget.
    pub(in crate::retry) const fn minds_success(&self) -> bool {
        !matches!(self.part, Part::None) || self.grant.is_some()
    }
}

impl SharedBudget {
    /// A full budget.
    #[must_use]
    pub fn new(config: impl Into<BudgetConfig>) -> Self {
        Self::from_config(Some(config.into()))
    }

    pub(in crate::retry) fn from_config(config: Option<BudgetConfig>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Zero is the scope that no budget has counted; the one of a wrapped count belongs to a budget long gone.
        let id = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
        let cell = Cell::new(id, config, rt::now());
        Self {
            cell: Arc::new(cell),
        }
    }

    /// What is left: retries, or the tokens that a quota or a throttle counts.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.left().unwrap_or(f64::INFINITY)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> BudgetConfig {
        let ledger = lock(&self.cell.ledger);
        // Only a policy's own budget can be none, and that is not handed out.
        ledger
            .budget
            .as_ref()
            .map(Budget::config)
            .unwrap_or_default()
    }

    /// Replaces the settings for all who share it. The same kind keeps its tokens, within the new bounds; another one
    /// starts full.
    pub fn reload(&self, config: impl Into<BudgetConfig>) {
        self.replace(Some(config.into()));
    }

    pub(in crate::retry) fn replace(&self, config: Option<BudgetConfig>) {
        self.cell.replace(config, rt::now());
    }

    /// What is left; `None` where nothing is counted.
    pub(in crate::retry) fn left(&self) -> Option<f64> {
        let now = rt::now();
        self.cell.with(|budget| budget.tokens(now))
    }

    /// A call begins in this scope.
    #[inline]
    pub(in crate::retry) fn open(&self, scope: &mut Scope) -> Account {
        let part = self.cell.open(scope);
        Account { part, grant: None }
    }

    /// Asks for a retry of the call after an attempt that ended so.
    pub(in crate::retry) fn admit(
        &self,
        account: &mut Account,
        outcome: Outcome,
        now: Tick,
    ) -> bool {
        self.cell.admit(account, outcome, now)
    }

    /// The call is over, with an attempt that ended so.
    pub(in crate::retry) fn settle(&self, account: &mut Account, outcome: Outcome) {
        self.cell.settle(account, outcome);
    }

    /// The call is over without an outcome.
    pub(in crate::retry) fn abandon(&self, account: &mut Account) {
        self.cell.abandon(account);
    }
}

impl Cell {
    fn new(id: u32, config: Option<BudgetConfig>, now: Tick) -> Self {
        let budget = config.map(|config| Budget::new(config, now));
        Self {
            id,
            earns: AtomicU64::new(earns(budget.as_ref())),
            made: AtomicU64::new(0),
            until: AtomicU64::new(budget.as_ref().map_or(0, Budget::room)),
            in_flight: AtomicU64::new(0),
            ledger: Mutex::new(Ledger {
                budget,
                told: 0,
                generation: NonZeroU32::MIN,
            }),
        }
    }

    /// All words are relaxed: none says anything about other memory, and a stale one only orders a call before the
    /// question that it raced with.
    #[inline]
    fn earn(&self) {
        if self.made.load(Ordering::Relaxed) < self.until.load(Ordering::Relaxed) {
            self.made.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One machine call under the lock.
    fn with<T>(&self, f: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        let mut ledger = lock(&self.ledger);
        let Ledger { budget, told, .. } = &mut *ledger;
        let budget = budget.as_mut()?;
        self.tell(budget, told);
        let result = f(budget);
        self.until
            .store(told.saturating_add(budget.room()), Ordering::Relaxed);
        Some(result)
    }

    fn tell(&self, budget: &mut Budget, told: &mut u64) {
        let made = self.made.load(Ordering::Relaxed);
        budget.earn(made.saturating_sub(*told));
        budget.in_flight(self.in_flight.load(Ordering::Relaxed));
        *told = made;
    }

    fn replace(&self, config: Option<BudgetConfig>, now: Tick) {
        let mut ledger = lock(&self.ledger);
        let Ledger {
            budget,
            told,
            generation,
        } = &mut *ledger;
        match (budget.as_mut(), config) {
            (Some(budget), Some(config)) => {
                self.tell(budget, told);
                budget.reconfigure(config, now);
                *generation = budget.generation();
            }
            (_, config) => {
                *told = self.made.load(Ordering::Relaxed);
                *generation = next(*generation);
                *budget = config.map(|config| Budget::new(config, now).numbered(*generation));
            }
        }
        let room = budget.as_ref().map_or(0, Budget::room);
        self.until
            .store(told.saturating_add(room), Ordering::Relaxed);
        self.earns.store(earns(budget.as_ref()), Ordering::Relaxed);
    }

    #[inline]
    fn open(&self, scope: &mut Scope) -> Part {
        let earns = self.earns.load(Ordering::Relaxed);
        if earns == NOTHING || scope.is_counted_by(self.id) {
            return Part::None;
        }
        *scope = scope.counted_by(self.id);
        if earns == AT_BEGIN {
            self.earn();
            return Part::None;
        }
        self.open_as(earns)
    }

    #[inline(never)]
    fn open_as(&self, earns: u64) -> Part {
        match earns {
            AT_BEGIN_TIMED => {
                let now = rt::now();
                self.with(|budget| budget.begin(now));
            }
            AT_SUCCESS => return Part::Success,
            WHILE_IN_FLIGHT => {
                self.in_flight.fetch_add(1, Ordering::Relaxed);
                return Part::InFlight;
            }
            _ => {}
        }
        Part::None
    }

    fn admit(&self, account: &mut Account, outcome: Outcome, now: Tick) -> bool {
        let last = account.grant.take();
        match self.with(|budget| budget.admit(last, outcome, now)) {
            Some(grant) => {
                account.grant = grant;
                account.grant.is_some()
            }
            None => true,
        }
    }

    fn settle(&self, account: &mut Account, outcome: Outcome) {
        let part = self.close(account);
        let last = account.grant.take();
        if outcome == Outcome::Success && last.is_none() {
            if part == Part::Success && self.earns.load(Ordering::Relaxed) == AT_SUCCESS {
                self.earn();
            }
        } else if outcome.is_failure() || last.is_some() {
            self.with(|budget| budget.settle(last, outcome));
        }
    }

    fn abandon(&self, account: &mut Account) {
        self.close(account);
        if let Some(last) = account.grant.take() {
            self.with(|budget| budget.abandon(Some(last)));
        }
    }

    fn close(&self, account: &mut Account) -> Part {
        let part = std::mem::replace(&mut account.part, Part::None);
        if part == Part::InFlight {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        part
    }
}

impl fmt::Debug for SharedBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBudget")
            .field("config", &self.config())
            .field("tokens", &self.tokens())
            .finish()
    }
}

#[cfg(test)]
mod tests;
