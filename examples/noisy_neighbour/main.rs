//! One tenant floods a service that 11,100 share, then a whole tier does: with and without a `TenantLayer`.
//!
//! ```text
//! cargo run --release --example noisy_neighbour
//! ```
//!
//! The program starts an axum [service] twice on the loopback interface: 100 enterprise, 1,000 mid-market and 10,000 small
//! tenants share a backend that does four requests at a time, 40 ms each. In front of one stands a
//! [`TenantLayer`](mainstay::tenant::TenantLayer) with the tiers of [`presets::erp`](mainstay::presets::erp), in front of
//! the other nothing. The same [load] meets both: a quiet second, then four in which one small tenant sends three times
//! what the backend can do, then four in which all small tenants together do.
//!
//! While it runs, the terminal shows for each class of tenants how long its callers wait. It ends with a table, and checks
//! what it claims: exit code 0 if it holds, 1 if not. It takes about twenty seconds.

#![expect(
    clippy::disallowed_methods,
    reason = "a program may look at the clock, spawn and sleep; mainstay's machines may not"
)]

mod load;
mod screen;
mod service;

use std::process::ExitCode;

use tower::BoxError;

use load::{Class, Phase, Tally};
use screen::Screen;
use service::Service;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        // The table has said what does not hold.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("noisy_neighbour: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, BoxError> {
    let mut runs = Vec::new();
    for fair in [false, true] {
        let service = Service::start(fair).await?;
        let name = if fair { "with the layer" } else { "without" };
        let screen = Screen::new(name);
        runs.push(load::run(&service, &screen).await?);
        screen.close();
        let (in_flight, waiting) = service.settle().await;
        if (in_flight, waiting) != (0, 0) {
            return Err(
                format!("{in_flight} seats in use and {waiting} waiting at the end").into(),
            );
        }
    }
    let [without, with] = runs.as_slice() else {
        return Err("two runs".into());
    };
    screen::table(without, with);
    let claims = claims(without, with);
    for (holds, claim) in &claims {
        println!(
            "{} {claim}",
            if *holds { "holds:" } else { "DOES NOT HOLD:" }
        );
    }
    Ok(claims.iter().all(|(holds, _)| *holds))
}

/// What the example is for.
fn claims(without: &Tally, with: &Tally) -> Vec<(bool, String)> {
    let mut claims = Vec::new();
    for (phase, class) in [
        (Phase::OneFloods, Class::Small),
        (Phase::OneFloods, Class::MidMarket),
        (Phase::OneFloods, Class::Enterprise),
        (Phase::TierFloods, Class::MidMarket),
        (Phase::TierFloods, Class::Enterprise),
    ] {
        let (bare, fair) = (without.of(phase, class), with.of(phase, class));
        let (lost, served) = (bare.served(), fair.served());
        let holds = served >= 0.97 && served > lost + 0.1;
        let claim = format!(
            "while {}, {} is served: {:.1} % of its calls in time, {:.1} % without the layer",
            phase.name(),
            class.name(),
            served * 100.0,
            lost * 100.0,
        );
        claims.push((holds, claim));
        let (late, prompt) = (bare.percentile(0.95), fair.percentile(0.95));
        let claim = format!("and waits for no longer than {prompt:?} (p95), {late:?} without");
        claims.push((prompt * 3 < late, claim));
    }
    let flood = with.of(Phase::OneFloods, Class::Flood);
    let told = flood.percentile_of_refusals(0.5);
    let claim = format!(
        "whoever floods gets {:.1} % of what it sends, and is told so within {told:?} (p50)",
        flood.served() * 100.0,
    );
    claims.push((flood.served() < 0.5, claim));
    claims
}
