//! Breakers as data.

use std::borrow::Cow;
use std::num::NonZeroU32;

use super::config::{BreakerConfig, HalfOpen, Ramp, Share, Trip, Trips, Verdict, Window};
use crate::num::{Period, Ratio};
use crate::settings::{Given, Keys, Place, Setting, as_data, count_of, period_of, table};

/// Calls are a number, time is a text.
impl Setting for Window {
    fn expected() -> Cow<'static, str> {
        "a number of calls from 1 to 4294967295, or a length of time such as \"10s\"".into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        let calls = count_of(&given).map(Self::Calls);
        let read = calls.or_else(|| period_of(&given).map(Self::Time));
        place.found(&given, read)
    }

    fn write(&self) -> Given {
        match self {
            Self::Calls(calls) => calls.write(),
            Self::Time(period) => period.write(),
        }
    }
}

/// A count of failures, and the time that `span` names.
fn failures(given: Given, place: Place<'_>, span: &'static str) -> Option<(NonZeroU32, Period)> {
    place.table(given, "a table", |keys| {
        let failures = keys.needs("failures", None);
        let span = keys.needs(span, None);
        Some((failures?, span?))
    })
}

fn share(keys: &mut Keys<'_>) -> Option<Share> {
    let ratio = keys.needs("ratio", None);
    let min_calls = keys.needs("min_calls", None);
    let window = keys.needs("window", None);
    Some(Share {
        ratio: ratio?,
        min_calls: min_calls?,
        window: window?,
    })
}

fn write_share(share: Share) -> [(&'static str, Given); 3] {
    [
        ("ratio", share.ratio.write()),
        ("min_calls", share.min_calls.write()),
        ("window", share.window.write()),
    ]
}

const KINDS: &str = "a table of consecutive, streak, in_window, rate or slow";

/// Those that are given take the place of all that were there.
impl Setting for Trips {
    fn expected() -> Cow<'static, str> {
        KINDS.into()
    }

    fn read(given: Given, _: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, KINDS, |keys| {
            let empty = keys.is_empty();
            let trips = Self {
                consecutive: keys.maybe("consecutive"),
                streak: keys
                    .maybe_with("streak", |given, place| failures(given, place, "spanning")),
                in_window: keys
                    .maybe_with("in_window", |given, place| failures(given, place, "window")),
                rate: keys.maybe_with("rate", |given, place| place.table(given, "a table", share)),
                slow: keys.maybe_with("slow", |given, place| {
                    place.table(given, "a table", |keys| {
                        let after = keys.needs("after", None);
                        let share = share(keys);
                        Some((share?, after?))
                    })
                }),
            };
            if empty {
                keys.refuse_all("an empty table", KINDS);
            }
            Some(trips)
        })
    }

    fn write(&self) -> Given {
        let mut entries = Vec::new();
        let mut put = |kind: &str, given| entries.push((kind.to_owned(), given));
        if let Some(failures) = self.consecutive {
            put("consecutive", failures.write());
        }
        if let Some((failures, spanning)) = self.streak {
            let streak = [
                ("failures", failures.write()),
                ("spanning", spanning.write()),
            ];
            put("streak", table(streak));
        }
        if let Some((failures, window)) = self.in_window {
            let in_window = [("failures", failures.write()), ("window", window.write())];
            put("in_window", table(in_window));
        }
        if let Some(share) = self.rate {
            put("rate", table(write_share(share)));
        }
        if let Some((share, after)) = self.slow {
            let [ratio, min_calls, window] = write_share(share);
            put(
                "slow",
                table([("after", after.write()), ratio, min_calls, window]),
            );
        }
        Given::Table(entries)
    }
}

/// As in a breaker's `trips`, and exactly one.
impl Setting for Trip {
    fn expected() -> Cow<'static, str> {
        "a table of one of consecutive, streak, in_window, rate or slow".into()
    }

    fn read(given: Given, _: Option<Self>, mut place: Place<'_>) -> Option<Self> {
        let several = matches!(&given, Given::Table(entries) if entries.len() > 1);
        if several {
            place.refuse(&given, Self::expected());
            return None;
        }
        Trips::read(given, None, place)?.iter().next()
    }

    fn write(&self) -> Given {
        Trips::default().with(*self).write()
    }
}

