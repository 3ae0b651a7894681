//! The pictures of `docs/autoscaling.md`.

use mainstay::autoscale::simulate::{Chart, Moment, Shape, Trace};
use std::error::Error;
use std::path::Path;

use crate::kubernetes::By;
use crate::policies::{ALL, Kind};
use crate::sweep::Sweep;

const SEED: u64 = 1;
const WARM_UP: u32 = 300;
const DAY: u64 = 86_400;

/// Curves of all shapes, and one day of three of them: demand, capacity, queue and waits.
pub(crate) fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    for shape in Shape::ALL {
        std::fs::write(
            folder.join(format!("curve_{}.svg", file(shape))),
            curve(shape)?,
        )?;
    }
    for (shape, headroom) in [
        (Shape::Bursts, 1.25),
        (Shape::Square, 1.1),
        (Shape::BusyHour, 1.25),
    ] {
        for kind in [Kind::Foreseeing, Kind::Hpa(By::Rate, 300)] {
            day(folder, shape, kind, headroom)?;
        }
    }
    Ok(())
}

fn file(shape: Shape) -> String {
    shape.as_str().replace(' ', "_")
}

fn sweep() -> Sweep {
    Sweep {
        capacity: 10,
        warm_up: WARM_UP,
        learning: 3 * DAY,
        full: true,
    }
}

fn curve(shape: Shape) -> Result<String, Box<dyn Error>> {
    let traces = [Trace::generated(shape, 7, SEED)];
    let shown: Vec<Kind> = ALL
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Hpa(By::RateAndQueue, _)))
        .collect();
    let title = format!("{}: share of waits above 3 s", shape.as_str());
    let mut chart = Chart::new(title, "replica hours", "share").log();
    let rows = sweep().rows(&shown, &traces)?;
    let least = rows
        .iter()
        .filter_map(|row| row.curve.at(0.01))
        .fold(f64::MAX, f64::min);
    for row in rows {
        let near = row
            .curve
            .points()
            .iter()
            .filter(|(_, hours, _)| *hours < 3.0 * least);
        chart = chart.line(
            row.kind.name(),
            near.map(|(_, hours, share)| (*hours, *share)).collect(),
        );
    }
    Ok(chart.to_svg())
}

fn day(folder: &Path, shape: Shape, kind: Kind, headroom: f64) -> Result<(), Box<dyn Error>> {
    let trace = Trace::generated(shape, 5, SEED);
    let mut policy = kind.build(10.0, headroom, WARM_UP)?;
    let outcome = sweep().world().moments(true).run(&trace, &mut *policy);
    let line = |of: fn(&Moment) -> f64| -> Vec<(f64, f64)> {
        let last = outcome
            .moments()
            .iter()
            .filter(|moment| moment.second >= 4 * DAY);
        // A point every five minutes is enough for a picture.
        last.step_by(5)
            .map(|moment| ((moment.second - 4 * DAY) as f64 / 3_600.0, of(moment)))
            .collect()
    };
    let name = format!(
        "{} under {}, headroom {headroom}",
        shape.as_str(),
        kind.name()
    );
    let load = Chart::new(&name, "hours of the fifth day", "requests a second")
        .line("ordered", line(|moment| moment.ordered))
        .line("serving", line(|moment| moment.capacity))
        .line("demand", line(|moment| moment.demand));
    let waits = Chart::new(&name, "hours of the fifth day", "")
        .line("queue / 100", line(|moment| moment.backlog / 100.0))
        .line("wait, seconds", line(|moment| moment.wait));
    let of = kind.name().split(' ').next().unwrap_or_default();
    std::fs::write(
        folder.join(format!("day_{}_{of}.svg", file(shape))),
        load.to_svg(),
    )?;
    std::fs::write(
        folder.join(format!("waits_{}_{of}.svg", file(shape))),
        waits.to_svg(),
    )?;
    Ok(())
}
