//! Ladders as data.
//!
//! A file says the same as the builder, and the builder checks it: what does not fit together is named by the names of
//! the parts, whatever is wrong with one value by its place.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::builder::LadderBuilder;
use super::ladder::{Ladder, MOST, Rung};
use super::pace::Pace;
use super::parts::{Cell, Component, Fact, Level};
use crate::num::Ratio;
use crate::settings::{Given, Keys, Place, Setting, as_data, joined, table, word};

mod words;

use words::{Name, Text, list, write};

/// What is served of each capability.
struct Cells(Vec<Cell>);

impl Setting for Cells {
    fn expected() -> Cow<'static, str> {
        "a table of modes by capability".into()
    }

    fn read(given: Given, _: Option<Self>, mut place: Place<'_>) -> Option<Self> {
        let Given::Table(entries) = given else {
            place.refuse(&given, Self::expected());
            return None;
        };
        let mut cells = Vec::with_capacity(entries.len().min(MOST));
        for (capability, given) in entries {
            let name = Name::read(word(&capability), None, place.under(&capability));
            let mode = Setting::read(given, None, place.under(&capability));
            if let (Some(Name(capability)), Some(mode)) = (name, mode) {
                let is_ours = false;
                cells.push(Cell {
                    capability,
                    mode,
                    is_ours,
                });
            }
        }
        Some(Self(cells))
    }

    fn write(&self) -> Given {
        let cells = self.0.iter();
        let cells = cells.map(|cell| (cell.capability().to_owned(), cell.mode.write()));
        Given::Table(cells.collect())
    }
}

/// Those that the document has and those that are ours; none where neither key is there.
fn cells(keys: &mut Keys<'_>) -> Option<Vec<Cell>> {
    let stated = keys.maybe::<Cells>("cells");
    let ours = keys.maybe::<Cells>("ours");
    if stated.is_none() && ours.is_none() {
        return None;
    }
    let mut all = stated.map_or_else(Vec::new, |cells| cells.0);
    let ours = ours.map_or_else(Vec::new, |cells| cells.0);
    all.extend(ours.into_iter().map(|cell| Cell {
        is_ours: true,
        ..cell
    }));
    Some(all)
}

/// `part`, and its cells.
fn write_cells(part: Given, cells: &[Cell]) -> Given {
    let of = |is_ours: bool| {
        let cells = cells.iter().filter(|cell| cell.is_ours() == is_ours);
        Cells(cells.cloned().collect()).write()
    };
    joined(part, [("cells", of(false)), ("ours", of(true))])
}

impl Setting for Level {
    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let name = keys.needs("name", None::<Name>);
            let action = keys.maybe::<Text>("action");
            let cells = cells(keys).unwrap_or_default();
            let mut level = Self::new(name?.0);
            level.cells = cells;
            Some(match action {
                Some(action) => level.action(action.0),
                None => level,
            })
        })
    }

    fn write(&self) -> Given {
        let name = table([("name", word(self.name()))]);
        let head = match self.advice() {
            Some(action) => joined(name, [("action", word(action))]),
            None => name,
        };
        write_cells(head, &self.cells)
    }
}

/// A fact is written by the ladder, which has looked its names up.
fn fact(given: Given, pace: Pace, place: Place<'_>) -> Option<Fact> {
    place.table(given, "a table", |keys| {
        let name = keys.needs("name", None::<Name>);
        let when = keys.needs("when", None);
        let level = keys.needs("level", None::<Name>);
        let cells = cells(keys);
        let own = keys.maybe_with("pace", |given, place| {
            Setting::read(given, Some(pace), place)
        });
        let mut fact = Fact::new(name?.0, when?, level?.0);
        fact.cells = cells;
        fact.pace = own;
        Some(fact)
    })
}

fn write_fact(ladder: &Ladder, rung: &Rung) -> Given {
    let component = |at: &usize| word(ladder.components.get(*at).map_or("", Component::name));
    let level = ladder.levels.get(rung.level).map_or("", Level::name);
    let mut fact = table([
        ("name", word(&rung.name)),
        ("when", write(&rung.when, &component)),
        ("level", word(level)),
    ]);
    if let Some(cells) = &rung.cells {
        fact = write_cells(fact, cells);
    }
    if rung.pace != ladder.pace {
        fact = joined(fact, [("pace", rung.pace.write())]);
    }
    fact
}

/// A level that the weighted score of all components leads to.
struct Band {
    level: Arc<str>,
    score: Ratio,
    margin: Ratio,
}

fn band(given: Given, place: Place<'_>) -> Option<Band> {
    place.table(given, "a table", |keys| {
        let level = keys.needs("level", None::<Name>);
        let score = keys.needs("score", None);
        let margin = keys.needs("margin", None);
        Some(Band {
            level: level?.0,
            score: score?,
            margin: margin?,
        })
    })
}

impl Setting for Ladder {
    /// By itself a ladder has no name that anything could follow from.
    fn base_of(name: &str) -> Option<Self> {
        Some(Self::unwritten(name.into()))
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let base = base.map(|base| Name(base.name));
            let name = keys.needs("name", base);
            let is_cumulative = keys.set("cumulative", false);
            let pace = keys.set("pace", Pace::new());
            let components = list(keys, "components", "a list of components");
            let levels = keys.needs("levels", None::<Levels>);
            let capabilities = list::<Name>(keys, "capabilities", "a list of names");
            let bands = keys.maybe_with("bands", |given, place| {
                place.list(given, "a list of bands", band)
            });
            let facts = keys.maybe_with("facts", |given, place| {
                place.list(given, "a list of facts", |given, place| {
                    fact(given, pace, place)
                })
            });
            // Of what is wrong by itself nobody knows whether it fits the rest.
            if keys.is_wrong() {
                return None;
            }
            let mut ladder = LadderBuilder::new(name?.0).pace(pace);
            if is_cumulative {
                ladder = ladder.cumulative();
            }
            ladder = components
                .into_iter()
                .fold(ladder, LadderBuilder::component);
            ladder = levels?.0.into_iter().fold(ladder, LadderBuilder::level);
            for Name(capability) in capabilities {
                ladder = ladder.capability(capability);
            }
            for Band {
                level,
                score,
                margin,
            } in bands.into_iter().flatten()
            {
                ladder = ladder.band(level, score, margin);
            }
            let facts = facts.into_iter().flatten();
            let built = facts.fold(ladder, LadderBuilder::fact).build();
            built.map_err(|errors| keys.refuse_parts(&errors)).ok()
        })
    }

    fn write(&self) -> Given {
        let stated: BTreeSet<_> = self.cells().map(|(_, cell)| cell.capability()).collect();
        let others = self.capabilities().filter(|name| !stated.contains(name));
        let facts = self.facts.iter().map(|rung| write_fact(self, rung));
        table([
            ("name", word(&self.name)),
            ("cumulative", self.is_cumulative.write()),
            ("capabilities", Given::List(others.map(word).collect())),
            ("pace", self.pace.write()),
            (
                "components",
                Given::List(self.components.iter().map(Setting::write).collect()),
            ),
            (
                "levels",
                Given::List(self.levels.iter().map(Setting::write).collect()),
            ),
            ("facts", Given::List(facts.collect())),
        ])
    }
}

struct Levels(Vec<Level>);

impl Setting for Levels {
    fn expected() -> Cow<'static, str> {
        "a list of levels, the best first".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let each = |given, place: Place<'_>| Level::read(given, None, place);
        place.list(given, Self::expected(), each).map(Self)
    }

    fn write(&self) -> Given {
        Given::List(self.0.iter().map(Setting::write).collect())
    }
}

as_data!(Ladder);
