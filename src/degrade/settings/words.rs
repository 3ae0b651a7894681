//! What the parts of a ladder are made of: names, texts, modes, conditions.

use std::borrow::Cow;
use std::sync::Arc;

use crate::degrade::ladder::LONGEST_NAME;
use crate::degrade::mode::{Kind, Mode, Notes};
use crate::degrade::pace::Pace;
use crate::degrade::parts::{Component, HEAVIEST, LONGEST_TEXT, MOST_NOTES, Unknown};
use crate::degrade::when::{Is, When};
use crate::health::Verdict;
use crate::settings::{Given, Keys, Place, Setting, number_of, one_of, table, word};

fn short(given: &Given, longest: usize) -> Option<Arc<str>> {
    match given {
        Given::Text(text) if text.chars().nth(longest).is_none() => Some(text.as_str().into()),
        _ => None,
    }
}

/// Of a ladder, a component, a level, a fact or a capability.
#[derive(Clone)]
pub(super) struct Name(pub(super) Arc<str>);

impl Setting for Name {
    fn expected() -> Cow<'static, str> {
        format!("a name of 1 to {LONGEST_NAME} characters").into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let name = short(&given, LONGEST_NAME).filter(|name| !name.is_empty());
        place.found(&given, name.map(Self))
    }

    fn write(&self) -> Given {
        word(&self.0)
    }
}

/// A list of one kind of things.
pub(super) fn list<T: Setting>(
    keys: &mut Keys<'_>,
    key: &'static str,
    expected: &'static str,
) -> Vec<T> {
    let list = keys.maybe_with(key, |given, place| {
        place.list(given, expected, |given, place| {
            T::read(given, T::base(), place)
        })
    });
    list.unwrap_or_default()
}

/// What people read.
pub(super) struct Text(pub(super) Arc<str>);

impl Setting for Text {
    fn expected() -> Cow<'static, str> {
        format!("a text of at most {LONGEST_TEXT} characters").into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let text = short(&given, LONGEST_TEXT).map(Self);
        place.found(&given, text)
    }

    fn write(&self) -> Given {
        word(&self.0)
    }
}

fn kinds() -> [(&'static str, Kind); 8] {
    Kind::ALL.map(|kind| (kind.as_str(), kind))
}

fn of(kind: Kind) -> Mode {
    match kind {
        Kind::Full => Mode::Full,
        Kind::Limited => Mode::Limited(Notes::default()),
        Kind::WriteOnly => Mode::WriteOnly,
        Kind::ReadOnly => Mode::ReadOnly,
        Kind::Queued => Mode::Queued,
        Kind::Manual => Mode::Manual,
        Kind::Disabled => Mode::Disabled,
        Kind::FailOver => Mode::FailOver,
    }
}

/// A word, or a table where it says what is missing.
impl Setting for Mode {
    fn expected() -> Cow<'static, str> {
        format!("{}, or a table of limited", one_of(&kinds())).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let kinds = kinds();
        match &given {
            Given::Table(_) => place.table(given, "", |keys| {
                let notes = keys.needs("limited", None)?;
                Some(Self::Limited(notes))
            }),
            Given::Text(text) => {
                let found = kinds.iter().find(|(word, _)| word == text);
                place.found(&given, found.map(|(_, kind)| of(*kind)))
            }
            _ => place.found(&given, None),
        }
    }

    fn write(&self) -> Given {
        match self {
            Self::Limited(notes) if notes.iter().next().is_some() => {
                table([("limited", notes.write())])
            }
            _ => word(self.kind().as_str()),
        }
    }
}

