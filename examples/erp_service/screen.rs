//! What is seen: one block for each phase, a table at the end.

use std::time::Duration;

use mainstay::degrade::Status;

use crate::callers::{Got, What};

/// What a phase ended with.
pub(crate) struct Seen {
    pub(crate) title: &'static str,
    pub(crate) status: Status,
    /// After how long the level was the one that is expected, and nothing waited where nothing should; none if it never was.
    pub(crate) reached: Option<Duration>,
    /// Entries that waited at the most, and at the end.
    pub(crate) waited: u64,
    pub(crate) waits: u64,
    pub(crate) ready: u16,
}

fn answers(got: &Got, phase: usize, what: What) -> String {
    let Some(statuses) = got.get(&(phase, what)) else {
        return "-".to_owned();
    };
    let word = |status: &u16| match status {
        200 => "done",
        202 if what == What::Documents => "by hand",
        202 => "queued",
        502 => "failed",
        503 => "refused",
        504 => "too late",
        0 => "no answer",
        _ => "other",
    };
    let each = statuses
        .iter()
        .map(|(status, times)| format!("{times} {}", word(status)));
    each.collect::<Vec<_>>().join(", ")
}

pub(crate) fn begin(number: usize, title: &str) {
    println!("\n{number}  {title}");
}

pub(crate) fn block(number: usize, seen: &Seen, got: &Got) {
    let Seen { status, .. } = seen;
    let after = seen.reached.map_or_else(
        || "not what was expected".to_owned(),
        |after| format!("after {:.1} s", after.as_secs_f64()),
    );
    println!("   level     {} \"{}\", {after}", status.level, status.name);
    let modes = status.modes.iter();
    let modes: Vec<_> = modes.map(|(name, mode)| format!("{name} {mode}")).collect();
    println!("   served    {}", modes.join("; "));
    println!(
        "   queue     {} wait, {} at the most; /readyz says {}",
        seen.waits, seen.waited, seen.ready
    );
    for (place, what) in What::ALL.into_iter().enumerate() {
        let word = if place == 0 { "callers" } else { "" };
        println!(
            "   {word:9} {}: {}",
            what.as_str(),
            answers(got, number, what)
        );
    }
}

pub(crate) fn table(all: &[Seen], got: &Got) {
    println!(
        "\n{:<44}{:>5}{:>8}{:>8}{:>9}{:>8}",
        "phase", "level", "queue", "done", "refused", "failed"
    );
    for (number, seen) in all.iter().enumerate() {
        let of = |is: fn(u16) -> bool| -> u32 {
            let phase = got.iter().filter(|((phase, _), _)| *phase == number);
            let statuses = phase.flat_map(|(_, statuses)| statuses);
            let those = statuses.filter(|(status, _)| is(**status));
            those.map(|(_, times)| times).sum()
        };
        println!(
            "{:<44}{:>5}{:>8}{:>8}{:>9}{:>8}",
            seen.title,
            seen.status.level,
            seen.waited,
            of(|status| matches!(status, 200 | 202)),
            of(|status| status == 503),
            of(|status| !matches!(status, 200 | 202 | 503)),
        );
    }
}
