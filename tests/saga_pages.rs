//! The pages under `docs/saga`: their SQL is run against a journal with sagas that wait, and their links lead somewhere.
//!
//! Their Rust examples are documentation tests, see the end of `src/lib.rs`.

#![expect(clippy::unwrap_used, reason = "a test panics to fail")]

#[path = "saga_pages/page.rs"]
mod page;

use std::sync::Arc;

use mainstay::journal::sqlite::SqliteJournal;
use rusqlite::{Connection, OpenFlags};

use self::page::{folder, statements, stuck};

#[tokio::test]
async fn the_statements_say_what_is_stuck() {
    let [statements, _, receiver] = statements();
    assert_eq!((statements.len(), receiver.len()), (6, 1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagas.sqlite");
    let sagas = stuck(Arc::new(SqliteJournal::open(&path).unwrap())).await;

    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut rows = Vec::new();
    for statement in &statements {
        let mut select = db.prepare(statement).unwrap();
        let columns = select.column_count();
        let mut found = select.query([]).unwrap();
        let mut text = String::new();
        while let Some(row) = found.next().unwrap() {
            for column in 0..columns {
                text.push_str(&format!("{:?} ", row.get_ref(column).unwrap()));
            }
            text.push('\n');
        }
        rows.push(rendered(&text));
    }
    let [held, story, running, counts, decided, key] = rows.try_into().unwrap();
    for word in ["unknown_outcome", "transfer", "the line went dead", "PAY-1"] {
        assert!(held.contains(word), "{held}");
    }
    assert_eq!(held.lines().count(), 1, "{held}");
    assert!(
        story.contains("started") && story.contains("resolved"),
        "{story}"
    );
    assert!(
        running.contains("PAY-2") && running.lines().count() == 1,
        "{running}"
    );
    assert!(
        counts.contains("running") && counts.contains("held"),
        "{counts}"
    );
    assert!(
        decided.contains("retry") && decided.contains("the bank is back"),
        "{decided}"
    );
    assert!(key.contains("held"), "{key}");

    let of_receiver = Connection::open_in_memory().unwrap();
    mainstay::effect_guard::sqlite::create(&of_receiver).unwrap();
    for statement in &receiver {
        of_receiver.prepare(statement).unwrap();
    }
    // Cut off: it would wait for an hour.
    sagas.shutdown(std::time::Duration::ZERO).await;
}

/// `ValueRef` shows text as bytes.
fn rendered(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("Text([") {
        let (bytes, after) = after.split_once("])").unwrap();
        out.push_str(before);
        let bytes = bytes
            .split(", ")
            .filter_map(|byte| byte.parse().ok())
            .collect();
        out.push_str(&String::from_utf8(bytes).unwrap());
        rest = after;
    }
    out.push_str(rest);
    out
}

/// GitHub's anchor of a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut code = false;
    text.lines()
        .filter(|line| {
            code ^= line.starts_with("```");
            !code && line.starts_with('#')
        })
        .map(anchor)
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in std::fs::read_dir(folder()).unwrap() {
        let page = page.unwrap().path();
        let text = std::fs::read_to_string(&page).unwrap();
        let mut rest = text.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let (link, after) = after.split_once(')').unwrap();
            rest = after;
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            links += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            let found = std::fs::read_to_string(&target);
            let found = found.unwrap_or_else(|_| panic!("{}: {link}", page.display()));
            assert!(
                place.is_empty() || anchors(&found).contains(&place.to_owned()),
                "{}: {link}",
                page.display()
            );
        }
    }
    assert!(links > 20, "{links}");
}