impl Setting for HalfOpen {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            let by_ratio = matches!(base.verdict, Verdict::Ratio { .. });
            let judged = keys.has("ratio") || by_ratio && !keys.has("successes");
            let verdict = if judged {
                ratio(base.verdict, keys)
            } else {
                successes(base.verdict, keys)
            };
            let at_once = match verdict {
                Some(Verdict::Ratio { probes, .. }) if !by_ratio => probes,
                _ => base.max_in_flight,
            };
            let max_in_flight = keys.set("max_in_flight", at_once);
            let deadline = keys.set("deadline", base.deadline);
            Some(Self {
                max_in_flight,
                verdict: verdict?,
                deadline,
            })
        })
    }

    fn write(&self) -> Given {
        let (probes, verdict) = match self.verdict {
            Verdict::Successes { needed, of } => (of, ("successes", needed.write())),
            Verdict::Ratio { probes, ratio } => (probes, ("ratio", ratio.write())),
        };
        table([
            ("max_in_flight", self.max_in_flight.write()),
            ("probes", probes.write()),
            verdict,
            ("deadline", self.deadline.write()),
        ])
    }
}

fn ratio(base: Verdict, keys: &mut Keys<'_>) -> Option<Verdict> {
    let (probes, ratio): (_, Option<Ratio>) = match base {
        Verdict::Ratio { probes, ratio } => (Some(probes), Some(ratio)),
        Verdict::Successes { .. } => (None, None),
    };
    let probes = keys.needs("probes", probes);
    let ratio = keys.needs("ratio", ratio);
    Some(Verdict::Ratio {
        probes: probes?,
        ratio: ratio?,
    })
}

fn successes(base: Verdict, keys: &mut Keys<'_>) -> Option<Verdict> {
    let (needed, of) = match base {
        Verdict::Successes { needed, of } => (needed, of),
        Verdict::Ratio { .. } => (NonZeroU32::MIN, NonZeroU32::MIN),
    };
    let fresh = keys.has("successes");
    let needed = keys.set("successes", needed);
    let of = keys.set("probes", if fresh { needed } else { of });
    if of < needed {
        keys.refuse(
            "probes",
            of,
            format!("at least as many as successes, which is {needed}"),
        );
    }
    Some(Verdict::Successes { needed, of })
}

impl Setting for Ramp {
    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        place.table(given, Self::expected(), |keys| {
            let from = keys.needs("from", base.map(|base| base.from));
            let over = keys.needs("over", base.map(|base| base.over));
            Some(Self {
                from: from?,
                over: over?,
            })
        })
    }

    fn write(&self) -> Given {
        table([("from", self.from.write()), ("over", self.over.write())])
    }
}

impl Setting for BreakerConfig {
    fn base() -> Option<Self> {
        Some(Self::default())
    }

    fn read(given: Given, base: Option<Self>, place: Place<'_>) -> Option<Self> {
        let base = base.unwrap_or_default();
        place.table(given, Self::expected(), |keys| {
            Some(Self {
                trips: keys.set("trips", base.trips),
                open_for: keys.set("open_for", base.open_for),
                growth: keys.set("growth", base.growth),
                longest: keys.set("longest", base.longest),
                longest_hint: keys.set("longest_hint", base.longest_hint),
                jitter: keys.set("jitter", base.jitter),
                half_open: keys.set("half_open", base.half_open),
                ramp: keys.set("ramp", base.ramp),
            })
        })
    }

    fn write(&self) -> Given {
        table([
            ("open_for", self.open_for.write()),
            ("growth", self.growth.write()),
            ("longest", self.longest.write()),
            ("longest_hint", self.longest_hint.write()),
            ("jitter", self.jitter.write()),
            ("ramp", self.ramp.write()),
            ("trips", self.trips.write()),
            ("half_open", self.half_open.write()),
        ])
    }
}

as_data!(BreakerConfig, HalfOpen, Ramp, Trip, Window);
