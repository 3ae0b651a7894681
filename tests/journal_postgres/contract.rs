//! The suite of all stores.

use std::sync::Arc;

use mainstay::journal::Journal;
use mainstay::journal::contract::{self, Subject};
use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};

use super::fixture::{Fixture, pool, seed};
use super::suite::Suite;

fn subject(fixture: &Fixture, config: PostgresConfig) -> Subject {
    let fixture = fixture.clone();
    Subject::new(move || {
        let (address, config) = (fixture.address(), config.clone());
        async move {
            Arc::new(PostgresJournal::open(pool(address), config).await.unwrap())
                as Arc<dyn Journal>
        }
    })
    .seed(seed())
}

pub(crate) fn add(suite: &mut Suite) {
    for case in contract::CASES {
        suite.test(
            &format!("contract::{}", case.name()),
            move |fixture| async move {
                fixture.migrated().await;
                if let Err(violation) = case.check(&subject(&fixture, fixture.config())).await {
                    panic!("{violation}");
                }
            },
        );
    }
    suite.test(
        "contract::random_work_agrees_without_prepared_statements",
        |fixture| async move {
            fixture.migrated().await;
            let subject = subject(&fixture, fixture.config().prepared(false));
            contract::compare(&subject, seed(), 200).await.unwrap();
        },
    );
    for number in 0..4_u64 {
        suite.test(
            &format!("contract::random_work_agrees_{number}"),
            move |fixture| async move {
                fixture.migrated().await;
                let subject = subject(&fixture, fixture.config());
                contract::compare(&subject, seed().wrapping_add(number), 300)
                    .await
                    .unwrap();
            },
        );
    }
}
