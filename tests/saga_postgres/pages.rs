//! The SQL of the page about stuck sagas, on PostgreSQL.

#[path = "../saga_pages/page.rs"]
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the other statements are SQLite's"
)]
mod page;

use std::sync::Arc;

use mainstay::journal::postgres::{PostgresConfig, PostgresJournal};

use self::page::{statements, stuck};
use super::fixture::{Fixture, pool};
use super::suite::Suite;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("pages::the_statements_say_what_is_stuck", the_statements);
}

/// In the schema that the page names, which is nobody else's on this server.
async fn the_statements(fixture: Fixture) {
    let pool = pool(fixture.address());
    let config = PostgresConfig::new();
    PostgresJournal::migrate(&pool, &config).await.unwrap();
    let journal = PostgresJournal::open(pool.clone(), config).await.unwrap();
    let sagas = stuck(Arc::new(journal)).await;

    let client = pool.get().await.unwrap();
    let [_, statements, receiver] = statements();
    let [held, running] = statements.try_into().unwrap();
    let held = client.query(&held, &[]).await.unwrap();
    assert_eq!(held.len(), 1);
    let row = held.first().unwrap();
    assert_eq!(row.get::<_, &str>("class"), "unknown_outcome");
    assert_eq!(row.get::<_, &str>("key"), "PAY-1");
    let running = client.query(&running, &[]).await.unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running.first().unwrap().get::<_, &str>("key"), "PAY-2");
    let tables = mainstay::effect_guard::postgres::TABLES;
    client.batch_execute(tables).await.unwrap();
    for statement in &receiver {
        client.query(statement, &[]).await.unwrap();
    }
    drop(client);
    sagas.shutdown(std::time::Duration::ZERO).await;
}