/// One, or a list of several.
impl Setting for Notes {
    fn expected() -> Cow<'static, str> {
        let texts = Text::expected();
        format!("{texts}, or a list of 1 to {MOST_NOTES} of them").into()
    }

    fn read(given: Given, _: Option<Self>, mut place: Place<'_>) -> Option<Self> {
        match given {
            Given::List(list) if (1..=MOST_NOTES).contains(&list.len()) => {
                let each = |given, place: Place<'_>| Text::read(given, None, place);
                let notes = place.list(Given::List(list), "", each)?;
                Some(Self::of(notes.into_iter().map(|note| note.0)))
            }
            Given::Text(_) if short(&given, LONGEST_TEXT).is_some() => {
                short(&given, LONGEST_TEXT).map(|note| Self::of([note]))
            }
            given => {
                place.refuse(&given, Self::expected());
                None
            }
        }
    }

    fn write(&self) -> Given {
        let mut notes: Vec<_> = self.iter().map(word).collect();
        match (notes.pop(), notes.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Given::List(notes.into_iter().chain(last).collect()),
        }
    }
}

/// How much a score counts.
#[derive(Clone, Copy)]
struct Weight(f64);

impl Setting for Weight {
    fn expected() -> Cow<'static, str> {
        format!("a number above 0 and at most {HEAVIEST}").into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let weight = number_of(&given).filter(|weight| *weight > 0.0 && *weight <= HEAVIEST);
        place.found(&given, weight.map(Self))
    }

    fn write(&self) -> Given {
        Given::Number(self.0)
    }
}

/// What is known of what is known.
const VERDICTS: [(&str, Verdict); 3] = [
    ("up", Verdict::Up),
    ("degraded", Verdict::Degraded),
    ("down", Verdict::Down),
];

struct Known(Verdict);

impl Setting for Known {
    fn expected() -> Cow<'static, str> {
        one_of(&VERDICTS).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.choice(&given, &VERDICTS).map(Self)
    }

    fn write(&self) -> Given {
        let found = VERDICTS.iter().find(|(_, verdict)| *verdict == self.0);
        word(found.map_or("unknown", |(word, _)| word))
    }
}

const HOLD: &str = "hold";

impl Setting for Unknown {
    fn expected() -> Cow<'static, str> {
        format!("\"{HOLD}\", or a table of after and as").into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        match &given {
            Given::Text(text) if text == HOLD => Some(Self::Hold),
            Given::Table(_) => place.table(given, "", |keys| {
                let after = keys.needs("after", None);
                let verdict = keys.needs("as", None::<Known>);
                Some(Self::After(after?, verdict?.0))
            }),
            _ => place.found(&given, None),
        }
    }

    fn write(&self) -> Given {
        match self {
            Self::Hold => word(HOLD),
            Self::After(after, verdict) => {
                table([("after", after.write()), ("as", Known(*verdict).write())])
            }
        }
    }
}

/// A name, or a table with more about it.
impl Setting for Component {
    fn expected() -> Cow<'static, str> {
        format!("{}, or a table", Name::expected()).into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        if let Given::Text(_) = given {
            let name = short(&given, LONGEST_NAME).filter(|name| !name.is_empty());
            return place.found(&given, name.map(Self::new));
        }
        place.table(given, Self::expected(), |keys| {
            let name = keys.needs("name", None::<Name>);
            let base = Self::new(name.as_ref().map_or("", |name| &name.0));
            let weight = keys.set("weight", Weight(base.weighs()));
            let degraded_at = keys.set("degraded_at", base.degrades());
            let down_at = keys.set("down_at", base.goes_down());
            if down_at.get() > degraded_at.get() {
                let expected = format!("at most degraded_at, which is {}", degraded_at.get());
                keys.refuse("down_at", down_at.get(), expected);
            }
            let unknown = keys.set("unknown", base.of_unknown());
            name?;
            Some(
                base.weight(weight.0)
                    .degraded_at(degraded_at)
                    .down_at(down_at)
                    .unknown(unknown),
            )
        })
    }

    fn write(&self) -> Given {
        table([
            ("name", word(self.name())),
            ("weight", Weight(self.weighs()).write()),
            ("degraded_at", self.degrades().write()),
            ("down_at", self.goes_down().write()),
            ("unknown", self.of_unknown().write()),
        ])
    }
}

/// More than so many times are taken for so many.
const MOST_TIMES: u32 = 1_000;

#[derive(Clone, Copy)]
struct Times(std::num::NonZeroU32);

