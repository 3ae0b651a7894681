//! The groups of the table, and how they are measured.

mod breakers;
mod callee;
mod fallbacks;
mod limits;
pub mod measure;
mod retries;
mod row;
mod stacks;
pub mod table;
mod times;

use row::Group;

/// All groups, in the order of the table.
pub fn groups() -> Vec<Group> {
    let mut all = breakers::groups();
    all.extend(retries::groups());
    all.extend(limits::groups());
    all.extend(times::groups());
    all.extend(fallbacks::groups());
    all.extend(stacks::groups());
    all
}