impl Setting for Times {
    fn expected() -> Cow<'static, str> {
        format!("a count from 1 to {MOST_TIMES}").into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let times = crate::settings::count_of(&given).filter(|times| times.get() <= MOST_TIMES);
        place.found(&given, times.map(Self))
    }

    fn write(&self) -> Given {
        self.0.write()
    }
}

impl Setting for Pace {
    fn base() -> Option<Self> {
        Some(Self::new())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        let (times, within, hold) = base.flap_budget();
        let times = std::num::NonZeroU32::new(times).unwrap_or(std::num::NonZeroU32::MIN);
        place.table(given, Self::expected(), |keys| {
            let pace = Self::new()
                .worse_after(keys.set("worse_after", base.confirmation()))
                .dwell(keys.set("dwell", base.stay()))
                .better_after(keys.set("better_after", base.calm()));
            let times = keys.set("flaps", Times(times)).0;
            let within = keys.set("within", within);
            let hold = keys.set("hold", hold);
            Some(pace.flaps(times, within, hold))
        })
    }

    fn write(&self) -> Given {
        let (times, within, hold) = self.flap_budget();
        table([
            ("worse_after", self.confirmation().write()),
            ("dwell", self.stay().write()),
            ("better_after", self.calm().write()),
            ("flaps", times.write()),
            ("within", within.write()),
            ("hold", hold.write()),
        ])
    }
}

/// The keys of which a condition has one.
const CONDITIONS: [&str; 5] = ["degraded", "down", "score_at_most", "all", "any"];

/// A table of one condition; what is written within another is one too.
impl Setting for When {
    fn expected() -> Cow<'static, str> {
        "a table of degraded, down, score_at_most, all or any".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let there = CONDITIONS.iter().filter(|key| keys.has(key)).count();
            if there != 1 {
                let found = match there {
                    0 if keys.is_empty() => "an empty table".into(),
                    0 => "none of them".into(),
                    _ => format!("{there} of them"),
                };
                keys.refuse_all(&found, format!("{}, one of them", Self::expected()));
            }
            let degraded = keys.maybe::<Name>("degraded");
            let down = keys.maybe::<Name>("down");
            let scored = scored(keys);
            let all = keys.maybe_with("all", conditions);
            let any = keys.maybe_with("any", conditions);
            let degraded = degraded.map(|name| Self::degraded(name.0));
            let down = down.map(|name| Self::down(name.0));
            let found = degraded.or(down).or(scored);
            found.or(all.map(Self::all)).or(any.map(Self::any))
        })
    }

    fn write(&self) -> Given {
        write(self, &|name| word(name))
    }
}

fn conditions(given: Given, place: Place<'_>) -> Option<Vec<When>> {
    place.list(
        given,
        "a list of conditions, at least one",
        |given, place| When::read(given, None, place),
    )
}

/// A score, with its margin and whose it is.
fn scored(keys: &mut Keys<'_>) -> Option<When> {
    if !keys.has("score_at_most") {
        // Asked for all the same, so that an error lists them among the keys that there are.
        keys.maybe::<crate::num::Ratio>("score_at_most");
        return None;
    }
    let score = keys.needs("score_at_most", None);
    let margin = keys.needs("margin", None);
    let of = keys.maybe::<Name>("of");
    Some(match of {
        Some(name) => When::scores_at_most(name.0, score?, margin?),
        None => When::score_at_most(score?, margin?),
    })
}

/// A condition, whose components are named by `name`.
pub(super) fn write<C>(when: &When<C>, name: &impl Fn(&C) -> Given) -> Given {
    let list = |list: &[When<C>]| Given::List(list.iter().map(|when| write(when, name)).collect());
    match &when.0 {
        Is::Verdict(component, Verdict::Down) => table([("down", name(component))]),
        Is::Verdict(component, _) => table([("degraded", name(component))]),
        Is::ScoreAtMost(Some(component), score, margin) => table([
            ("score_at_most", score.write()),
            ("margin", margin.write()),
            ("of", name(component)),
        ]),
        Is::ScoreAtMost(None, score, margin) => {
            table([("score_at_most", score.write()), ("margin", margin.write())])
        }
        Is::All(all) => table([("all", list(all))]),
        Is::Any(any) => table([("any", list(any))]),
    }
}
